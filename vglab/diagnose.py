"""Why do a network's gradients vanish, and what would bring them back? One pass, one answer."""

import html
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vglab import _checks
from vglab._borrow import flat
from vglab._causes import Cause, Remedy
from vglab._verdict import Judgement, judge, row
from vglab._watch import Pass, is_layer, matrices, watch

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cause", "Diagnosis", "Remedy", "diagnose"]


@dataclass(frozen=True, eq=False)
class Diagnosis(Judgement):
    """What `diagnose` found; ``print`` it, show it in a notebook, or ``plot()`` it.

    Attributes
    ----------
    verdict
        "healthy"; "vanishing" or "exploding" where gradients change by more than a factor of 1000
        across the network; "dead" where they are exactly zero (or the same for all units);
        "invalid" where a number is NaN or infinite.
    rate
        Factor of the gradient for each layer (or time step, see ``along``) that it crosses going
        back: ``rate ** crossed == ratio``, with ``crossed`` the layers between the two ends.
        NaN where fewer than two layers (of the main path) have a gradient: nothing to compare.
    ratio
        Norm of the gradient at the first layer over that at the last; of a recurrent network where
        time decides: at the first time step over that at the last.
    along
        "layers" or "time steps": along which of them the gradient changes more.
    causes
        Reasons, the most important first; also of a healthy network, where there is something to
        know.
    remedies
        What to change, the most promising first; of a healthy network what would help it further.
    loss
        The loss on the batch.
    rows
        What `layers` is made of.
    """

    loss: float
    rows: dict[str, dict[str, Any]] = field(repr=False)

    @cached_property
    def layers(self) -> "pd.DataFrame":
        """One row for each layer that ran, input side first."""
        import pandas as pd

        return pd.DataFrame.from_dict(self.rows, orient="index").rename_axis("layer")

    def __str__(self) -> str:
        lines = [self._headline()]
        why = "note" if self.verdict == "healthy" else "why"
        lines += [f"  {why}: {cause.statement}" for cause in self.causes]
        for i, remedy in enumerate(self.remedies, 1):
            lines += [
                f"  {i}. {remedy.change}",
                f"     expect: {remedy.effect}",
                f"     source: {remedy.source}",
            ]
        return "\n".join(lines)

    __repr__ = __str__

    def _headline(self) -> str:
        if math.isnan(self.rate):
            return f"{self.verdict} (loss {self.loss:.3g}, {len(self.rows)} layers)"
        step = self.along.removesuffix("s")
        first = "first layer" if self.along == "layers" else "first step"
        return (
            f"{self.verdict}: going back, the gradient changes by {self.rate:.3g} per {step}; at "
            f"the {first} it is {self.ratio:.2g} of that at the last "
            f"(loss {self.loss:.3g}, {len(self.rows)} layers)"
        )

    def _repr_html_(self) -> str:
        why = "".join(f"<li>{html.escape(cause.statement)}</li>" for cause in self.causes)
        rows = "".join(
            f"<tr><td>{html.escape(one.change)}</td><td>{html.escape(one.effect)}</td>"
            f"<td>{html.escape(one.source)}</td></tr>"
            for one in self.remedies
        )
        table = self.layers.to_html(float_format=lambda value: f"{value:.3g}", na_rep="")
        parts = [f"<p><strong>{html.escape(self._headline())}</strong></p>"]
        parts += [f"<ul>{why}</ul>"] if why else []
        if rows:
            head = "<tr><th>change</th><th>expect</th><th>source</th></tr>"
            parts.append(f"<table>{head}{rows}</table>")
        parts.append(f"<details><summary>{len(self.rows)} layers</summary>{table}</details>")
        return f'<div class="vglab-diagnosis">{"".join(parts)}</div>'

    def plot(self, *, ax: Any = None) -> Any:
        """Draw the norm of the gradient at every layer, input side first; return the Axes."""
        from vglab import plot

        norms = self.layers["delta_norm"].where(self.layers["delta_norm"] > 0)
        return plot.lines(
            {"gradient": norms.to_numpy()},
            title=f"{self.verdict}: a factor of {self.rate:.3g} per {self.along.removesuffix('s')}",
            xlabel="layer, from the input",
            ylabel="norm of ∂J/∂z",
            log="y",
            ax=ax,
        )


