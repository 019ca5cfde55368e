"""Many perceptrons of one shape, trained as one: batched products, one update for all of them.

Each tensor of a network becomes one with a dimension more: a weight ``[out, in]`` a stack
``[K, out, in]`` for K networks. No operation mixes two entries of that dimension, so that networks
do not know of each other: NaN in one stays there.
"""

import itertools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vglab import _fit_checks
from vglab.data import Dataset
from vglab.initialization import initialize
from vglab.models import MLP

Settings = Mapping[str, Any]
Stack = dict[str, Tensor]

_drawing = (
    threading.Lock()
)  # torch's own initialisation draws from the state that all threads share


def train(
    networks: Sequence[Settings],
    data: Dataset,
    *,
    steps: int,
    batch_size: int,
    probe_every: int | None,
    losses: bool = False,
) -> list[dict[str, Any]]:
    """Train networks that agree in shape and optimizer; what became of each.

    ``networks`` hold a value for each key of `vglab.sweep.DEFAULTS`, and the seed.
    """
    place = _fit_checks.find_device("auto")
    k = len(networks)
    with _drawing, torch.random.fork_rng([]):
        template = _template(networks[0], data)
        _fit_checks.check_output(template, data, torch.device("cpu"), batch_size)
        weights, buffers = _draw(template, networks, data, place)
    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    x, y = data.x_train.flatten(1).float().to(place), data.y_train.to(place)
    y = y.long() if data.class_names else y.float()
    batches = _batches([network["seed"] for network in networks], len(x), batch_size)
    update = _Update(networks, weights)
    first, last = next(iter(weights)), "output.weight"
    record, ratio = [], torch.full((k,), math.nan)

    for step in range(steps):
        batch = next(batches).to(place)
        inputs = x.index_select(0, batch.flatten()).view(k, -1, x.shape[1])
        targets = y.index_select(0, batch.flatten())
        loss = _losses(_forward(template, weights, buffers, inputs, training=True), targets)
        found = torch.autograd.grad(loss.sum(), list(weights.values()))
        gradients = dict(zip(weights, found, strict=True))
        if step == 0 or (probe_every is not None and step % probe_every == 0):
            ratio = _norms(gradients[first]) / _norms(gradients[last])
        update(gradients)
        record.append(loss.detach())

    history = torch.stack(record).cpu()
    accuracy, finite = _test(template, weights, buffers, data, place)
    finite &= history.isfinite().all(0)
    best = history.nan_to_num(nan=math.inf).amin(0)
    columns = {
        "final_loss": history[-1], "best_loss": best, "test_accuracy": accuracy,
        "gradient_ratio": ratio.cpu(), "diverged": ~finite,
    }  # fmt: skip
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    results: list[dict[str, Any]] = [dict(zip(columns, row, strict=True)) for row in rows]
    if losses:
        for result, curve in zip(results, history.T.numpy(), strict=True):
            result["losses"] = curve.copy()
    return results


def widths(network: Settings, data: Dataset) -> tuple[int, ...]:
    """Units of every layer of a network for ``data``, as `MLP` takes them."""
    inputs, outputs = math.prod(data.input_shape), data.n_classes if data.class_names else 1
    return (inputs, *(int(network["width"]),) * int(network["depth"]), outputs)


def _template(network: Settings, data: Dataset) -> MLP:
    return MLP(
        widths(network, data), network["activation"],
        norm=network["norm"], residual=network["residual"],
    )  # fmt: skip


def _draw(
    template: MLP, networks: Sequence[Settings], data: Dataset, place: torch.device
) -> tuple[Stack, Stack]:
    """Initial weights and buffers of every network, each as `fit` would be given them."""
    drawn: dict[str, list[Tensor]] = {}
    for network in networks:
        seed = int(network["seed"])
        if network["init"] is None:
            torch.default_generator.manual_seed(seed)
            model: nn.Module = _template(network, data)
        else:
            model = initialize(
                template, network["init"], activation=network["activation"],
                sigma_w=network["sigma_w"], sigma_b=network["sigma_b"],
                data=data if network["init"] == "lsuv" else None, seed=seed,
            )  # fmt: skip
        for name, parameter in model.named_parameters():
            drawn.setdefault(name, []).append(parameter.detach().clone())
    weights = {name: torch.stack(values).to(place) for name, values in drawn.items()}
    buffers = {
        name: buffer.to(place).expand(len(networks), *buffer.shape).clone()
        for name, buffer in template.named_buffers()
    }
    return weights, buffers


