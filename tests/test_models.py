"""The networks against products of matrices written out by hand."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn
from torch.nn import utils
from torch.nn.utils import parametrizations, prune

from vglab import models
from vglab.models import ACTIVATIONS, MLP, ConvNet, ImageRMSNorm, SequenceClassifier, weight_layers

# Rounding of float64 through a handful of layers with values of about 1.
EXACT = dict(rtol=1e-12, atol=1e-12)

SELU = 1.6732632423543772, 1.0507009873554805  # Klambauer 2017, eq. 2
PHI = {
    "linear": lambda z: z,
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "relu": lambda z: np.where(z > 0, z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.exp(z) - 1),
    "selu": lambda z: SELU[1] * np.where(z > 0, z, SELU[0] * (np.exp(z) - 1)),
    "gelu": lambda z: z * (1 + special.erf(z / math.sqrt(2))) / 2,
    "silu": lambda z: z * special.expit(z),
    "softplus": lambda z: np.log1p(np.exp(z)),
    "hard_tanh": lambda z: np.clip(z, -1, 1),
}
EPS = {"batch": 1e-5, "layer": 1e-5, "rms": np.finfo(np.float64).eps}


def normalised(z, norm, gain, shift):
    """Ioffe & Szegedy 2015, algorithm 1; Ba 2016, eq. 3; Zhang & Sennrich 2019, eq. 4."""
    if norm == "rms":
        return z / np.sqrt((z**2).mean(1, keepdims=True) + EPS[norm]) * gain
    axis = 0 if norm == "batch" else 1
    z = (z - z.mean(axis, keepdims=True)) / np.sqrt(z.var(axis, keepdims=True) + EPS[norm])
    return z * gain + shift


def randomised(model, seed=0):
    """The model in float64 with every parameter random, gains and shifts of norms too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def randn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def arrays(module):
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


def test_the_known_activations():
    assert list(ACTIVATIONS) == list(PHI)
    for factory in ACTIVATIONS.values():
        assert isinstance(factory(), nn.Module) and factory() is not factory()
        assert getattr(factory(), "inplace", False) is False


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", [None, "batch", "layer", "rms"])
@pytest.mark.parametrize("activation", PHI)
def test_mlp_is_its_formula(activation, norm, residual):
    widths = (6, 5, 5, 4, 4, 3)
    model = randomised(MLP(widths, activation, norm=norm, residual=residual))
    x = randn(7, 2, 3)
    values = arrays(model)
    h = x.numpy().reshape(7, 6)
    for i, (before, after) in enumerate(pairwise(widths[:-1])):
        z = h @ values[f"hidden.{i}.0.weight"].T + values[f"hidden.{i}.0.bias"]
        if norm:
            gain, shift = values[f"hidden.{i}.1.weight"], values.get(f"hidden.{i}.1.bias")
            z = normalised(z, norm, gain, shift)
        h = PHI[activation](z) + (h if residual and before == after else 0)
    logits = h @ values["output.weight"].T + values["output.bias"]
    np.testing.assert_allclose(
        model(x).detach(), logits, rtol=1e-12, atol=1e-12 * abs(logits).max()
    )


def test_batch_norm_in_evaluation_uses_running_statistics():
    model = randomised(MLP((3, 4, 2), "tanh", norm="batch")).eval()
    model.hidden[0][1].running_mean.copy_(randn(4))
    model.hidden[0][1].running_var.copy_(randn(4).square())
    values = arrays(model) | {name: b.numpy() for name, b in model.named_buffers()}
    x = randn(5, 3)
    z = x.numpy() @ values["hidden.0.0.weight"].T + values["hidden.0.0.bias"]
    mean, variance = values["hidden.0.1.running_mean"], values["hidden.0.1.running_var"]
    z = (z - mean) / np.sqrt(variance + 1e-5)
    h = np.tanh(z * values["hidden.0.1.weight"] + values["hidden.0.1.bias"])
    expected = h @ values["output.weight"].T + values["output.bias"]
    np.testing.assert_allclose(model(x).detach(), expected, **EXACT)


