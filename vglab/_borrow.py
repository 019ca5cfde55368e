"""Borrow a network for one pass: nothing of it, nor of the random state, is changed afterwards."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

_PLACES = [name for name, value in nn.Module().__dict__.items() if isinstance(value, dict)]
"""Where a module keeps its parameters, buffers, parts and hooks."""


def flat(value: Any) -> Iterator[Tensor]:
    """Every tensor in tuples, lists, mappings and packed sequences."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, PackedSequence):
        yield value.data
    elif isinstance(value, dict):
        for one in value.values():
            yield from flat(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from flat(one)


@contextmanager
def borrowed(
    model: nn.Module, modules: list[nn.Module], *, training: bool = True
) -> Iterator[None]:
    """Lend a model in training (or evaluation) mode, then give everything of it back as it was.

    Modes, attributes, hooks, buffers, each parameter's place, ``.grad`` and ``requires_grad``, and
    the random states, whatever happens; the values of parameters are not copied.
    """
    attributes = [(module, dict(module.__dict__)) for module in modules]
    places = [(place, place.copy()) for _, own in attributes for place in _filled(own)]
    buffers = [b for module in modules for b in module._buffers.values() if b is not None]
    values = [(buffer, buffer.clone()) for buffer in buffers]
    parameters = [p for module in modules for p in module._parameters.values() if p is not None]
    kept = [(p, p.grad, p.requires_grad) for p in parameters]
    devices = {p.device.index for p in parameters if p.device.type == "cuda"}
    others = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices):
            if not training:
                model.eval()
            elif not model.training:
                model.train()
            yield
    finally:
        random.setstate(others[0])
        np.random.set_state(others[1])
        for module, own in attributes:
            module.__dict__.clear()
            module.__dict__.update(own)
            for place in _filled(own):
                place.clear()
        for place, before in places:
            place.update(before)
        with torch.no_grad():
            for buffer, value in values:
                if not torch.equal(buffer, value):  # a copy would spoil graphs that saved it
                    buffer.copy_(value)
        for parameter, gradient, free in kept:
            if parameter.requires_grad != free:
                parameter.requires_grad_(free)
            if parameter.grad is not gradient:
                parameter.grad = gradient


def _filled(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return those of a module's dictionaries in which there is something."""
    return list(filter(None, map(attributes.get, _PLACES)))


def tracked(value: Any, leaves: list[Tensor]) -> Any:
    """Copy the inputs, and follow gradients down to those that are real numbers."""
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            return value.clone()
        leaf = value.detach().clone().requires_grad_()
        leaves.append(leaf)
        return leaf.clone()  # which the model may change in place
    if isinstance(value, PackedSequence):
        return value._replace(data=tracked(value.data, leaves))
    if isinstance(value, dict):
        return type(value)({key: tracked(one, leaves) for key, one in value.items()})
    if isinstance(value, list | tuple):
        return type(value)([tracked(one, leaves) for one in value])
    return value