def _batches(seeds: Sequence[int], examples: int, batch_size: int) -> Iterator[Tensor]:
    """Indices ``[K, B]`` of each step's examples, for each network those that `fit` visits."""
    orders = {seed: torch.Generator().manual_seed(int(seed)) for seed in seeds}
    while True:
        visits = {seed: torch.randperm(examples, generator=orders[seed]) for seed in orders}
        yield from torch.stack([visits[seed] for seed in seeds]).split(batch_size, dim=1)


def _forward(template: MLP, weights: Stack, buffers: Stack, h: Tensor, *, training: bool) -> Tensor:
    """Outputs ``[K, B, C]`` of inputs ``[K, B, D]``: `MLP.forward`, with a dimension more."""
    for i, block in enumerate(template.hidden):
        new = h
        for j, module in enumerate(block.children()):
            new = _apply(module, f"hidden.{i}.{j}.", weights, buffers, new, training)
        h = h + new if template.residual and new.shape == h.shape else new
    return _apply(template.output, "output.", weights, buffers, h, training)


def _apply(
    module: nn.Module, name: str, weights: Stack, buffers: Stack, z: Tensor, training: bool
) -> Tensor:
    if f"{name}weight" not in weights:
        activated: Tensor = module(z)  # elementwise
        return activated
    weight, bias = weights[f"{name}weight"], weights.get(f"{name}bias")
    if isinstance(module, nn.Linear):
        assert bias is not None
        linear: Tensor = _Linear.apply(z, weight, bias)
        return linear
    if isinstance(module, nn.BatchNorm1d):
        assert bias is not None
        k, batch, units = z.shape  # as one network with K times the units
        normed = functional.batch_norm(
            z.transpose(0, 1).reshape(batch, k * units),
            buffers[f"{name}running_mean"].view(-1), buffers[f"{name}running_var"].view(-1),
            weight.view(-1), bias.view(-1), training, module.momentum or 0.0, module.eps,
        )  # fmt: skip
        return normed.view(batch, k, units).transpose(0, 1).contiguous()
    if isinstance(module, nn.LayerNorm):
        assert bias is not None
        normed = functional.layer_norm(z, module.normalized_shape, eps=module.eps)
        return torch.addcmul(bias.unsqueeze(1), normed, weight.unsqueeze(1))
    assert isinstance(module, nn.RMSNorm)
    normed = functional.rms_norm(z, [*module.normalized_shape], eps=module.eps)
    return normed * weight.unsqueeze(1)


class _Linear(torch.autograd.Function):
    """``z Wᵀ + b`` for stacks z ``[K, B, in]``, W ``[K, out, in]`` and b ``[K, out]``.

    The products of `nn.Linear`, operand by operand: with them the rounding is the same as there.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(z, weight)
        return torch.baddbmm(bias.unsqueeze(1), z, weight.mT)

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        z, weight = ctx.saved_tensors
        below = torch.bmm(delta, weight) if ctx.needs_input_grad[0] else None
        return below, torch.bmm(delta.mT, z), delta.sum(1)


def _losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of each network ``[K]``, from targets ``[K * B]``."""
    flat = outputs.flatten(0, 1)
    if targets.is_floating_point():
        each = functional.mse_loss(flat.view(-1), targets, reduction="none")
    else:
        each = functional.cross_entropy(flat, targets, reduction="none")
    mean: Tensor = each.view(len(outputs), -1).mean(1)
    return mean


def _norms(gradient: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)
    return norms


