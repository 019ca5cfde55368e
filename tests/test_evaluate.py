"""Scores of explanations against closed forms, enumeration, SciPy and captum."""

import copy
from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from torch import nn

from vglab import data, evaluate, explain, train
from vglab.explain import Attribution
from vglab.models import MLP, ConvNet, SequenceClassifier


def made(values, target=None, **more):
    values = torch.as_tensor(values, dtype=torch.float32)
    target = torch.zeros(len(values), dtype=torch.long) if target is None else target
    return Attribution(values, target, more.pop("method", "by hand"), **more)


def linear():
    torch.manual_seed(1)
    model, x = nn.Linear(4, 1), torch.randn(3, 4)
    return model, x, model.weight.detach()[0]


def network():
    torch.manual_seed(2)
    return MLP((4, 12, 12, 3), "tanh"), torch.randn(5, 4)


def close(a, b, rtol=1e-4, atol=1e-6):
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


# Deletion and insertion.


def test_curves_of_a_linear_model():
    model, x, w = linear()
    exact = made(w * x)
    shares, scores = evaluate.removal_curve(exact, model, x, output="logit")
    assert shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    gone = torch.cat([torch.zeros(3, 1), (w * x).sort(1, descending=True).values.cumsum(1)], 1)
    expected = model(x).detach() - gone
    close(scores, expected)
    area = (expected[:, :-1] + expected[:, 1:]).sum(1) / 8
    close(evaluate.deletion_auc(exact, model, x, output="logit"), area)
    back = (model.bias.detach() + gone)[:, [0, 1, 2, 3, 4]]
    close(evaluate.removal_curve(exact, model, x, insert=True, output="logit")[1], back)
    area = (back[:, :-1] + back[:, 1:]).sum(1) / 8
    close(evaluate.insertion_auc(exact, model, x, output="logit"), area)


def test_the_true_order_is_best():
    """Of all orders of the features of a linear model, that of w x has the extreme areas."""
    model, x, w = linear()
    torch.manual_seed(0)
    low = evaluate.deletion_auc(made(w * x), model, x, output="logit")
    high = evaluate.insertion_auc(made(w * x), model, x, output="logit")
    for _ in range(24):
        other = made(torch.randn(3, 4))
        assert (evaluate.deletion_auc(other, model, x, output="logit") >= low - 1e-6).all()
        assert (evaluate.insertion_auc(other, model, x, output="logit") <= high + 1e-6).all()


def test_curves_follow_the_explained_class_and_its_probability():
    model, x = network()
    found = explain.integrated_gradients(model, x, 2)
    _, scores = evaluate.removal_curve(found, model, x, baseline=0.5)
    close(scores[:, 0], model(x).softmax(1)[:, 2].detach())
    end = model(torch.full((5, 4), 0.5)).softmax(1)[:, 2].detach()
    close(scores[:, -1], end)
    close(evaluate.removal_curve(found, model, x, insert=True, baseline=0.5)[1][:, 0], end)


def test_fewer_steps_and_maps_without_channels():
    torch.manual_seed(0)
    model, x = ConvNet(2, 3), torch.randn(2, 2, 6, 6)
    cam = explain.grad_cam(model, x)
    shares, scores = evaluate.removal_curve(cam, model, x, steps=6)
    close(shares, torch.arange(7) / 6)
    gone = cam.values.flatten(1).sort(dim=1, descending=True, stable=True).indices[:, :12]
    less = x.flatten(2).clone()
    for i in range(2):
        less[i, :, gone[i]] = 0
    probability = model(less.view_as(x)).softmax(1).gather(1, cam.target[:, None])[:, 0]
    close(scores[:, 2], probability.detach())


# Infidelity.


def test_exact_explanations_of_linear_models_have_no_infidelity():
    model, x, w = linear()
    base = torch.tensor([0.5, -1, 0, 2])
    slopes = made(w.expand(3, 4), method="smooth_grad")
    assert evaluate.infidelity(slopes, model, x, noise=1.0).max() < 1e-10
    assert evaluate.infidelity(slopes, model, x, baseline=base).max() < 1e-10
    for found in (
        explain.integrated_gradients(model, x, baseline=base),
        explain.occlusion(model, x, baseline=base),
    ):
        assert evaluate.infidelity(found, model, x, baseline=base).max() < 1e-10
        twice = made(2 * found.values)
        assert evaluate.infidelity(twice, model, x, baseline=base).min() > 1e-3
        assert evaluate.infidelity(twice, model, x, baseline=base, rescale=True).max() < 1e-10


