"""Plain values cross unchanged, and nothing else crosses."""

import json
import math
import pickle
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vglab import models
from vglab.assignments import wire

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.booleans() | st.integers(1 - 2**60, 2**60 - 1) | st.text()
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
    ),
    max_leaves=20,
)


def same(a: object, b: object) -> bool:
    """Compare values and exact types, NaN with NaN; slower and simpler than any ``==``."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        pairs = zip(a.items(), b.items(), strict=True)
        return len(a) == len(b) and all(same(list(one), list(other)) for one, other in pairs)
    return a == b


@settings(max_examples=200, deadline=None)
@given(values)
def test_plain_values_keep_value_and_type(value: object) -> None:
    line = wire.dumps(value)
    assert b"\n" not in line
    assert same(wire.loads(line), value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool,
                                   torch.float16, torch.complex64])  # fmt: skip
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 1, 3)])
def test_arrays_keep_dtype_shape_and_bits(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.arange(math.prod(shape) or 1).reshape(shape if math.prod(shape) else (1,))
    tensor = tensor.to(dtype) if math.prod(shape) else torch.zeros(shape, dtype=dtype)
    got = wire.loads(wire.dumps(tensor), functions=True)
    assert type(got) is torch.Tensor and got.dtype == dtype and torch.equal(got, tensor)
    array = wire.loads(wire.dumps(tensor.numpy()), functions=True)
    assert type(array) is np.ndarray and array.dtype == tensor.numpy().dtype
    np.testing.assert_array_equal(array, tensor.numpy())


def test_a_view_with_a_graph_crosses_as_its_values() -> None:
    tensor = torch.arange(12.0, requires_grad=True).reshape(3, 4).T * 2
    got = wire.loads(wire.dumps(tensor))
    assert torch.equal(got, tensor.detach()) and not got.requires_grad


def test_numpy_scalars() -> None:
    got = wire.loads(wire.dumps(np.float32(1.5)))
    assert type(got) is np.float32 and got == 1.5


NETWORKS = [
    *(models.MLP((5, 4, 4, 3), kind) for kind in models.ACTIVATIONS),
    *(models.MLP((5, 4, 4, 3), norm=norm, residual=True) for norm in ("batch", "layer", "rms")),
    models.MLP((5, 3), bias=False),
    *(models.ConvNet(1, 3, channels=(2, 4), norm=norm) for norm in (None, "batch", "layer", "rms")),
    nn.Sequential(nn.Flatten(), nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4), nn.Sequential(
        nn.LeakyReLU(0.3), nn.Dropout(0.2), nn.LayerNorm(4)), nn.Hardtanh(-2.0, 0.5)),
]  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: type(n).__name__)
@pytest.mark.parametrize("training", [True, False])
def test_networks_compute_the_same(network: nn.Module, training: bool) -> None:
    network.train(training)
    got = wire.loads(wire.dumps(network))
    assert type(got) is type(network) and got.training is training
    assert repr(got) == repr(network)
    x = torch.randn(4, 1, 8, 8) if isinstance(network, models.ConvNet) else torch.randn(4, 5)
    assert torch.equal(got.eval()(x), network.eval()(x))
    assert all(parameter.requires_grad for parameter in got.parameters())


def test_a_network_that_was_changed_afterwards_is_refused() -> None:
    network = models.MLP((5, 4, 4, 3))
    network.hidden[1][1] = nn.Tanh()
    with pytest.raises(wire.WireError, match="changed after it was built"):
        wire.dumps(network)


class Always:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Text(str):
    """A subclass of a plain type, which could bring behaviour of its own."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Layer(nn.Linear):
    """A layer of somebody's own."""


@pytest.mark.parametrize("value", [
    Always(), [1, Always()], Text("a"), lambda: 0, object, Layer(2, 2), nn.Sequential(Layer(2, 2)),
    np.array([object()]), torch.zeros(2, dtype=torch.bfloat16), {1: Always()}, pickle.dumps(1),
])  # fmt: skip
def test_nothing_else_crosses(value: object) -> None:
    with pytest.raises((wire.WireError, TypeError)):
        wire.dumps(value)


def test_functions_cross_by_name_and_only_inwards() -> None:
    functions = [torch.relu, math.sin, nn.functional.softplus, models.MLP]
    line = wire.dumps(functions)
    assert wire.loads(line, functions=True) == functions
    with pytest.raises(wire.WireError):
        wire.loads(line)
    with pytest.raises(wire.WireError):
        wire.dumps(pickle.loads)


@pytest.mark.parametrize("line", [
    b"", b"[", b"NaN", b'{"float":"1"}', b'{"a":1,"b":2}', b'{"pickle":"gASVAA=="}',
    b'{"tuple":[{"function":"os:system"}]}', b'{"function":"os:system"}', b"[" * 200_000,
    b"9" * 5000, b'{"tensor":["float32",[2],"AAAA"]}', b'{"tensor":["object",[1],"AAAA"]}',
    b'{"tensor":["float32",[-1],""]}', b'{"array":["float32",[99999999999,99999999999],""]}',
    b'{"dict":[[[1],2]]}', b'{"dict":5}', b'{"set":[[1]]}', b'{"module":[["eval",{}],true,[]]}',
    b'{"module":[["MLP",{"widths":[100000000,100000000]}],true,[]]}',
    b'{"module":[["Linear",{"in_features":1,"out_features":1}],true,[["weight",1]]]}',
    b'{"module":[["Sequential",' + b'[["Sequential",' * 900 + b"[]" + b"]]" * 900 + b"],true,[]]}",
    '"\udcff"'.encode(errors="surrogatepass"), b'["\\ud800"]',
])  # fmt: skip
def test_forged_messages_are_refused(line: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.loads(line)


LINEAR = b'["Linear",{"in_features":2,"out_features":2,"device":"cpu"}]'
WIDE = b'["MLP",{"widths":[' + b",".join([b"2"] * 900) + b"]}]"


@pytest.mark.parametrize("line", [
    b'{"tensor":["float64",[0,1,1],""]}', b'["value",[{"array":["float32",[0],""]}]]',
    b'{"set":[' + b",".join(b"%d" % (n * (2**61 - 1)) for n in range(1, 9)) + b"]}",
    b'{"dict":[[{"tuple":[4294967296]},1]]}',
    b'{"set":[{"scalar":["complex64",[],"AAAAAAAAAAA="]}]}',
    b"[" + b",".join([b"[]"] * wire.MAX_BRACKETS) + b"]", b'{"module":[' + LINEAR + b",true,[]]}",
    b'{"module":[["Sequential",[' + b",".join([WIDE] * 900) + b"]],true,[]]}",
])  # fmt: skip
def test_what_would_equal_all_or_stall_is_refused(line: bytes) -> None:
    began = time.process_time()
    with pytest.raises(wire.WireError, match=r"without elements|key is|lists|device|parts"):
        wire.loads(line)
    assert time.process_time() - began < 5


def test_a_truth_value_is_one_of_two() -> None:
    got = wire.loads(b'{"tensor":["bool",[2],"/wA="]}')
    assert got.sum() == 1 and torch.equal(got, torch.tensor([True, False]))


def test_size_is_limited() -> None:
    with pytest.raises(wire.WireError, match="MB"):
        wire.loads(b'"' + b"a" * wire.MAX_BYTES + b'"')
    with pytest.raises(wire.WireError, match="too large"):
        wire.dumps(torch.zeros(wire.MAX_BYTES // 4))


def test_a_message_is_json() -> None:
    assert json.loads(wire.dumps({"a": (1.5, torch.zeros(1))}))