def diagnose(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    loss: Callable[[Any, Any], Tensor] | None = None,
) -> Diagnosis:
    """Say which layers' gradients vanish or explode, why, and what to change.

    Runs the model forward and backward once on the batch, as training would: in its own mode where
    ``model.training``, else in training mode. Parameters, their ``.grad``, buffers (batch norm's
    statistics), modes, hooks, attributes and random states are afterwards as they were, also when
    the model raises.

    Parameters
    ----------
    model
        Any Module with linear, convolutional or recurrent layers.
    inputs
        A tensor, a tuple of positional or a dict of keyword arguments of ``model``.
    targets
        What the loss compares the outputs with.
    loss
        ``loss(outputs, targets) -> scalar``. By default cross-entropy for class indices (of logits
        ``[N, C]``, ``[N, C, ...]``, or ``[..., C]`` for targets ``[...]``), binary cross-entropy of
        logits ``[N]`` or ``[N, 1]`` for labels 0 and 1 (integers or booleans), and the mean squared
        error for real targets.

    Returns
    -------
    Diagnosis
        The gradient is δ = ∂J/∂z, with respect to a layer's pre-activations (after normalisation
        where one follows), its size the Euclidean norm over the whole batch: weights of variance
        1/n_in keep it, whatever the widths. Layers that a skip path goes around do not count for
        the verdict.

        Where the gradient with respect to the inputs of a recurrent layer changes more from step to
        step, the verdict is about time. "vanishing" then says that the first inputs have less than
        a thousandth of the last ones' influence: torch's LSTM and GRU are so from some 20 steps on.
        All steps share their weights, so that what the last steps tell is learnt nonetheless; what
        only the first ones tell is not.

    Raises
    ------
    TypeError, ValueError
        No Module, no layer, all weights frozen, no default loss for these outputs and targets, a
        loss that is no scalar or has no graph. What the model raises, it raises here too.
    """
    modules, own = _modules(model)
    arguments, keywords = _arguments(inputs)
    objective = _objective(targets, loss)
    try:
        seen = watch(model, modules, own, arguments, keywords, objective)
    except Exception as error:
        shapes = ", ".join(f"{str(x.dtype)[6:]} {[*x.shape]}" for x in flat(inputs))
        error.add_note(f"while diagnose ran the model in training mode on inputs {shapes}")
        raise
    if not seen.layers:
        raise ValueError(f"no linear, convolutional or recurrent layer of {_name(model)} ran")
    _describe_ends(seen, inputs)
    rows = {layer.name: row(layer) for layer in seen.layers}
    return Diagnosis(**vars(judge(seen, model)), loss=seen.ends["loss"], rows=rows)


def _modules(model: nn.Module) -> tuple[dict[str, nn.Module], set[nn.Module]]:
    """Every module by its name, and the layers among them: some there must be, to be trained."""
    _checks.module(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("a ScriptModule cannot be watched: give the Module that it was made from")
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if any(map(nn.parameter.is_lazy, module._parameters.values())):
            raise ValueError(f"{name} has no values yet: run one batch through the model first")
    own = {module for module in modules.values() if is_layer(module)}
    if not own:
        raise ValueError(f"{_name(model)} has no linear, convolutional or recurrent layer")
    if not any(weight.requires_grad for module in own for weight in matrices(module)):
        raise ValueError("every layer is frozen (requires_grad=False): nothing can be trained")
    return modules, own


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if any(x.numel() == 0 for x in flat(inputs)):
        raise ValueError("the inputs are empty: give a batch of some examples")
    if isinstance(inputs, dict):
        return (), inputs
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    if not any(True for _ in flat(given)):
        raise TypeError(
            f"inputs must be a tensor, or a tuple or dict of them, got {type(inputs).__name__}"
        )
    return given, {}


def _objective(targets: Any, loss: Callable[[Any, Any], Tensor] | None) -> Callable[[Any], Tensor]:
    def objective(outputs: Any) -> Tensor:
        value = default_loss(outputs, targets) if loss is None else loss(outputs, targets)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = [*value.shape] if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"loss must return a scalar tensor, got {shape}; reduce it by .mean()")
        if not value.requires_grad:
            raise ValueError("the loss has no graph: does it detach the outputs, or count errors?")
        return value.reshape(())

    return objective


def default_loss(outputs: Any, targets: Any) -> Tensor:
    """Cross-entropy, binary cross-entropy or mean squared error, by kind and shape of targets."""
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        pair = f"{type(outputs).__name__} and {type(targets).__name__}"
        raise TypeError(
            f"the default loss compares tensors, got {pair}; give loss=lambda outputs, targets: ..."
        )
    shapes = f"outputs {[*outputs.shape]} and targets {[*targets.shape]} of {targets.dtype}"
    n, m = outputs.shape, targets.shape
    same = n == m or (n == (*m, 1)) or (m == (*n, 1))
    if targets.is_floating_point():
        if not same:
            raise ValueError(f"no default loss for {shapes}: give loss=")
        return functional.mse_loss(outputs, targets.reshape(n).to(outputs.dtype))
    if same:
        if bool(((targets == 0) | (targets == 1)).all()):
            goal = targets.reshape(n).to(outputs.dtype)
            return functional.binary_cross_entropy_with_logits(outputs, goal)
        raise ValueError(f"no default loss for {shapes}: integers beyond 0 and 1; give loss=")
    last, second = n[:-1] == m, len(n) > 1 and n[:1] + n[2:] == m
    if last and second and len(n) > 2:
        raise ValueError(f"which axis of {shapes} holds the classes? give loss=")
    if not (last or second):
        raise ValueError(f"no default loss for {shapes}: give loss=")
    logits = outputs if second else outputs.reshape(-1, n[-1])
    return functional.cross_entropy(
        logits, targets.long() if second else targets.long().reshape(-1)
    )


def _describe_ends(seen: Pass, inputs: Any) -> None:
    """Add the inputs' root mean square, and how far the outputs are from where the loss is flat."""
    given = list(flat(inputs))
    if real := [x for x in given if x.is_floating_point()]:
        norms = [float(torch.linalg.vector_norm(x.detach(), dtype=torch.float64)) for x in real]
        seen.ends["input_size"] = math.hypot(*norms) / math.sqrt(sum(x.numel() for x in real))
    if "output_gradient" in seen.ends:
        seen.ends["residual"] = seen.ends["output_gradient"] * math.sqrt(len(given[0]))


def _name(module: nn.Module) -> str:
    return type(module).__name__
