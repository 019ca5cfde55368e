"""Values that cross the wall between a submission and its grader: as JSON, never as pickles.

Plain values keep their exact type: None, bool, int, float, str, list, tuple, dict and set of plain
values, NumPy arrays and scalars, tensors, and networks whose parts are all of torch's or `vglab`'s
own. Nothing else crosses, so an object with an ``__eq__`` of its own cannot reach a test.
"""

import base64
import importlib
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vglab import models

MAX_BYTES = 32 * 2**20
MAX_BRACKETS = 1_000_000
"""Most lists and tables in a message: empty ones take fifty times the memory of their text."""
MAX_PARTS = 10_000
"""Most commas that describe a network: a part or a width takes one, and far more memory."""
_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
           "complex64", "complex128")  # fmt: skip
_LEAVES = (
    *{type(factory()) for factory in models.ACTIVATIONS.values()}, nn.Linear, nn.Conv1d, nn.Conv2d,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.Flatten,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout,
)  # fmt: skip
_NETWORKS = (models.MLP, models.ConvNet, nn.Sequential)
_FUNCTIONS = ("torch", "math", "vglab")


class WireError(ValueError):
    """A value that cannot cross, or a message that is none of ours; says what it was."""


def dumps(value: Any) -> bytes:
    """Write a plain value as one line of JSON, without the end of the line."""
    return json.dumps(encode(value), allow_nan=False, separators=(",", ":")).encode()


def loads(line: bytes, *, functions: bool = False) -> Any:
    """Read what `dumps` wrote.

    Only where ``functions`` is true may it name a function, or hold an array without elements: of
    these `torch.allclose` finds any close to one number, so that a test would take it for right.

    Raises
    ------
    WireError
        ``line`` is too long, not JSON, or describes no plain value.
    """
    if len(line) > MAX_BYTES:
        raise WireError(f"more than {MAX_BYTES // 2**20} MB")
    if line.count(b"[") + line.count(b"{") > MAX_BRACKETS:
        raise WireError(f"more than {MAX_BRACKETS:,} lists")
    try:
        return decode(json.loads(line.decode(), parse_constant=_refuse), functions=functions)
    except WireError:
        raise
    except Exception as error:  # whatever a forged message provokes
        raise WireError(f"not a plain value ({type(error).__name__})") from None


def _refuse(word: str) -> None:
    raise WireError(f"{word} is not JSON")


