"""Borrow a network for one pass: nothing of it, nor of the random state, is changed afterwards."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


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
def borrowed(model: nn.Module, modules: list[nn.Module]) -> Iterator[None]:
    """Give back modes, buffers, attributes and random states, whatever happens."""
    attributes = [(module, dict(module.__dict__)) for module in modules]
    buffers = [(module._buffers, dict(module._buffers)) for module in modules if module._buffers]
    values = [(b, b.clone()) for _, own in buffers for b in own.values() if b is not None]
    parameters = [p for module in modules for p in module._parameters.values() if p is not None]
    devices = {p.device.index for p in parameters if p.device.type == "cuda"}
    others = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices):
            if not model.training:
                model.train()
            yield
    finally:
        random.setstate(others[0])
        np.random.set_state(others[1])
        for module, own in attributes:
            module.__dict__.clear()
            module.__dict__.update(own)
        for place, own in buffers:
            place.clear()
            place.update(own)
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)


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
