"""One forward and one backward pass through a network, watched layer by layer."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.nn.utils.rnn import PackedSequence

from vglab._borrow import borrowed, flat, tracked
from vglab._graph import Follower, Graph, module_kind
from vglab._tally import SMALL, Tally, moments, norm, slopes, weights_of

SATURATED = 0.05
"""A unit is saturated where |φ'| is below this share of its largest value, as in `probe`."""
_OWN = nn.Linear | nn.modules.conv._ConvNd | nn.RNNBase | nn.RNNCellBase


@dataclass(eq=False)
class Layer:
    """What was seen of one layer; ``layer["quantity"]`` is NaN where nothing was to be measured."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    dtype: torch.dtype
    weights: list[Tensor]  # matrices and kernels that are trained
    effective: list[Tensor] = field(default_factory=list)  # what the layer multiplies by
    calls: list[list[Node]] = field(default_factory=list)
    follower: Follower | None = None
    skip: bool = False
    reached: bool = False
    measured: dict[str, float] = field(default_factory=dict)
    profile: list[float] = field(default_factory=list)
    """Norm of the gradient at each time step (of the input, or call by call), in order."""

    def __getitem__(self, quantity: str) -> float:
        return self.measured.get(quantity, math.nan)


@dataclass(eq=False)
class Pass:
    """What was seen of one pass: the layers in the order in which they ran, and both ends."""

    layers: list[Layer]
    ends: dict[str, float]
    cut: bool
    """The inputs are real numbers, but no gradient can reach them."""


def watch(
    model: nn.Module,
    modules: dict[str, nn.Module],
    layers: set[nn.Module],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    objective: Callable[[Any], Tensor],
) -> Pass:
    """Run the model and its backward pass; leave the model as it was."""
    recorder = _Recorder()
    with borrowed(model, list(modules.values())), torch.inference_mode(False), torch.enable_grad():
        leaves: list[Tensor] = []
        arguments, keywords = tracked(arguments, leaves), tracked(keywords, leaves)
        try:
            recorder.attach(modules, layers)
            outputs = model(*arguments, **keywords)
            recorder.detach(recorder.handles)  # what the loss runs is not the model
            loss = objective(outputs)
            return recorder.measure(loss, outputs, leaves)
        finally:
            recorder.detach(recorder.handles)
            recorder.detach(recorder.gradient_handles)


class _Recorder:
    """Hooks, and the numbers that they collect, read all at once in the end."""

    def __init__(self) -> None:
        self.layers: dict[nn.Module, Layer] = {}
        self.spans: dict[Node, tuple[Node, str, str]] = {}
        self.tally = Tally()
        self.ones: dict[tuple[Any, ...], Tensor] = {}
        self.edges: list[tuple[Any, GradientEdge]] = []
        self.handles: list[Any] = []
        self.gradient_handles: list[Any] = []

    def attach(self, modules: dict[str, nn.Module], layers: set[nn.Module]) -> None:
        for name, module in modules.items():
            if module in layers:
                if isinstance(module, nn.RNNBase):
                    self.handles.append(module.register_forward_pre_hook(self._split_off_input))
                self.handles.append(module.register_forward_hook(self._layer_ran(name)))
            elif kind := module_kind(module):
                self.handles.append(module.register_forward_hook(self._span_ran(kind)))

    @staticmethod
    def detach(handles: list[Any]) -> None:
        while handles:
            handles.pop().remove()

    def _layer_ran(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            given = (output,) if isinstance(output, Tensor) else flat(output)
            tensors = [one for one in given if one.is_floating_point()]
            if not tensors:
                return
            z = tensors[0].detach()
            layer = self.layers.get(module)
            if layer is None:
                weights = matrices(module)
                layer = Layer(
                    name or type(module).__name__, module, tuple(z.shape), z.dtype, weights
                )
                self.layers[module] = layer
                # A copy: what runs in place overwrites z.
                kept = z.clone() if z.numel() <= SMALL else z
                self.tally.add((layer, ("size", "mean"), 0), moments, kept)
            layer.calls.append([one.grad_fn for one in tensors if one.grad_fn is not None])

        return hook

    def _span_ran(self, kind: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not inputs or not isinstance(inputs[0], Tensor) or not isinstance(output, Tensor):
                return
            start, end = inputs[0].grad_fn, output.grad_fn
            if start is not None and end is not None and inputs[0].shape == output.shape:
                self.spans[start] = (end, kind, type(module).__name__)

        return hook

    def _split_off_input(self, module: nn.Module, inputs: Any) -> Any:
        """Give a recurrent layer an input of its own, so that its gradient is this layer's."""
        if not inputs:
            return None
        packed = isinstance(inputs[0], PackedSequence)
        x = (inputs[0].data if packed else inputs[0]).clone()
        if not x.requires_grad:
            x.requires_grad_()
        batch_first, bidirectional = module.batch_first, module.bidirectional
        sizes = inputs[0].batch_sizes.tolist() if packed else None

        def steps(gradient: Tensor) -> None:
            layer = self.layers.get(module)
            if layer is None:
                return
            if sizes is not None:
                norms = torch.cat([norm(part[None]) for part in gradient.split(sizes)])[:, 0]
            else:
                time = 1 if batch_first and gradient.ndim == 3 else 0
                norms = norm(gradient.movedim(time, 0))[:, 0]
            if bidirectional:  # a step is as far away as the nearer end
                half = (len(norms) + 1) // 2
                norms = torch.maximum(norms, norms.flip(0))[:half]
            layer.profile = norms.tolist()

        self.gradient_handles.append(x.register_hook(steps))
        first = inputs[0]._replace(data=x) if packed else x
        return (first, *inputs[1:])

    def measure(self, loss: Tensor, outputs: Any, leaves: list[Tensor]) -> Pass:
        """Run the backward pass and read everything that the hooks found."""
        root = loss.grad_fn
        layers = list(self.layers.values())
        trained = [w for one in layers for w in one.weights if w.requires_grad]
        weights = list({id(w): w for w in trained}.values())
        ends = [one for one in flat(outputs) if one.is_floating_point()]
        for one in ends:
            self.tally.add((None, ("output",), 0), norm, one.detach())
        cut = False
        if root is not None:
            graph = Graph(root)
            self._look(graph, layers, leaves)
            for node in {
                one.grad_fn for one in ends if one.grad_fn is not None and one.grad_fn in graph
            }:
                self._follow(node, None, "output_gradient", 0)
            wanted: list[Any] = [*weights, *leaves, *(edge for _, edge in self.edges)]
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
            ends_at = len(weights) + len(leaves)
            cut = bool(leaves) and all(one is None for one in gradients[len(weights) : ends_at])
            for (key, _), gradient in zip(self.edges, gradients[ends_at:], strict=True):
                if gradient is not None:
                    self.tally.add(key, norm, gradient)
            found = {id(w): g for w, g in zip(weights, gradients, strict=False) if g is not None}
            for layer in layers:
                for weight in layer.weights:
                    if id(weight) in found:
                        key = layer, ("weight_gradient",), 0
                        self.tally.add(key, norm, found[id(weight)])
        for layer in layers:
            layer.effective = effective(layer.module)
            for weight in layer.effective:
                self.tally.add((layer, ("weight", "twins"), 0), weights_of, weight)
        return Pass(layers, {"loss": loss.item(), **self._read()}, cut)

    def _look(self, graph: Graph, layers: list[Layer], leaves: list[Tensor]) -> None:
        """Find what follows each layer, and hook the nodes that carry its gradients."""
        sources = [get_gradient_edge(leaf).node for leaf in leaves]
        sources += [node for layer in layers[:1] for node in layer.calls[0]]
        around = graph.bypassed(sources)
        for layer in layers:
            nodes = [node for call in layer.calls for node in call if node in graph]
            layer.reached = bool(nodes)
            layer.skip = bool(nodes) and all(node in around for node in nodes)
            for index, call in enumerate(layer.calls):
                for node in call:
                    if node not in graph:
                        continue
                    if isinstance(layer.module, nn.RNNBase):
                        follower = Follower("", "", node, node, None)
                    else:
                        follower = graph.follow(node, self.spans)
                    layer.follower = follower
                    self._follow(follower.before, layer, "delta", index)
                    self._follow(follower.after, layer, "gradient", index)
            if layer.follower is not None and layer.follower.slope is not None:
                self._slopes(layer, layer.follower)

    def _slopes(self, layer: Layer, follower: Follower) -> None:
        """Measure φ', which the activation's own node gives for a gradient of ones."""
        node: Any = follower.after
        one = node._input_metadata[0]
        kind = tuple(one.shape), one.dtype, one.device
        if kind not in self.ones:
            self.ones[kind] = torch.ones(one.shape, dtype=one.dtype, device=one.device)
        try:
            slope = node(self.ones[kind])
        except RuntimeError:  # saved values changed in place: the backward pass will say so
            return
        slope = (slope[0] if isinstance(slope, tuple) else slope).detach()
        axis = 1 if isinstance(layer.module, nn.modules.conv._ConvNd) else slope.ndim - 1
        key = layer, ("saturated", "slope", "dead"), 0
        self.tally.add(key, slopes, slope, axis, SATURATED * (follower.slope or 1.0))

    def _follow(self, node: Node, layer: Layer | None, quantity: str, call: int) -> None:
        """Ask the backward pass for the gradients at a node, or measure large ones on the way."""
        key = layer, (quantity,), call
        shapes = [tuple(each.shape) for each in node._input_metadata]
        if sum(map(math.prod, shapes)) <= SMALL:
            self.edges += [(key, GradientEdge(node, i)) for i in range(len(shapes))]
            return

        def hook(gradients: tuple[Tensor | None, ...]) -> None:
            for gradient in gradients:
                if gradient is not None:
                    self.tally.add(key, norm, gradient)

        self.gradient_handles.append(node.register_prehook(hook))

    def _read(self) -> dict[str, float]:
        ends: dict[str, float] = {}
        calls: dict[Layer, dict[int, float]] = {}
        for (layer, quantities, call), numbers in self.tally.read():
            place = ends if layer is None else layer.measured
            for quantity, value in zip(quantities, numbers, strict=True):
                before = place.get(quantity, 0.0) if quantity in _SUMMED else 0.0
                place[quantity] = math.hypot(before, value) if before else value
            if quantities == ("delta",) and len(layer.calls) > 1:
                seen = calls.setdefault(layer, {})
                seen[call] = math.hypot(seen.get(call, 0.0), numbers[0])
        for layer, seen in calls.items():
            layer.profile = layer.profile or [seen[call] for call in sorted(seen)]
        return ends


_SUMMED = ("delta", "gradient", "weight_gradient", "weight", "output", "output_gradient")


def is_layer(module: nn.Module) -> bool:
    """Linear, convolutional, recurrent, or anything else with a matrix of weights of its own."""
    if isinstance(module, _OWN | nn.MultiheadAttention):
        return True
    if module._modules or "Norm" in type(module).__name__:
        return False
    return any(sum(size > 1 for size in weight.shape) > 1 for weight in matrices(module))


def matrices(module: nn.Module) -> list[Tensor]:
    """Parameters of two or more dimensions; also those behind a weight that is computed."""
    own = module.parameters() if module._modules else module._parameters.values()
    return [parameter for parameter in own if parameter is not None and parameter.ndim > 1]


def effective(module: nn.Module) -> list[Tensor]:
    """The weights that a layer multiplies by, also where they are computed from others."""
    if isinstance(own := module._parameters.get("weight"), Tensor):
        return [own.detach()]
    with torch.no_grad():
        weight = getattr(module, "weight", None)
        return [weight.detach()] if isinstance(weight, Tensor) else matrices(module)
