"""What a network's output rests on: gradients, occlusion, Shapley values, local and simple models.

Every function explains the logit of each example's predicted class unless told otherwise, works in
evaluation mode whatever the model's mode, leaves the model, its gradients and its hooks exactly as
they were, and does not touch the inputs.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vglab import _checks
from vglab._attribution import Attribution, Query, asked
from vglab._grad_cam import grad_cam
from vglab._importance import Importance, permutation_importance
from vglab._lent import as_baseline
from vglab._lime import LocalModel, lime_weights, superpixels
from vglab._occlusion import occlusion
from vglab._shapley import shap_values
from vglab._surrogate import Surrogate, surrogate

__all__ = [
    "Attribution",
    "Importance",
    "LocalModel",
    "Surrogate",
    "grad_cam",
    "gradient_x_input",
    "integrated_gradients",
    "lime_weights",
    "occlusion",
    "permutation_importance",
    "saliency",
    "shap_values",
    "smooth_grad",
    "superpixels",
    "surrogate",
]


def saliency(
    model: nn.Module, inputs: Any, target: Any = None, *, output: str = "logit"
) -> Attribution:
    """Size of the gradient, ``|∂f/∂x|``: how much a small change of each input value moves f.

    Simonyan, Vedaldi and Zisserman 2014, section 3; one value for each channel, where they show
    the largest.

    Parameters
    ----------
    model
        Maps ``[N, *input_shape]`` to logits ``[N, C]``, or to ``[N]`` or ``[N, 1]`` for regression.
    inputs
        Examples ``[N, *input_shape]``: a tensor or an array.
    target
        Class to explain: None for each example's predicted one, a class, or ``[N]`` classes.
    output
        f: the class's "logit", or its "probability".

    Returns
    -------
    Attribution
        ``values`` ``[N, *input_shape]``, at least 0.

    Raises
    ------
    TypeError, ValueError
        Inputs that are no numbers, hold NaN or do not fit the model, a class that does not exist.

    Examples
    --------
    >>> saliency(MLP((4, 8, 3)), torch.randn(2, 4)).values.shape
    torch.Size([2, 4])
    """
    with asked(model, inputs, target, output=output, seed=0) as query:
        return query.answer(query.gradients().abs(), "saliency")


def gradient_x_input(
    model: nn.Module, inputs: Any, target: Any = None, *, output: str = "logit"
) -> Attribution:
    """Gradient times input, ``x ∂f/∂x``: each value's share of f where f is linear without offset.

    Shrikumar et al. 2016. Complete in ReLU networks without biases: the values sum to f; with them,
    to f less ``Σ b ∂f/∂b`` (Srinivas and Fleuret 2019). Arguments and errors as in `saliency`.
    """
    with asked(model, inputs, target, output=output, seed=0) as query:
        return query.answer(query.gradients() * query.inputs, "gradient_x_input")


def smooth_grad(
    model: nn.Module,
    inputs: Any,
    target: Any = None,
    *,
    noise: float = 0.15,
    samples: int = 50,
    output: str = "logit",
    seed: int = 0,
) -> Attribution:
    """Gradient averaged over noise, ``E[∂f/∂x (x + ε)]``, ε ~ N(0, σ²): SmoothGrad.

    Smilkov et al. 2017. The gradients keep their signs. All examples meet the same
    noise, scaled by their σ, so that an example's values do not depend on its batch.

    Parameters
    ----------
    model, inputs, target, output
        As in `saliency`; the class is the one predicted without noise.
    noise
        σ as a share of the example's largest minus its smallest value (the paper: 0.1 to 0.2).
    samples
        Number of noisy copies, at least 2.
    seed
        Seed of the noise.

    Returns
    -------
    Attribution
        ``values`` and their ``standard_error`` ``[N, *input_shape]``.
    """
    _checks.number("noise", noise, at_least=0)
    _checks.count("samples", samples, at_least=2)
    with asked(model, inputs, target, output=output, seed=seed) as query:
        generator = torch.Generator().manual_seed(seed)
        draws = torch.randn(samples, *query.inputs.shape[1:], generator=generator)
        draws = draws.to(query.inputs)
        flat = query.inputs.flatten(1)
        sigma = noise * (flat.amax(1) - flat.amin(1))
        means, errors = [], []
        for rows in _groups(query, samples):
            width = sigma[rows].view(-1, *[1] * query.inputs.ndim)
            noisy = query.inputs[rows][:, None] + width * draws
            found = _gradients(query, noisy, rows)
            means.append(found.mean(1))
            errors.append(found.std(1) / samples**0.5)
        return query.answer(torch.cat(means), "smooth_grad", standard_error=torch.cat(errors))


def integrated_gradients(
    model: nn.Module,
    inputs: Any,
    target: Any = None,
    *,
    baseline: Any = None,
    steps: int = 64,
    output: str = "logit",
) -> Attribution:
    """Integrated gradients: ``(x - b) ∫ ∂f/∂x (b + α (x - b)) dα`` over α from 0 to 1.

    Sundararajan, Taly and Yan 2017, eq. 1. They are complete (their proposition 1): the values sum
    to ``f(x) - f(b)``, but for the error of the sum that stands for the integral, which
    `vglab.evaluate.completeness_gap` measures. The sum is Gauss and Legendre's, exact for
    polynomials up to degree ``2 steps - 1``; in networks with kinks (ReLU) the error falls about
    as 1 / steps.

    Parameters
    ----------
    model, inputs, target, output
        As in `saliency`.
    baseline
        b: None for zeros (the average input, where the data are standardised), a number, one input
        ``[*input_shape]``, or one for each example.
    steps
        Points on the path.

    Returns
    -------
    Attribution
        ``values`` ``[N, *input_shape]``, ``baseline`` f(b) ``[N]`` and ``output`` f(x) ``[N]``.
    """
    _checks.count("steps", steps)
    with asked(model, inputs, target, output=output, seed=0) as query:
        x = query.inputs
        start = as_baseline(baseline, x, model)
        at_start = query.scores(start)
        nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(steps))
        alpha, weight = ((nodes + 1) / 2).to(x), (weights / 2).to(x)
        short = query.shortened()
        if short is None:
            mean = _path_gradient(query, start, alpha, weight)
        else:  # the path is straight before that layer and after it
            head, rest = short
            mean = _path_gradient(rest, head(start), alpha, weight) @ head.weight
        return query.answer((x - start) * mean.view_as(x), "integrated_gradients",
                            baseline=at_start)  # fmt: skip


def _path_gradient(query: Query, start: Tensor, alpha: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the gradients on the straight path from ``start`` to the inputs."""
    found = []
    along = alpha.view(-1, *[1] * (start.ndim - 1))
    for rows in _groups(query, len(alpha)):
        points = torch.lerp(start[rows][:, None], query.inputs[rows][:, None], along)
        gradients = _gradients(query, points, rows)
        found.append(torch.einsum("ns...,s->n...", gradients, weight))
    return torch.cat(found)


def _groups(query: Query, copies: int) -> tuple[Tensor, ...]:
    """Numbers of the examples, in groups of which all copies fit in one pass where they can."""
    every = torch.arange(len(query.inputs), device=query.inputs.device)
    groups: tuple[Tensor, ...] = every.split(max(1, query.rows_at_once // copies))
    return groups


def _gradients(query: Query, points: Tensor, rows: Tensor) -> Tensor:
    """Gradients at several points ``[n, S, ...]`` of each of some examples, in that shape."""
    found = query.gradients(points.flatten(0, 1), rows.repeat_interleave(points.shape[1]))
    return found.view_as(points)
