"""What to change for each cause, what that should bring, and who found it."""

import math
from collections.abc import Callable
from typing import Any

from vglab._causes import (
    HOMOGENEOUS,
    LARGE,
    RECTIFIERS,
    SMALL_SLOPES,
    Cause,
    Remedy,
    activation_of,
    critical,
    geometric,
    predicted,
    sigma_w,
)
from vglab._watch import Pass
from vglab.models import ACTIVATIONS

HE = "He et al. 2015, section 2.2"
SCHOENHOLZ = "Poole et al. 2016; Schoenholz et al. 2017"
SKIP = "He et al. 2016; for normalised networks Yang et al. 2019"
LAYER_NORM = "Ba et al. 2016, eq. 3"
GATES = "Tallec & Ollivier 2018 (chrono initialisation)"
CLIP = "Pascanu et al. 2013"


def remedies(causes: list[Cause], seen: Pass, rate: float, along: str) -> tuple[Remedy, ...]:
    """At most one remedy of each kind, that of the first cause first."""
    found: dict[str, Remedy] = {}
    for cause in causes:
        for remedy in _FOR.get(cause.kind, _nothing)(cause, seen, rate, along):
            found.setdefault(remedy.kind, remedy)
    return tuple(found.values())


def initialize(cause: Cause, seen: Pass, rate: float, along: str) -> list[Remedy]:
    """Draw the weights at the critical scale of the activation that most layers have."""
    used = [activation_of(layer) for layer in seen.layers[:-1]] or [""]
    activation = max(dict.fromkeys(used), key=used.count)
    if activation in SMALL_SLOPES:
        return replace_activation(cause, seen, rate, along)
    known = activation if activation in ACTIVATIONS else "linear"
    if activation in RECTIFIERS:
        known = "relu"
    arguments: dict[str, Any]
    if known == "relu":
        arguments, source = {"scheme": "he", "activation": "relu"}, HE
    elif known == "selu":
        arguments, source = {"scheme": "lecun"}, "Klambauer et al. 2017"
    else:
        goal = critical(known)
        if activation not in ("", known):  # an activation of the user's own: from its slopes
            goal = _measured_critical(seen)
        arguments, source = {"scheme": "mean_field", "sigma_w": goal}, SCHOENHOLZ
    after = predicted(known)
    if known in HOMOGENEOUS and cause.kind == "weight_scale":
        inside = [layer for layer in seen.layers if layer.reached and sigma_w(layer) > 0]
        off = [math.log(critical(known) / sigma_w(layer)) for layer in inside[1:]]
        after = rate * math.exp(sum(off) / len(off)) if off else after
    call = ", ".join(
        f'"{value}"' if key == "scheme" else f"{key}={_shown(value)}"
        for key, value in arguments.items()
    )
    lost = ", before training (what was learnt is lost)"
    if cause.kind == "invalid_parameters":
        lost = " (or load a checkpoint from before they broke)"
    effect = f"factor per layer {rate:.2g} → {after:.2g}"
    if math.isnan(rate) or cause.kind in ("dead_units", "zero_weights", "symmetric"):
        effect = f"every unit gets a finite gradient of its own; factor per layer → {after:.2g}"
    return [
        Remedy(
            "initialize",
            f"draw the weights at the critical scale, biases zero{lost}: initialize(model, {call})",
            effect,
            source,
            arguments,
            after,
        )
    ]


def _measured_critical(seen: Pass) -> float:
    """The weights' scale at which the measured slopes would neither shrink nor grow gradients."""
    slopes = [layer["slope"] for layer in seen.layers if layer["slope"] > 0]
    if not slopes:
        slopes = [
            layer["delta"] / layer["gradient"]
            for layer in seen.layers[:-1]
            if layer["gradient"] > 0 and layer["delta"] > 0
        ]
    return 1 / geometric(slopes) if slopes else 1.0


def replace_activation(cause: Cause, seen: Pass, rate: float, along: str) -> list[Remedy]:
    return [
        Remedy(
            "replace_activation",
            "use ReLU in place of the activation, with weights for it: "
            'initialize(model, "he", activation="relu")',
            f"factor per layer {rate:.2g} → {predicted('relu'):.2g}",
            f"Glorot et al. 2011; {HE}",
            {"activation": "relu", "scheme": "he"},
            predicted("relu"),
        )
    ]


def saturation(cause: Cause, seen: Pass, rate: float, along: str) -> list[Remedy]:
    """The inputs where only the first layer is saturated by their size; else the weights."""
    first = seen.layers[0]
    if cause.layers == (first.name,) and seen.ends.get("input_size", 1.0) > LARGE:
        return standardize(cause, seen, rate, along)
    found = initialize(cause, seen, rate, along)
    if cause.kind == "saturation":
        return [*found, *normalise(cause, seen, rate, along)]
    if any(activation_of(layer) in RECTIFIERS for layer in seen.layers if layer["dead"] > 0):
        found.append(
            Remedy(
                "replace_activation",
                'use leaky ReLU in place of ReLU: initialize(model, "he", activation="leaky_relu")',
                "the slope is nowhere zero, so that a unit comes back when training silences it",
                "Maas et al. 2013",
                {"activation": "leaky_relu", "scheme": "he"},
                predicted("leaky_relu"),
            )
        )
    return found


def standardize(cause: Cause, seen: Pass, rate: float, along: str) -> list[Remedy]:
    size = seen.ends.get("input_size", math.nan)
    return [
        Remedy(
            "standardize_inputs",
            "give every input feature mean 0 and variance 1",
            f"the inputs' root mean square {size:.3g} → 1, out of the flat ends of the activation",
            "LeCun et al. 1998, section 4.3",
        )
    ]


