"""Schemes against their formulas: variances, bounds, orthogonality, and what must stay."""

import copy
import math
import random

import numpy as np
import pytest
import torch
from scipy import integrate, special
from torch import nn
from torch.nn.utils import parametrizations, prune

from vglab.data import load
from vglab.initialization import SCHEMES, he_gain, initialize
from vglab.models import ACTIVATIONS, MLP, ConvNet, SequenceClassifier, weight_layers

SELU = 1.6732632423543772, 1.0507009873554805
PHI = {
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "elu": lambda z: z if z > 0 else math.expm1(z),
    "selu": lambda z: SELU[1] * (z if z > 0 else SELU[0] * math.expm1(z)),
    "gelu": lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2,
    "silu": lambda z: z * special.expit(z),
    "softplus": lambda z: math.log1p(math.exp(z)),
    "hard_tanh": lambda z: min(max(z, -1.0), 1.0),
}


def assert_normal(values, variance):
    """Mean 0 and this variance, within five standard errors: a chance of 1 in 10⁶ for each."""
    values, n = values.double().flatten(), values.numel()
    assert abs(values.mean().item()) < 5 * math.sqrt(variance / n)
    relative = values.var().item() / variance - 1
    assert abs(relative) < 5 * math.sqrt(2 / n)
    # Kurtosis 3, with standard error sqrt(24 / n): normal, not uniform (1.8).
    fourth = ((values / math.sqrt(variance)) ** 4).mean().item()
    assert abs(fourth - 3 * (1 + relative) ** 2) < 5 * math.sqrt(24 / n) * (1 + relative) ** 2


def assert_orthogonal(matrix, scale=1.0):
    """Rows, or columns where there are fewer, of length ``scale`` at right angles (float32)."""
    matrix = matrix.detach().double().flatten(1)
    small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    expected = scale**2 * torch.eye(len(small), dtype=torch.float64)
    torch.testing.assert_close(small @ small.T, expected, rtol=0, atol=1e-5 * max(scale**2, 1e-3))


# One layer of each kind with its fan-in and fan-out, worked out by hand.
LAYERS = {
    "linear": (lambda: nn.Linear(300, 200), 300, 200),
    "conv": (lambda: nn.Conv2d(32, 48, (3, 5)), 32 * 15, 48 * 15),
    "conv1d": (lambda: nn.Conv1d(64, 96, 7), 64 * 7, 96 * 7),
    "grouped conv": (lambda: nn.Conv2d(64, 128, 3, groups=4), 16 * 9, 32 * 9),
    "depthwise conv": (lambda: nn.Conv2d(2048, 2048, 3, groups=2048), 9, 9),
    "transposed conv": (lambda: nn.ConvTranspose2d(32, 96, 3), 32 * 9, 96 * 9),
    "grouped transposed conv": (lambda: nn.ConvTranspose1d(64, 256, 5, groups=2), 32 * 5, 128 * 5),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "scheme, variance",
    [
        ("normal", lambda n_in, n_out: 0.7**2),
        ("lecun", lambda n_in, n_out: 1 / n_in),
        ("he", lambda n_in, n_out: 2 / n_in),
        ("mean_field", lambda n_in, n_out: 0.7**2 / n_in),
    ],
)
def test_normal_schemes(layer, scheme, variance):
    make, n_in, n_out = LAYERS[layer]
    module = initialize(make(), scheme, sigma_w=0.7)
    assert_normal(module.weight.detach(), variance(n_in, n_out))
    assert torch.count_nonzero(module.bias) == 0


@pytest.mark.parametrize("layer", LAYERS)
def test_xavier(layer):
    """Glorot & Bengio 2010, eq. 16: uniform up to sqrt(6 / (n_in + n_out))."""
    make, n_in, n_out = LAYERS[layer]
    weight = initialize(make(), "xavier").weight.detach()
    bound = math.sqrt(6 / (n_in + n_out))
    largest = weight.abs().max().item()
    # The largest of n uniform values misses the bound by more than 20 / n once in e²⁰ times.
    assert bound * (1 - 20 / weight.numel()) < largest <= bound * (1 + 1e-6)
    n, variance = weight.numel(), bound**2 / 3
    assert abs(weight.mean().item()) < 5 * math.sqrt(variance / n)
    assert abs(weight.var().item() / variance - 1) < 5 * math.sqrt(0.8 / n)