def test_infidelity_to_noise_in_closed_form():
    """Of a linear model and φ = 0: E[(w · I)²] = σ² |w|²."""
    model, x, w = linear()
    nothing = made(torch.zeros(3, 4), method="smooth_grad")
    found = evaluate.infidelity(nothing, model, x, noise=0.3, samples=4000)
    # The square of a normal has the deviation √2 of its mean: 2 % over 4000 draws; five of these.
    close(found, (0.09 * w.square().sum()).expand(3), rtol=0.11)


def test_infidelity_to_removal_by_enumeration():
    model, x = network()
    found = explain.integrated_gradients(model, x, 1)
    logits = model(x).detach()[:, 1]
    expected, fourth = torch.zeros(5), torch.zeros(5)
    for size in range(5):
        for gone in map(list, combinations(range(4), size)):
            less = x.clone()
            less[:, gone] = 0
            error = found.values[:, gone].sum(1) - (logits - model(less).detach()[:, 1])
            weight = 1 / (5 * comb(4, size))  # ∫ p^s (1-p)^(4-s) dp
            expected += weight * error**2
            fourth += weight * error**4
    measured = evaluate.infidelity(found, model, x, samples=3000)
    spread = ((fourth - expected**2) / 3000).sqrt()
    assert ((measured - expected).abs() < 4.5 * spread).all()


@pytest.mark.parametrize("rescale", [False, True])
def test_infidelity_like_captum(rescale):
    model, x = network()
    slopes = explain.smooth_grad(model, x, 0)

    def perturb(inputs):
        noise = 0.3 * torch.randn_like(inputs)
        return noise, inputs - noise

    torch.manual_seed(0)
    reference = captum_infidelity(
        model, perturb, x, slopes.values, target=0, n_perturb_samples=4000, normalize=rescale
    ).detach()
    measured = evaluate.infidelity(slopes, model, x, noise=0.3, samples=4000, rescale=rescale)
    # Both are means of 4000 squares of near-normal errors with heavier tails: some 3 % each.
    close(measured, reference, rtol=0.2)


def test_infidelity_says_what_it_needs():
    model, x, w = linear()
    with pytest.raises(ValueError, match="needs slopes"):
        evaluate.infidelity(made(w * x), model, x, noise=0.1)
    with pytest.raises(ValueError, match="not those of this explanation"):
        evaluate.infidelity(made(w * x), model, x[:2])
    with pytest.raises(ValueError, match="not those of this explanation"):
        evaluate.deletion_auc(made((w * x)[:, :3]), model, x, output="logit")
    with pytest.raises(ValueError, match="greater than 0"):
        evaluate.infidelity(made(w * x, method="saliency"), model, x, noise=0.0)
    with pytest.raises(ValueError, match="like the inputs"):
        torch.manual_seed(0)
        images, model = torch.randn(1, 2, 6, 6), ConvNet(2, 3)
        evaluate.infidelity(explain.grad_cam(model, images), model, images, slopes=True)


# Sensitivity.


def test_sensitivity_of_a_quadratic():
    """f = |x|² / 2 has the gradient x, whose change is δ: at most r √D, at least its mean size."""

    class Square(nn.Module):
        def forward(self, x):
            return x.square().sum(1) / 2

    x = torch.randn(4, 6) + 3
    found = evaluate.sensitivity(explain.saliency, Square(), x, radius=0.1, samples=50)
    bound = 0.1 * 6**0.5 / x.norm(dim=1)
    assert (found <= bound * (1 + 1e-5)).all()
    assert (found >= bound / 3**0.5).all()  # the root mean square of δ, which the largest exceeds


def test_sensitivity_like_captum():
    """With the very same perturbations."""
    model, x = network()
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([2 * torch.rand(4, generator=generator) - 1 for _ in range(30)])

    def reference(inputs):
        return (explain.saliency(model, inputs[0], 1).values,)

    def perturb(inputs, radius):
        return (inputs + radius * draws.repeat(5, 1),)

    expected = sensitivity_max(reference, (x,), perturb, 0.1, n_perturb_samples=30)
    found = evaluate.sensitivity(
        lambda m, z: explain.saliency(m, z, 1), model, x, radius=0.1, samples=30
    )
    close(found, expected)


def test_sensitivity_holds_the_class():
    """Two classes that an invisible change swaps: their gradients differ, each does not change."""
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    x = torch.ones(1, 2)
    assert evaluate.sensitivity(explain.saliency, model, x).item() == 0
    free = evaluate.sensitivity(lambda m, z: explain.saliency(m, z), model, x).item()
    assert free == pytest.approx(2**0.5)


def test_sensitivity_of_nothing():
    class Flat(nn.Module):
        def forward(self, x):
            return (x * 0).sum(1)

    assert evaluate.sensitivity(explain.saliency, Flat(), torch.ones(2, 3)).tolist() == [0, 0]


