"""Score explanations: by what moves the output, by known truth, and by what a network learnt."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vglab import _checks
from vglab._attribution import Attribution, asked
from vglab._lent import as_baseline
from vglab._randomize import RandomizationTest, explained, randomization_test
from vglab._ranks import rank_correlation
from vglab._removal import deletion_auc, fitting, insertion_auc, judged, removal_curve

__all__ = [
    "RandomizationTest",
    "agreement",
    "completeness_gap",
    "deletion_auc",
    "infidelity",
    "insertion_auc",
    "pointing_accuracy",
    "randomization_test",
    "removal_curve",
    "sensitivity",
]

# Values of these are slopes, by unit of the input; of all others, shares of the output.
SLOPES = ("saliency", "smooth_grad")


def infidelity(
    attribution: Attribution,
    model: nn.Module,
    inputs: Any,
    *,
    baseline: Any = None,
    noise: float | None = None,
    samples: int = 256,
    rescale: bool = False,
    slopes: bool | None = None,
    output: str = "logit",
    seed: int = 0,
) -> Tensor:
    """Mean squared error of the predicted change: ``E[(I·φ - (f(x) - f(x - I)))²]``.

    Yeh et al. 2019. All examples meet the same perturbations.

    Parameters
    ----------
    attribution
        φ. Where it holds slopes, ``I·φ = Σ_j I_j φ_j``; where it holds shares of the output, each
        removed feature counts with its whole value.
    model, inputs, output
        Those that it explains, and the same output.
    baseline
        Perturbation I: random sets of features are replaced by it (their share uniform from 0 to
        1, so that every size is as likely). As in `vglab.explain.integrated_gradients`.
    noise
        Instead of removal: I ~ N(0, noise²), which tells only about slopes.
    samples
        Number of perturbations.
    rescale
        Multiply φ by the number that suits the example best, so that only its shape counts.
    slopes
        Does it hold slopes? None: what `vglab.explain.saliency` and `smooth_grad` return does.

    Returns
    -------
    Tensor
        ``[N]``, in the square of the output's unit.
    """
    _checks.count("samples", samples)
    _checks.count("seed", seed, at_least=0)
    slopes = attribution.method in SLOPES if slopes is None else slopes
    if noise is not None:
        _checks.number("noise", noise, above=0)
        if not slopes:
            raise ValueError(
                f"noise needs slopes, and {attribution.method} returns shares of the output: leave "
                "noise out (features are then removed), or say slopes=True"
            )
    with judged(attribution, model, inputs, output, seed) as query:
        x, values = query.inputs, fitting(attribution, query.inputs)
        if slopes and values.shape != x.shape:
            raise ValueError(f"slopes must be {[*x.shape]} like the inputs, got {[*values.shape]}")
        base = as_baseline(baseline, x, model)
        generator = torch.Generator().manual_seed(seed)
        told, happened = [], []
        for _ in range(samples):
            if noise is not None:
                change = noise * torch.randn(x.shape[1:], generator=generator).to(x)
                told.append(_total(change * values))
                happened.append(query.score - query.scores(x - change))
                continue
            share = torch.rand((), generator=generator)
            gone = torch.rand(values.shape[1:], generator=generator) < share
            gone = gone.to(x.device)
            told.append(_total(gone * values * (x - base) if slopes else gone * values))
            happened.append(query.score - query.scores(torch.where(gone, base, x)))
        predicted, change = torch.stack(told).double(), torch.stack(happened).double()
        if rescale:
            square = predicted.square().mean(0)
            best = (predicted * change).mean(0) / square.where(square > 0, 1.0)
            predicted = predicted * best
        return (predicted - change).square().mean(0).to(x.dtype).to(query.home)


def sensitivity(
    explainer: Callable[..., Attribution],
    model: nn.Module,
    inputs: Any,
    *,
    radius: float = 0.02,
    samples: int = 10,
    seed: int = 0,
) -> Tensor:
    """Largest relative change of an explanation when each input value moves by up to ``radius``.

    ``max ‖φ(x + δ) - φ(x)‖ / ‖φ(x)‖`` over δ uniform in the cube (Yeh et al. 2019, by
    sampling, hence from below). All examples meet the same δ.

    Parameters
    ----------
    explainer
        ``explainer(model, inputs) -> Attribution``. Where it has a parameter ``target``, the class
        explained at x is held; otherwise a change of the predicted class counts as a change.
    model, inputs
        The network and the examples ``[N, *input_shape]``.
    radius
        Half the side of the cube, in units of the inputs.
    samples
        Number of draws of δ.

    Returns
    -------
    Tensor
        ``[N]``; infinite where φ(x) is zero and does not stay so.
    """
    _checks.number("radius", radius, above=0)
    _checks.count("samples", samples)
    _checks.count("seed", seed, at_least=0)
    with asked(model, inputs, seed=seed) as query:
        x = query.inputs
    first = explained(explainer, model, x, None)
    norm = first.values.flatten(1).norm(dim=1)
    generator = torch.Generator().manual_seed(seed)
    worst = torch.zeros_like(norm)
    for _ in range(samples):
        moved = (2 * torch.rand(x.shape[1:], generator=generator) - 1) * radius
        other = explained(explainer, model, x + moved.to(x), first.target)
        change = (other.values - first.values).flatten(1).norm(dim=1)
        worst = torch.maximum(worst, change)
    return torch.where(worst > 0, worst / norm, worst).to(query.home)


def completeness_gap(attribution: Attribution) -> Tensor:
    """``|baseline + values.sum() - output|`` ``[N]``: 0 for an additive method without error."""
    if attribution.baseline is None or attribution.output is None:
        raise ValueError(
            f"{attribution.method} is not additive: its values need not sum to anything. "
            "integrated_gradients, shap_values and lime_weights have a baseline"
        )
    total = attribution.values.flatten(1).sum(1, dtype=torch.float64)
    gap: Tensor = (attribution.baseline + total - attribution.output).abs()
    return gap.to(attribution.values.dtype)


def agreement(a: Attribution, b: Attribution, *, absolute: bool = False) -> Tensor:
    """Spearman's rank correlation ``[N]`` of two explanations of the same examples.

    With their signs, unless ``absolute``: sizes of two maps of digits agree already where both are
    zero on the same blank pixels, whatever else they say. NaN where one is constant.
    """
    if a.values.shape != b.values.shape:
        raise ValueError(
            f"explanations must have the same shape, got {[*a.values.shape]} of {a.method} and "
            f"{[*b.values.shape]} of {b.method}; sum over channels where one has none"
        )
    return rank_correlation(a.values, b.values, absolute=absolute)


def pointing_accuracy(attribution: Attribution, mask: Any, *, absolute: bool = False) -> float:
    """Share of the examples whose largest value lies inside the mask: the pointing game.

    Zhang et al. 2016. Where k values tie for the largest, each counts 1 / k, so that a
    map that says nothing scores what guessing does.

    Parameters
    ----------
    attribution
        Values ``[N, *shape]``.
    mask
        True where the truth is: ``[*shape]`` or ``[N, *shape]``; axes of size 1, as of a mask
        ``[N, 1, H, W]``, stand for all channels.
    absolute
        Look for the largest size instead of the largest value.
    """
    values = attribution.values.abs() if absolute else attribution.values
    inside = torch.as_tensor(mask, device=values.device)
    if inside.dtype != torch.bool and not bool(((inside == 0) | (inside == 1)).all()):
        raise ValueError("mask must hold True and False, or 1 and 0")
    try:
        inside = inside.bool().expand(values.shape).flatten(1)
    except RuntimeError:
        raise ValueError(f"mask must fit values {[*values.shape]}, got {[*inside.shape]}") from None
    if not bool(inside.any(1).all()):
        raise ValueError("mask is empty for some examples: leave those out")
    flat = values.flatten(1)
    largest = flat == flat.amax(1, keepdim=True)
    return float(((largest & inside).sum(1) / largest.sum(1)).mean())


def _total(values: Tensor) -> Tensor:
    total: Tensor = values.flatten(1).sum(1, dtype=torch.float64)
    return total
