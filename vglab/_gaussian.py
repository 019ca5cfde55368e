"""What an activation does to normally distributed inputs, on average."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from vglab.models import ACTIVATIONS


@lru_cache(maxsize=4096)
def mean_square(activation: str, q: float) -> float:
    """``E[φ(√q z)²]``, z ~ N(0, 1)."""
    z, weight = _normal()
    return float(ACTIVATIONS[activation]()(math.sqrt(q) * z).square() @ weight)


@lru_cache(maxsize=4096)
def mean_square_slope(activation: str, q: float) -> float:
    """``E[φ'(√q z)²]``, z ~ N(0, 1)."""
    z, weight = _normal()
    x = (math.sqrt(q) * z).requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(ACTIVATIONS[activation]()(x).sum(), x)
    return float(slope.square() @ weight)


@lru_cache(maxsize=1)
def _normal() -> tuple[Tensor, Tensor]:
    """Midpoints and weights that integrate a function against the standard normal density.

    Midpoints, so that none lies at 0, where ReLU and its kin are not smooth.
    """
    edges = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    z = (edges[1:] + edges[:-1]) / 2
    density = torch.exp(-z.square() / 2)
    return z, density / density.sum()
