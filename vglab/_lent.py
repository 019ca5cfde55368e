"""A model lent to whoever explains it, and the inputs and classes it is asked about, checked."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vglab import _checks
from vglab._borrow import borrowed


@contextmanager
def lent(model: nn.Module, *, seed: int | None = None) -> Iterator[None]:
    """Lend a model in evaluation mode, with gradients on, and give it back exactly as it was.

    Afterwards, also after an exception, every module's mode, attributes, buffers and hooks, every
    parameter's ``.grad`` and ``requires_grad``, and the global random states (torch, NumPy, Python)
    are what they were; hooks that were registered meanwhile are gone. The values of parameters are
    not watched: whoever changes them works on a copy.

    Parameters
    ----------
    model
        Any Module.
    seed
        Where given, torch's global generators start from it, so that a model that draws random
        numbers even in evaluation mode does so reproducibly.

    Raises
    ------
    TypeError, ValueError
        It is no Module; its weights are lazy and saw no input yet; a batch norm without running
        statistics makes one example's output depend on the others.
    """
    _checks.module(model)
    modules = list(model.modules())
    parameters = [p for module in modules for p in module._parameters.values() if p is not None]
    for module in modules:
        if any(nn.parameter.is_lazy(p) for p in module.parameters(recurse=False)):
            raise ValueError(f"{_name(module, model)} has no weights yet: run one batch through it")
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise ValueError(
                f"{_name(module, model)} normalises by the batch in evaluation mode as well, so "
                "that no example has an output of its own: use track_running_stats=True"
            )
    on_gpu = any(p.is_cuda for p in parameters)
    # cuDNN has no backward pass for recurrent layers in evaluation mode.
    recurrent = on_gpu and any(isinstance(module, nn.RNNBase) for module in modules)
    cudnn = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        cudnn,
        borrowed(model, modules, training=False),
    ):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            if on_gpu:
                torch.cuda.manual_seed_all(seed)
        yield


def _name(module: nn.Module, model: nn.Module) -> str:
    name = next(name for name, one in model.named_modules() if one is module)
    return name or type(module).__name__


def as_inputs(argument: str, values: Any, model: nn.Module) -> Tensor:
    """Copy a batch ``[N, ...]``, checked, as the model's type of numbers and on its device.

    Takes tensors, arrays, data frames and nested lists of numbers.

    Raises
    ------
    TypeError, ValueError
        Not numbers, no batch axis, nothing in it, NaN or infinity.
    """
    given = values
    if not isinstance(values, Tensor):
        try:
            values = torch.from_numpy(np.array(values))
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{argument} must be a tensor or array of numbers [N, ...], got "
                f"{type(given).__name__} ({error})"
            ) from None
    if values.is_complex():
        raise TypeError(f"{argument} must be real numbers, got {values.dtype}")
    if values.ndim < 2:
        raise ValueError(
            f"{argument} must be a batch [N, ...], got shape {[*values.shape]}; "
            f"one example x goes in as x[None]"
        )
    if values.numel() == 0:
        raise ValueError(f"{argument} holds no values: its shape is {[*values.shape]}")
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    copy: Tensor = values.detach().to(like.device, like.dtype, copy=True)
    _checks.finite(argument, copy)
    return copy


def as_target(target: Any, n: int) -> Tensor | None:
    """Class of each example ``[N]``, or None for "the predicted one"; the upper end is not checked.

    Raises
    ------
    TypeError, ValueError
        Not integers, not one for each example, negative.
    """
    if target is None:
        return None
    try:
        classes = target if isinstance(target, Tensor) else torch.from_numpy(np.array(target))
    except (TypeError, ValueError, RuntimeError):
        classes = torch.zeros(0)
    if classes.dtype == torch.bool or classes.is_floating_point() or classes.is_complex():
        raise TypeError(f"target must be None, a class or one class for each example, {target!r}")
    if classes.ndim > 1 or (classes.ndim == 1 and len(classes) != n):
        raise ValueError(f"target must be one class or [{n}] classes, got {[*classes.shape]}")
    if bool((classes < 0).any()):
        raise ValueError(f"target must be a class from 0 on, got {int(classes.min())}")
    checked: Tensor = classes.detach().to("cpu", torch.long).expand(n).clone()
    return checked


def as_baseline(baseline: Any, inputs: Tensor, model: nn.Module) -> Tensor:
    """Give each example ``[N, *input_shape]`` its baseline: zeros where None, or what was given.

    A number; one input ``[*input_shape]``; or one for each example. For standardised data zero is
    the average input.
    """
    if baseline is None:
        return torch.zeros_like(inputs)
    if isinstance(baseline, Real) and not isinstance(baseline, bool):
        _checks.number("baseline", baseline)
        return torch.full_like(inputs, float(baseline))
    if np.ndim(baseline) == inputs.ndim - 1:
        baseline = baseline[None] if isinstance(baseline, Tensor) else np.asarray(baseline)[None]
    given = as_inputs("baseline", baseline, model)
    if given.shape not in (inputs.shape, (1, *inputs.shape[1:])):
        raise ValueError(
            f"baseline must be a number, one input {[*inputs.shape[1:]]} or one for each example "
            f"{[*inputs.shape]}, got {[*given.shape]}"
        )
    return given.expand_as(inputs)