def encode(value: Any) -> Any:
    """Turn a plain value into what JSON can say; raise WireError where it is not plain."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is list:
        return [encode(one) for one in value]
    if kind in (tuple, set):
        return {kind.__name__: [encode(one) for one in value]}
    if kind is dict:
        return {"dict": [[encode(key), encode(one)] for key, one in value.items()]}
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return _encode_array(value)
    if isinstance(value, nn.Module):
        return _encode_module(value)
    if callable(value):
        return _encode_function(value)
    raise WireError(f"a {kind.__name__} is not a plain value")


def decode(data: Any, *, functions: bool = False) -> Any:
    """Turn the JSON of `encode` back into the value."""
    if type(data) is str:
        data.encode()  # half a character, which no file could take, raises here
        return data
    if data is None or type(data) in (bool, int, float):
        return data
    if type(data) is list:
        return [decode(one, functions=functions) for one in data]
    if type(data) is not dict or len(data) != 1:
        raise WireError("not one of ours")
    ((tag, inner),) = data.items()
    if tag in ("tuple", "set") and type(inner) is list:
        many = (decode(one, functions=functions) for one in inner)
        return tuple(many) if tag == "tuple" else {_key(one) for one in many}
    if tag == "dict":
        return {_key(decode(key)): decode(one, functions=functions) for key, one in inner}
    if tag == "function" and functions:
        return _find(inner)
    reader = _READERS.get(tag)
    if reader is None:
        raise WireError(f"unknown kind {tag[:20]!r}")
    value = reader(inner)
    if isinstance(value, (Tensor, np.ndarray)) and 0 in value.shape and not functions:
        raise WireError("an array without elements")
    return value


def _key(value: Any, limit: int = 2**60) -> Any:
    """Let a key pass whose hash cannot be chosen: a million equal ones take hours to tell apart."""
    if type(value) is tuple and limit > 2**31:
        return tuple(_key(one, 2**31) for one in value)
    if value is None or type(value) in (bool, str):
        return value
    if (type(value) is int and abs(value) < limit) or (type(value) is float and limit > 2**31):
        return value
    raise WireError("a key is a text, a number below 2**60, or a tuple of such below 2**31")


def _float(inner: Any) -> float:
    if inner not in ("nan", "inf", "-inf"):
        raise WireError("not a float")
    return float(inner)


def _encode_array(value: Tensor | np.ndarray | np.generic) -> dict[str, Any]:
    kind = "tensor" if isinstance(value, Tensor) else "array"
    if isinstance(value, np.generic):
        kind = "scalar"
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.name not in _DTYPES:
        raise WireError(f"a {kind} of dtype {array.dtype} is not a plain value")
    if array.nbytes > MAX_BYTES // 2:
        raise WireError(f"a {kind} of {array.nbytes / 2**20:.0f} MB is too large")
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {kind: [array.dtype.name, list(array.shape), data]}


def _array(inner: Any) -> np.ndarray:
    name, shape, data = inner
    if name not in _DTYPES or not all(type(n) is int and n >= 0 for n in shape):
        raise WireError("not an array")
    content = base64.b64decode(data, validate=True)
    if name == "bool" and content.strip(b"\0\1"):
        content = bytes(map(bool, content))
    return np.frombuffer(content, name).reshape(shape).copy()


def _encode_module(module: nn.Module) -> dict[str, Any]:
    description = _describe(module)
    with torch.device("meta"):
        again = _build(description)
    if repr(again) != repr(module):
        raise WireError(
            f"the {type(module).__name__} was changed after it was built; build it with its "
            "arguments, or as an nn.Sequential"
        )
    state = [[name, encode(tensor)] for name, tensor in module.state_dict().items()]
    return {"module": [description, module.training, state]}


def _describe(module: nn.Module) -> Any:
    """Describe how a network is built: its class, and its parts or arguments."""
    kind = type(module)
    if kind is nn.Sequential:
        return [kind.__name__, [_describe(part) for part in module.children()]]
    if kind is models.MLP or kind is models.ConvNet:
        arguments = _arguments_of_network(module)
    elif kind in _LEAVES:
        arguments = _arguments_of_layer(module)
    else:
        raise WireError(f"a network with a {kind.__name__} is not a plain value")
    return [kind.__name__, {name: encode(value) for name, value in arguments.items()}]


def _arguments_of_layer(module: nn.Module) -> dict[str, Any]:
    """Read those arguments of a layer that it keeps under their own names."""
    code = type(module).__init__.__code__
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    found = {name: getattr(module, name) for name in names if hasattr(module, name)}
    if "bias" in found:
        found["bias"] = found["bias"] is not None
    return found


def _arguments_of_network(module: nn.Module) -> dict[str, Any]:
    activations = {type(make()): name for name, make in models.ACTIVATIONS.items()}
    norms = {nn.BatchNorm1d: "batch", nn.BatchNorm2d: "batch", nn.LayerNorm: "layer",
             nn.GroupNorm: "layer", nn.RMSNorm: "rms", models.ImageRMSNorm: "rms"}  # fmt: skip
    parts = [type(part) for part in module.modules()]
    shared = {
        "activation": next((activations[p] for p in parts if p in activations), "relu"),
        "norm": next((norms[p] for p in parts if p in norms), None),
    }
    if isinstance(module, models.MLP):
        own = {"widths": list(module.widths), "residual": module.residual}
        return {**own, **shared, "bias": module.output.bias is not None}
    assert isinstance(module, models.ConvNet)
    convolutions = [part for part in module.features if isinstance(part, nn.Conv2d)]
    own = {"in_channels": module.in_channels, "n_classes": module.classifier.out_features}
    return {**own, **shared, "channels": [part.out_channels for part in convolutions]}


def _build(description: Any) -> nn.Module:
    name, inner = description
    if name == "Sequential":
        if len(inner) > 1000:
            raise WireError("a network of more than 1000 parts")
        return nn.Sequential(*[_build(part) for part in inner])
    known: dict[str, Callable[..., nn.Module]] = {kind.__name__: kind for kind in _LEAVES}
    known |= {kind.__name__: kind for kind in _NETWORKS}
    arguments = {key: decode(value) for key, value in inner.items()}
    if not arguments.keys().isdisjoint(("device", "dtype")):  # would take memory, or another device
        raise WireError("a network names no device and no dtype")
    if len(arguments.get("widths", ())) > 1000 or len(arguments.get("channels", ())) > 1000:
        raise WireError("a network of more than 1000 layers")
    return known[name](**arguments)


def _module(inner: Any) -> nn.Module:
    description, training, state = inner
    if json.dumps(description).count(",") > MAX_PARTS:
        raise WireError("a network of too many parts")
    with torch.device("meta"):  # takes no memory, whatever sizes a forged message asks for
        module = _build(description)
    module.load_state_dict({name: decode(one) for name, one in state}, strict=True, assign=True)
    return module.train(training is True).requires_grad_()


def _encode_function(value: Any) -> dict[str, Any]:
    name = getattr(value, "__name__", "")
    for module in (getattr(value, "__module__", None), "torch", "torch.nn.functional"):
        if module and _find(f"{module}:{name}") is value:
            return {"function": f"{module}:{name}"}
    raise WireError(f"the function {name or value!r} cannot cross; torch's, math's and vglab's can")


def _find(path: str) -> Any:
    module, _, name = path.partition(":")
    if module.split(".")[0] not in _FUNCTIONS:
        return None
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found


_READERS: dict[str, Callable[[Any], Any]] = {
    "float": _float,
    "array": _array,
    "scalar": lambda inner: _array(inner)[()],
    "tensor": lambda inner: torch.from_numpy(_array(inner)),
    "module": _module,
}
