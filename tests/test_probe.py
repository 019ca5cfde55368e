"""Probes against backward passes written by hand in float64."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from vglab.models import MLP, ConvNet, SequenceClassifier, weight_layers
from vglab.probe import Probe, layer_gradients

# φ and φ', as a function of z, in NumPy.
PHI = {
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
}


def make(widths=(6, 5, 5, 5, 3), activation="tanh", n=7, dtype=torch.float64, **options):
    torch.manual_seed(3)
    model = MLP(widths, activation, **options).to(dtype)
    x = torch.randn(n, widths[0], dtype=dtype)
    return model, x, torch.arange(n) % widths[-1]


def by_hand(model, x, y, activation, residual=False):
    """Forward and backward pass in NumPy: z, h, ∂L/∂h and ∂L/∂W of every layer."""
    phi, slope = PHI[activation]
    layers = [block[0] for block in model.hidden] + [model.output]
    weights = [layer.weight.detach().numpy().astype(float) for layer in layers]
    biases = [layer.bias.detach().numpy().astype(float) for layer in layers]
    inputs, zs, hs = [x.numpy().astype(float)], [], []
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        zs.append(inputs[-1] @ w.T + b)
        hs.append(phi(zs[-1]))
        skip = inputs[-1] if residual and inputs[-1].shape == hs[-1].shape else 0
        inputs.append(hs[-1] + skip)
    logits = inputs[-1] @ weights[-1].T + biases[-1]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    delta = (shares - np.eye(logits.shape[1])[y.numpy()]) / len(x)
    weight_gradients, h_gradients = [delta.T @ inputs[-1]], [delta]
    back = delta @ weights[-1]
    for i in reversed(range(len(zs))):
        h_gradients.append(back)
        delta = back * slope(zs[i])
        weight_gradients.append(delta.T @ inputs[i])
        skip = back if residual and inputs[i].shape == hs[i].shape else 0
        back = delta @ weights[i] + skip
    return zs, [*hs, logits], h_gradients[::-1], weight_gradients[::-1]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", PHI)
def test_layer_gradients_equal_a_backward_pass_by_hand(activation, residual):
    model, x, y = make(activation=activation, residual=residual)
    found = layer_gradients(model, functional.cross_entropy(model(x), y))
    *_, expected = by_hand(model, x, y, activation, residual)
    assert found.names == ("hidden.0.0", "hidden.1.0", "hidden.2.0", "output")
    weights = [w.detach().numpy() for w in weight_layers(model).values()]
    for i, gradient in enumerate(expected):
        assert found.gradient_norm[i] == pytest.approx(math.sqrt((gradient**2).sum()), rel=1e-10)
        rms = math.sqrt((gradient**2).mean())
        assert found.gradient_rms[i] == pytest.approx(rms, rel=1e-10)
        norm = math.sqrt((weights[i] ** 2).sum())
        assert found.weight_norm[i] == pytest.approx(norm, rel=1e-10)
    assert found.gradient_norm.dtype == torch.float64


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", PHI)
def test_probe_equals_a_backward_pass_by_hand(activation, residual):
    model, x, y = make(activation=activation, residual=residual)
    with Probe(model) as probe:
        functional.cross_entropy(model(x), y).backward()
    frame = probe.frame()
    _, hs, gradients, _ = by_hand(model, x, y, activation, residual)
    assert list(frame.index) == ["hidden.0.0", "hidden.1.0", "hidden.2.0", "output"]
    assert frame.index.name == "layer"
    assert list(frame.columns) == ["mean", "std", "saturated", "gradient_norm"]
    for row, h, gradient in zip(frame.itertuples(), hs, gradients, strict=True):
        assert row.mean == pytest.approx(h.mean(), rel=1e-10, abs=1e-14)
        assert row.std == pytest.approx(h.std(), rel=1e-10)
        assert row.gradient_norm == pytest.approx(np.sqrt((gradient**2).sum()), rel=1e-10)


def test_convolution_equals_a_matrix_product_over_unfolded_patches():
    torch.manual_seed(0)
    model = ConvNet(2, 3, channels=(4,), activation="tanh").double()
    x, y = torch.randn(5, 2, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    found = layer_gradients(model, functional.cross_entropy(model(x), y))
    with Probe(model) as probe:
        functional.cross_entropy(model(x), y).backward()

    conv, head = model.features[0], model.classifier
    patches = functional.unfold(x, 3, padding=1).numpy()  # [N, C * 9, H * W]
    kernel = conv.weight.detach().reshape(4, -1).numpy()
    h = np.tanh(kernel @ patches + conv.bias.detach().numpy()[None, :, None])
    pooled = h.mean(2)
    logits = pooled @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    delta = (shares - np.eye(3)[y.numpy()]) / 5
    dh = np.repeat((delta @ head.weight.detach().numpy())[:, :, None] / 36, 36, axis=2)
    dz = dh * (1 - h**2)
    expected = [np.einsum("ncp,nkp->ck", dz, patches), delta.T @ pooled]
    for norm, gradient in zip(found.gradient_norm, expected, strict=True):
        assert norm == pytest.approx(np.sqrt((gradient**2).sum()), rel=1e-10)
    row = probe.frame().loc["features.0"]
    assert row["mean"] == pytest.approx(h.mean(), rel=1e-10)
    assert row["gradient_norm"] == pytest.approx(np.sqrt((dh**2).sum()), rel=1e-10)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_recurrent_layers_equal_finite_differences(cell):
    torch.manual_seed(0)
    model = SequenceClassifier(cell, 2, 3, 2).double()
    x, y = torch.randn(4, 3, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    found = layer_gradients(model, functional.cross_entropy(model(x), y))
    assert found.names == ("cell.weight_ih_l0", "cell.weight_hh_l0", "output")
    step = 1e-5
    for norm, weight in zip(found.gradient_norm, weight_layers(model).values(), strict=True):
        square = 0.0
        with torch.no_grad():
            flat = weight.view(-1)
            for i in range(len(flat)):
                values = []
                for sign in (1, -1):
                    flat[i] += sign * step
                    values.append(functional.cross_entropy(model(x), y).item())
                    flat[i] -= sign * step
                square += ((values[0] - values[1]) / (2 * step)) ** 2
        # Central differences: truncation h² = 1e-10, rounding eps / h = 2e-11.
        assert norm == pytest.approx(math.sqrt(square), rel=1e-7)
    with Probe(model) as probe:
        functional.cross_entropy(model(x), y).backward()
    frame = probe.frame()
    states = model.cell(x)[0].detach()
    assert frame.loc["cell", "mean"] == pytest.approx(states.numpy().mean(), rel=1e-10)
    assert math.isnan(frame.loc["cell", "saturated"])
    assert frame.loc["cell", "gradient_norm"] > 0


def test_packed_sequences_are_watched():
    torch.manual_seed(0)

    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.output = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 2)

        def forward(self, x):
            packed = nn.utils.rnn.pack_padded_sequence(x, [3, 2], batch_first=True)
            states, last = self.cell(packed)
            self.states = states.data
            return self.output(last[-1])

    model = Packed()
    with Probe(model) as probe:
        model(torch.randn(2, 3, 2)).sum().backward()
    assert probe.frame().loc["cell", "mean"] == pytest.approx(model.states.mean().item())


@pytest.mark.parametrize("scale", [1e-33, 1e-40])
def test_tiny_gradients_do_not_underflow(scale):
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    x = torch.full((1, 3), scale, dtype=torch.float32)
    found = layer_gradients(model, model(x).sum())
    # Six equal entries; 1e-40 is subnormal in float32, held to about 2^-17 of itself.
    expected = math.sqrt(6) * x[0, 0].double().item()
    assert found.gradient_norm[0] == pytest.approx(expected, rel=1e-4)
    assert found.gradient_norm[0] > 0
    with Probe(model) as probe:
        (model(x) * scale).sum().backward()
    assert probe.frame().loc["0", "gradient_norm"] == pytest.approx(math.sqrt(2) * scale, rel=1e-4)


def test_layer_gradients_leaves_everything_as_it_was():
    model, x, y = make(dtype=torch.float32, norm="batch")
    model.train()
    model.hidden[1].eval()
    for i, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, float(i)) if i % 2 else None
    modes = [module.training for module in model.modules()]
    fired = []
    model.hidden[0].register_forward_hook(lambda *_: fired.append(1))
    before = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    loss = functional.cross_entropy(model(x), y)
    state = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    first = layer_gradients(model, loss)
    second = layer_gradients(model, loss)
    assert torch.equal(first.gradient_norm, second.gradient_norm)
    assert torch.equal(random, torch.get_rng_state())
    assert [module.training for module in model.modules()] == modes
    assert len(fired) == 1 and len(model.hidden[0]._forward_hooks) == 1
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert (parameter.grad is None) == (old is None)
        assert old is None or torch.equal(parameter.grad, old)
    model.zero_grad()
    loss.backward()  # the graph is still there
    own = model.output.weight.grad.double().norm().item()
    # Float32: the norm of the same gradient, rounded once.
    assert first.gradient_norm[-1] == pytest.approx(own, rel=1e-6)


def test_frozen_unused_and_shared_weights():
    model, x, y = make(dtype=torch.float64)
    model.hidden[0][0].weight.requires_grad_(False)
    model.spare = nn.Linear(2, 2)
    model.hidden[2][0].weight = model.hidden[1][0].weight
    loss = functional.cross_entropy(model(x), y)
    found = layer_gradients(model, loss)
    assert found.names == ("hidden.0.0", "hidden.1.0", "output", "spare")
    assert math.isnan(found.gradient_norm[0]) and math.isnan(found.gradient_rms[0])
    assert found.weight_norm[0] > 0
    assert found.gradient_norm[3] == 0
    # A shared weight's gradient is the sum of those of its two places.
    *_, gradients = by_hand(model, x, y, "tanh")
    both = gradients[1] + gradients[2]
    assert found.gradient_norm[1] == pytest.approx(np.sqrt((both**2).sum()), rel=1e-10)


def test_layer_gradients_refuses_what_it_cannot_measure():
    model, x, y = make()
    loss = functional.cross_entropy(model(x), y)
    with pytest.raises(TypeError, match=r"scalar tensor, got \[7, 3\]"):
        layer_gradients(model, model(x))
    with pytest.raises(TypeError, match="scalar tensor, got float"):
        layer_gradients(model, 1.0)
    with pytest.raises(ValueError, match="loss has no graph"):
        layer_gradients(model, loss.detach())
    with torch.no_grad(), pytest.raises(ValueError, match="loss has no graph"):
        layer_gradients(model, functional.cross_entropy(model(x), y))
    loss.backward()
    with pytest.raises(ValueError, match=r"freed by loss\.backward"):
        layer_gradients(model, loss)
    with pytest.raises(ValueError, match="does not depend on any weight"):
        layer_gradients(model, torch.ones((), requires_grad=True) * 2)
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got int"):
        layer_gradients(3, functional.cross_entropy(model(x), y))
    with pytest.raises(ValueError, match="no linear, convolutional or recurrent"):
        layer_gradients(nn.Tanh(), functional.cross_entropy(model(x), y))
    loss = functional.cross_entropy(model(x), y)
    with torch.no_grad():
        model.output.weight.mul_(2)
    with pytest.raises(ValueError, match="a change of the weights since"):
        layer_gradients(model, loss)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="every weight layer is frozen"):
        layer_gradients(model, model(x.requires_grad_()).sum())


def test_loss_of_one_element_counts_as_scalar():
    model, x, y = make()
    loss = functional.cross_entropy(model(x), y)
    one, none = layer_gradients(model, loss.view(1)), layer_gradients(model, loss)
    assert torch.equal(one.gradient_norm, none.gradient_norm)


def test_half_precision_is_reported_in_float32():
    model = MLP((4, 3, 2)).bfloat16()
    found = layer_gradients(model, model(torch.ones(2, 4, dtype=torch.bfloat16)).sum())
    assert found.gradient_norm.dtype == found.weight_norm.dtype == torch.float32
    with Probe(model) as probe:
        model(torch.ones(2, 4, dtype=torch.bfloat16))
    assert np.isfinite(probe.frame()["std"]).all()


def test_to_frame():
    model, x, y = make()
    found = layer_gradients(model, functional.cross_entropy(model(x), y))
    frame = found.to_frame()
    assert list(frame.columns) == ["weight_norm", "gradient_norm", "gradient_rms"]
    assert frame.index.name == "layer" and tuple(frame.index) == found.names
    assert np.array_equal(frame["gradient_rms"], found.gradient_rms.numpy())


# What a probe must not disturb.


@pytest.mark.parametrize("norm", [None, "batch"])
def test_outputs_and_gradients_are_bitwise_the_same_under_a_probe(norm):
    plain, x, y = make(dtype=torch.float32, norm=norm, residual=True)
    watched = copy.deepcopy(plain)
    expected = plain(x)
    functional.cross_entropy(expected, y).backward()
    with Probe(watched):
        outputs = watched(x)
        functional.cross_entropy(outputs, y).backward()
    assert torch.equal(outputs, expected)
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(plain.buffers(), watched.buffers(), strict=True):
        assert torch.equal(one, other)


def hooks(model):
    return [
        (*module._forward_hooks, *module._forward_pre_hooks, *module._backward_hooks)
        for module in model.modules()
    ]


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt])
def test_hooks_are_gone_afterwards_and_the_users_stay(error):
    model, x, _ = make(dtype=torch.float32)
    fired = []
    model.hidden[0][1].register_forward_hook(lambda *_: fired.append("user"))
    before = hooks(model)
    outputs = None
    try:
        with Probe(model):
            assert fired == []  # entering runs nothing
            outputs = model(x)
            assert hooks(model) != before
            if error:
                raise error
    except (KeyError, KeyboardInterrupt):
        assert error
    assert fired == ["user"]
    assert hooks(model) == before
    assert not outputs.grad_fn.metadata
    model(x)
    assert fired == ["user", "user"]


def test_hooks_are_gone_after_the_model_itself_fails():
    model, x, _ = make(dtype=torch.float32)
    probe = Probe(model)
    with pytest.raises(ValueError, match="takes 6 values"), probe:
        model(x[:, :3])
    assert not any(hooks(model))
    with pytest.raises(RuntimeError, match=r"size|shape"), probe:
        model.hidden[0](x)
        model.hidden[1](x)
    assert not any(hooks(model))
    assert list(probe.frame().index) == ["hidden.0.0"]


def test_hooks_are_gone_even_if_measuring_fails():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].register_forward_hook(lambda *_: "not a tensor")
    with pytest.raises(AttributeError), Probe(model):
        model[0](torch.ones(1, 2))
    assert len(model[0]._forward_hooks) == 1


def test_gradient_hooks_are_gone_too():
    model, x, _ = make(dtype=torch.float32)
    with Probe(model) as probe:
        loss = model(x).sum()
    loss.backward()
    assert probe.frame()["gradient_norm"].isna().all()


def test_probe_entered_twice():
    model, x, _ = make(dtype=torch.float32)
    probe = Probe(model)
    with probe:
        with pytest.raises(RuntimeError, match="watching already"):
            probe.__enter__()
        model(x)
    assert not any(hooks(model))
    with probe, Probe(model) as inner:  # again, and two at once
        model(x)
    assert probe.frame().equals(inner.frame())
    assert not any(hooks(model))


def test_probe_needs_layers():
    with pytest.raises(ValueError, match="no linear"):
        Probe(nn.ReLU())
    with pytest.raises(TypeError, match="must be a torch"):
        Probe("model")
    assert Probe(nn.Linear(1, 1)).frame().empty


# What a probe sees.

SATURATED_FROM = {
    # σ' = s(1 - s) = 0.05 / 4 and tanh' = 1 - t² = 0.05, solved for z.
    "sigmoid": math.log((1 + math.sqrt(0.95)) / (1 - math.sqrt(0.95))),
    "tanh": math.atanh(math.sqrt(0.95)),
}


@pytest.mark.parametrize("activation", PHI)
def test_saturated_share_in_closed_form(activation):
    z = torch.linspace(-9, 9, 1201, dtype=torch.float64)[:, None]
    model = MLP((1, 1, 1), activation).double()
    with torch.no_grad():
        model.hidden[0][0].weight.fill_(1)
        model.hidden[0][0].bias.zero_()
    with Probe(model) as probe:
        model(z)
    if activation == "relu":
        expected = (z <= 0).double().mean().item()
    else:
        expected = (z.abs() > SATURATED_FROM[activation]).double().mean().item()
    # The edge is found on a grid of 0.001: no z of this test lies as near to one.
    assert probe.frame().loc["hidden.0.0", "saturated"] == pytest.approx(expected, abs=1e-12)
    assert math.isnan(probe.frame().loc["output", "saturated"])


@pytest.mark.parametrize("activation", SATURATED_FROM)
@pytest.mark.parametrize("side", [-1, 1])
def test_edge_of_saturation(activation, side):
    model = MLP((1, 1, 1), activation).double()
    edge = SATURATED_FROM[activation]
    with torch.no_grad():
        model.hidden[0][0].weight.fill_(side)
        model.hidden[0][0].bias.zero_()
    for z, share in [(edge - 0.0015, 0), (edge + 0.0015, 1)]:
        with Probe(model) as probe:
            model(torch.full((2, 1), z, dtype=torch.float64))
        assert probe.frame().loc["hidden.0.0", "saturated"] == share


def test_zero_counts_as_saturated_for_relu():
    model = MLP((2, 3, 2), "relu", bias=False)
    with Probe(model) as probe:
        model(torch.zeros(2, 2))
    assert probe.frame().loc["hidden.0.0", "saturated"] == 1


@pytest.mark.parametrize("kind", [nn.ReLU, nn.ELU, nn.Hardtanh, nn.SiLU])
def test_activation_in_place(kind):
    torch.manual_seed(0)
    x = torch.randn(50, 4) * 4
    layers = [nn.Linear(4, 6), kind(), nn.Linear(6, 2)]
    model = nn.Sequential(*layers)
    in_place = nn.Sequential(layers[0], kind(inplace=True), layers[2])
    with Probe(model) as probe:
        model(x).square().sum().backward()
    with Probe(in_place) as other:
        in_place(x).square().sum().backward()
    assert probe.frame().equals(other.frame())
    assert 0 < probe.frame().loc["0", "saturated"] < 1


@pytest.mark.parametrize("in_place", [False, True])
def test_functional_activation(in_place):
    """The documents' network: no module to see, so that the layer stands for itself."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            self.z = self.fc1(x)
            return self.fc2(torch.relu_(self.z) if in_place else torch.relu(self.z))

    torch.manual_seed(0)
    net = Net()
    with Probe(net) as probe:
        net(torch.randn(6, 5)).sum().backward()
    frame = probe.frame()
    assert list(frame.index) == ["fc1", "fc2"]
    assert frame["saturated"].isna().all()
    assert frame.loc["fc1", "mean"] == pytest.approx(net.z.mean().item(), rel=1e-6)
    assert (frame["gradient_norm"] > 0).all()


