"""What theory predicts, before anything is trained: signals at initialisation, safe step sizes.

In a wide network whose weights have variance σ_w²/n_in and whose biases have variance σ_b², the
pre-activations of a layer are normal with a variance q that depends on the layer below only
through its own q (Poole et al. 2016, eq. 3), and a gradient's squared norm is multiplied by one
number χ for each layer that it crosses (Schoenholz et al. 2017).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vglab import _checks
from vglab._gaussian import mean_square, mean_square_slope
from vglab.models import ACTIVATIONS

__all__ = [
    "chi",
    "critical_sigma_w",
    "depth_scale",
    "gradient_profile",
    "learning_rate_limit",
    "quadratic_trajectory",
    "variance_fixed_point",
]

UNBOUNDED = 1e12
"""A variance beyond this counts as infinite."""


def variance_fixed_point(activation: str, sigma_w: float, sigma_b: float) -> float:
    """Variance q* of the pre-activations that deep layers settle at, from inputs of variance 1.

    The limit of ``q ← σ_w² E[φ(√q z)²] + σ_b²``, z ~ N(0, 1), begun at q = 1 (Poole et al. 2016,
    eq. 3): 0 where signals die out, inf where they grow without bound, and 1 where every variance
    is kept (ReLU at σ_w = √2 without biases).

    Parameters
    ----------
    activation
        A key of `vglab.models.ACTIVATIONS`.
    sigma_w, sigma_b
        Standard deviations: of the weights, times the root of a layer's inputs, and of the biases.

    Raises
    ------
    ValueError, TypeError
        An unknown activation; a deviation that is negative or not finite.
    """
    _check(activation, sigma_w, sigma_b)

    def growth(q: float) -> float:
        return sigma_w**2 * mean_square(activation, q) + sigma_b**2 - q

    if abs(growth(1.0)) < 1e-7:
        return 1.0
    step = 2.0 if growth(1.0) > 0 else 0.5
    near, far = 1.0, step
    while growth(near) * growth(far) > 0:  # until the first change of sign on the way from 1
        near, far = far, far * step
        if far > UNBOUNDED:
            return math.inf
        if far < 1 / UNBOUNDED:
            return 0.0
    return _root(growth, near, far)


def chi(activation: str, sigma_w: float, sigma_b: float) -> float:
    """Factor χ of a gradient's squared norm for each layer that it crosses.

    ``χ = σ_w² E[φ'(√q* z)²]``, the mean squared singular value of a layer's Jacobian at the fixed
    point q* (Poole et al. 2016): gradients vanish below 1 and explode above. Where q* is
    0 or inf, the limit. Arguments and errors are those of `variance_fixed_point`.
    """
    q = variance_fixed_point(activation, sigma_w, sigma_b)
    return sigma_w**2 * mean_square_slope(activation, min(max(q, 1 / UNBOUNDED), UNBOUNDED))


def depth_scale(activation: str, sigma_w: float, sigma_b: float) -> float:
    """Layers over which a gradient's squared norm changes by the factor e: ``1 / abs(ln χ)``.

    Infinite at χ = 1 (to within 1e-6), zero where χ = 0 (Schoenholz et al. 2017).
    Arguments and errors are those of `variance_fixed_point`.
    """
    factor = chi(activation, sigma_w, sigma_b)
    if factor == 0:
        return 0.0
    return math.inf if abs(factor - 1) < 1e-6 else 1 / abs(math.log(factor))


def critical_sigma_w(activation: str, sigma_b: float) -> float:
    """Smallest σ_w above which gradients no longer vanish: χ = 1, or where χ jumps over 1.

    √2 for ReLU, 1 for tanh and for linear layers without biases. (χ jumps where q* does, as for
    GELU.) Inf where χ < 1 for every σ_w up to 100.

    Raises
    ------
    ValueError, TypeError
        An unknown activation; a deviation that is negative or not finite.
    """
    _check(activation, 1.0, sigma_b)

    def excess(sigma_w: float) -> float:
        return chi(activation, sigma_w, sigma_b) - 1

    low = 0.0
    for high in np.geomspace(0.1, 100, 61).tolist():
        if excess(high) >= 0:
            return _root(excess, low, high)
        low = high
    return math.inf


def gradient_profile(activation: str, sigma_w: float, sigma_b: float, depth: int) -> np.ndarray:
    """Expected norm of the gradient at each of ``depth`` layers ``[depth]``, the last being 1.

    ``χ^((depth - l) / 2)`` for layer l counted from 1 (Schoenholz et al. 2017), for
    signals at their fixed point. Other arguments and errors are those of `variance_fixed_point`.
    """
    _checks.count("depth", depth)
    factor = chi(activation, sigma_w, sigma_b)
    return np.asarray(factor ** (np.arange(depth - 1, -1, -1) / 2))


def learning_rate_limit(hessian: Tensor) -> float:
    """Learning rate above which gradient descent diverges on ``θᵀHθ / 2``: ``2 / λ_max``.

    Infinite where no eigenvalue is positive.

    Parameters
    ----------
    hessian
        H, symmetric ``[D, D]``.

    Raises
    ------
    ValueError
        H is empty, not square, not symmetric or not finite.
    """
    largest = torch.linalg.eigvalsh(_symmetric(hessian))[-1].item()
    return 2 / largest if largest > 0 else math.inf


def quadratic_trajectory(
    hessian: Tensor, start: Tensor | Sequence[float], lr: float, steps: int
) -> Tensor:
    """Path ``[steps + 1, D]`` of gradient descent on ``θᵀHθ / 2``, in closed form.

    Along each eigenvector of H the start is multiplied by ``(1 - lr λ)^t``. Computed in float64,
    returned in the precision of ``start``, float32 for integers.

    Parameters
    ----------
    hessian
        H, symmetric ``[D, D]``.
    start
        θ before the first step ``[D]``.
    lr, steps
        Learning rate and number of steps.

    Raises
    ------
    ValueError, TypeError
        As for `learning_rate_limit`; a start that is not finite or does not match, ``lr`` not
        positive, ``steps`` negative.
    """
    _checks.number("lr", lr, above=0)
    _checks.count("steps", steps, at_least=0)
    values, vectors = torch.linalg.eigh(_symmetric(hessian))
    theta: Tensor = torch.as_tensor(start)
    theta = theta if theta.is_floating_point() else theta.float()
    if theta.shape != (len(values),):
        raise ValueError(
            f"start must be a vector [{len(values)}] for this hessian, got shape {[*theta.shape]}"
        )
    _checks.finite("start", theta)
    powers = (1 - lr * values) ** torch.arange(steps + 1).unsqueeze(1)
    path: Tensor = powers * (vectors.T @ theta.to(vectors)) @ vectors.T
    return path.to(theta.dtype)


def _check(activation: str, sigma_w: float, sigma_b: float) -> None:
    _checks.choice("activation", activation, ACTIVATIONS)
    _checks.number("sigma_w", sigma_w, at_least=0)
    _checks.number("sigma_b", sigma_b, at_least=0)


def _symmetric(hessian: Tensor) -> Tensor:
    matrix: Tensor = torch.as_tensor(hessian).detach().double()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.numel() == 0:
        raise ValueError(
            f"hessian must be square [D, D] and not empty, got shape {[*matrix.shape]}"
        )
    _checks.finite("hessian", matrix)
    if not torch.allclose(matrix, matrix.T, rtol=1e-4, atol=1e-6 * float(matrix.abs().max())):
        raise ValueError(
            "hessian must be symmetric; use (H + H.T) / 2 if it is so but for rounding"
        )
    return matrix


def _root(function: Callable[[float], float], a: float, b: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, a, b, xtol=1e-14, rtol=1e-12))