def test_two_widths_are_a_linear_model():
    model = randomised(MLP((4, 3)))
    x = randn(5, 4)
    expected = x @ model.output.weight.T + model.output.bias
    torch.testing.assert_close(model(x), expected, **EXACT)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm, gains", [(None, 0), ("batch", 2), ("layer", 2), ("rms", 1)])
def test_parameters_of_an_mlp(norm, gains, bias):
    widths = (10, 7, 5, 3)
    expected = sum(a * b + bias * b for a, b in pairwise(widths)) + gains * (7 + 5)
    assert sum(p.numel() for p in MLP(widths, norm=norm, bias=bias).parameters()) == expected


def test_the_documents_network():
    model = MLP((784, 128, 10))
    assert sum(p.numel() for p in model.parameters()) == 784 * 128 + 128 + 128 * 10 + 10
    assert model(torch.zeros(5, 1, 28, 28)).shape == (5, 10)
    assert [type(m) for m in model.modules() if m in (*model.hidden[0], model.output)] == [
        nn.Linear, nn.ReLU, nn.Linear,
    ]  # fmt: skip
    assert model.widths == (784, 128, 10) and not model.residual


def test_widths_may_be_numbers_from_numpy():
    model = MLP(np.array([3, 4, 2]))
    assert model.widths == (3, 4, 2) and {type(width) for width in model.widths} == {int}


@pytest.mark.parametrize("model, x, count", [
    (MLP((6, 5, 5, 5, 2), "relu", norm="batch", residual=True), torch.rand(4, 6), 3),
    (ConvNet(1, 2, channels=(3, 3, 3), norm="rms"), torch.rand(4, 1, 9, 9), 3),
    (ConvNet(1, 2, activation="elu"), torch.rand(4, 1, 9, 9), 2),
])  # fmt: skip
def test_every_activation_is_a_module_that_runs_once(model, x, count):
    calls, kept = Counter(), []
    kinds = tuple({type(factory()) for factory in ACTIVATIONS.values()})
    places = [module for module in model.modules() if isinstance(module, kinds)]
    for module in places:

        def hook(module, inputs, output):
            calls[module] += 1
            kept.append((inputs[0], inputs[0].clone(), output, output.clone()))

        module.register_forward_hook(hook)
    model(x)
    assert len(places) == count and calls == Counter(places)
    for before, copy_before, after, copy_after in kept:  # nothing was changed in place
        assert torch.equal(before, copy_before) and torch.equal(after, copy_after)


@pytest.mark.parametrize("error, match, arguments", [
    (ValueError, r"^widths needs 2 or more entries, got \(3,\)", [(3,)]),
    (ValueError, "^widths needs 2 or more", [()]),
    (TypeError, "^widths must be a sequence of integers, got 784", [784]),
    (ValueError, "^every entry of widths must be at least 1, got 0", [(3, 0, 2)]),
    (TypeError, "^every entry of widths must be an integer, got 2.0", [(3, 2.0)]),
    (ValueError, "^activation must be one of linear, .*hard_tanh; got 'swish'", [(3, 2), "swish"]),
])  # fmt: skip
def test_bad_arguments_of_mlp(error, match, arguments):
    with pytest.raises(error, match=match):
        MLP(*arguments)


def test_unknown_norms():
    for network in (lambda norm: MLP((3, 2), norm=norm), lambda norm: ConvNet(1, 2, norm=norm)):
        for norm in ("group", False):
            with pytest.raises(ValueError, match="norm must be one of batch, layer, rms"):
                network(norm)


def test_inputs_of_another_size():
    with pytest.raises(ValueError, match=r"takes 6 values .* got 5 \(input of shape \(2, 5\)\)"):
        MLP((6, 2))(torch.zeros(2, 5))


# ConvNet


def convolution(x, weight, bias):
    """3x3, zeros around, in plain loops."""
    n, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    z = np.zeros((n, len(weight), height, width))
    for i in range(height):
        for j in range(width):
            patch = padded[:, :, i : i + 3, j : j + 3]
            z[:, :, i, j] = np.einsum("nchw,ochw->no", patch, weight) + bias
    return z