def test_activation_after_norm_dropout_and_identity_belongs_to_the_layer_before():
    model = nn.Sequential(
        nn.Linear(3, 4), nn.Identity(), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2), nn.Identity()
    )
    x = torch.randn(9, 3)
    with Probe(model) as probe:
        model(x)
    model.eval()
    frame = probe.frame()
    assert list(frame.index) == ["0", "4"]
    assert 0 < frame.loc["0", "saturated"] < 1
    assert frame.loc["4", "saturated"] == 0  # the identity's slope is 1 everywhere
    assert frame.loc["0", "mean"] > 0  # of the ReLU's output, after the norm


def test_only_the_next_activation_belongs_to_a_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Tanh())
    x = torch.randn(9, 3)
    with Probe(model) as probe:
        model(x)
    expected = torch.relu(model[0](x)).mean().item()
    assert probe.frame().loc["0", "mean"] == pytest.approx(expected, rel=1e-6)
    share = (model[0](x) <= 0).double().mean().item()
    assert probe.frame().loc["0", "saturated"] == pytest.approx(share)


def test_an_activation_with_nothing_before_it_is_left_out():
    model = nn.Sequential(nn.ReLU(), nn.Linear(3, 2))
    with Probe(model) as probe:
        model(torch.randn(4, 3))
    assert list(probe.frame().index) == ["1"]