# Completeness, agreement, pointing.


def test_completeness_gap():
    found = made(
        [[1, 2], [3, 4.5]], baseline=torch.tensor([1.0, 0.0]), output=torch.tensor([4.0, 7.0])
    )
    assert evaluate.completeness_gap(found).tolist() == [0, 0.5]
    model, x = network()
    assert evaluate.completeness_gap(explain.integrated_gradients(model, x)).max() < 1e-5
    with pytest.raises(ValueError, match="saliency is not additive"):
        evaluate.completeness_gap(explain.saliency(model, x))


ROWS = arrays.arrays(np.float32, (3, 8), elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]))


@settings(max_examples=100, deadline=None)
@given(ROWS, ROWS, st.booleans())
def test_agreement_like_scipy(a, b, absolute):
    """Few different values: many ties."""
    found = evaluate.agreement(made(a), made(b), absolute=absolute)
    for row, x, y in zip(found.tolist(), *((abs(a), abs(b)) if absolute else (a, b)), strict=True):
        if len(set(x)) == 1 or len(set(y)) == 1:
            assert np.isnan(row)
        else:
            assert row == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-6)


def test_agreement_of_many_values():
    torch.manual_seed(0)
    a, b = torch.randn(2, 1, 9, 9), torch.randn(2, 1, 9, 9)
    close(evaluate.agreement(made(a), made(a.exp())), torch.ones(2))
    close(evaluate.agreement(made(a), made(-a)), -torch.ones(2))
    close(evaluate.agreement(made(a), made(-a), absolute=True), torch.ones(2))
    expected = [stats.spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a, b)]  # noqa: B905
    close(evaluate.agreement(made(a), made(b)), torch.tensor(expected, dtype=torch.float32))
    with pytest.raises(ValueError, match="same shape"):
        evaluate.agreement(made(a), made(b[:, :, :3]))
    with pytest.raises(ValueError, match="finite"):
        evaluate.agreement(made(a), made(b * torch.nan))


def test_pointing_accuracy():
    values = torch.zeros(4, 1, 3, 3)
    values[0, 0, 1, 1] = 2
    values[1, 0, 0, 0] = 2
    values[2, 0, 1, 1], values[2, 0, 2, 2] = 1, -5
    values[3, 0, 1, 1] = values[3, 0, 0, 1] = 1  # a tie, half of it inside
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[1, 1] = True
    assert evaluate.pointing_accuracy(made(values), mask) == 2.5 / 4
    assert evaluate.pointing_accuracy(made(values), mask, absolute=True) == 1.5 / 4
    each = mask.expand(4, 1, 3, 3).clone()
    each[1] = ~mask
    assert evaluate.pointing_accuracy(made(values), each) == 3.5 / 4
    assert evaluate.pointing_accuracy(made(values), each.numpy().astype(int)) == 3.5 / 4
    # A map that says nothing scores as chance does.
    assert evaluate.pointing_accuracy(made(torch.zeros(2, 1, 3, 3)), mask) == pytest.approx(1 / 9)
    for bad, message in [
        (torch.zeros(3, 3), "empty"),
        (torch.ones(2, 2), "fit"),
        (torch.full((3, 3), 0.3), "True and False"),
    ]:
        with pytest.raises(ValueError, match=message):
            evaluate.pointing_accuracy(made(values), bad)


# The cascade of randomised layers.


@pytest.fixture(scope="module")
def trained():
    digits = data.load("digits")
    model = MLP((64, 32, 32, 10))
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, 0.2)
    train.fit(model, digits, optimizer="adam", lr=0.003, epochs=15, device="cpu")
    return model, digits.x_test[:40]


def test_cascade_needs_the_weights(trained):
    model, x = trained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    runs = [
        evaluate.randomization_test(explain.gradient_x_input, model, x, seed=seed)
        for seed in range(5)
    ]
    assert runs[0].layers == ("output", "hidden.1.0", "hidden.0.0")
    assert runs[0].per_example.shape == (3, 40)
    close(runs[0].similarity, runs[0].per_example.mean(1))
    last = torch.stack([run.similarity[-1] for run in runs])
    # All weights are new: correlations of 40 examples of one network, around 0 over networks.
    assert last.mean().abs() < 0.15
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_trap_of_absolute_values(trained):
    """Columns of blank pixels make the sizes rank alike, whatever the weights."""
    model, x = trained
    blank = x.clone().view(-1, 8, 8)
    blank[:, :, :2] = blank[:, :, 6:] = 0
    blank = blank.flatten(1)
    explainer = explain.gradient_x_input
    signed, sizes = (
        torch.stack([
            evaluate.randomization_test(
                explainer, model, blank, absolute=absolute, seed=seed
            ).similarity[-1]
            for seed in range(5)
        ]).mean()
        for absolute in (False, True)
    )  # fmt: skip
    assert sizes > 0.5 and abs(signed) < 0.2


