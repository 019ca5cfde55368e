"""What makes all else meaningless: NaN and infinity, gradients of exactly zero, twin units."""

import math
from itertools import pairwise

import torch
from torch import nn

from vglab._causes import (
    Cause,
    activation_of,
    brief,
    depth_causes,
    geometric,
    names,
    slope,
    trunk,
    units_equal,
)
from vglab._watch import Layer, Pass

FLAT = 1e-3
"""Where the root mean square residual is below this, there is little left to learn."""


def invalid(seen: Pass, model: nn.Module) -> list[Cause]:
    if not _marked(seen):
        return []
    bad = [name for name, p in model.named_parameters() if not p.isfinite().all()]
    if bad:
        return [
            Cause(
                "invalid_parameters",
                f"NaN or infinity in the parameters {brief(tuple(bad))}",
                {"parameters": float(len(bad))},
                _owners(seen, bad),
            )
        ]
    if not math.isfinite(seen.ends.get("input_size", 0.0)):
        return [Cause("invalid_inputs", "NaN or infinity in the inputs")]
    previous: Layer | None = None
    for layer in seen.layers:
        if not math.isfinite(layer["size"]):
            before = seen.layers[: seen.layers.index(layer)]
            return _first_invalid(layer, previous, before)
        previous = layer
    if not math.isfinite(seen.ends.get("output", 0.0)):
        return [
            Cause(
                "invalid_operation",
                "NaN or infinity in the outputs, though every layer's own output is finite",
                {},
                names(seen.layers[-1:]),
            )
        ]
    if not math.isfinite(seen.ends["loss"]):
        return [Cause("invalid_loss", f"the loss is {seen.ends['loss']}, the outputs are finite")]
    for layer in reversed(seen.layers):
        values = (layer["delta"], layer["weight_gradient"])
        if any(math.isinf(value) for value in values) or (
            "delta" in layer.measured and math.isnan(layer["delta"])
        ):
            return [
                Cause(
                    "overflow" if math.isinf(values[0]) else "invalid_operation",
                    f"NaN or infinity in the gradient at {layer.name}",
                    {},
                    (layer.name,),
                )
            ]
    return []


def _marked(seen: Pass) -> bool:
    """Whether any number of the pass is not finite, so that it is worth to look for the first."""
    values = [*seen.ends.values()]
    for layer in seen.layers:
        values += layer.measured.values()
    return not all(map(math.isfinite, values))


def _owners(seen: Pass, parameters: list[str]) -> tuple[str, ...]:
    return tuple(
        layer.name
        for layer in seen.layers
        if any(p.startswith(f"{layer.name}.") for p in parameters)
    )


def _first_invalid(layer: Layer, previous: Layer | None, before: list[Layer]) -> list[Cause]:
    sizes = [each["size"] / math.sqrt(math.prod(each.shape)) for each in before]
    largest = torch.finfo(layer.dtype).max
    if sizes and sizes[-1] > largest**0.25:
        growth = geometric(b / a for a, b in pairwise(sizes) if a > 0)
        return [
            Cause(
                "overflow",
                f"the signals grow by {growth:.3g} per layer, until they exceed "
                f"the largest {layer.dtype} in {layer.name}",
                {"growth": growth, "largest": largest},
                (layer.name,),
            )
        ]
    place = f"between {previous.name} and {layer.name}" if previous else f"before {layer.name}"
    return [
        Cause(
            "invalid_operation",
            f"NaN or infinity appears first in the output of "
            f"{layer.name}, from finite parameters: an operation {place} gives it",
            {},
            (layer.name,),
        )
    ]


def gone(seen: Pass) -> list[Cause]:
    """Gradients that are exactly zero."""
    reached = [layer for layer in seen.layers if layer.reached]
    lost = [
        layer
        for layer in seen.layers
        if not layer.reached and any(weight.requires_grad for weight in layer.weights)
    ]
    if not reached or (seen.cut and lost):
        return [
            Cause(
                "detached",
                "no gradient can reach the inputs: the graph is cut after "
                f"{brief(names(lost[-1:] or reached[:1]))}",
                {},
                names(lost),
            )
        ]
    if seen.ends.get("output_gradient") == 0:
        loss = seen.ends["loss"]
        if abs(loss) < FLAT:
            return [
                Cause(
                    "flat_loss",
                    f"the loss is flat: {loss:.2g}, with no gradient left at the "
                    "outputs; there is nothing to learn on this batch",
                    {"loss": loss},
                )
            ]
        return [
            Cause(
                "unresponsive_loss",
                f"the loss ({loss:.3g}) does not change with the outputs",
                {"loss": loss},
            )
        ]
    rows = trunk(seen)
    silent = [i for i, layer in enumerate(rows) if layer["delta"] == 0]
    if not silent:
        stuck = [layer for layer in rows[:-1] if layer["dead"] >= 0.99]
        return [_dead(stuck)] if stuck else []
    k = silent[-1]
    if k == len(rows) - 1:
        return [saturated_output(rows[k])]
    here, above = rows[k], rows[k + 1]
    if above["weight"] == 0:
        zero = [layer for layer in seen.layers if layer["weight"] == 0]
        if zero == [above] and above["weight_gradient"] > 0:
            return []  # it opens at the first step, as zero-initialised outputs do
        return [
            Cause(
                "zero_weights",
                f"all weights of {brief(names(zero))} are zero: nothing "
                "passes them, forward or backward",
                {},
                names(zero),
            )
        ]
    if here["dead"] == 1:
        return [_dead([layer for layer in rows[:-1] if layer["dead"] == 1])]
    smallest = torch.finfo(here.dtype).tiny
    typical = above["delta"] / math.sqrt(math.prod(above.shape))
    if typical < 1e4 * smallest:
        return [
            Cause(
                "underflow",
                f"gradients are too small for {here.dtype}: {typical:.1g} per unit "
                f"at {above.name}, exactly 0 from {here.name} on back",
                {"gradient": typical, "smallest": smallest},
                names(rows[: k + 1]),
            ),
            *depth_causes(seen, False),
        ]
    return [Cause("dead_units", f"the gradient at {here.name} is exactly zero", {}, (here.name,))]


def _dead(layers: list[Layer]) -> Cause:
    share = min(layer["dead"] for layer in layers)
    return Cause(
        "dead_units",
        f"{'all' if share == 1 else f'{share:.0%} of the'} units of "
        f"{brief(names(layers))} are dead: the slope of "
        f"{activation_of(layers[0])} is 0 for every example of this batch",
        {"dead": share},
        names(layers),
    )


def symmetric(seen: Pass) -> list[Cause]:
    twins = [
        layer
        for layer in seen.layers[:-1]
        if not layer.skip and layer["weight"] > 0 and units_equal(layer)
    ]
    if not twins:
        return []
    return [
        Cause(
            "symmetric",
            f"all units of {brief(names(twins))} have the same weights: they "
            "compute the same, get the same gradient and stay the same",
            {"layers": float(len(twins))},
            names(twins),
        )
    ]


def saturated_output(layer: Layer) -> Cause:
    return Cause(
        "saturated_output",
        f"the {activation_of(layer)} at the output is saturated: its "
        f"slope multiplies the loss's gradient by {slope(layer):.1g}",
        {"slope": slope(layer), "saturated": layer["saturated"]},
        (layer.name,),
    )
