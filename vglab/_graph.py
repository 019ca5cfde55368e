"""What a network is made of, read from the graph that autograd recorded of one pass.

The graph shows what modules do not: functional activations, skip paths, what follows a layer.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.autograd.graph import Node

SLOPES = {
    "ReluBackward0": ("relu", 1.0),
    "TanhBackward0": ("tanh", 1.0),
    "SigmoidBackward0": ("sigmoid", 0.25),
    "LeakyReluBackward0": ("leaky_relu", 1.0),
    "EluBackward0": ("elu", 1.0),
    "CeluBackward0": ("celu", 1.0),
    "GeluBackward0": ("gelu", 1.13),
    "SiluBackward0": ("silu", 1.1),
    "MishBackward0": ("mish", 1.09),
    "SoftplusBackward0": ("softplus", 1.0),
    "LogSigmoidBackward0": ("log_sigmoid", 1.0),
    "HardtanhBackward0": ("hard_tanh", 1.0),
    "HardsigmoidBackward0": ("hard_sigmoid", 1 / 6),
    "HardswishBackward0": ("hard_swish", 1.5),
    "ThresholdBackward0": ("relu", 1.0),
    "ClampMinBackward0": ("relu", 1.0),
    "ClampBackward1": ("clamp", 1.0),
    "RreluWithNoiseBackward0": ("rrelu", 1.0),
    "PreluKernelBackward0": ("prelu", 1.0),
    "SinBackward0": ("sin", 1.0),
    "ErfBackward0": ("erf", 1.13),
}
"""Node of an activation -> its name, and its largest slope (to two digits: for saturation)."""
_NORMS = ("batch", "layer", "group", "rms", "instance")
_SAME_VALUES = (
    "View", "UnsafeView", "Reshape", "ReshapeAlias", "Transpose", "Permute", "Squeeze",
    "Unsqueeze", "Clone", "ToCopy", "Alias", "T",
)  # fmt: skip


@dataclass(frozen=True)
class Follower:
    """What stands between a layer's own output z and its activation h: φ(norm(z)).

    ``before`` is the node whose output φ takes, ``after`` that whose output is h; both are z's own
    node where no activation follows. ``slope`` is the largest slope of φ, None where unknown.
    """

    norm: str
    activation: str
    before: Node
    after: Node
    slope: float | None


class Graph:
    """The nodes between a loss and what the network took in."""

    def __init__(self, root: Node) -> None:
        self.consumers: dict[Node, list[Node]] = {root: []}
        todo = [root]
        while todo:
            node = todo.pop()
            for before, _ in node.next_functions:
                if before is None:
                    continue
                users = self.consumers.get(before)
                if users is None:
                    self.consumers[before] = [node]
                    todo.append(before)
                elif node not in users:
                    users.append(node)
        self.root = root

    def __contains__(self, node: object) -> bool:
        return node in self.consumers

    def follow(self, node: Node, spans: dict[Node, tuple[Node, str, str]]) -> Follower:
        """Find the norm and the activation that a layer's output goes through next.

        ``spans`` holds modules that autograd records as several nodes: the node of their input ->
        the node of their output, "norm" or "activation", and their name.
        """
        norm, here = "", node
        for _ in range(12):
            step, kind, name = self._next(here, spans)
            if step is None:
                break
            if kind == "activation":
                slope = SLOPES.get(step.name(), (name, None))[1]
                return Follower(norm, name, here, step, slope)
            norm, here = (name if kind == "norm" else norm), step
        if not norm:
            here = node  # what only reshapes the output is no part of the layer
        return Follower(norm, "", here, here, None)

    def _next(
        self, node: Node, spans: dict[Node, tuple[Node, str, str]]
    ) -> tuple[Node | None, str, str]:
        users = self.consumers.get(node, [])
        if node in spans:
            end, kind, module = spans[node]
            if all(user._sequence_nr() <= end._sequence_nr() for user in users):
                return end, kind, _norm(module) if kind == "norm" else module
        if len(users) != 1:
            return None, "", ""
        name = users[0].name()
        if name in SLOPES:
            return users[0], "activation", _scaled(users[0], SLOPES[name][0])
        if "Norm" in name:
            return users[0], "norm", _norm(name)
        if name.removesuffix("0").removesuffix("1").removesuffix("Backward") in _SAME_VALUES:
            return users[0], "", ""
        if name == "AddBackward0" and any(
            hasattr(before, "variable") for before, _ in users[0].next_functions
        ):
            return users[0], "", ""  # a bias
        return None, "", ""

    def bypassed(self, sources: Iterable[Node]) -> set[Node]:
        """Nodes that a path from the sources to the loss goes around: they lie on no bottleneck.

        Walking back from the loss in the order in which autograd would, a node is a bottleneck
        where no other path is open.
        """
        carrying = set(sources) & self.consumers.keys()
        todo = list(carrying)
        while todo:
            for user in self.consumers[todo.pop()]:
                if user not in carrying:
                    carrying.add(user)
                    todo.append(user)
        around: set[Node] = set()
        if self.root not in carrying:
            return around
        open_paths: list[tuple[int, int, Node]] = [(0, 0, self.root)]
        seen, count = {self.root}, 0
        while open_paths:
            node = heapq.heappop(open_paths)[2]
            if open_paths:
                around.add(node)
            for before, _ in node.next_functions:
                if before in carrying and before not in seen:
                    seen.add(before)
                    count += 1
                    # A leaf has the largest number, but comes last.
                    order = 1 if hasattr(before, "variable") else -before._sequence_nr()
                    heapq.heappush(open_paths, (order, count, before))
        return around


def _norm(name: str) -> str:
    """Short name of a norm's node or module, its own where it is none of torch's."""
    return next((short for short in _NORMS if short in name.lower()), name)


def _scaled(node: Any, name: str) -> str:
    """ELU and SELU are one node with different constants."""
    if name == "elu" and getattr(node, "_saved_scale", 1.0) != 1.0:
        return "selu"
    return name


def module_kind(module: nn.Module) -> str:
    """Say "norm" or "activation" of a module that may be recorded as several nodes, else ""."""
    name = type(module).__name__
    if "Norm" in name:
        return "norm"
    if type(module).__module__.startswith("torch.nn."):
        return "activation" if name in ("Softsign", "Tanhshrink") else ""
    own = [one for one in module._parameters.values() if one is not None]
    if module._modules or any(parameter.ndim > 1 for parameter in own):
        return ""
    return "activation"
