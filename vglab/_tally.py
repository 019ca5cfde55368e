"""Numbers of many tensors at little cost: those of one shape are stacked and measured at once."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SMALL = 1 << 16
"""Tensors of up to so many values wait for others of their shape; larger ones would fill memory."""

STACK = 1 << 17
"""Values stacked at once: few enough to stay in the processor's cache."""

SAFE = 1e-12, 1e18
"""Norms in float32 between these are right: squares below its range add less than 1e-9 of them."""

_Measure = Callable[..., Tensor]


class Tally:
    """Collects tensors, and gives the numbers of each under the key that it came with."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[Any, ...], list[tuple[Any, Tensor]]] = {}
        self._done: list[tuple[list[Any], Tensor]] = []

    def add(self, key: Any, measure: _Measure, values: Tensor, *options: Any) -> None:
        """Measure ``values`` now, or later with others: they must not change meanwhile."""
        if values.numel() > SMALL:
            self._done.append(([key], measure(values[None], *options)))
            return
        group = measure, values.shape, values.dtype, values.device, options
        self._waiting.setdefault(group, []).append((key, values))

    def read(self) -> list[tuple[Any, list[float]]]:
        """Every key with its numbers, in the order in which the keys of a shape came."""
        for (measure, shape, *_, options), pairs in self._waiting.items():
            together = max(1, STACK // max(1, math.prod(shape)))
            for i in range(0, len(pairs), together):
                keys, tensors = zip(*pairs[i : i + together], strict=True)
                self._done.append((list(keys), measure(torch.stack(tensors), *options)))
        self._waiting.clear()
        rows = [(keys, numbers.tolist()) for keys, numbers in self._done]
        return [pair for keys, numbers in rows for pair in zip(keys, numbers, strict=True)]


# Each takes tensors [n, ...] and gives numbers [n, k] in float64.


def norm(values: Tensor) -> Tensor:
    """Euclidean norms: in float64 where squares of a shorter format might under- or overflow."""
    rows = values.flatten(1)
    if values.itemsize == 4:
        found: Tensor = torch.linalg.vector_norm(rows, dim=1)
        if bool(((found > SAFE[0]) & (found < SAFE[1])).all()):
            return found[:, None].double()
    double: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return double[:, None]


def moments(values: Tensor) -> Tensor:
    """Euclidean norms and means, in float64: their squares may be close to each other."""
    rows = values.flatten(1).double()
    return torch.stack([torch.linalg.vector_norm(rows, dim=1), rows.mean(1)], 1)


def weights_of(values: Tensor) -> Tensor:
    """Euclidean norms, and 1 where the first two units have the same weights."""
    twins = (values[:, :1] == values[:, 1:2]).flatten(1).all(1) & (values.shape[1] > 1)
    return torch.cat([norm(values), twins[:, None].double()], 1)


def slopes(values: Tensor, axis: int, flat: float) -> Tensor:
    """Share of slopes below ``flat``, their root mean square, share of units that have none.

    Units lie along ``axis`` of each tensor.
    """
    size = values.abs()
    count = size[0].numel()
    saturated = (size < flat).flatten(1).sum(1) / count
    rest = [each for each in range(1, size.ndim) if each != axis + 1]
    dead = ((size.amax(rest) if rest else size) == 0).flatten(1).double().mean(1)
    rms = norm(values)[:, 0] / count**0.5
    return torch.stack([saturated.double(), rms, dead], 1)