CELLS = {
    "rnn": (lambda: SequenceClassifier("rnn", 60, 80, 3).cell, 1),
    "lstm": (lambda: SequenceClassifier("lstm", 60, 80, 3).cell, 4),
    "gru": (lambda: SequenceClassifier("gru", 60, 80, 3).cell, 3),
    "lstm cell": (lambda: nn.LSTMCell(60, 80), 4),
    "gru cell": (lambda: nn.GRUCell(60, 80), 3),
}


@pytest.mark.parametrize("cell", CELLS)
def test_every_gate_of_a_recurrent_layer_by_itself(cell):
    make, n_gates = CELLS[cell]
    module = make()
    for scheme, variance in [("lecun", lambda n: 1 / n), ("he", lambda n: 2 / n)]:
        for weight in weight_layers(initialize(module, scheme)).values():
            assert weight.shape[0] == n_gates * 80
            for gate in weight.detach().split(80):
                assert_normal(gate, variance(gate.shape[1]))
    for weight in weight_layers(initialize(module, "xavier")).values():
        for gate in weight.detach().split(80):
            bound = math.sqrt(6 / (80 + gate.shape[1]))
            assert bound * (1 - 20 / gate.numel()) < gate.abs().max() <= bound * (1 + 1e-6)
    for scheme in ("orthogonal", "lsuv"):
        initialize(module, scheme, data=torch.rand(5, 60))
        for weight in weight_layers(module).values():
            gates = weight.detach().split(80)
            for gate in gates:
                assert_orthogonal(gate)
            assert all(not torch.equal(gates[0], other) for other in gates[1:])


def test_projected_and_stacked_recurrent_layers():
    module = nn.LSTM(6, 8, num_layers=2, proj_size=3, bidirectional=True)
    initialize(module, "orthogonal")
    for name, weight in weight_layers(module).items():
        for block in weight.split(3 if "hr" in name else 8):
            assert_orthogonal(block)


@pytest.mark.parametrize("sigma_w", [1.0, 1.7, 0.0])
@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (25, 25), (1, 5)])
def test_orthogonal_matrices(shape, sigma_w):
    layer = initialize(nn.Linear(*shape), "orthogonal", sigma_w=sigma_w)
    assert_orthogonal(layer.weight, sigma_w)


def test_orthogonal_kernels():
    assert_orthogonal(initialize(nn.Conv2d(4, 10, 3), "orthogonal", sigma_w=2.0).weight, 2.0)
    grouped = initialize(nn.Conv2d(8, 12, 2, groups=4), "orthogonal")
    for group in grouped.weight.split(3):
        assert_orthogonal(group)
    transposed = initialize(nn.ConvTranspose2d(6, 4, 2), "orthogonal")
    assert_orthogonal(transposed.weight.transpose(0, 1))


def test_the_sign_of_orthogonal_matrices_is_random():
    """Haar-distributed (Saxe 2014): no preferred sign, so the mean entry is zero."""
    entries = torch.stack(
        [initialize(nn.Linear(4, 4), "orthogonal", seed=s).weight.detach() for s in range(200)]
    )
    # Entries have variance 1/4; five standard errors over 200 draws.
    assert entries.mean(0).abs().max() < 5 * math.sqrt(0.25 / 200)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_biases(scheme):
    data = torch.rand(50, 40)
    model = MLP((40, 3000, 20))
    initialize(model, scheme, data=data)
    assert all(torch.count_nonzero(m.bias) == 0 for m in model.modules() if hasattr(m, "bias"))
    if scheme != "lsuv":
        initialize(model, scheme, sigma_b=0.3)
        assert_normal(model.hidden[0][0].bias.detach(), 0.09)


def test_biases_of_convolutions_and_recurrent_layers():
    model = nn.ModuleList([nn.Conv2d(1, 4000, 1), nn.GRU(1, 1000), nn.GRUCell(1, 1000)])
    initialize(model, "lecun", sigma_b=2.0)
    assert_normal(model[0].bias.detach(), 4.0)
    for module in model[1:]:
        for name, bias in module.named_parameters():
            if "bias" in name:
                assert_normal(bias.detach(), 4.0)
    for module in (nn.Linear(3, 2, bias=False), nn.LSTM(3, 2, bias=False)):
        initialize(module, "he", sigma_b=1.0)