def _test(
    template: MLP, weights: Stack, buffers: Stack, data: Dataset, place: torch.device
) -> tuple[Tensor, Tensor]:
    """Test accuracy ``[K]`` (NaN for regression), and whether every output was finite ``[K]``."""
    k = len(weights["output.weight"])
    right, finite = torch.zeros(k), torch.ones(k, dtype=torch.bool)
    with torch.no_grad():
        for x, y in zip(data.x_test.split(512), data.y_test.split(512), strict=True):
            inputs = x.flatten(1).float().to(place).expand(k, -1, -1)
            outputs = _forward(template, weights, buffers, inputs, training=False).cpu()
            right += (outputs.argmax(2) == y).sum(1)
            finite &= outputs.isfinite().flatten(1).all(1)
    accuracy = right / len(data.y_test) if data.class_names else torch.full((k,), math.nan)
    return accuracy, finite


class _Update:
    """A step of torch's optimizers, each network with its own η, momentum and clipping norm.

    Their operations, in their order, so that even the rounding is the same.
    """

    def __init__(self, networks: Sequence[Settings], weights: Stack) -> None:
        def column(values: Sequence[float]) -> Tensor:
            return weights["output.weight"].new_tensor(values)

        self.weights, self.steps = weights, 0
        self.optimizer = networks[0]["optimizer"]
        self.lr = [float(network["lr"]) for network in networks]
        default = 0.9 if self.optimizer == "momentum" else 0.0
        momentum = [network["momentum"] or default for network in networks]
        self.momentum = column(momentum) if any(momentum) else None
        # No clipping is clipping at infinity; where nobody clips, no norm is computed.
        clip = [network["clip_norm"] or math.inf for network in networks]
        self.clip = column(clip) if min(clip) < math.inf else None
        self.state = {
            name: (torch.zeros_like(w), torch.zeros_like(w)) for name, w in weights.items()
        }

    @torch.no_grad()
    def __call__(self, gradients: Stack) -> None:
        self.steps += 1
        if self.clip is not None:
            self._clip(gradients, self.clip)
        for name, weight in self.weights.items():
            self._step(weight, gradients[name], *self.state[name])

    def _clip(self, gradients: Stack, most: Tensor) -> None:
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()])
        scale = (most / (norms.norm(dim=0) + 1e-6)).clamp(max=1.0)
        scale = torch.where(most.isinf(), 1.0, scale)
        for g in gradients.values():
            g.mul_(_beside(scale, g))

    def _step(self, weight: Tensor, g: Tensor, moment: Tensor, square: Tensor) -> None:
        """``moment`` and ``square`` hold running means: of g (or of steps), and of its square."""
        if self.optimizer in ("adam", "adamw"):  # the same without weight decay
            moment.lerp_(g, 1 - 0.9)
            square.mul_(0.999).addcmul_(g, g, value=1 - 0.999)
            size = math.sqrt(1 - 0.999**self.steps)
            scale = square.sqrt().div_(size).add_(1e-8)
            rates = [-lr / (1 - 0.9**self.steps) for lr in self.lr]
            weight.add_(moment.mul(_beside(moment.new_tensor(rates), g)).div_(scale))
            return
        if self.optimizer == "rmsprop":
            square.mul_(0.99).addcmul_(g, g, value=1 - 0.99)
            scale = square.sqrt().add_(1e-8)
            if self.momentum is None:
                rates = [-lr for lr in self.lr]
                weight.add_(g.mul_(_beside(g.new_tensor(rates), g)).div_(scale))
                return
            g.div_(scale)
        if self.momentum is not None:
            g = moment.mul_(_beside(self.momentum, g)).add_(g)
        # A product rounded once with its sum: torch has that for a scalar η alone.
        same = [(lr, len(list(networks))) for lr, networks in itertools.groupby(self.lr)]
        sizes = [size for _, size in same]
        for (lr, _), w, step in zip(same, weight.split(sizes), g.split(sizes), strict=True):
            w.add_(step, alpha=-lr)


def _beside(values: Tensor, stack: Tensor) -> Tensor:
    """One value for each network ``[K]``, shaped to multiply a stack ``[K, …]``."""
    return values.view(-1, *(1,) * (stack.ndim - 1))