def normalised_images(z, norm, gain, shift):
    gain, shift = gain.reshape(1, -1, 1, 1), 0 if shift is None else shift.reshape(1, -1, 1, 1)
    if norm == "rms":
        return z / np.sqrt((z**2).mean((1, 2, 3), keepdims=True) + 1e-5) * gain
    axes = (0, 2, 3) if norm == "batch" else (1, 2, 3)
    centred = z - z.mean(axes, keepdims=True)
    return centred / np.sqrt(z.var(axes, keepdims=True) + 1e-5) * gain + shift


@pytest.mark.parametrize("norm", [None, "batch", "layer", "rms"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("size", [(4, 4), (7, 5)])
def test_convnet_is_its_formula(activation, norm, size):
    model = randomised(ConvNet(2, 3, channels=(4, 5), activation=activation, norm=norm))
    h = x = randn(3, 2, *size).numpy()
    convolutions = [m for m in model.features if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.features if norm and "weight" in dict(m.named_parameters())][1::2]
    for i, layer in enumerate(convolutions):
        if i:
            n, c, height, width = h.shape
            height, width = height // 2, width // 2
            h = h[:, :, : 2 * height, : 2 * width].reshape(n, c, height, 2, width, 2).max((3, 5))
        z = convolution(h, layer.weight.detach().numpy(), layer.bias.detach().numpy())
        if norm:
            values = arrays(norms[i])
            z = normalised_images(z, norm, values["weight"], values.get("bias"))
        h = PHI[activation](z)
    pooled = h.mean((2, 3))
    logits = pooled @ model.classifier.weight.detach().numpy().T
    logits = logits + model.classifier.bias.detach().numpy()
    got = model(torch.from_numpy(x)).detach()
    np.testing.assert_allclose(got, logits, rtol=1e-12, atol=1e-12 * abs(logits).max())


def test_the_head_of_class_activation_maps():
    """Zhou 2016, eq. 2: a logit is the mean over positions of the classifier's map."""
    model = randomised(ConvNet(1, 3))
    x = randn(2, 1, 8, 8)
    maps = torch.einsum("oc,nchw->nohw", model.classifier.weight, model.features(x))
    torch.testing.assert_close(model(x), maps.mean((2, 3)) + model.classifier.bias, **EXACT)


def test_parameters_and_layers_of_a_convnet():
    model = ConvNet(3, 10, channels=(8, 16, 4), norm="layer")
    expected = sum(9 * a * b + b + 2 * b for a, b in pairwise((3, 8, 16, 4))) + 4 * 10 + 10
    assert sum(p.numel() for p in model.parameters()) == expected
    last = [m for m in model.features.modules() if isinstance(m, nn.Conv2d)][-1]
    assert last.out_channels == model.classifier.in_features == 4
    assert [type(m) for m in ConvNet(1, 2, norm="batch").features] == [
        nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Conv2d, nn.BatchNorm2d, nn.ReLU,
    ]  # fmt: skip
    default = [m.out_channels for m in ConvNet(1, 2).features if isinstance(m, nn.Conv2d)]
    assert default == [16, 32]


@pytest.mark.parametrize("size", [(2, 2), (8, 8), (25, 25), (3, 50)])
def test_images_of_any_size(size):
    assert ConvNet(1, 2)(torch.zeros(4, 1, *size)).shape == (4, 2)


@pytest.mark.parametrize("error, match, arguments", [
    (ValueError, "^channels needs 1 or more entries", dict(channels=())),
    (TypeError, "^channels must be a sequence", dict(channels=16)),
    (ValueError, "^every entry of channels must be at least 1", dict(channels=(8, 0))),
    (ValueError, "^in_channels must be at least 1", dict(in_channels=0)),
    (ValueError, "^n_classes must be at least 1", dict(n_classes=-1)),
    (ValueError, "^activation must be one of", dict(activation="mish")),
])  # fmt: skip
def test_bad_arguments_of_convnet(error, match, arguments):
    with pytest.raises(error, match=match):
        ConvNet(**({"in_channels": 1, "n_classes": 2} | arguments))


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 3, 8, 8), (1, 1, 1, 8, 8)])
def test_images_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"takes images \[N, 1, H, W\], got \["):
        ConvNet(1, 2)(torch.zeros(shape))


