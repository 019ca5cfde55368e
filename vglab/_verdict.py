"""The verdict on one pass, and the search for its causes."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from vglab._broken import FLAT, gone, invalid, saturated_output, symmetric
from vglab._causes import (
    LIMIT,
    SMALL_SLOPES,
    Cause,
    Remedy,
    activation_of,
    brief,
    critical,
    depth_causes,
    large_inputs,
    names,
    norm_of,
    sigma_w,
    slope,
    trunk,
)
from vglab._remedies import remedies
from vglab._watch import Layer, Pass


@dataclass(frozen=True, eq=False)
class Judgement:
    """Verdict, factor per step and over all steps, which steps those are, and why."""

    verdict: str
    rate: float
    ratio: float
    along: str
    causes: tuple[Cause, ...]
    remedies: tuple[Remedy, ...]


def judge(seen: Pass, model: nn.Module) -> Judgement:
    """Look for what makes all else meaningless first: NaN, then no gradient, then its size."""
    rate, ratio, worst = _along_layers(seen)
    along = "layers"
    causes: list[Cause]
    if causes := invalid(seen, model):
        verdict = "invalid"
    elif causes := gone(seen):
        verdict = "vanishing" if causes[0].kind == "underflow" else "dead"
        if causes[0].kind == "flat_loss":
            verdict = "healthy"
    elif causes := symmetric(seen):
        verdict = "dead"
    else:
        timed, time_rate, time_ratio = _along_time(seen)
        if timed is not None and _size(time_ratio) > _size(worst):
            along, rate, ratio, worst = "time steps", time_rate, time_ratio, time_ratio
        verdict = "healthy"
        if worst > LIMIT or worst < 1 / LIMIT:
            verdict = "exploding" if worst > 1 else "vanishing"
            if along == "layers":
                causes = depth_causes(seen, worst > 1) or [_unexplained(seen)]
            else:
                assert timed is not None
                causes = [_recurrent(timed, rate)]
        output = [layer for layer in seen.layers if layer.reached][-1]
        if verdict == "healthy" and slope(output) < 1 / LIMIT:
            verdict = "vanishing"
            causes.append(saturated_output(output))
        known = {cause.kind for cause in causes}
        causes += [note for note in _notes(seen) if note.kind not in known]
    return Judgement(
        verdict,
        rate,
        ratio,
        along,
        tuple(causes),
        remedies(causes, seen, rate, along),
    )


def _log(value: float) -> float:
    return math.log(value) if 0 < value < math.inf else 0.0


def _along_layers(seen: Pass) -> tuple[float, float, float]:
    """Factor per layer from the last to the first, over all of them, and the most extreme."""
    rows = [layer for layer in trunk(seen) if 0 < layer["delta"] < math.inf]
    if len(rows) < 2:
        return math.nan, math.nan, math.nan
    place = {layer: i for i, layer in enumerate(layer for layer in seen.layers if layer.reached)}
    ratio = rows[0]["delta"] / rows[-1]["delta"]
    crossed = place[rows[-1]] - place[rows[0]]
    extreme = max((layer["delta"] / rows[-1]["delta"] for layer in rows), key=_size)
    return ratio ** (1 / crossed), ratio, extreme


def _size(ratio: float) -> float:
    return abs(_log(ratio))


def _along_time(seen: Pass) -> tuple[Layer | None, float, float]:
    """The recurrent layer whose gradient changes most over time: factor per step, and in all."""
    worst: tuple[Layer | None, float, float] = None, math.nan, 1.0
    for layer in seen.layers:
        steps = [i for i, norm in enumerate(layer.profile) if 0 < norm < math.inf]
        if len(steps) < 2:
            continue
        ratio = layer.profile[steps[0]] / layer.profile[steps[-1]]
        if worst[0] is None or _size(ratio) > _size(worst[2]):
            worst = layer, ratio ** (1 / (steps[-1] - steps[0])), ratio
    return worst


def _recurrent(layer: Layer, rate: float) -> Cause:
    steps = len(layer.profile)
    gated = isinstance(layer.module, nn.LSTM | nn.GRU | nn.LSTMCell | nn.GRUCell)
    reach = math.log(LIMIT) / abs(math.log(rate))
    verb = "shrinks" if rate < 1 else "grows"
    statement = (
        f"the gradient {verb} by {rate:.3g} for each of {steps} time steps in {layer.name}: an "
        f"input {reach:.0f} steps back has {'a thousandth' if rate < 1 else 'a thousand times'} "
        "the influence of the last"
    )
    evidence = {"factor": rate, "steps": float(steps), "reach": reach, "gates": float(gated)}
    weight = dict(layer.module.named_parameters()).get(
        "weight_hh_l0", getattr(layer.module, "weight_hh", None)
    )
    if weight is not None and weight.shape[0] == weight.shape[1]:
        radius = torch.linalg.eigvals(weight.detach().float()).abs().max().item()
        evidence["spectral_radius"] = radius
        statement += f"; the spectral radius of its recurrent weights is {radius:.3g}"
    own = not isinstance(layer.module, nn.RNNBase | nn.RNNCellBase)
    return Cause(
        "repeated_layer" if own else "recurrent_loop",
        statement,
        evidence,
        (layer.name,),
        math.log(rate) * steps,
    )


def _unexplained(seen: Pass) -> Cause:
    rows = [layer for layer in trunk(seen) if layer["delta"] > 0]
    steps = [(_size(a["delta"] / b["delta"]), a, b) for a, b in pairwise(rows)]
    _, a, b = max(steps, key=lambda step: step[0])
    factor = a["delta"] / b["delta"]
    return Cause(
        "unexplained",
        f"most of it happens between {a.name} and {b.name}: a factor of "
        f"{factor:.2g} that neither weights, slopes nor norms explain",
        {"factor": factor},
        (a.name, b.name),
        _log(factor),
    )


def _notes(seen: Pass) -> list[Cause]:
    """What is worth knowing, whatever the verdict."""
    notes = []
    residual = seen.ends.get("residual", math.nan)
    if residual < FLAT:
        notes.append(
            Cause(
                "flat_loss",
                f"the loss is nearly flat ({seen.ends['loss']:.2g}): "
                "gradients are small everywhere because there is little left to learn",
                {"loss": seen.ends["loss"], "residual": residual},
            )
        )
    if (large := large_inputs(seen)) is not None:
        notes.append(large)
    closed = [layer for layer in trunk(seen) if layer["weight"] == 0]
    if closed:
        statement = (
            f"the weights of {brief(names(closed))} are zero: the layers before it get their "
            "first gradient after the first step"
        )
        notes.append(Cause("zero_start", statement, {}, names(closed)))
    return notes


def row(layer: Layer) -> dict[str, Any]:
    """Return what was seen of a layer, for the frame of layers."""
    count = math.prod(layer.shape)
    sigma = sigma_w(layer)
    known = sigma == sigma and activation_of(layer) not in SMALL_SLOPES
    square = layer["size"] ** 2 / count - layer["mean"] ** 2 if count else math.nan
    return {
        "kind": type(layer.module).__name__,
        "activation": activation_of(layer),
        "norm": norm_of(layer),
        "skip": layer.skip,
        "sigma_w": sigma,
        "critical_sigma_w": critical(activation_of(layer)) if known else math.nan,
        "mean": layer["mean"],
        "std": math.sqrt(max(square, 0.0)) if square == square else math.nan,
        "saturated": layer["saturated"],
        "dead": layer["dead"],
        "slope": layer["slope"],
        "gradient_norm": layer["gradient"],
        "delta_norm": layer["delta"],
        "weight_norm": layer["weight"],
        "weight_gradient_norm": layer["weight_gradient"],
    }
