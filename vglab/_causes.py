"""From what was seen of one pass to a verdict: what is wrong, why, and what would change it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from torch import nn

from vglab import theory
from vglab._watch import Layer, Pass
from vglab.models import ACTIVATIONS

LIMIT = 1e3
"""Gradients that differ by more than this factor across the network vanish or explode."""
SMALL_SLOPES = ("sigmoid", "hard_sigmoid")
RECTIFIERS = ("relu", "clamp")
LARGE = 3.0
"""Inputs of a larger root mean square are to blame for a saturated first layer."""
HOMOGENEOUS = ("relu", "leaky_relu", "linear")


_WEIGHTED = nn.Linear, nn.modules.conv._ConvNd


@dataclass(frozen=True)
class Cause:
    """One reason for the verdict.

    Attributes
    ----------
    kind
        A short name, the same in every diagnosis.
    statement
        The reason in a sentence.
    evidence
        The measured numbers behind it.
    layers
        Names of the layers concerned, input side first.
    share
        The logarithm of the factor that it brings into the gradients, where that can be said.
    """

    kind: str
    statement: str
    evidence: dict[str, float] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    share: float = math.nan


@dataclass(frozen=True)
class Remedy:
    """One change that should bring the gradients back.

    Attributes
    ----------
    kind, arguments
        What to do, for programs: "initialize" with the arguments of
        `vglab.initialization.initialize`, say.
    change
        What to change, in a sentence.
    effect
        What to expect of it.
    source
        The paper that proposes or explains it.
    predicted_rate
        The factor per layer (or per time step) expected after the change; NaN where no theory
        predicts it.
    """

    kind: str
    change: str
    effect: str
    source: str
    arguments: dict[str, Any] = field(default_factory=dict)
    predicted_rate: float = math.nan


@lru_cache(maxsize=64)
def critical(activation: str) -> float:
    """Critical σ_w of an activation; of the identity where none or an unknown one follows."""
    if activation in SMALL_SLOPES or activation not in ACTIVATIONS:
        return 1.0
    # SELU's fixed point of variance 1 lies at σ_w = 1 (Klambauer et al. 2017).
    return 1.0 if activation == "selu" else theory.critical_sigma_w(activation, 0.0)


@lru_cache(maxsize=64)
def predicted(activation: str) -> float:
    """Factor per layer at the critical scale, by theory."""
    name = activation if activation in ACTIVATIONS else "linear"
    return math.sqrt(theory.chi(name, critical(name), 0.0))


def activation_of(layer: Layer) -> str:
    return layer.follower.activation if layer.follower is not None else ""


def norm_of(layer: Layer) -> str:
    return layer.follower.norm if layer.follower is not None else ""


def sigma_w(layer: Layer) -> float:
    """σ_w of the weights: their root mean square times the root of a unit's inputs."""
    if not isinstance(layer.module, _WEIGHTED):
        return math.nan
    units, *rest = layer.effective[0].shape
    if isinstance(layer.module, nn.modules.conv._ConvNd) and layer.module.transposed:
        units = rest[0] * layer.module.groups
    return layer["weight"] / math.sqrt(units)


def slope(layer: Layer) -> float:
    """Factor that the activation brings into the gradient (root mean square of φ' without one)."""
    factor = layer["delta"] / layer["gradient"] if layer["gradient"] > 0 else layer["slope"]
    return factor if factor > 0 else math.nan


def names(layers: Iterable[Layer]) -> tuple[str, ...]:
    return tuple(layer.name for layer in layers)