def normalise(cause: Cause, seen: Pass, rate: float, along: str) -> list[Remedy]:
    return [
        Remedy(
            "normalise",
            "normalise the pre-activations (layer norm), with a skip path around each block",
            f"factor per layer {rate:.2g} → about 1, whatever the scale of the weights",
            f"{LAYER_NORM}; {SKIP}",
            {"norm": "layer", "residual": True},
            1.0,
        )
    ]


def skip(cause: Cause, seen: Pass, rate: float, along: str) -> list[Remedy]:
    return [
        Remedy(
            "residual",
            "add a skip path around every layer: h + f(h) in place of f(h)",
            f"factor per layer {rate:.2g} → about 1: the identity path passes gradients unchanged",
            SKIP,
            {"residual": True},
            1.0,
        )
    ]


def recurrent(cause: Cause, seen: Pass, rate: float, along: str) -> list[Remedy]:
    """Gates that keep the state for as many steps as the sequence has."""
    steps = int(cause.evidence["steps"])
    after, bias = steps / (steps + 1), math.log(steps)
    found = []
    if cause.evidence.get("gates", 0.0):
        found.append(
            Remedy(
                "gate_bias",
                f"start the gates open: bias {bias:.2f} = ln {steps} for the LSTM's forget gate "
                "(minus that for its input gate) or the GRU's update gate, small recurrent weights",
                f"factor per step {rate:.2g} → {after:.3g} or less far from 1",
                GATES,
                {"bias": bias, "steps": steps},
                after,
            )
        )
    else:
        found.append(
            Remedy(
                "replace_cell",
                f"use a GRU in place of the plain recurrence, its update gate's bias at "
                f"{bias:.2f} = ln {steps}",
                f"factor per step {rate:.2g} → {after:.3g}",
                f"Cho et al. 2014; {GATES}",
                {"cell": "gru", "bias": bias, "steps": steps},
                after,
            )
        )
    if rate > 1:
        found += _clip("bounds the step, not the factor: early inputs still outweigh late ones")
    return found


def repair(cause: Cause, seen: Pass, rate: float, along: str) -> list[Remedy]:
    """Weights that training broke: new ones, and steps that cannot break them."""
    effect = "no single step can throw the weights out of range, if training made them invalid"
    return [*initialize(cause, seen, rate, along), *_clip(effect)]


def _clip(effect: str) -> list[Remedy]:
    change = "clip the norm of the gradient at each step: fit(..., clip_norm=1.0)"
    return [Remedy("clip", change, effect, CLIP, {"clip_norm": 1.0})]


def precision(cause: Cause, seen: Pass, rate: float, along: str) -> list[Remedy]:
    return [
        Remedy(
            "loss_scaling",
            "multiply the loss by 2^16 and divide the gradients by it (torch.amp.GradScaler), or "
            "train in bfloat16 or float32",
            "gradients below the smallest number of the format come back above it; the factor per "
            f"layer stays {rate:.2g}",
            "Micikevicius et al. 2018, section 3.2",
            {"scale": 2.0**16, "dtype": "bfloat16"},
            rate,
        )
    ]


def _plain(kind: str, change: str, effect: str, source: str) -> Callable[..., list[Remedy]]:
    return lambda *_: [Remedy(kind, change, effect, source)]


def _nothing(*_: object) -> list[Remedy]:
    return []


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f'"{value}"'


_FOR: dict[str, Callable[..., list[Remedy]]] = {
    "weight_scale": initialize,
    "small_slope": replace_activation,
    "saturation": saturation,
    "dead_units": saturation,
    "zero_weights": initialize,
    "symmetric": initialize,
    "invalid_parameters": repair,
    "uncorrected_depth": normalise,
    "unexplained": normalise,
    "norm_without_skip": skip,
    "recurrent_loop": recurrent,
    "repeated_layer": initialize,
    "underflow": precision,
    "large_inputs": standardize,
    "overflow": initialize,
    "invalid_inputs": _plain(
        "clean_inputs",
        "remove the examples with NaN or infinity, or fill the gaps",
        "the pass stays finite",
        "IEEE 754: every sum with NaN is NaN",
    ),
    "invalid_operation": _plain(
        "bound_operation",
        "keep logarithms, roots and divisions in this layer away from zero (clamp, or add an ε)",
        "the pass stays finite",
        "IEEE 754: 0/0 and log of a negative number are NaN",
    ),
    "invalid_loss": _plain(
        "stable_loss",
        "compute the loss from logits (cross_entropy, binary_cross_entropy_with_logits) and check "
        "the targets",
        "the loss stays finite",
        "torch.nn.functional.cross_entropy",
    ),
    "detached": _plain(
        "connect",
        "remove detach(), .data, argmax, rounding or torch.no_grad() between the layers and the "
        "loss",
        "gradients reach the layers before it",
        "torch's notes on autograd mechanics",
    ),
    "saturated_output": _plain(
        "loss_on_logits",
        "leave the output without its activation, and use a loss that takes logits "
        "(cross_entropy, binary_cross_entropy_with_logits)",
        "the gradient at the output becomes prediction minus target, however wrong it is",
        "Goodfellow et al. 2016, section 6.2.2",
    ),
    "unresponsive_loss": _plain(
        "another_loss",
        "use a loss that changes with the outputs everywhere (cross-entropy, squared error)",
        "the outputs get a gradient",
        "Goodfellow et al. 2016, section 6.2",
    ),
}
