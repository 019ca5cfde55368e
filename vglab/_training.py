"""What `vglab.train.fit` is made of: the state it borrows, its optimizers, one epoch."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from vglab._checkpoint import Content
from vglab.data import Dataset

Params = Iterable[nn.Parameter]

SMALL = 300_000
"""Networks with fewer parameters train on one thread: more would cost more than they gain."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The data where the model is, in its precision, and the loss that fits them."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: bool

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.classes:
            return functional.cross_entropy(outputs, targets)
        return functional.mse_loss(outputs.reshape(len(targets)), targets)


def epoch(
    model: nn.Module,
    optimize: Optimizer,
    parts: Parts,
    order: torch.Generator,
    batch_size: int,
    clip_norm: float | None,
    layers: dict[str, Tensor],
    probe_every: int | None,
    steps_before: int,
) -> dict[str, Tensor]:
    """Train for one pass over the data, then test; the record's new entries."""
    x, parameters = parts.x_train, trained(model)
    losses, norms, right = [], [], []
    model.train()
    permutation = torch.randperm(len(x), generator=order).to(x.device)
    shuffled = parts.y_train.index_select(0, permutation)
    batches = zip(permutation.split(batch_size), shuffled.split(batch_size), strict=True)
    for step, (batch, targets) in enumerate(batches, start=steps_before):
        clear_gradients(parameters)
        outputs = model(x.index_select(0, batch))
        loss = parts.loss(outputs, targets)
        loss.backward()
        if probe_every is not None and step % probe_every == 0:
            norms.append(gradient_norms(layers))
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimize.step()
        losses.append(loss.detach())
        if parts.classes:
            right.append(outputs.argmax(1) == targets)
    test_loss, test_accuracy = test(model, parts)
    train_accuracy = torch.cat(right).sum().item() / len(x) if parts.classes else math.nan
    return {
        "loss": torch.stack(losses).float().cpu(),
        "train_accuracy": torch.tensor([train_accuracy], dtype=torch.float32),
        "test_accuracy": torch.tensor([test_accuracy], dtype=torch.float32),
        "test_loss": torch.tensor([test_loss], dtype=torch.float32),
        "gradient_norms": torch.stack(norms)
        if norms
        else empty_record(len(layers))["gradient_norms"],
    }


def test(model: nn.Module, parts: Parts) -> tuple[float, float]:
    """Mean loss and accuracy (NaN for regression) on the test part, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(x.clone()) for x in parts.x_test.split(8192)])
        loss = parts.loss(outputs, parts.y_test).item()
    if not parts.classes:
        return loss, math.nan
    return loss, (outputs.argmax(1) == parts.y_test).float().mean().item()


def gradient_norms(layers: dict[str, Tensor]) -> Tensor:
    """Norm of each layer's gradient, summed in float64: squares of small numbers underflow."""
    return torch.stack([
        torch.full((), math.nan, dtype=torch.float32) if not weight.requires_grad
        else torch.zeros((), dtype=torch.float32) if weight.grad is None
        else torch.linalg.vector_norm(weight.grad, dtype=torch.float64).float().cpu()
        for weight in layers.values()
    ])  # fmt: skip


def empty_record(n_layers: int) -> dict[str, Tensor]:
    record = {
        name: torch.empty(0, dtype=torch.float32)
        for name in ("loss", "train_accuracy", "test_accuracy", "test_loss")
    }
    return record | {"gradient_norms": torch.empty(0, n_layers, dtype=torch.float32)}


def on_device(model: nn.Module, data: Dataset, place: torch.device) -> Parts:
    precision = next(model.parameters()).dtype
    classes = bool(data.class_names)
    x_train, x_test = (x.detach().to(place, precision) for x in (data.x_train, data.x_test))
    kind = torch.int64 if classes else precision
    return Parts(
        x_train, data.y_train.to(place, kind), x_test, data.y_test.to(place, kind), classes
    )