def mean(values: Iterable[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else math.nan


def geometric(values: Iterable[float]) -> float:
    return math.exp(mean(math.log(value) for value in values if value > 0))


def brief(layers: tuple[str, ...]) -> str:
    """Names for a sentence: all of a few, both ends of many."""
    if len(layers) <= 3:
        return ", ".join(layers)
    return f"{layers[0]} … {layers[-1]} ({len(layers)} layers)"


def units_equal(layer: Layer) -> bool:
    """Whether all units of a layer have the same weights, so that they learn the same."""
    return layer["twins"] > 0 and any(bool((w == w[0]).all()) for w in layer.effective)


def trunk(seen: Pass) -> list[Layer]:
    """The layers that every gradient to the input passes; all of them where there is but one."""
    reached = [layer for layer in seen.layers if layer.reached]
    bottlenecks = [layer for layer in reached if not layer.skip or layer is reached[-1]]
    return bottlenecks if len(bottlenecks) > 1 else reached


def depth_causes(seen: Pass, exploding: bool) -> list[Cause]:
    """Rank the reasons for a factor that repeats from layer to layer."""
    sign = 1.0 if exploding else -1.0
    rows = [layer for layer in seen.layers if layer.reached]
    found = [_weight_scale(rows, sign)]
    if exploding:
        found.append(_norm_without_skip(rows))
    else:
        large = large_inputs(seen)
        rest = rows[1:] if large is not None else rows
        found += [large, _slopes(rest), _dead_units(rest)]
    causes = [cause for cause in found if cause is not None and sign * cause.share > 0]
    causes.sort(key=lambda cause: -abs(cause.share))
    # What brings little of it is no cause.
    if causes:
        causes = [one for one in causes if abs(one.share) >= 0.2 * abs(causes[0].share)]
    bare = [layer for layer in rows[:-1] if not norm_of(layer) and not layer.skip]
    if len(bare) >= 5:
        causes.append(
            Cause(
                "uncorrected_depth",
                f"neither normalisation nor skip paths correct the factor in {brief(names(bare))}",
                {"layers": float(len(bare))},
                names(bare),
            )
        )
    return causes


def large_inputs(seen: Pass) -> Cause | None:
    """Inputs so large that they saturate the first layer."""
    first, size = seen.layers[0], seen.ends.get("input_size", math.nan)
    curved = activation_of(first) not in ("", *HOMOGENEOUS, *RECTIFIERS)
    if not (first.reached and curved and size > LARGE and first["saturated"] > 0.3):
        return None
    share = first["saturated"]
    return Cause(
        "large_inputs",
        f"the inputs are large (root mean square {size:.3g}): {share:.0%} of the activations in "
        f"{first.name} are saturated, and slopes multiply its gradient by {slope(first):.2g}",
        {"input_size": size, "saturated": share, "slope": slope(first)},
        (first.name,),
        math.log(slope(first)),
    )


def _weight_scale(rows: list[Layer], sign: float) -> Cause | None:
    logs = {
        layer: math.log(sigma_w(layer) / critical(activation_of(layer)))
        for layer in rows
        if sigma_w(layer) > 0 and not norm_of(layer)
    }
    off = [layer for layer, log in logs.items() if sign * log > 0.1]
    if not off:
        return None
    scale = geometric(map(sigma_w, off))
    goal = geometric(critical(activation_of(layer)) for layer in off)
    small = sum(activation_of(layer) in SMALL_SLOPES for layer in off)
    apart = 2 * small > len(off)  # their slopes are a cause by themselves
    return Cause(
        "weight_scale",
        f"the weights are too {'large' if sign > 0 else 'small'} in {brief(names(off))}: "
        f"σ_w = {scale:.3g}, where {'products alone' if apart else 'gradients'} keep their size "
        f"at {goal:.3g}",
        {"sigma_w": scale, "critical_sigma_w": goal},
        names(off),
        sum(logs[layer] for layer in off),
    )


def _slopes(rows: list[Layer]) -> Cause | None:
    curved = [
        layer
        for layer in rows
        if activation_of(layer) not in ("", *HOMOGENEOUS, *RECTIFIERS) and slope(layer) < 0.9
    ]
    if not curved:
        return None
    factor = geometric(map(slope, curved))
    share = sum(math.log(slope(layer)) for layer in curved)
    saturated = mean(layer["saturated"] for layer in curved)
    evidence = {"slope": factor, "saturated": saturated}
    bounded = [layer for layer in curved if activation_of(layer) in SMALL_SLOPES]
    if saturated > 0.3:
        kind = "saturation"
        statement = (
            f"{saturated:.0%} of the activations in {brief(names(curved))} are saturated: their "
            f"slopes multiply the gradient by {factor:.2g} per layer"
        )
    elif len(bounded) > len(curved) / 2:
        kind = "small_slope"
        bound = "1/4" if activation_of(bounded[0]) == "sigmoid" else "1/6"
        statement = (
            f"the slope of {activation_of(bounded[0])} is at most {bound}; in "
            f"{brief(names(bounded))} it multiplies the gradient by {factor:.2g} per layer"
        )
    else:
        kind = "small_slope"
        statement = (
            f"the slopes of {activation_of(curved[0])} in {brief(names(curved))} multiply the "
            f"gradient by {factor:.2g} per layer"
        )
    return Cause(kind, statement, evidence, names(curved), share)


def _dead_units(rows: list[Layer]) -> Cause | None:
    dying = [layer for layer in rows if layer["dead"] > 0.3 and slope(layer) < 0.6]
    if not dying:
        return None
    share = sum(math.log(slope(layer) * math.sqrt(2)) for layer in dying)
    dead = mean(layer["dead"] for layer in dying)
    return Cause(
        "dead_units",
        f"{dead:.0%} of the units in {brief(names(dying))} fire for no example of this batch",
        {"dead": dead},
        names(dying),
        share,
    )


def _norm_without_skip(rows: list[Layer]) -> Cause | None:
    normed = [layer for layer in rows[:-1] if norm_of(layer) and not layer.skip]
    if len(normed) < 5:
        return None
    first, last = normed[0]["delta"], normed[-1]["delta"]
    if not first > last > 0:
        return None
    factor = (first / last) ** (1 / (len(normed) - 1))
    return Cause(
        "norm_without_skip",
        f"{norm_of(normed[0])} normalisation without skip paths multiplies the gradient by "
        f"{factor:.3g} per layer in {brief(names(normed))}: it keeps the signals' size, not the "
        "gradients'",
        {"factor": factor, "layers": float(len(normed))},
        names(normed),
        math.log(first / last),
    )