def test_image_rms_norm():
    norm = randomised(ImageRMSNorm(3))
    x = randn(4, 3, 5, 2)
    expected = np.empty(x.shape)
    for n in range(4):
        rms = math.sqrt(sum(v * v for v in x[n].flatten().tolist()) / 30 + 1e-5)
        for c in range(3):
            expected[n, c] = x[n, c].numpy() / rms * norm.weight[c].item()
    np.testing.assert_allclose(norm(x).detach(), expected, **EXACT)
    assert torch.equal(ImageRMSNorm(3).weight, torch.ones(3, 1, 1))
    loose = ImageRMSNorm(3, eps=1.0).double()
    np.testing.assert_allclose(loose(0 * x + 1).detach(), np.full(x.shape, 1 / math.sqrt(2)))
    assert torch.isfinite(ImageRMSNorm(3)(torch.zeros(1, 3, 2, 2))).all()


# SequenceClassifier


def step(cell, x, h, c, w, hidden):
    """One step by hand; PyTorch's order of gates: i f g o for LSTM, r z n for GRU."""
    ours = x @ w["weight_ih_l0"].T + w["bias_ih_l0"]
    theirs = h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
    if cell == "rnn":
        return np.tanh(ours + theirs), c
    a = [ours[:, k * hidden : (k + 1) * hidden] for k in range(ours.shape[1] // hidden)]
    b = [theirs[:, k * hidden : (k + 1) * hidden] for k in range(len(a))]
    if cell == "gru":
        r, z = special.expit(a[0] + b[0]), special.expit(a[1] + b[1])
        return (1 - z) * np.tanh(a[2] + r * b[2]) + z * h, c
    i, f, o = (special.expit(a[k] + b[k]) for k in (0, 1, 3))
    c = f * c + i * np.tanh(a[2] + b[2])
    return o * np.tanh(c), c


@pytest.mark.parametrize("cell, gates", [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_sequences_step_by_step(cell, gates):
    model = randomised(SequenceClassifier(cell, 3, 5, 2))
    x = randn(4, 6, 3)
    w = arrays(model.cell)
    h = c = np.zeros((4, 5))
    for t in range(6):
        h, c = step(cell, x[:, t].numpy(), h, c, w, 5)
    head = arrays(model.output)
    np.testing.assert_allclose(model(x).detach(), h @ head["weight"].T + head["bias"], **EXACT)
    expected = gates * (5 * 3 + 5 * 5 + 2 * 5) + 5 * 2 + 2
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("error, match, arguments", [
    (ValueError, "^cell must be one of rnn, lstm, gru; got 'mamba'", ("mamba", 1, 1, 1)),
    (ValueError, "^input_size must be at least 1", ("rnn", 0, 1, 1)),
    (TypeError, "^hidden_size must be an integer", ("rnn", 1, 1.5, 1)),
    (ValueError, "^n_classes must be at least 1", ("rnn", 1, 1, 0)),
])  # fmt: skip
def test_bad_arguments_of_sequence_classifier(error, match, arguments):
    with pytest.raises(error, match=match):
        SequenceClassifier(*arguments)


@pytest.mark.parametrize("shape", [(5, 3), (4, 6, 2), (4, 0, 3), (1, 4, 6, 3)])
def test_sequences_of_another_shape(shape):
    """Five steps without a batch once passed for five units of the state."""
    with pytest.raises(ValueError, match=r"takes sequences \[N, T, 3\] of at least one step"):
        SequenceClassifier("rnn", 3, 5, 2)(torch.zeros(shape))


# weight_layers


def test_names_and_order_of_weight_layers():
    mlp = MLP((4, 3, 3, 2), norm="batch")
    layers = weight_layers(mlp)
    assert list(layers) == ["hidden.0.0", "hidden.1.0", "output"]
    assert layers["hidden.1.0"] is mlp.hidden[1][0].weight
    assert list(weight_layers(ConvNet(1, 2, norm="batch"))) == [
        "features.0", "features.4", "classifier",
    ]  # fmt: skip
    recurrent = SequenceClassifier("lstm", 3, 5, 2)
    layers = weight_layers(recurrent)
    assert list(layers) == ["cell.weight_ih_l0", "cell.weight_hh_l0", "output"]
    assert layers["cell.weight_hh_l0"] is recurrent.cell.weight_hh_l0


def test_a_layer_by_itself():
    linear, deep = nn.Linear(2, 3), nn.GRU(2, 3, num_layers=2, bidirectional=True)
    assert weight_layers(linear)["weight"] is linear.weight and len(weight_layers(linear)) == 1
    assert list(weight_layers(deep)) == [
        f"weight_{part}_l{layer}{direction}"
        for layer in (0, 1)
        for direction in ("", "_reverse")
        for part in ("ih", "hh")
    ]


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_cells_count_as_recurrent_layers(cell):
    module = nn.ModuleDict({"cell": cell(2, 3), "embedding": nn.Embedding(5, 2)})
    assert list(weight_layers(module)) == ["cell.weight_ih", "cell.weight_hh"]


def test_a_shared_weight_stands_once():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, nn.ReLU(), first, second, nn.Conv1d(1, 1, 1))
    assert list(weight_layers(model)) == ["0", "4"]


def test_models_without_layers():
    with pytest.raises(ValueError, match="Sequential has no linear, convolutional or recurrent"):
        weight_layers(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)))
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got function"):
        weight_layers(lambda x: x)
    assert set(models.CELLS) == {"rnn", "lstm", "gru"}


@pytest.mark.parametrize("change, trained", [
    (parametrizations.weight_norm, lambda m: m.parametrizations.weight.original1),
    (parametrizations.spectral_norm, lambda m: m.parametrizations.weight.original),
    (utils.weight_norm, lambda m: m.weight_v),
    (utils.spectral_norm, lambda m: m.weight_orig),
    (lambda m: prune.l1_unstructured(m, "weight", amount=0.5), lambda m: m.weight_orig),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_computed_weights_stand_for_what_is_trained(change, trained):
    """Computing spectral_norm's weight moves its buffers, and gives a tensor the loss never saw."""
    torch.manual_seed(0)
    model = nn.Sequential(change(nn.Linear(4, 3)), nn.ReLU(), nn.Linear(3, 2))
    loss = model(torch.randn(5, 4)).square().sum()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = weight_layers(model)
    assert list(layers) == ["0", "2"] and layers["0"] is trained(model[0])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.autograd.grad(loss, layers["0"])[0].norm() > 0


@pytest.mark.parametrize("module, part", [
    (nn.LSTM(2, 3, proj_size=2), "weight_hh_l0"), (nn.GRUCell(2, 3), "weight_hh"),
])  # fmt: skip
def test_computed_weights_of_recurrent_layers(module, part):
    names = list(weight_layers(module))
    prune.random_unstructured(module, part, amount=0.5)
    layers = weight_layers(module)
    assert list(layers) == names and layers[part] is module._parameters[f"{part}_orig"]


def test_a_weight_that_is_no_parameter_is_left_out():
    layer = nn.Linear(3, 2)
    del layer.weight
    layer.weight = torch.ones(2, 3)
    assert list(weight_layers(nn.Sequential(layer, nn.Linear(2, 2)))) == ["1"]


def test_lazy_layers_without_weights_yet():
    model = nn.Sequential(nn.LazyConv1d(2, 1), nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"^0 has no weights yet: run one batch through the model"):
        weight_layers(model)
    model(torch.zeros(2, 1, 4))
    assert list(weight_layers(model)) == ["0", "2"]
