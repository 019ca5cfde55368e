"""What `vglab.train.fit` asks of its arguments, before any work."""

import torch
from torch import Tensor, nn

from vglab import _checks
from vglab.data import Dataset
from vglab.models import weight_layers

OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam", "adamw")


def check_arguments(
    optimizer: object,
    lr: float,
    epochs: int,
    batch_size: int,
    weight_decay: float,
    momentum: float,
    clip_norm: float | None,
    probe_every: int | None,
    seed: int,
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
    _checks.count("seed", seed, at_least=0)
    _checks.number("seed", seed, below=2**63)


def find_layers(model: nn.Module, probe_every: int | None) -> dict[str, Tensor]:
    """The weight layers to probe; a network of other kinds of layer trains without a probe."""
    try:
        return weight_layers(model)
    except ValueError:
        if probe_every is not None:
            raise
        return {}


def find_device(device: str | torch.device) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:  # of a tensor, so that the device has its number: cuda:0, not cuda
        place = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device {device!r} is not there: {str(error).splitlines()[0]}") from None
    if place.type == "meta":
        raise ValueError("device 'meta' holds no values: nothing can be trained there")
    return place


def check_output(model: nn.Module, data: Dataset, place: torch.device, batch_size: int) -> None:
    """Raise ValueError unless the model, as it is, maps two inputs to what the data ask for."""
    # A copy: a model may well change its inputs in place.
    inputs = data.x_train[:2].to(place, next(model.parameters()).dtype, copy=True)
    if len(data.x_train) % batch_size == 1 or batch_size == 1:
        _check_single(model, inputs[:1].clone(), len(data.x_train), batch_size)
    model.eval()
    n = len(inputs)
    with torch.no_grad():
        try:
            outputs = model(inputs)
        except RuntimeError as error:
            raise ValueError(
                f"the model does not take inputs of shape {[*data.input_shape]}: {error}"
            ) from error
    if not isinstance(outputs, Tensor):
        raise ValueError(f"the model must return one tensor, got {type(outputs).__name__}")
    shape = tuple(outputs.shape)
    expected = [(n, data.n_classes)] if data.class_names else [(n,), (n, 1)]
    if shape not in expected:
        raise ValueError(
            f"the model's output for {n} {data.name} inputs must have shape "
            f"{' or '.join(map(str, expected))}, got {shape}"
        )


def _check_single(model: nn.Module, inputs: Tensor, examples: int, batch_size: int) -> None:
    """Raise ValueError where batch norm would be given a batch of one example, as it cannot be."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    with torch.no_grad():
        try:
            torch.func.functional_call(model, buffers, (inputs,))
        except ValueError as error:
            raise ValueError(
                f"batch norm needs two examples, but of {examples} in batches of {batch_size} "
                f"one is left alone; use another batch_size ({error})"
            ) from error
