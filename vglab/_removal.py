"""Deletion and insertion: follow the output while features go, the most important first."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vglab import _checks
from vglab._attribution import Attribution, Query, asked
from vglab._lent import as_baseline


def removal_curve(
    attribution: Attribution,
    model: nn.Module,
    inputs: Any,
    *,
    insert: bool = False,
    baseline: Any = None,
    steps: int = 64,
    output: str = "probability",
) -> tuple[Tensor, Tensor]:
    """Output while features are replaced by their baseline, those of the largest values first.

    Petsiuk, Das and Saenko 2018. With ``insert``, from the baseline, while features
    come back in the same order. Values count with their sign; ties go by position.

    Parameters
    ----------
    attribution
        What to judge; its classes are those whose output is followed. A Grad-CAM's feature is a
        position with all its channels.
    model, inputs
        Those that it explains.
    baseline
        As in `vglab.explain.integrated_gradients`.
    steps
        Points of the curve, at most one for each feature.
    output
        "probability", or "logit", also for regression.

    Returns
    -------
    tuple
        Shares of the features removed (or inserted) ``[steps + 1]``, from 0 to 1, and the outputs
        ``[N, steps + 1]``.
    """
    _checks.count("steps", steps)
    with judged(attribution, model, inputs, output) as query:
        values = fitting(attribution, query.inputs)
        base = as_baseline(baseline, query.inputs, model)
        # From the largest value on: which place each feature has.
        order = attribution.ranking(absolute=False).to(values.device)
        places = order.argsort(1).view_as(values)
        size = order.shape[1]
        counts = torch.linspace(0, size, min(steps, size) + 1, dtype=torch.float64).round()
        start, end = (base, query.inputs) if insert else (query.inputs, base)
        scores = [
            query.scores(torch.where(places < count, end, start)) for count in counts.tolist()
        ]
        return (counts / size).float(), torch.stack(scores, 1).to(query.home)


def deletion_auc(attribution: Attribution, model: nn.Module, inputs: Any, **options: Any) -> Tensor:
    """Area ``[N]`` under the deletion curve: small where the features found carry the output.

    The mean output while features are removed (trapezoid rule); arguments as in `removal_curve`.
    """
    return torch.trapezoid(*removal_curve(attribution, model, inputs, **options)[::-1], dim=1)


def insertion_auc(
    attribution: Attribution, model: nn.Module, inputs: Any, **options: Any
) -> Tensor:
    """Area ``[N]`` under the insertion curve: large where the features found carry the output.

    Arguments as in `removal_curve`.
    """
    curve = removal_curve(attribution, model, inputs, insert=True, **options)
    return torch.trapezoid(*curve[::-1], dim=1)


@contextmanager
def judged(
    attribution: Attribution, model: nn.Module, inputs: Any, output: str, seed: int = 0
) -> Iterator[Query]:
    """Ask the model about the inputs of an explanation, and their explained classes."""
    if np.shape(inputs)[:1] not in ((), (len(attribution.values),)):
        raise ValueError(
            f"inputs {[*np.shape(inputs)]} are not those of this explanation "
            f"{[*attribution.values.shape]}"
        )
    with asked(model, inputs, attribution.target, output=output, seed=seed) as query:
        yield query


def fitting(attribution: Attribution, inputs: Tensor) -> Tensor:
    """Values on the inputs' device, checked to fit them."""
    values = attribution.values.to(inputs)
    shapes = zip(values.shape, inputs.shape, strict=False)
    fits = values.ndim == inputs.ndim and len(values) == len(inputs)
    if not fits or any(mine not in (1, theirs) for mine, theirs in shapes):
        raise ValueError(
            f"inputs {[*inputs.shape]} are not those of this explanation {[*values.shape]}"
        )
    return values
