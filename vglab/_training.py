"""What `vglab.train.fit` is made of: its checks, the state it borrows, one epoch."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from vglab import _checks
from vglab._checkpoint import Content
from vglab.data import Dataset

Params = Iterable[nn.Parameter]

OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam", "adamw")
SMALL = 1_000_000
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
        return functional.mse_loss(outputs.view(len(targets)), targets)


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
    x, y, loss_of = parts.x_train, parts.y_train, parts.loss
    losses, norms = [], []
    correct = torch.zeros((), dtype=torch.int64, device=x.device)
    model.train()
    permutation = torch.randperm(len(x), generator=order).to(x.device)
    for step, batch in enumerate(permutation.split(batch_size), start=steps_before):
        optimize.zero_grad()
        outputs, targets = model(x.index_select(0, batch)), y.index_select(0, batch)
        loss = loss_of(outputs, targets)
        loss.backward()
        if probe_every is not None and step % probe_every == 0:
            norms.append(gradient_norms(layers))
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimize.step()
        losses.append(loss.detach())
        if parts.classes:
            correct += (outputs.detach().argmax(1) == targets).sum()
    test_loss, test_accuracy = test(model, parts)
    return {
        "loss": torch.stack(losses).float().cpu(),
        "train_accuracy": torch.tensor([correct.item() / len(x) if parts.classes else math.nan]),
        "test_accuracy": torch.tensor([test_accuracy]),
        "test_loss": torch.tensor([test_loss]),
        "gradient_norms": torch.stack(norms) if norms else torch.empty(0, len(layers)),
    }


def test(model: nn.Module, parts: Parts) -> tuple[float, float]:
    """Mean loss and accuracy (NaN for regression) on the test part, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(x) for x in parts.x_test.split(8192)])
        loss = parts.loss(outputs, parts.y_test).item()
    if not parts.classes:
        return loss, math.nan
    return loss, (outputs.argmax(1) == parts.y_test).float().mean().item()


def gradient_norms(layers: dict[str, Tensor]) -> Tensor:
    """Norm of each layer's gradient, summed in float64: squares of small numbers underflow."""
    return torch.stack([
        torch.full((), math.nan) if not weight.requires_grad
        else torch.zeros(()) if weight.grad is None
        else torch.linalg.vector_norm(weight.grad, dtype=torch.float64).float().cpu()
        for weight in layers.values()
    ])  # fmt: skip


def empty_record(n_layers: int) -> dict[str, Tensor]:
    record = {
        name: torch.empty(0) for name in ("loss", "train_accuracy", "test_accuracy", "test_loss")
    }
    return record | {"gradient_norms": torch.empty(0, n_layers)}


def on_device(model: nn.Module, data: Dataset, place: torch.device) -> Parts:
    precision = next(model.parameters()).dtype
    classes = bool(data.class_names)
    x_train, x_test = data.x_train.to(place, precision), data.x_test.to(place, precision)
    kind = torch.int64 if classes else precision
    return Parts(
        x_train, data.y_train.to(place, kind), x_test, data.y_test.to(place, kind), classes
    )


@contextmanager
def borrowed(model: nn.Module, place: torch.device, seed: int) -> Iterator[None]:
    """Lend the model's device and mode, the random state and the threads; all go back after."""
    home = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    threads = torch.get_num_threads()
    cuda = [place] if place.type == "cuda" else []
    try:
        with torch.random.fork_rng(cuda), torch.enable_grad():
            torch.manual_seed(seed)
            model.to(place)
            if sum(parameter.numel() for parameter in model.parameters()) < SMALL:
                torch.set_num_threads(1)
            yield
    finally:
        torch.set_num_threads(threads)
        model.to(home)
        for module, mode in modes:
            module.training = mode


def state(
    model: nn.Module, optimize: Optimizer, order: torch.Generator, place: torch.device
) -> Content:
    return {
        "model": model.state_dict(),
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
    try:
        model.load_state_dict(saved["model"])
        optimize.load_state_dict(saved["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the checkpoint belongs to another network or optimizer: {error}"
        ) from None
    order.set_state(saved["order"])
    torch.set_rng_state(saved["random"])
    if saved["cuda_random"] is not None and place.type == "cuda":
        torch.cuda.set_rng_state(saved["cuda_random"], place)


def make_optimizer(
    optimizer: str | Callable[[Params], Optimizer],
    model: nn.Module,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> Optimizer:
    params = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not params:
        raise ValueError("every parameter is frozen (requires_grad=False): nothing to train")
    if not isinstance(optimizer, str):
        return optimizer(params)
    if optimizer in ("sgd", "momentum"):
        momentum = momentum or (0.9 if optimizer == "momentum" else 0.0)
        return torch.optim.SGD(params, lr, momentum=momentum, weight_decay=weight_decay)
    if optimizer == "rmsprop":
        return torch.optim.RMSprop(params, lr, momentum=momentum, weight_decay=weight_decay)
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.AdamW
    return kind(params, lr, weight_decay=weight_decay)


def find_device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device {device!r} is not there: {str(error).splitlines()[0]}") from None


def check_arguments(
    optimizer: object,
    lr: float,
    epochs: int,
    batch_size: int,
    weight_decay: float,
    momentum: float,
    clip_norm: float | None,
    probe_every: int | None,
) -> None:
    if not callable(optimizer):
        _checks.choice("optimizer", optimizer, OPTIMIZERS)
    _checks.number("lr", lr, above=0)
    _checks.count("epochs", epochs, at_least=0)
    _checks.count("batch_size", batch_size)
    _checks.number("weight_decay", weight_decay, at_least=0)
    _checks.number("momentum", momentum, at_least=0, below=1)
    if momentum and optimizer in ("adam", "adamw"):
        raise ValueError(f"momentum={momentum} is for sgd and rmsprop; {optimizer} has its own")
    if clip_norm is not None:
        _checks.number("clip_norm", clip_norm, above=0)
    if probe_every is not None:
        _checks.count("probe_every", probe_every)


def bar(epochs: range, progress: bool) -> Iterable[int]:
    if not progress:
        return epochs
    from tqdm.auto import tqdm

    bar: Iterable[int] = tqdm(epochs, desc="epochs")
    return bar


def check_output(model: nn.Module, data: Dataset, place: torch.device) -> None:
    """Raise ValueError unless the model, as it is, maps two inputs to what the data ask for."""
    model.eval()
    inputs = data.x_train[:2].to(place, next(model.parameters()).dtype)
    with torch.no_grad():
        try:
            shape = tuple(model(inputs).shape)
        except RuntimeError as error:
            raise ValueError(
                f"the model does not take inputs of shape {[*data.input_shape]}: {error}"
            ) from error
    n = len(inputs)
    expected = [(n, data.n_classes)] if data.class_names else [(n,), (n, 1)]
    if shape not in expected:
        raise ValueError(
            f"the model's output for {n} {data.name} inputs must have shape "
            f"{' or '.join(map(str, expected))}, got {shape}"
        )
