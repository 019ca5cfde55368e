"""Argument checks that several modules share: each error says what came and what was expected."""

import math
from collections.abc import Iterable
from numbers import Integral, Real

import torch
from torch import Tensor, nn


def choice(argument: str, value: object, known: Iterable[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``known``; the message lists them."""
    known = list(known)
    if value not in known:
        raise ValueError(f"{argument} must be one of {', '.join(known)}; got {value!r}")


def number(argument: str, value: object, *, above: float = -math.inf, at_least: float = -math.inf,
           below: float = math.inf) -> None:  # fmt: skip
    """Raise unless ``value`` is a finite real number with above < value < below, value >= at_least.

    TypeError where it is no number, ValueError where it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{argument} must be a number, got {value!r} ({type(value).__name__})")
    bounds = [f"greater than {above:g}"] * (above > -math.inf)
    bounds += [f"at least {at_least:g}"] * (at_least > -math.inf)
    bounds += [f"less than {below:g}"] * (below < math.inf)
    real = float(value)
    if not (math.isfinite(real) and above < real < below and real >= at_least):
        raise ValueError(f"{argument} must be {' and '.join(['finite', *bounds])}, got {value}")


def count(argument: str, value: object, *, at_least: int = 1) -> None:
    """Raise unless ``value`` is an integer (TypeError) of at least ``at_least`` (ValueError)."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{argument} must be an integer, got {value!r} ({type(value).__name__})")
    if value < at_least:
        raise ValueError(f"{argument} must be at least {at_least}, got {value}")


def finite(argument: str, values: Tensor) -> None:
    """Raise ValueError where a tensor holds NaN or infinity; the message counts them."""
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise ValueError(
            f"{argument} must be finite, got {bad} NaN or infinite values among {values.numel()}; "
            "remove those examples or fill the gaps first"
        )


def module(model: object) -> None:
    """Raise TypeError unless ``model`` is a Module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