def test_an_activation_called_by_keyword():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.phi = nn.Linear(2, 2), nn.ReLU()

        def forward(self, x):
            return self.phi(input=self.layer(x))

    with Probe(Net()) as probe:
        probe._model(torch.randn(3, 2))
    assert math.isnan(probe.frame().loc["layer", "saturated"])
    assert probe.frame().loc["layer", "mean"] >= 0


def test_several_passes_are_averaged():
    model, x, y = make()
    frames = []
    for part in (slice(0, 3), slice(3, 7)):
        with Probe(model) as probe:
            functional.cross_entropy(model(x[part]), y[part]).backward()
        frames.append(probe.frame())
    with Probe(model) as probe:
        for part in (slice(0, 3), slice(3, 7)):
            functional.cross_entropy(model(x[part]), y[part]).backward()
    expected = (frames[0] + frames[1]) / 2
    np.testing.assert_allclose(probe.frame(), expected, rtol=1e-14)


def test_a_layer_that_runs_twice_in_a_pass_is_followed_in_both():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.phi = nn.Linear(3, 3), nn.Tanh()

        def forward(self, x):
            self.first = self.phi(self.layer(x))
            self.second = self.phi(self.layer(self.first))
            return self.second

    torch.manual_seed(0)
    model = Twice().double()
    with Probe(model) as probe:
        model(torch.randn(5, 3, dtype=torch.float64))
    mean = (model.first.mean() + model.second.mean()).item() / 2
    assert probe.frame().loc["layer", "mean"] == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients(context):
    model, x, _ = make()
    with context(), Probe(model) as probe:
        model(x)
    frame = probe.frame()
    assert frame["gradient_norm"].isna().all()
    assert np.isfinite(frame["mean"]).all()
    assert frame["mean"].dtype == frame["saturated"].dtype == float


