"""What happens inside a network on one batch: gradients by layer, activations by layer."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vglab.models import ACTIVATIONS, weight_layers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LayerGradients", "Probe", "layer_gradients"]

QUANTITIES = ("mean", "std", "saturated", "gradient_norm")
SATURATED = 0.05
"""A unit is saturated where |φ'| is below this share of its largest value."""

_Hook = Callable[[nn.Module, tuple[Any, ...], Any], None]


@dataclass(frozen=True, eq=False)
class LayerGradients:
    """Size of the weights and of their gradients, one entry for each weight layer, input first.

    Attributes
    ----------
    names
        The L layers, as `vglab.models.weight_layers` names them, in the order in which the loss
        used them first; one that it does not use, or that is frozen, follows the layer that was
        registered before it.
    weight_norm
        Euclidean norm of the weights ``[L]``.
    gradient_norm
        Euclidean norm of the gradient of the loss with respect to the weights ``[L]``; NaN where
        the weight is frozen, 0 where the loss does not depend on it.
    gradient_rms
        Root mean square of that gradient's entries ``[L]``: does not grow with the layer's size.
    """

    names: tuple[str, ...]
    weight_norm: Tensor
    gradient_norm: Tensor
    gradient_rms: Tensor

    def to_frame(self) -> "pd.DataFrame":
        """One row for each layer, indexed by its name."""
        import pandas as pd

        columns = ("weight_norm", "gradient_norm", "gradient_rms")
        return pd.DataFrame(
            {column: getattr(self, column).numpy() for column in columns},
            index=pd.Index(self.names, name="layer"),
        )