def test_cascade_goes_down(trained):
    """After step l the layers above are those that were there, and the layers below untouched."""
    model, x = trained
    seen = []

    def explainer(network, inputs, target=None):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return explain.saliency(network, inputs, target)

    found = evaluate.randomization_test(explainer, model, x[:3])
    for step, layer in enumerate(found.layers):
        changed = {
            name.rpartition(".")[0]
            for name, value in seen[step + 1].items()
            if not torch.equal(value, seen[step][name])
        }
        assert changed == {layer}
        new, old = (weights[f"{layer}.weight"] for weights in (seen[step + 1], seen[0]))
        # A root mean square of n draws is known to 1 / √(2 n): four of these.
        n = new.numel()
        rms = float(old.square().mean().sqrt())
        assert float(new.square().mean().sqrt()) == pytest.approx(rms, rel=4 / (2 * n) ** 0.5)
        assert np.corrcoef(new.flatten(), old.flatten())[0, 1] ** 2 < 16 / n
    assert all(a.target.tolist() == found.original.target.tolist() for a in found.randomized)
    assert len(found.randomized) == 3


def test_constant_explanations_do_not_depend_on_the_model():
    model, x = network()
    values = torch.randn(5, 4)
    found = evaluate.randomization_test(lambda m, z: made(values), model, x)
    close(found.similarity, torch.ones(3))
    nothing = evaluate.randomization_test(lambda m, z: made(torch.zeros(5, 4)), model, x)
    assert nothing.similarity.isnan().all()


def test_cascade_follows_the_order_in_which_layers_run():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.norm = nn.Linear(5, 2), nn.BatchNorm1d(5)
            self.first = nn.Linear(4, 5)
            self.shared = nn.Linear(5, 5)

        def forward(self, x):
            return self.last(self.shared(self.shared(self.norm(self.first(x)))))

    found = evaluate.randomization_test(explain.saliency, Backwards(), torch.randn(3, 4))
    assert found.layers == ("last", "shared", "first")


@pytest.mark.parametrize(
    "model, shape, layers",
    [
        (ConvNet(1, 3, norm="batch"), (1, 8, 8), ("classifier", "features.4", "features.0")),
        (SequenceClassifier("gru", 3, 4, 2), (5, 3), ("output", "cell")),
        (nn.Linear(3, 2), (3,), ("Linear",)),
    ],
)
def test_cascade_of_other_networks(model, shape, layers):
    x = torch.randn(3, *shape)
    found = evaluate.randomization_test(explain.saliency, model, x)
    assert found.layers == layers and found.similarity.shape == (len(layers),)


def test_cascade_leaves_everything(trained):
    model, x = trained
    model = copy.deepcopy(model).train()
    model.hidden[0].eval()
    model.output.weight.grad = torch.ones_like(model.output.weight)
    seen, grad, given = [], model.output.weight.grad, x.clone()
    model.output.register_forward_hook(lambda *_: seen.append(1))
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    a, b = (evaluate.randomization_test(explain.saliency, model, x, seed=3) for _ in range(2))
    assert torch.equal(a.per_example, b.per_example)
    c = evaluate.randomization_test(explain.saliency, model, x, seed=4)
    assert not torch.equal(a.per_example, c.per_example)
    assert modes == [module.training for module in model.modules()]
    assert model.output.weight.grad is grad and bool((grad == 1).all())
    assert torch.equal(random, torch.get_rng_state()) and torch.equal(x, given)
    assert len(model.output._forward_hooks) == 1

    def broken(network, inputs):
        raise KeyError("mine")

    with pytest.raises(KeyError):
        evaluate.randomization_test(broken, model, x)
    assert modes == [module.training for module in model.modules()]


def test_cascade_says_what_it_needs():
    model, x = network()
    with pytest.raises(TypeError, match="Attribution"):
        evaluate.randomization_test(lambda m, z: z, model, x)
    with pytest.raises(ValueError, match="no weights"):
        evaluate.randomization_test(explain.saliency, nn.Softmax(1), x)
    with pytest.raises(ValueError, match="NaN"):
        evaluate.randomization_test(explain.saliency, model, x * torch.nan)
    with pytest.raises(ValueError, match="2 rows for 5"):
        evaluate.randomization_test(lambda m, z: made(torch.zeros(2, 4)), model, x)