# The gain of "he".


def test_he_gain_in_closed_form():
    assert he_gain("relu") == pytest.approx(math.sqrt(2), rel=1e-7)
    assert he_gain("leaky_relu") == pytest.approx(math.sqrt(2 / (1 + 0.01**2)), rel=1e-7)
    assert he_gain("linear") == pytest.approx(1, rel=1e-9)
    # E[clip(z)²] = 1 - 2 φ(1) for a clip at ±1, integrating z² φ(z) by parts.
    density = math.exp(-0.5) / math.sqrt(2 * math.pi)
    assert he_gain("hard_tanh") == pytest.approx((1 - 2 * density) ** -0.5, rel=1e-6)
    assert he_gain("selu") == pytest.approx(1, abs=1e-6)  # its fixed point is (0, 1)


@pytest.mark.parametrize("activation", PHI)
def test_he_gain_by_quadrature(activation):
    def integrand(z):
        return PHI[activation](z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    second_moment = integrate.quad(integrand, -12, 12, points=[-1, 0, 1], epsabs=1e-12)[0]
    # The trapezoid rule at kinks: an error of the step squared, 1e-6.
    assert he_gain(activation) == pytest.approx(second_moment**-0.5, rel=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu", "sigmoid"])
def test_he_takes_the_gain_of_its_activation(activation):
    weight = initialize(nn.Linear(400, 300), "he", activation=activation).weight.detach()
    assert_normal(weight, he_gain(activation) ** 2 / 400)


def test_he_keeps_the_second_moment_through_layers():
    """He 2015, eq. 10, seen: 1000 units wide, so each layer moves it by a few per cent.

    Also where inputs and weights have the same seed: once their numbers were the same too.
    """
    model = initialize(MLP((500, *[1000] * 5), "relu"), "he", seed=0)
    z = x = torch.randn(64, 500, generator=torch.Generator().manual_seed(0))
    moments = []
    with torch.no_grad():
        for layer in [*model.hidden, model.output]:
            z = (layer[0] if isinstance(layer, nn.Sequential) else layer)(x)
            moments.append(z.square().mean().item())
            x = z.relu()
    np.testing.assert_allclose(moments, 2, rtol=0.15)


# LSUV


def outputs(model, data):
    """What each linear and convolutional layer gives in evaluation mode."""
    found, model = [], copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda m, x, y: found.append(y.detach().double()))
    model(data)
    return found


def batch(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3 + 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm, residual", [(None, False), ("layer", True), ("batch", True)])
def test_lsuv_gives_every_layer_unit_variance(activation, norm, residual):
    model = MLP((30, 20, 20, 20, 5), activation, norm=norm, residual=residual)
    x = batch(64, 30)
    initialize(model, "lsuv", data=x)
    for output in outputs(model, x):
        assert output.var().item() == pytest.approx(1, rel=1e-5)
    for weight in weight_layers(model).values():
        norms = weight.detach().double().square().sum(1 if len(weight) <= weight.shape[1] else 0)
        assert_orthogonal(weight / norms.mean().sqrt())
    assert all(torch.count_nonzero(m.bias) == 0 for m in model.modules() if type(m) is nn.Linear)


def test_lsuv_on_convolutions_and_with_biases():
    model, x = ConvNet(2, 3, channels=(4, 6, 5)), batch(16, 2, 9, 9)
    initialize(model, "lsuv", data=x, sigma_b=0.5)
    assert len(outputs(model, x)) == 4
    for output in outputs(model, x):
        assert output.var().item() == pytest.approx(1, rel=1e-5)
    drawn = initialize(ConvNet(2, 3, channels=(4, 6, 5)), "orthogonal", sigma_b=0.5)
    for ours, theirs in zip(model.parameters(), drawn.parameters(), strict=True):
        factor = (ours / theirs).flatten()  # weights and bias of a layer share one factor
        assert torch.allclose(factor, factor[0].expand_as(factor), rtol=1e-5)


def test_lsuv_takes_the_first_examples_of_a_dataset():
    digits = load("digits")
    by_set = initialize(ConvNet(1, 10), "lsuv", data=digits)
    by_batch = initialize(ConvNet(1, 10), "lsuv", data=digits.x_train[:256])
    for ours, theirs in zip(by_set.parameters(), by_batch.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_lsuv_scales_a_layer_used_twice_once():
    layer = nn.Linear(10, 10)
    model, x = nn.Sequential(layer, nn.Tanh(), layer), batch(50, 10)
    initialize(model, "lsuv", data=x)
    assert layer(x).var().item() == pytest.approx(1, rel=1e-5)


def mixed_modes():
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 3)
    )
    model.train()
    model[1].eval()
    model[0].register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    "data, error",
    [(batch(9, 6), None), (torch.zeros(9, 6), ValueError), (batch(9, 5), RuntimeError)],
)
def test_lsuv_gives_back_what_it_borrows(data, error):
    model = mixed_modes()
    modes = [module.training for module in model.modules()]
    buffers = copy.deepcopy(dict(model.named_buffers()))
    hooks = [len(module._forward_hooks) for module in model.modules()]
    state = torch.get_rng_state()
    if error:
        with pytest.raises(error, match=r"same output for all of data|shapes"):
            initialize(model, "lsuv", data=data)
    else:
        initialize(model, "lsuv", data=data)
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert all(torch.equal(buffers[name], buffer) for name, buffer in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)