def layer_gradients(model: nn.Module, loss: Tensor) -> LayerGradients:
    """Norms of the gradient of ``loss`` with respect to each layer's weights.

    Nothing is freed: ``loss.backward()`` works before and after, and every ``.grad`` stays as it
    is. The norms are summed in float64, where the squares of vanishing gradients do not underflow,
    and come in the precision of the weights (at least float32).

    Parameters
    ----------
    model
        The network that ``loss`` was computed with.
    loss
        A scalar tensor whose graph is still there.

    Raises
    ------
    ValueError, TypeError
        ``loss`` is no scalar tensor, is not differentiable, or its graph was freed; the model has
        no weight layers or all of them are frozen.

    Examples
    --------
    >>> model = MLP((8, 4, 2))
    >>> loss = functional.cross_entropy(model(torch.randn(3, 8)), torch.tensor([0, 1, 0]))
    >>> layer_gradients(model, loss).names
    ('hidden.0.0', 'output')
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = [*loss.shape] if isinstance(loss, Tensor) else type(loss).__name__
        raise TypeError(f"loss must be a scalar tensor, got {shape}; reduce it, by loss.mean() say")
    if not loss.requires_grad:
        raise ValueError(
            "loss has no graph: compute it with gradients on (not under no_grad, not detached)"
        )
    layers = weight_layers(model)
    free = {name: weight for name, weight in layers.items() if weight.requires_grad}
    if not free:
        raise ValueError("every weight layer is frozen (requires_grad=False): no gradients")
    try:
        found = torch.autograd.grad(loss, list(free.values()), retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise ValueError(
            "the graph of loss is gone, freed by loss.backward() or spoilt by a change of the "
            "weights since, as optimizer.step() makes: call layer_gradients before both, or use "
            f"loss.backward(retain_graph=True) ({error})"
        ) from error
    if all(gradient is None for gradient in found):
        raise ValueError("loss does not depend on any weight of this model")
    gradients = dict(zip(free, found, strict=True))
    size = torch.tensor([float(weight.numel()) for weight in layers.values()], dtype=torch.float64)
    weight_norm = torch.stack([_norm(weight.detach()) for weight in layers.values()])
    gradient_norm = torch.stack([
        torch.tensor(torch.nan, dtype=torch.float64) if name not in gradients
        else torch.tensor(0.0, dtype=torch.float64) if gradients[name] is None
        else _norm(gradients[name])
        for name in layers
    ])  # fmt: skip
    order = _by_first_use(loss, layers)
    places = [list(layers).index(name) for name in order]
    precision = torch.promote_types(next(iter(layers.values())).dtype, torch.float32)
    return LayerGradients(
        tuple(order),
        weight_norm[places].to(precision),
        gradient_norm[places].to(precision),
        (gradient_norm / size.sqrt())[places].to(precision),
    )


def _by_first_use(loss: Tensor, layers: dict[str, Tensor]) -> list[str]:
    """Names sorted by when the forward pass made the first node that takes the weight."""
    wanted = {id(weight): name for name, weight in layers.items()}
    first: dict[str, int] = {}
    todo = [] if loss.grad_fn is None else [loss.grad_fn]
    seen = set(todo)
    while todo:
        node = todo.pop()
        for before, _ in node.next_functions:
            name = wanted.get(id(getattr(before, "variable", None)))  # of an AccumulateGrad
            if name is not None:
                first[name] = min(node._sequence_nr(), first.get(name, node._sequence_nr()))
            elif before is not None and before not in seen:
                seen.add(before)
                todo.append(before)
    times, time = {}, -1
    for name in layers:
        times[name] = time = first.get(name, time)
    return sorted(layers, key=times.__getitem__)


def _norm(values: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values, dtype=torch.float64)
    return norm.cpu()


class Probe:
    """A context manager that watches a network's layers while batches run through it.

    A layer is a linear, convolutional or recurrent module together with the activation module that
    runs next; its activation h is what that activation returns (the layer's own output where none
    follows, as in the last layer). Layers stand in the order in which they first ran; a layer that
    runs twice in one pass is followed in both.

    Parameters
    ----------
    model
        The network to watch. It computes exactly what it computes without a probe.

    Examples
    --------
    >>> with Probe(model) as probe:
    ...     functional.cross_entropy(model(x), y).backward()
    >>> probe.frame()
    """

    def __init__(self, model: nn.Module) -> None:
        weight_layers(model)  # raises where there is nothing to watch
        self._model = model
        self._handles: list[RemovableHandle] = []
        self._measured: dict[str, dict[str, list[Tensor]]] = {}
        self._pending: tuple[str, Tensor, Tensor | None] | None = None

    def __enter__(self) -> Self:
        if self._handles:
            raise RuntimeError("this probe is watching already; make another Probe(model)")
        for name, module in self._model.named_modules():
            if isinstance(module, _LAYER_TYPES):
                hook = self._layer_hook(name or type(module).__name__)
            elif isinstance(module, _ACTIVATION_TYPES):
                before = self._saturation_hook(*_responsive_interval(module))
                self._handles.append(module.register_forward_pre_hook(before))
                hook = self._activation_hook
            else:
                continue
            self._handles.append(module.register_forward_hook(hook))
        self._handles.append(self._model.register_forward_hook(lambda *_: self._record()))
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._record()
        finally:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()

    def frame(self) -> "pd.DataFrame":
        """One row for each layer that ran, averaged over the passes watched.

        Columns: ``mean`` and ``std`` of the activations h over examples and units (divided by their
        number n, not n - 1: a single value has 0); ``saturated``, the share of them on a flat end
        of φ, where abs(φ') stays below 5 % of its largest value (NaN where no known activation
        module follows: functional activations cannot be seen, h is then the layer's own output);
        ``gradient_norm``, the Euclidean norm of the loss's gradient with respect to h over the
        whole batch (NaN where no backward pass was watched).
        """
        import pandas as pd

        rows = {
            name: {
                quantity: torch.stack(values).double().mean().item() if values else torch.nan
                for quantity, values in quantities.items()
            }
            for name, quantities in self._measured.items()
        }
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(QUANTITIES))
        return frame.rename_axis("layer")

    def _layer_hook(self, name: str) -> _Hook:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self._record()
            h = output
            while isinstance(h, tuple):  # a recurrent layer's, or a packed sequence
                h = h[0]
            self._pending = (name, h, None)

        return hook

    def _saturation_hook(self, low: float, high: float) -> Callable[[nn.Module, Any], None]:
        # Before the activation runs: one that works in place overwrites its input.
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if self._pending is not None and inputs:
                z = inputs[0].detach()
                flat = z >= high if low == -math.inf else z <= low
                flat = flat | (z >= high) if high < math.inf else flat
                self._pending = (*self._pending[:2], flat.count_nonzero().double() / z.numel())

        return hook

    def _activation_hook(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self._pending is not None:
            self._pending = (self._pending[0], output, self._pending[2])
            if not isinstance(module, nn.Identity):  # which another activation may follow
                self._record()

    def _record(self) -> None:
        """Measure the layer that ran last, now that it is clear whether an activation follows."""
        if self._pending is None:
            return
        (name, h, saturated), self._pending = self._pending, None
        measured = self._measured.setdefault(name, {quantity: [] for quantity in QUANTITIES})
        values = h.detach()
        values = values.float() if values.itemsize < 4 else values
        deviation, mean = torch.std_mean(values, correction=0)
        measured["mean"].append(mean.cpu())
        measured["std"].append(deviation.cpu())
        measured["saturated"].append(_NAN if saturated is None else saturated.cpu())
        if h.requires_grad:
            gradient_norm = measured["gradient_norm"]
            self._handles.append(h.register_hook(lambda g: gradient_norm.append(_norm(g))))


_LAYER_TYPES = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase)
_ACTIVATION_TYPES: tuple[type[nn.Module], ...] = (
    *{type(make()) for make in ACTIVATIONS.values()},
    *(nn.CELU, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Mish, nn.ReLU6, nn.Softsign),
)


_NAN = torch.tensor(torch.nan, dtype=torch.float64)
_INTERVALS: dict[tuple[type[nn.Module], str], tuple[float, float]] = {}


def _responsive_interval(activation: nn.Module) -> tuple[float, float]:
    """Largest z to the left, and smallest to the right, from which on the unit is saturated."""
    kind = type(activation), repr(activation)
    if kind in _INTERVALS:
        return _INTERVALS[kind]
    with torch.inference_mode(False), torch.enable_grad():
        # From whole numbers, so that 0 is 0, where many a ReLU sits.
        z = (torch.arange(-20_000, 20_001, dtype=torch.float64) / 1000).requires_grad_()
        # Not called, lest the user's hooks on the module fire.
        (slope,) = torch.autograd.grad(activation.forward(z * 1.0).sum(), z)
    responds = (slope.abs() >= SATURATED * slope.abs().max()).nonzero().flatten()
    first, last = int(responds[0]), int(responds[-1])
    low = z[first - 1].item() if first > 0 else -torch.inf
    high = z[last + 1].item() if last + 1 < len(z) else torch.inf
    _INTERVALS[kind] = low, high
    return low, high