def test_a_model_that_is_a_single_layer():
    model = nn.Linear(3, 2)
    with Probe(model) as probe:
        model(torch.randn(4, 3)).sum().backward()
    assert list(probe.frame().index) == ["Linear"]
    assert probe.frame().loc["Linear", "gradient_norm"] == pytest.approx(math.sqrt(8), rel=1e-6)


class Backwards(nn.Module):
    """Registers its layers from the output to the input."""

    def __init__(self):
        super().__init__()
        self.out, self.spare = nn.Linear(4, 2), nn.Linear(2, 2)
        self.mid, self.first = nn.Linear(4, 4), nn.Linear(3, 4)

    def forward(self, x):
        return self.out(torch.relu(self.mid(torch.relu(self.first(x)))))


def test_layers_stand_in_the_order_of_use():
    torch.manual_seed(0)
    model = Backwards()
    loss = model(torch.randn(5, 3)).square().sum()
    found = layer_gradients(model, loss)
    assert found.names == ("first", "mid", "out", "spare")
    loss.backward()
    for i, name in enumerate(found.names):
        weight = getattr(model, name).weight
        norm = 0 if weight.grad is None else weight.grad.norm().item()
        assert found.gradient_norm[i].item() == pytest.approx(norm, rel=1e-5)
        assert found.gradient_rms[i].item() == pytest.approx(norm / weight.numel() ** 0.5, rel=1e-5)
        assert found.weight_norm[i].item() == pytest.approx(weight.norm().item(), rel=1e-5)