def test_lsuv_says_at_once_where_a_layer_is_constant():
    layer = nn.Linear(6, 8)
    with pytest.raises(ValueError, match=r"^a Linear layer gives the same output for all of data"):
        initialize(layer, "lsuv", data=torch.zeros(9, 6))
    assert torch.isfinite(layer.weight).all()


# What every scheme owes.


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_decides_and_nothing_else_moves(scheme):
    make = lambda: MLP((6, 5, 4), norm="layer")  # noqa: E731
    x = batch(20, 6)
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    models = [initialize(m, scheme, data=x, seed=s) for m, s in zip(
        [make(), make(), make()], (7, np.int64(7), 8), strict=True
    )]  # fmt: skip
    first, second, other = (m.state_dict() for m in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name in ("hidden.0.0.weight", "output.weight"):
        assert not torch.equal(first[name], other[name])
    torch.manual_seed(0)
    default = initialize(make(), scheme, data=x).output.weight
    assert torch.equal(default, initialize(make(), scheme, data=x, seed=0).output.weight)
    torch.set_rng_state(state[0])
    probe = make()
    state = torch.get_rng_state(), state[1], state[2]
    initialize(probe, scheme, data=x)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all() and random.getstate() == state[2]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_other_parameters_gradients_and_identity_stay(scheme):
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.PReLU(), nn.Linear(5, 2))
    model.register_parameter("extra", nn.Parameter(torch.ones(3)))
    with torch.no_grad():
        model[1].weight.fill_(1.5)
        model[1].bias.fill_(-0.5)
    model[0].weight.grad = torch.full((5, 6), 3.0)
    model[3].weight.requires_grad_(False)
    parameters = list(model.parameters())
    assert initialize(model, scheme, data=batch(20, 6)) is model
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert (model[1].weight == 1.5).all() and (model[1].bias == -0.5).all()
    assert model[2].weight.item() == 0.25 and (model.extra == 1).all()
    assert (model[0].weight.grad == 3).all() and model[3].weight.grad is None
    assert model[0].weight.requires_grad and not model[3].weight.requires_grad
    assert model[0].weight.is_leaf and model.training


@pytest.mark.parametrize("dtype, tolerance", [
    (torch.float64, 1e-6), (torch.bfloat16, 2**-8), (torch.float16, 2**-11),
])  # fmt: skip
@pytest.mark.parametrize("scheme", SCHEMES)
def test_models_of_other_precision(scheme, dtype, tolerance):
    make = lambda: MLP((8, 6, 4), "tanh")  # noqa: E731
    x = batch(32, 8)
    expected = initialize(make(), scheme, data=x, sigma_b=0.1)
    got = initialize(make().to(dtype), scheme, data=x, sigma_b=0.1)
    for ours, theirs in zip(got.parameters(), expected.parameters(), strict=True):
        assert ours.dtype == dtype
        # Rounding of each weight; for lsuv of every product before the deviation too.
        slack = tolerance * (8 if scheme == "lsuv" else 1)
        torch.testing.assert_close(ours.float(), theirs, rtol=slack, atol=slack)