@contextmanager
def borrowed(model: nn.Module, place: torch.device, seed: int) -> Iterator[None]:
    """Lend the model's device and mode, the random state and the threads; all go back after."""
    home = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    small = sum(parameter.numel() for parameter in model.parameters()) < SMALL
    cuda = [place] if place.type == "cuda" else []
    try:
        with torch.random.fork_rng(cuda), torch.enable_grad():
            # torch.manual_seed would seed every accelerator, also those that are not lent.
            torch.default_generator.manual_seed(seed)
            if place.type == "cuda":
                torch.cuda.default_generators[place.index].manual_seed(seed)
            model.to(place)
            with threads(1 if small else None):
                yield
    finally:
        model.to(home)
        for module, mode in modes:
            module.training = mode


@contextmanager
def threads(most: int | None) -> Iterator[None]:
    """Work on so many threads (None: as many as now); the caller's number comes back."""
    before = torch.get_num_threads()
    try:
        if most is not None:
            torch.set_num_threads(most)
        yield
    finally:
        torch.set_num_threads(before)


def state(
    model: nn.Module, optimize: Optimizer, order: torch.Generator, place: torch.device
) -> Content:
    return {
        "model": model.state_dict(),
        "buffers": dict(model.named_buffers()),  # also those that a state_dict leaves out
        "optimizer": optimize.state_dict(),
        "order": order.get_state(),
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state(place) if place.type == "cuda" else None,
    }


def restore(
    saved: Content,
    model: nn.Module,
    optimize: Optimizer,
    order: torch.Generator,
    place: torch.device,
) -> None:
    """Put the saved state back; raise ValueError, with nothing changed, where it does not fit."""
    was, now = _shapes(saved["model"]), _shapes(model.state_dict())
    differing = [
        f"{name} was {was.get(name, 'not there')}, now {now.get(name, 'not there')}"
        for name in sorted({*was, *now})
        if was.get(name) != now.get(name)
    ]
    if differing:
        raise ValueError(f"the checkpoint belongs to another network: {'; '.join(differing)}")
    before = copy.deepcopy(state(model, optimize, order, place))
    try:
        _put_back(saved, model, optimize, order, place)
    except Exception as error:
        _put_back(before, model, optimize, order, place)
        raise ValueError(
            "the checkpoint is damaged, belongs to another optimizer, or "
            f"other parameters were frozen: {error}"
        ) from None


def _put_back(
    saved: Content,
    model: nn.Module,
    optimize: Optimizer,
    order: torch.Generator,
    place: torch.device,
) -> None:
    optimize.load_state_dict(saved["optimizer"])
    model.load_state_dict(saved["model"])
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(saved["buffers"][name])
    order.set_state(saved["order"])
    torch.set_rng_state(saved["random"])
    if saved["cuda_random"] is not None and place.type == "cuda":
        torch.cuda.set_rng_state(saved["cuda_random"], place)


def _shapes(entries: Content) -> dict[str, str]:
    return {
        name: f"{value.dtype} {[*value.shape]}".removeprefix("torch.")
        for name, value in entries.items()
        if isinstance(value, Tensor)
    }


def trained(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that are not frozen; ValueError where there are none."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError(
            "nothing to train: the model has no parameters, or all are frozen (requires_grad=False)"
        )
    return parameters


def clear_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Of all that is trained, also of what the optimizer was not given."""
    for parameter in parameters:
        parameter.grad = None


def make_optimizer(
    optimizer: str | Callable[[Params], Optimizer],
    model: nn.Module,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> Optimizer:
    params = trained(model)
    if not isinstance(optimizer, str):
        made = optimizer(params)
        if not isinstance(made, Optimizer):
            raise TypeError(
                "optimizer must return a torch.optim.Optimizer for the parameters it is given, "
                f"got {type(made).__name__}"
            )
        if isinstance(made, torch.optim.LBFGS):
            raise ValueError("LBFGS needs a closure for each step, which fit does not give it")
        return made
    if optimizer in ("sgd", "momentum"):
        momentum = momentum or (0.9 if optimizer == "momentum" else 0.0)
        return torch.optim.SGD(params, lr, momentum=momentum, weight_decay=weight_decay)
    if optimizer == "rmsprop":
        return torch.optim.RMSprop(params, lr, momentum=momentum, weight_decay=weight_decay)
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.AdamW
    return kind(params, lr, weight_decay=weight_decay)


def bar(epochs: range, progress: bool) -> Iterable[int]:
    if not progress:
        return epochs
    from tqdm.auto import tqdm

    bar: Iterable[int] = tqdm(epochs, desc="epochs")
    return bar
