"""What `vglab.sweep` asks of a grid, and what stands for a key that it lacks."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vglab import _checks, _fit_checks
from vglab.initialization import SCHEMES, initialize
from vglab.models import MLP
from vglab.train import OPTIMIZERS, fit

Run = dict[str, Any]  # settings of a network, or what was measured on it


def _defaults(function: Callable[..., object], *names: str) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    return {name: parameters[name].default for name in names}


DEFAULTS: dict[str, Any] = {
    "depth": 1,
    "width": 64,
    **_defaults(MLP, "activation", "norm", "residual"),
    "init": None,
    **_defaults(initialize, "sigma_w", "sigma_b"),
    **_defaults(fit, "optimizer", "lr", "momentum", "clip_norm"),
}
"""What a key that is missing in a grid stands for."""


def settings(grid: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The grid's values, checked, and one value for each key that it lacks."""
    if not isinstance(grid, Mapping):
        raise TypeError(f"grid must map a setting to a list of values, got {type(grid).__name__}")
    for key, values in grid.items():
        _checks.choice("a key of grid", key, DEFAULTS)
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"grid[{key!r}] must be a list of values, got {values!r}")
    settings = {key: list(values) for key, values in grid.items()}
    for key, values in settings.items():
        if not values:
            raise ValueError(f"grid[{key!r}] is empty: give one value or more")
        for value in values:
            _check_value(key, value)
    naive = {"init": "mean_field"} if {"sigma_w", "sigma_b"} & settings.keys() else {}
    missing = {key: [value] for key, value in (DEFAULTS | naive).items() if key not in settings}
    return settings | missing


def _check_value(key: str, value: Any) -> None:
    """Raise what the function that the key belongs to would raise."""
    if key == "depth":
        _checks.count("depth", value, at_least=0)
    elif key == "width":
        _checks.count("width", value)
    elif key in ("activation", "norm"):
        with torch.device("meta"):
            MLP((1, 1, 1), **{key: value})
    elif key == "residual":
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"residual must be True or False, got {value!r}")
    elif key == "init":
        if value is not None:
            _checks.choice("init", value, SCHEMES)
    elif key in ("sigma_w", "sigma_b"):
        _checks.number(key, value, at_least=0)
    else:
        training = {key: DEFAULTS[key] for key in ("optimizer", "lr", "momentum", "clip_norm")}
        if key == "optimizer":
            _checks.choice("optimizer", value, OPTIMIZERS)
        _fit_checks.check_arguments(
            **(training | {key: value}), epochs=1, batch_size=1, weight_decay=0.0,
            probe_every=None, seed=0,
        )  # fmt: skip


def seeds(seeds: int | Iterable[int]) -> list[int]:
    if isinstance(seeds, Iterable):
        listed = list(seeds)
    else:
        _checks.count("seeds", seeds)
        listed = list(range(seeds))
    if not listed:
        raise ValueError("seeds is empty: give a number of seeds, or a list of them")
    for seed in listed:
        _checks.count("a seed", seed, at_least=0)
        _checks.number("a seed", seed, below=2**63)
    return [int(seed) for seed in listed]