@pytest.mark.parametrize("model, shape", [
    (MLP((6, *[5] * 12, 3), residual=True, norm="batch"), (4, 6)),
    (ConvNet(1, 2, channels=(3, 3, 3), norm="rms"), (4, 1, 9, 9)),
    *((SequenceClassifier(cell, 3, 4, 2), (4, 7, 3)) for cell in ("rnn", "lstm", "gru")),
    (nn.Sequential(nn.Linear(1, 1, bias=False)), (1, 1)),
])  # fmt: skip
def test_our_networks_keep_the_order_of_registration(model, shape):
    found = layer_gradients(model, model(torch.randn(shape)).sum())
    assert found.names == tuple(weight_layers(model))


def test_a_loss_that_is_a_weight():
    model = nn.Linear(1, 1)
    assert layer_gradients(model, model.weight).gradient_norm.tolist() == [1]


def test_gradients_of_computed_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    nn.utils.parametrizations.weight_norm(model[0])
    loss = model(torch.randn(5, 4)).square().sum()
    found = layer_gradients(model, loss)
    loss.backward()
    direction = model[0].parametrizations.weight.original1
    assert found.names == ("0", "2")
    assert found.gradient_norm[0].item() == pytest.approx(direction.grad.norm().item(), rel=1e-5)
    assert found.gradient_norm[0] > 0


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_cells_are_watched(cell):
    torch.manual_seed(0)
    module, x = cell(3, 4), torch.randn(5, 3)
    with Probe(module) as probe:
        state = module(x)
    h = state[0] if isinstance(state, tuple) else state
    row = probe.frame().loc[cell.__name__]
    assert row["mean"] == pytest.approx(h.mean().item(), rel=1e-5)
    assert row["std"] == pytest.approx(h.std(correction=0).item(), rel=1e-5)


@pytest.mark.filterwarnings("error")
def test_a_single_value_deviates_by_nothing():
    with Probe(nn.Linear(2, 1)) as probe:
        probe._model(torch.ones(1, 2))
    assert probe.frame().loc["Linear", "std"] == 0
