"""Explanations against closed forms, brute force and captum; models given back as they were."""

import copy
import random

import numpy as np
import pytest
import torch
from captum.attr import (
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from vglab import explain
from vglab._attribution import lent
from vglab.models import MLP, ConvNet, SequenceClassifier

ON_VECTORS = {
    "saliency": explain.saliency,
    "gradient_x_input": explain.gradient_x_input,
    "smooth_grad": lambda *a, **k: explain.smooth_grad(*a, samples=4, **k),
    "integrated_gradients": lambda *a, **k: explain.integrated_gradients(*a, steps=8, **k),
    "occlusion": explain.occlusion,
}
ON_IMAGES = ON_VECTORS | {"grad_cam": explain.grad_cam}


def linear(features=5, classes=3):
    torch.manual_seed(1)
    return nn.Linear(features, classes), torch.randn(4, features), torch.tensor([0, 2, 1, 2])


def smooth_network():
    torch.manual_seed(2)
    return MLP((6, 16, 16, 3), "tanh"), torch.randn(5, 6)


def images(n=3, channels=2, size=12):
    torch.manual_seed(3)
    return ConvNet(channels, 4, channels=(5, 6)), torch.randn(n, channels, size, size)


def close(a, b, rtol=1e-4, atol=1e-6):
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


# Closed forms. f(x) = w_c · x + b_c.


def test_linear_model():
    model, x, target = linear()
    w = model.weight.detach()[target]
    offset = torch.linspace(-1, 1, 5)
    close(explain.saliency(model, x, target).values, w.abs())
    close(explain.gradient_x_input(model, x, target).values, w * x)
    smooth = explain.smooth_grad(model, x, target)
    close(smooth.values, w)
    close(smooth.standard_error, torch.zeros_like(w))
    for one in (offset, offset.expand(4, 5), offset.numpy()):
        close(explain.integrated_gradients(model, x, target, baseline=one).values, w * (x - offset))
        close(explain.occlusion(model, x, target, baseline=one).values, w * (x - offset))
    close(explain.occlusion(model, x, target, baseline=0.5).values, w * (x - 0.5))


def test_integrated_gradients_of_a_polynomial():
    class Cubic(nn.Module):
        def forward(self, x):
            return x[:, 0] ** 3 * x[:, 1]

    x = torch.tensor([[1.0, 2.0], [-2.0, 3.0]])
    # By hand: x_0 ∫ 3 (α x_0)² α x_1 dα = ¾ x_0³ x_1, and x_1 ∫ (α x_0)³ dα = ¼ x_0³ x_1.
    whole = x[:, :1] ** 3 * x[:, 1:]
    found = explain.integrated_gradients(Cubic(), x, steps=2)  # two nodes: exact up to degree 3
    close(found.values, whole * torch.tensor([0.75, 0.25]))
    close(found.output, whole[:, 0])
    assert found.target.tolist() == [0, 0]


def test_integrated_gradients_are_complete():
    model, x = smooth_network()
    found = explain.integrated_gradients(model, x, baseline=torch.randn(6))
    close(found.values.sum(1), found.output - found.baseline, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [32, 512])
def test_completeness_of_a_relu_network_comes_with_steps(steps):
    model, x = images(n=8)
    found = explain.integrated_gradients(model, x, steps=steps)
    gap = (found.values.flatten(1).sum(1) - found.output + found.baseline).abs()
    # A kink costs the sum at most the jump of the slope times a step.
    size = (found.output - found.baseline).abs().mean()
    assert gap.mean() < 2 * size / steps


def test_output_and_target():
    model, x = smooth_network()
    logits = model(x).detach()
    found = explain.integrated_gradients(model, x)
    assert found.target.tolist() == logits.argmax(1).tolist()
    close(found.output, logits.max(1).values)
    close(found.baseline, model(torch.zeros(5, 6)).detach().gather(1, found.target[:, None])[:, 0])
    chances = explain.integrated_gradients(model, x, 1, output="probability")
    close(chances.output, logits.softmax(1)[:, 1])
    close(chances.values.sum(1), chances.output - chances.baseline, atol=1e-5)


@pytest.mark.parametrize("method", ON_VECTORS)
@pytest.mark.parametrize("target", [2, [2, 1, 0, 1, 1], (2, 1, 0, 1, 1), "tensor", "array"])
def test_every_form_of_target(method, target):
    model, x = smooth_network()
    known = {"tensor": torch.tensor([2, 1, 0, 1, 1]), "array": np.array([2, 1, 0, 1, 1])}
    given = known[target] if isinstance(target, str) else target
    found = ON_VECTORS[method](model, x, given)
    classes = [2] * 5 if target == 2 else [2, 1, 0, 1, 1]
    assert found.target.tolist() == classes
    for i, one in enumerate(classes):
        close(found.values[i], ON_VECTORS[method](model, x[i : i + 1], one).values[0], atol=1e-5)


@pytest.mark.parametrize("last", [nn.Identity(), nn.Flatten(0)])
@pytest.mark.parametrize("method", ON_VECTORS)
def test_regression(method, last):
    torch.manual_seed(0)
    model, x = nn.Sequential(MLP((4, 8, 1)), last), torch.randn(3, 4)
    found = ON_VECTORS[method](model, x)
    assert found.target.tolist() == [0, 0, 0]
    close(found.output, model(x).detach().flatten())
    with pytest.raises(ValueError, match="logit"):
        ON_VECTORS[method](model, x, output="probability")
    with pytest.raises(ValueError, match="from 0 to 0, got 1"):
        ON_VECTORS[method](model, x, 1)


# Grad-CAM.


def cam(model, x, target):
    """Zhou et al. 2016, eq. 2, in NumPy, from the layers one by one."""
    maps = model.features(x).detach().double().numpy()
    w = model.classifier.weight.detach().double().numpy()[target.numpy()]
    return (w[:, :, None, None] * maps).sum(1)


@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize("layer", [None, "features"])
def test_grad_cam_is_cam_of_a_pooled_linear_head(norm, layer):
    torch.manual_seed(0)
    model = ConvNet(1, 4, channels=(5, 6), norm=norm).eval()
    x, target = torch.randn(3, 1, 12, 12), torch.tensor([3, 0, 2])
    expected = torch.tensor(cam(model, x, target) / 36)[:, None].float()
    large = functional.interpolate(expected.clamp(min=0), (12, 12), mode="bilinear")
    close(explain.grad_cam(model, x, target, layer=layer).values, large)
    signed = functional.interpolate(expected, (12, 12), mode="bilinear")
    close(explain.grad_cam(model, x, target, layer=layer, relu=False).values, signed)


def test_grad_cam_like_captum():
    model, x = images()
    target = torch.tensor([0, 1, 3])
    for layer in (model.features, model.features[0], model.features[3]):
        reference = LayerGradCam(model, layer).attribute(x, target, relu_attributions=True)
        reference = LayerAttribution.interpolate(reference, (12, 12), "bilinear").detach()
        close(explain.grad_cam(model, x, target, layer=layer).values, reference)


class Residual(nn.Module):
    """The last block ends in a functional in-place ReLU after a skip path; the ReLU is reused."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.squeeze = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 2)

    def maps(self, x):
        h = self.relu(self.first(x))
        return self.relu(self.second(h) + h)

    def forward(self, x):
        h = self.maps(x).mean((2, 3), keepdim=True)
        return self.head(self.squeeze(h).flatten(1))  # a convolution of one position


def test_grad_cam_finds_the_maps_after_the_skip_path():
    torch.manual_seed(0)
    model, x = Residual(), torch.randn(2, 1, 6, 6)
    w = model.head.weight @ model.squeeze.weight[:, :, 0, 0]
    expected = torch.einsum("k,nkhw->nhw", w[1], model.maps(x)).relu() / 36
    close(explain.grad_cam(model, x, 1).values, expected.detach()[:, None])


def test_grad_cam_of_a_layer_before_an_in_place_activation():
    torch.manual_seed(0)
    plain = ConvNet(1, 3)
    inplace = copy.deepcopy(plain)
    inplace.features[4] = nn.ReLU(inplace=True)
    x = torch.randn(2, 1, 8, 8)
    for layer in ("features.3", None):
        expected = explain.grad_cam(plain, x, layer=layer).values
        close(explain.grad_cam(inplace, x, layer=layer).values, expected)


def test_grad_cam_with_everything_frozen():
    model, x = images()
    expected = explain.grad_cam(model, x).values
    close(explain.grad_cam(model.requires_grad_(False), x).values, expected)


def test_grad_cam_says_what_it_needs():
    model, x = images()
    with pytest.raises(ValueError, match="images"):
        explain.grad_cam(MLP((6, 3)), torch.zeros(2, 6))
    with pytest.raises(ValueError, match="no convolution"):
        explain.grad_cam(MLP((288, 3)), x)
    with pytest.raises(ValueError, match="no layer 'block'"):
        explain.grad_cam(model, x, layer="block")
    with pytest.raises(ValueError, match="part of the model"):
        explain.grad_cam(model, x, layer=nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match=r"maps \[3, K, h, w\]"):
        explain.grad_cam(model, x, layer="classifier")
    with pytest.raises(TypeError, match="int"):
        explain.grad_cam(model, x, layer=3)
    model.unused = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match="did not run"):
        explain.grad_cam(model, x, layer="unused")


# captum, on the same inputs.


@pytest.mark.parametrize("make", [smooth_network, images])
def test_gradients_like_captum(make):
    model, x = make()
    target = torch.arange(len(x)) % 3
    close(explain.saliency(model, x, target).values, Saliency(model).attribute(x, target))
    base = torch.full_like(x, 0.3)
    reference = IntegratedGradients(model).attribute(x, base, target, n_steps=64)
    close(explain.integrated_gradients(model, x, target, baseline=base).values, reference.float())


def test_smooth_grad_like_captum():
    model, x = smooth_network()
    x = x[:1]
    deviation = 0.15 * float(x.max() - x.min())
    tunnel = NoiseTunnel(Saliency(model))
    torch.manual_seed(0)
    reference = tunnel.attribute(
        x, nt_type="smoothgrad", nt_samples=4000, stdevs=deviation, target=0, abs=False
    )
    found = explain.smooth_grad(model, x, 0, samples=4000)
    # Both are means of 4000 draws: five standard errors of their difference, for six numbers.
    assert ((found.values - reference).abs() < 5 * 2**0.5 * found.standard_error).all()


@pytest.mark.parametrize("patch, stride", [(4, 4), (4, 3), (5, 5), (3, 1)])
def test_occlusion_like_captum(patch, stride):
    model, x = images(size=10)
    target = torch.tensor([0, 1, 3])
    reference = Occlusion(model).attribute(
        x, (2, patch, patch), (2, stride, stride), 0.2, target, perturbations_per_eval=8
    )
    found = explain.occlusion(model, x, target, patch=patch, stride=stride, baseline=0.2)
    close(found.values, reference.float())


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_occlusion_by_brute_force(patch):
    model, x = smooth_network()
    found = explain.occlusion(model, x, 1, patch=patch).values
    expected = torch.zeros_like(x)
    for start in range(0, 6, patch):
        less = x.clone()
        less[:, start : start + patch] = 0
        expected[:, start : start + patch] = (model(x) - model(less)).detach()[:, 1:2]
    close(found, expected)


def test_occlusion_checks_its_windows():
    model, x = images()
    for options, message in [
        ({"patch": 20}, "larger than an input"),
        ({"patch": (2, 2)}, "must have 3 lengths"),
        ({"patch": 2, "stride": 3}, "gaps"),
        ({"patch": 0}, "at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            explain.occlusion(model, x, **options)
    with pytest.raises(TypeError, match="integer"):
        explain.occlusion(model, x, patch=2.0)


# The short cut past a first linear layer gives what the whole model gives.


class Opaque(nn.Module):
    """The same function, which does not begin with a linear layer."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x * 2 / 2)


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_short_cut(method):
    torch.manual_seed(0)
    model = MLP((8, 7, 7, 3), norm="batch")
    x, base = torch.randn(4, 2, 2, 2), torch.randn(2, 2, 2)
    short = ON_VECTORS[method](model, x, baseline=base)
    close(short.values, ON_VECTORS[method](Opaque(model), x, baseline=base).values)


# A batch gives what single inputs give; the same seed the same bits; many passes one result.


@pytest.mark.parametrize("method", ON_IMAGES)
def test_batch_equals_single_inputs(method):
    model, x = images()
    whole = ON_IMAGES[method](model, x)
    for i in range(len(x)):
        one = ON_IMAGES[method](model, x[i : i + 1])
        close(whole.values[i], one.values[0])
        assert whole.target[i] == one.target[0]


@pytest.mark.parametrize("method", ON_IMAGES)
def test_passes_are_bounded_and_joined(method, monkeypatch):
    model, x = images(n=5)
    whole = ON_IMAGES[method](model, x)
    sizes = []
    model.register_forward_hook(lambda own, given, _: sizes.append(len(given[0])))
    monkeypatch.setattr("vglab._attribution.ROWS_AT_ONCE", 2)
    cut = ON_IMAGES[method](model, x)
    assert max(sizes) == 2
    close(cut.values, whole.values)
    close(cut.output, whole.output)
    assert cut.target.tolist() == whole.target.tolist()


class Noisy(nn.Module):
    """Dropout that no mode switches off."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(functional.dropout(x, 0.3, training=True))


@pytest.mark.parametrize("method", ON_IMAGES)
def test_same_bits(method):
    model, x = images()
    for one in (model, Noisy(model)):
        torch.manual_seed(5)
        first = ON_IMAGES[method](one, x, 1)
        torch.manual_seed(6)
        assert torch.equal(first.values, ON_IMAGES[method](one, x, 1).values)


def test_seed_matters():
    model, x = smooth_network()
    a, b = (explain.smooth_grad(model, x, seed=seed).values for seed in (0, 1))
    assert not torch.equal(a, b)


def test_smooth_grad_explains_the_class_predicted_without_noise():
    # Both examples are of class 1, and with noise often of class 0.
    class Valley(nn.Module):
        def forward(self, x):
            square = x.square().sum(1, keepdim=True)
            return torch.cat([square, 0.1 - square], 1)

    x = torch.tensor([[0.0, 0.2], [0.1, -0.1]])
    unasked = explain.smooth_grad(Valley(), x, noise=2.0, samples=100)
    assert unasked.target.tolist() == [1, 1]
    asked = explain.smooth_grad(Valley(), x, 1, noise=2.0, samples=100)
    assert torch.equal(unasked.values, asked.values)


def test_smooth_grad_standard_error():
    model, x = smooth_network()
    runs = [explain.smooth_grad(model, x[:1], 0, samples=20, seed=seed) for seed in range(200)]
    spread = torch.stack([run.values for run in runs]).std(0)
    told = torch.stack([run.standard_error for run in runs]).square().mean(0).sqrt()
    # A deviation estimated from 200 runs is known to 1 / sqrt(400) = 5 %: four of these.
    assert ((told / spread - 1).abs() < 0.2).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(-3, 3))
def test_linear_in_the_model(seed, a, b):
    """Integrated gradients, gradients and occlusion of a f + b g are a times one plus b times."""
    torch.manual_seed(seed)
    f, g = MLP((4, 5, 2), "tanh"), MLP((4, 3, 2), "tanh")

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.g = f, g

        def forward(self, x):
            return a * self.f(x) + b * self.g(x)

    x = torch.randn(3, 4)
    for method in ("gradient_x_input", "integrated_gradients", "occlusion"):
        one, two, both = (ON_VECTORS[method](m, x, 1).values for m in (f, g, Both()))
        close(both, a * one + b * two, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 4))
def test_dummy_features_get_nothing(seed, dummy):
    torch.manual_seed(seed)
    model, x = MLP((5, 6, 3)), torch.randn(3, 5)
    with torch.no_grad():
        model.hidden[0][0].weight[:, dummy] = 0
    for method, explain_one in ON_VECTORS.items():
        assert explain_one(model, x).values[:, dummy].abs().max() < 1e-6, method


# The model is given back.


class Awkward(nn.Module):
    """Everything that can go wrong: reused in-place ReLU, dropout, batch norm, frozen parts."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.more = nn.Conv2d(4, 4, 3, padding=1)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(()))
        self.note = "untouched"

    def forward(self, x):
        self.seen += 1  # a model that counts its passes, in evaluation too
        self.note = "touched"
        h = self.relu(self.norm(self.conv(self.relu(x))))
        h = self.relu(self.more(h)).mean((2, 3))
        return self.head(self.drop(h))


class Broken(Exception):
    pass


def awkward():
    torch.manual_seed(0)
    model = Awkward().train()
    model.norm.eval()
    model.norm.weight.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
    model.norm.running_mean.normal_()
    return model, torch.randn(4, 1, 6, 6)


def state(model):
    hooks = (
        "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
        "_state_dict_hooks", "_forward_hooks_with_kwargs",
    )  # fmt: skip
    return {
        "values": {k: v.clone() for k, v in model.state_dict().items()},
        "grads": {k: None if p.grad is None else p.grad.clone() for k, p in
                  model.named_parameters()},
        "identity": {k: (id(p), id(p.grad)) for k, p in model.named_parameters()},
        "free": {k: p.requires_grad for k, p in model.named_parameters()},
        "modes": {k: m.training for k, m in model.named_modules()},
        "hooks": {k: [list(getattr(m, h)) for h in hooks] for k, m in model.named_modules()},
        "attributes": {k: sorted(vars(m)) for k, m in model.named_modules()},
        "note": model.note,
        "random": (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()),
    }  # fmt: skip


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class Doubling(nn.Module):
    """Twice the input, which it may overwrite: a second look would see four times the input."""

    def __init__(self, model, inplace):
        super().__init__()
        self.model, self.inplace = model, inplace

    def forward(self, x):
        return self.model(x.mul_(2) if self.inplace else x * 2)


@pytest.mark.parametrize("method", ON_IMAGES)
def test_models_may_overwrite_what_they_get(method):
    model, x = images()
    before = x.clone()
    found = ON_IMAGES[method](Doubling(model, True), x)
    expected = ON_IMAGES[method](Doubling(model, False), x)
    close(found.values, expected.values)
    close(found.output, expected.output)
    assert torch.equal(x, before)
    if method in ("integrated_gradients", "occlusion"):
        base = torch.full_like(x[0], 0.5)
        found = ON_IMAGES[method](Doubling(model, True), x, baseline=base)
        close(found.values, ON_IMAGES[method](Doubling(model, False), x, baseline=base).values)
        assert (base == 0.5).all()


def test_lent_gives_back_whatever_was_done_to_it():
    model, _ = awkward()
    before = state(model)
    with pytest.raises(Broken), lent(model, seed=1):
        assert not any(module.training for module in model.modules())
        for parameter in model.parameters():
            parameter.requires_grad_(not parameter.requires_grad)
            parameter.grad = torch.zeros_like(parameter)
        for module in model.modules():
            module.train()
            module.register_forward_hook(print)
            module.register_full_backward_hook(print)
            module.extra = 1
        model.norm.running_mean.zero_()
        model.norm.running_var = torch.zeros(4)
        model.conv.weight = nn.Parameter(torch.zeros(4, 1, 3, 3))
        del model.note
        torch.rand(1), np.random.rand(), random.random()
        raise Broken
    after = state(model)
    for key, value in before.items():
        assert same(value, after[key]), key


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("method", ON_IMAGES)
def test_the_model_is_given_back(method, raises):
    model, x = awkward()
    calls = []

    def mine(module, given, output):
        calls.append(module)
        torch.rand(1), np.random.rand(), random.random()
        if raises and len(calls) == 2:
            raise Broken

    model.conv.register_forward_hook(mine)
    model.head.register_full_backward_hook(lambda *_: None)
    model.head.weight.register_hook(lambda grad: grad)
    before, given = state(model), x.clone()
    if raises:
        with pytest.raises(Broken):
            ON_IMAGES[method](model, x, 0)
            ON_IMAGES[method](model, x, 0)  # saliency and Grad-CAM make one pass each
    else:
        ON_IMAGES[method](model, x, 0)
    after = state(model)
    for key, value in before.items():
        assert same(value, after[key]), key
    assert torch.equal(x, given) and x.grad is None and not x.requires_grad
    assert calls  # the user's hooks are part of the model, and still ran


class Fuse(nn.Module):
    """Counts its passes, and breaks at one of them."""

    def __init__(self, at):
        super().__init__()
        self.left = at

    def forward(self, x):
        self.left -= 1
        if self.left == 0:
            raise Broken
        return x


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_the_model_is_given_back_from_the_short_cut(method):
    torch.manual_seed(0)
    linear, x, broke = nn.Linear(4, 8), torch.randn(3, 4), 0
    # Whichever passes there are: of the inputs, of the short cut's trial, of the short cut.
    for at in range(1, 8):
        model = nn.Sequential(linear, nn.Dropout(), Fuse(at), nn.Linear(8, 2))
        model.note = None
        before = state(model)
        try:
            ON_VECTORS[method](model, x)
        except Broken:
            broke += 1
        assert same(before, state(model))
        assert "forward" not in vars(linear) and model[2].left == at
    assert 1 < broke < 7


@pytest.mark.parametrize("method", ON_IMAGES)
def test_explains_evaluation_mode(method):
    model, x = awkward()
    mixed = ON_IMAGES[method](model, x, 1)
    close(mixed.output, copy.deepcopy(model).eval()(x.clone())[:, 1].detach())
    close(mixed.values, ON_IMAGES[method](copy.deepcopy(model).eval(), x, 1).values)


def test_a_pending_backward_pass_still_works():
    model, x = images()
    model = nn.Sequential(nn.BatchNorm2d(2), model).eval()
    loss = model(x).sum()
    explain.integrated_gradients(model, x)
    loss.backward()
    assert model[0].weight.grad is not None


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(context):
    model, x = smooth_network()
    expected = explain.saliency(model, x).values
    with context():
        found = explain.saliency(model, x.clone()).values
    close(found, expected)


def test_inputs_that_require_gradients():
    model, x = smooth_network()
    x.requires_grad_()
    found = explain.integrated_gradients(model, x)
    assert not found.values.requires_grad and x.grad is None


def test_hooks_that_change_the_output_are_part_of_the_model():
    model, x, target = linear()
    model.register_forward_hook(lambda own, given, output: 2 * output)
    for method in ("gradient_x_input", "integrated_gradients", "occlusion"):
        w = model.weight.detach()[target]
        close(ON_VECTORS[method](model, x, target).values, 2 * w * x)


def test_recurrent_networks():
    torch.manual_seed(0)
    model, x = SequenceClassifier("lstm", 3, 5, 2), torch.randn(4, 6, 3)
    found = explain.integrated_gradients(model, x)
    close(found.values.flatten(1).sum(1), found.output - found.baseline, atol=1e-5)


# Bad input: an error before any work.


@pytest.mark.parametrize("method", ON_VECTORS)
@pytest.mark.parametrize(
    "inputs, error, message",
    [
        (torch.full((2, 6), torch.nan), ValueError, "12 NaN or infinite"),
        (torch.zeros(2, 7), ValueError, "takes 6 values"),
        (torch.zeros(6), ValueError, r"batch \[N"),
        (torch.zeros(0, 6), ValueError, "no values"),
        (np.array([["a"] * 6]), TypeError, "numbers"),
        ("text", TypeError, "numbers"),
        (None, TypeError, "numbers"),
        ([[1.0], [1.0, 2.0]], TypeError, "numbers"),
        (torch.zeros(2, 6, dtype=torch.complex64), TypeError, "real"),
    ],
)
def test_bad_inputs(method, inputs, error, message):
    model, _ = smooth_network()
    with pytest.raises(error, match=message):
        ON_VECTORS[method](model, inputs)


@pytest.mark.parametrize("method", ON_VECTORS)
@pytest.mark.parametrize(
    "target, error, message",
    [
        (3, ValueError, "from 0 to 2, got 3"),
        (-1, ValueError, "from 0 on, got -1"),
        ([0, 1], ValueError, "5"),
        (1.0, TypeError, "class"),
        (True, TypeError, "class"),
        ("cat", TypeError, "class"),
        ([0, 1, 2, 3, 0], ValueError, "got 3"),
    ],
)
def test_bad_targets(method, target, error, message):
    model, x = smooth_network()
    with pytest.raises(error, match=message):
        ON_VECTORS[method](model, x, target)


def test_a_shape_that_torch_refuses_and_an_error_of_the_users():
    model, x, _ = linear()
    with pytest.raises(ValueError, match=r"Linear failed on inputs of shape \[4, 4\]"):
        explain.saliency(model, x[:, :4])

    def mine(*_):
        raise RuntimeError("mine")

    model.register_forward_hook(mine)
    with pytest.raises(RuntimeError, match="mine"):
        explain.saliency(model, x)


def test_bad_models():
    x = torch.randn(4, 6)
    nothing = nn.Sequential(nn.Linear(6, 3), nn.Threshold(9.0, torch.inf))
    with pytest.raises(TypeError, match="Module"):
        explain.saliency(torch.sin, x)
    with pytest.raises(ValueError, match="run one batch"):
        explain.saliency(nn.LazyLinear(3), x)
    with pytest.raises(ValueError, match="track_running_stats"):
        explain.saliency(nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False)), x)
    with pytest.raises(ValueError, match="NaN or infinite"):
        explain.saliency(nothing, x)
    with pytest.raises(ValueError, match=r"logits \[4, C\]"):
        explain.saliency(nn.Unflatten(1, (2, 3)), x)
    with pytest.raises(TypeError, match="tensor of logits"):
        explain.saliency(nn.LSTM(6, 2), x)
    with pytest.raises(ValueError, match="no gradient"):
        explain.saliency(Detached(), x)
    with pytest.raises(ValueError, match="logit, probability"):
        explain.saliency(nn.Linear(6, 2), x, output="odds")


class Detached(nn.Module):
    def forward(self, x):
        return x.detach()


@pytest.mark.parametrize(
    "baseline, error",
    [
        (torch.zeros(7), ValueError),
        (torch.zeros(3, 6), ValueError),
        (float("nan"), ValueError),
        (torch.full((6,), torch.inf), ValueError),
        ("zero", TypeError),
    ],
)
def test_bad_baselines(baseline, error):
    model, x = smooth_network()
    for method in (explain.integrated_gradients, explain.occlusion):
        with pytest.raises(error, match="baseline"):
            method(model, x, baseline=baseline)


def test_numbers_of_other_kinds():
    model, x = smooth_network()
    expected = explain.saliency(model, x.round()).values
    for same_numbers in (x.round().int(), x.round().double().numpy(), x.round().tolist()):
        close(explain.saliency(model, same_numbers).values, expected)
    assert explain.saliency(model.double(), x).values.dtype == torch.float64


def test_ranking():
    values = torch.tensor([[[0.0, -3.0], [1.0, 0.0]]])
    found = explain.Attribution(values, torch.tensor([0]), "by hand")
    assert found.ranking().tolist() == [[1, 2, 0, 3]]
    assert found.ranking(absolute=False).tolist() == [[2, 0, 3, 1]]
