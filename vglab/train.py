"""Training: one plain loop over tensors in memory, and gradient descent on any function."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vglab import _checkpoint, _checks, _fit_checks, _training
from vglab._fit_checks import OPTIMIZERS
from vglab._training import Params
from vglab.data import Dataset, check

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OPTIMIZERS", "History", "fit", "gradient_descent"]


@dataclass(frozen=True, eq=False)
class History:
    """What `fit` recorded.

    Attributes
    ----------
    loss
        Mean loss of each step's batch, before the step ``[steps]``.
    train_accuracy
        Share of training examples classified rightly while the epoch ran, each before the step that
        learned from it ``[epochs]``; NaN for regression.
    test_accuracy, test_loss
        On the test part, after each epoch ``[epochs]``; the accuracy is NaN for regression.
    gradient_norms
        Euclidean norm of each weight layer's gradient, before clipping, at every probed step
        ``[steps probed, L]``; ``[0, L]`` without ``probe_every``.
    layer_names
        The L weight layers, input side first.
    seconds
        Wall time spent training, interrupted runs included.
    """

    loss: Tensor
    train_accuracy: Tensor
    test_accuracy: Tensor
    test_loss: Tensor
    gradient_norms: Tensor
    layer_names: tuple[str, ...]
    seconds: float

    def to_frame(self) -> "pd.DataFrame":
        """One row for each epoch, counted from 1: mean training loss, test loss, accuracies."""
        import pandas as pd

        epochs = len(self.test_loss)
        return pd.DataFrame(
            {
                "epoch": range(1, epochs + 1),
                "train_loss": self.loss.view(epochs, -1).mean(1) if epochs else [],
                "test_loss": self.test_loss,
                "train_accuracy": self.train_accuracy,
                "test_accuracy": self.test_accuracy,
            }
        )


def fit(
    model: nn.Module,
    data: Dataset,
    *,
    optimizer: str | Callable[[Params], Optimizer] = "sgd",
    lr: float = 0.01,
    epochs: int = 10,
    batch_size: int = 64,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    clip_norm: float | None = None,
    probe_every: int | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | PathLike[str] | None = None,
    progress: bool = False,
) -> History:
    """Train ``model`` on ``data`` in place: cross-entropy for classes, squared error for numbers.

    Every epoch visits the training part once, in a fresh random order.

    Parameters
    ----------
    model
        Maps ``[N, *input_shape]`` to logits ``[N, C]``, or to ``[N]`` or ``[N, 1]`` for regression.
        Its mode and device are afterwards what they were before.
    data
        Inputs and targets; see `vglab.data`.
    optimizer
        "sgd", "momentum" (SGD with momentum, 0.9 unless given), "rmsprop", "adam" or "adamw" with
        torch's defaults, or a function of the parameters that returns a `torch.optim.Optimizer`
        (then ``lr``, ``momentum`` and ``weight_decay`` are its own business).
    lr
        Learning rate η.
    epochs, batch_size
        Passes over the data; examples in each step (the last batch of an epoch may be smaller).
    weight_decay, momentum
        As in `torch.optim`.
    clip_norm
        Scale the gradient of all parameters down to this norm where it is larger (Pascanu et al.
        2013, algorithm 1).
    probe_every
        Record the gradient norm of each weight layer every so many steps, from the first on.
    seed
        Seed of the order of examples and of what the model draws from torch, dropout say. The
        global random state is not touched; the weights start as they are (see
        `vglab.initialization`).
    device
        Where to train: "auto" (CUDA where there is one, else the CPU) or a torch device.
    checkpoint
        A file that holds the state after each epoch, one for each run. A run that finds it goes on
        from there, with the weights it holds and not the model's own, and ends with the same
        weights, bit for bit, as a run that was never interrupted.
    progress
        Show a progress bar over epochs.

    Returns
    -------
    History
        Losses, accuracies and gradient norms.

    Raises
    ------
    ValueError, TypeError
        Before any work: unknown names, numbers out of range, data that are empty, not finite or out
        of range, a network whose output does not fit the data, batch norm with a last batch of one
        example, a device that is not there, a checkpoint of another run (other arguments, data or
        network) or a file that is none.
    """
    _fit_checks.check_arguments(
        optimizer, lr, epochs, batch_size, weight_decay, momentum, clip_norm, probe_every, seed
    )
    # Plain numbers, where NumPy's came in: a checkpoint holds nothing else.
    lr, weight_decay, momentum = float(lr), float(weight_decay), float(momentum)
    epochs, batch_size, seed = int(epochs), int(batch_size), int(seed)
    clip_norm = None if clip_norm is None else float(clip_norm)
    probe_every = None if probe_every is None else int(probe_every)
    check(data)
    layers = _fit_checks.find_layers(model, probe_every)
    parameters = _training.trained(model)
    file = None if checkpoint is None else _checkpoint.check_writable(checkpoint)
    place = _fit_checks.find_device(device)
    order = torch.Generator().manual_seed(seed)

    with _training.borrowed(model, place, seed):
        _fit_checks.check_output(model, data, place, batch_size)
        optimize = _training.make_optimizer(optimizer, model, lr, momentum, weight_decay)
        record, seconds = _training.empty_record(len(layers)), 0.0
        if file is not None:
            settings = _checkpoint.settings(
                model, data, optimize, named=isinstance(optimizer, str), optimizer=optimizer,
                lr=lr, batch_size=batch_size, weight_decay=weight_decay, momentum=momentum,
                clip_norm=clip_norm, probe_every=probe_every, seed=seed,
            )  # fmt: skip
            if saved := _checkpoint.load(file, settings, epochs):
                _training.restore(saved, model, optimize, order, place)
                record, seconds = saved["record"], saved["seconds"]
        parts = _training.on_device(model, data, place)
        for _ in _training.bar(range(len(record["test_loss"]), epochs), progress):
            started = time.perf_counter()
            measured = _training.epoch(model, optimize, parts, order, batch_size, clip_norm,
                              layers, probe_every, len(record["loss"]))  # fmt: skip
            record = {name: torch.cat([record[name], measured[name]]) for name in record}
            seconds += time.perf_counter() - started
            if file is not None:
                content = _training.state(model, optimize, order, place)
                content |= {"record": record, "seconds": seconds, "settings": settings}
                _checkpoint.save(file, content)
        _training.clear_gradients(parameters)
    return History(**record, layer_names=tuple(layers), seconds=seconds)


def gradient_descent(
    objective: Callable[[Tensor], Tensor], start: Tensor | Sequence[float], *, lr: float, steps: int
) -> Tensor:
    """Trajectory ``[steps + 1, D]`` of plain gradient descent, ``θ ← θ - η ∇J(θ)``.

    Parameters
    ----------
    objective
        J, a differentiable function from a tensor ``[D]`` to a scalar tensor.
    start
        θ before the first step, ``[D]``; float64 tensors stay float64, all else becomes float32.
    lr
        Learning rate η.
    steps
        Number of steps.

    Raises
    ------
    ValueError, TypeError
        A learning rate that is not positive, a start that is not a finite vector, an objective
        that returns no scalar or does not depend on its argument differentiably.

    Examples
    --------
    >>> gradient_descent(lambda x: (x**2).sum() / 2, [1.0], lr=0.5, steps=2).flatten()
    tensor([1.0000, 0.5000, 0.2500])
    """
    _checks.number("lr", lr, above=0)
    _checks.count("steps", steps, at_least=0)
    theta = torch.as_tensor(start).detach()
    theta = theta.clone() if theta.dtype == torch.float64 else theta.float().clone()
    if theta.ndim != 1 or theta.numel() == 0:
        raise ValueError(f"start must be a vector [D], got shape {[*theta.shape]}")
    _checks.finite("start", theta)
    trajectory = [theta]
    for _ in range(steps):
        point = theta.clone().requires_grad_()
        with torch.enable_grad():
            value = objective(point)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise ValueError(
                "objective must return one number as a tensor computed from its argument by "
                f"differentiable operations, got {value!r}"
            )
        (gradient,) = torch.autograd.grad(value, point, allow_unused=True)
        if gradient is None:
            raise ValueError("objective returned a number that does not depend on its argument")
        theta = theta - lr * gradient
        trajectory.append(theta)
    return torch.stack(trajectory)