def test_lsuv_on_inputs_that_are_indices():
    model = nn.Sequential(nn.Embedding(10, 6), nn.Flatten(), nn.Linear(18, 4)).double()
    tokens = torch.arange(60).view(20, 3) % 10
    initialize(model, "lsuv", data=tokens)
    assert model(tokens).var().item() == pytest.approx(1)


@pytest.mark.parametrize("error, match, arguments", [
    (ValueError, "^scheme must .*lecun, .*lsuv; got 'kaiming'", dict(scheme="kaiming")),
    (ValueError, "^activation must be one of linear, .*; got 'mish'", dict(activation="mish")),
    (ValueError, "^sigma_w must be finite and at least 0, got -1", dict(sigma_w=-1)),
    (ValueError, "^sigma_w must be finite", dict(sigma_w=math.inf)),
    (ValueError, "^sigma_b must be finite and at least 0, got nan", dict(sigma_b=math.nan)),
    (ValueError, "^sigma_b must be finite and at least 0, got -0.1", dict(sigma_b=-0.1)),
    (TypeError, "^sigma_w must be a number", dict(sigma_w="1")),
    (TypeError, "^seed must be an integer", dict(seed=1.5)),
    (ValueError, "^seed must be at least 0", dict(seed=-1)),
    (ValueError, '"lsuv" needs data=', dict(scheme="lsuv")),
    (TypeError, "^data must be a Dataset or a tensor of inputs, got ndarray",
     dict(scheme="lsuv", data=np.ones((3, 3)))),
    (ValueError, r"^data holds no inputs: its shape is \[0, 3\]",
     dict(scheme="lsuv", data=torch.ones(0, 3))),
    (ValueError, "^data must be finite", dict(scheme="lsuv", data=torch.full((3, 3), math.nan))),
    (TypeError, r"model must be a torch.nn.Module, got int", dict(model=3)),
    (ValueError, "ReLU has no linear", dict(model=nn.ReLU())),
])  # fmt: skip
def test_bad_arguments(error, match, arguments):
    model = nn.Linear(3, 3)
    before = model.weight.clone()
    with pytest.raises(error, match=match):
        initialize(**({"model": model, "scheme": "he"} | arguments))
    assert torch.equal(model.weight, before)  # nothing was drawn before the check


@pytest.mark.parametrize("change", [
    lambda layer: parametrizations.weight_norm(layer),
    lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
])  # fmt: skip
def test_computed_weights_are_refused(change):
    """Drawing into the product of other parameters would have no effect, silently."""
    model = nn.Sequential(change(nn.Linear(3, 3)))
    with pytest.raises(TypeError, match="the weight of 0 is computed from other parameters"):
        initialize(model, "he")


def test_unknown_activations_have_no_gain():
    with pytest.raises(ValueError, match="activation must be one of linear"):
        he_gain("mish")


@pytest.mark.parametrize("change", [
    lambda model: parametrizations.spectral_norm(model[1]),
    lambda model: prune.random_unstructured(model[2], "weight_hh_l0", amount=0.5),
])  # fmt: skip
def test_computed_weights_of_any_layer_are_refused(change):
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), nn.LSTM(3, 3)])
    change(model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TypeError, match=r"the weight of [12] is computed from other parameters"):
        initialize(model, "he")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("data", [batch(9, 5), torch.zeros(9, 6), torch.ones(9, 6)])
def test_lsuv_that_fails_leaves_the_weights(data):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), nn.Linear(4, 4))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises((RuntimeError, ValueError)):
        initialize(model, "lsuv", data=data, sigma_b=0.1)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_lsuv_that_fails_halfway_leaves_the_weights():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(5, 3))  # the second does not fit
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match="shapes"):
        initialize(model, "lsuv", data=batch(9, 6))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
