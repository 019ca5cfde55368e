import copy
from typing import Any

import numpy as np
import pytest
import torch
from lime.lime_base import LimeBase
from lime.lime_image import LimeImageExplainer
from lime.lime_tabular import LimeTabularExplainer
from torch import Tensor, nn

from vglab import data, models, train
from vglab._lime import lime_weights, ridge, superpixels

WINE = data.load("wine")
DIGITS = data.load("digits", image_size=28)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    model = models.MLP((13, 16, 3), "tanh")
    train.fit(model, WINE, optimizer="adam", lr=0.01, epochs=10, device="cpu")
    return model.eval()


@pytest.fixture(scope="module")
def reader() -> nn.Module:
    torch.manual_seed(0)
    model = models.MLP((784, 32, 10))
    train.fit(model, DIGITS, optimizer="adam", lr=0.003, epochs=3, device="cpu")
    return model.eval()


def one_output(model: nn.Module, target: int, shape: tuple[int, ...]) -> Any:
    def f(values: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            x = torch.from_numpy(np.asarray(values)).float().view(-1, *shape)
            return model(x)[:, target].double().numpy()

    return f


def test_fit_is_that_of_lime() -> None:
    generator = np.random.default_rng(0)
    data, outputs = generator.normal(size=(200, 7)), generator.normal(size=200)
    outputs += data[:, 0]
    distances = np.abs(generator.normal(size=200))
    base = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.8**2)))
    told = base.explain_instance_with_data(
        data, outputs[:, None], distances, 0, 7, feature_selection="none"
    )
    weights, intercept, r2 = ridge(data, outputs, distances, 0.8)
    np.testing.assert_allclose(weights, [dict(told[1])[i] for i in range(7)], rtol=1e-9)
    assert intercept == pytest.approx(told[0]) and r2 == pytest.approx(told[2])


def test_recovers_a_linear_network() -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 2)
    background = 3 * torch.randn(200, 5) * torch.tensor([1, 2, 0.5, 1, 10]) + 4
    found = lime_weights(model, background[:3], background, 1, samples=5000)
    # The penalty of 1 stands against a total weight of some 1000: weights shrink by its share.
    torch.testing.assert_close(
        found.values, model.weight[1].detach().expand(3, -1), rtol=0.01, atol=1e-4
    )
    assert (found.r2 > 0.999).all()
    predicted = (found.values * background[:3]).sum(1) + found.intercept
    torch.testing.assert_close(predicted, found.output, rtol=0.02, atol=0.02)


def test_segments_of_a_linear_network() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    x, background = torch.randn(2, 1, 8, 8), torch.randn(20, 1, 8, 8)
    segments = torch.arange(64).view(8, 8) // 16
    found = lime_weights(model, x, background, 0, segments=segments, samples=4000)
    parts = ((x - background.mean(0)) * model[1].weight[0].detach().view(1, 8, 8)).view(2, 4, 16)
    wanted = parts.sum(2).repeat_interleave(16, 1).view_as(x)
    # Few neighbours lie close: their weights sum to about 100, against the penalty of 1.
    torch.testing.assert_close(found.values, wanted, rtol=0.05, atol=0.05)
    assert found.segments is not None and torch.equal(found.segments[1], segments)


@pytest.mark.parametrize("discretize", [False, True])
def test_agrees_with_lime_on_tables(network: nn.Module, discretize: bool) -> None:
    x, rows = WINE.x_test[3:4], WINE.x_train
    table = rows.double().numpy()
    found, scale = [], np.ones(13) if discretize else table.std(0)
    for seed in range(4):
        one = lime_weights(network, x, rows, 0, samples=5000, discretize=discretize, seed=seed)
        found.append(one.values[0].numpy() * scale)
        assert 0 < float(one.r2[0]) < 1
    theirs, scores = [], []
    for seed in range(4):
        explainer = LimeTabularExplainer(
            table, mode="regression", discretize_continuous=discretize, random_state=seed,
            feature_selection="none",
        )  # fmt: skip
        told = explainer.explain_instance(
            x[0].double().numpy(), one_output(network, 0, (13,)), num_samples=5000
        )
        weights = dict(told.local_exp[1])
        theirs.append([weights[i] for i in range(13)])
        scores.append(told.score)
    ours, other = np.array(found), np.array(theirs)
    # Both scatter over seeds: means of four differ by some standard errors of their difference,
    # which is pooled over features, for four values know little of their own deviation.
    error = np.sqrt((ours.var(0, ddof=1).mean() + other.var(0, ddof=1).mean()) / 4)
    assert (np.abs(ours.mean(0) - other.mean(0)) < 4 * error).all()
    assert np.abs(ours.mean(0)).max() > 10 * error
    assert float(one.r2[0]) == pytest.approx(np.mean(scores), abs=0.05)


def test_agrees_with_lime_on_images(reader: nn.Module) -> None:
    x, rows = DIGITS.x_test[:1], DIGITS.x_train[:50]
    dark = torch.zeros_like(rows)
    segments = superpixels(x[0])
    f = one_output(reader, 3, (1, 28, 28))
    ours, theirs = [], []
    for seed in range(3):
        found = lime_weights(reader, x, dark, 3, segments=segments, samples=3000, seed=seed)
        first = [
            int((segments == k).flatten().int().argmax()) for k in range(int(segments.max()) + 1)
        ]
        ours.append(found.values.flatten()[first].numpy())
        explainer = LimeImageExplainer(random_state=seed, feature_selection="none")
        told = explainer.explain_instance(
            x[0, 0].double().numpy(), lambda images: f(images[..., 0])[:, None], labels=(0,),
            top_labels=None, hide_color=0, num_samples=3000, batch_size=500,
            segmentation_fn=lambda _: segments.numpy(),
        )  # fmt: skip
        weights = dict(told.local_exp[0])
        theirs.append([weights[k] for k in range(len(first))])
    a, b = np.array(ours), np.array(theirs)
    error = np.sqrt((a.var(0, ddof=1).mean() + b.var(0, ddof=1).mean()) / 3)
    assert (np.abs(a.mean(0) - b.mean(0)) < 4.5 * error).all()
    assert np.abs(a.mean(0)).max() > 10 * error


def test_segments_of_small_digits_follow_the_strokes() -> None:
    grid = (torch.arange(28) // 4)[:, None] * 7 + torch.arange(28) // 4

    def within(image: Tensor, segments: Tensor) -> float:
        """Share of an image's variance that is left inside its segments."""
        parts = [image[segments == k] for k in range(int(segments.max()) + 1)]
        return float(sum(((p - p.mean()) ** 2).sum() for p in parts)) / float(image.var() * 783)

    for image in DIGITS.x_test[:10]:
        segments = superpixels(image)
        count = int(segments.max()) + 1
        assert 40 <= count <= 60 and torch.equal(segments.unique(), torch.arange(count))
        assert within(image[0], segments) < 0.5 * within(image[0], grid)
    assert int(superpixels(torch.rand(3, 16, 12)).max()) >= 5
    assert superpixels(torch.zeros(1, 8, 8)).shape == (8, 8)


def test_default_segments_and_groups(reader: nn.Module, network: nn.Module) -> None:
    found = lime_weights(reader, DIGITS.x_test[:2], DIGITS.x_train[:20], samples=500)
    assert found.values.shape == (2, 1, 28, 28) and found.segments is not None
    for image, segments in zip(found.values, found.segments, strict=True):
        assert len(image.unique()) <= int(segments.max()) + 1
    again = lime_weights(
        reader, DIGITS.x_test[:2], DIGITS.x_train[:20], samples=500, segments=found.segments
    )
    torch.testing.assert_close(again.values, found.values)
    grouped = lime_weights(network, WINE.x_test[:2], WINE.x_train, segments=[[0, 1, 2]], samples=99)
    assert torch.equal(grouped.values[:, 0], grouped.values[:, 2])


@pytest.mark.parametrize("discretize", [False, True])
def test_a_batch_is_its_examples_and_a_seed_its_bits(network: nn.Module, discretize: bool) -> None:
    x, ask = WINE.x_test[:3], {"samples": 300, "discretize": discretize}
    for output in ("logit", "probability"):
        found, again = (
            lime_weights(network, x, WINE.x_train, output=output, **ask) for _ in range(2)
        )
        assert torch.equal(found.values, again.values) and torch.equal(found.r2, again.r2)
        for i in range(3):
            one = lime_weights(network, x[i : i + 1], WINE.x_train, output=output, **ask)
            torch.testing.assert_close(one.values[0], found.values[i], atol=1e-5, rtol=1e-5)
    other = lime_weights(network, x, WINE.x_train, seed=1, **ask)
    assert not torch.equal(other.values, found.values)


def test_a_narrow_kernel_sees_the_slope(network: nn.Module) -> None:
    """With all weight near the example, a smooth network is its gradient: a wide one is worse."""
    x = WINE.x_train.mean(0, keepdim=True)  # where neighbours are
    leaf = x.clone().requires_grad_()
    network(leaf)[0, 0].backward()
    assert leaf.grad is not None
    gaps = []
    for width in (0.9, 10.0):
        found = lime_weights(network, x, WINE.x_train, 0, samples=20_000, kernel_width=width)
        gaps.append(float((found.values - leaf.grad).norm() / leaf.grad.norm()))
    assert gaps[0] < 0.7 * gaps[1]


def test_the_model_is_as_before(network: nn.Module, reader: nn.Module) -> None:
    for model, x, rows in (
        (network, WINE.x_test[:2], WINE.x_train),
        (reader, DIGITS.x_test[:2], DIGITS.x_train[:9]),
    ):
        model = copy.deepcopy(model).train()
        kept, before = x.clone(), copy.deepcopy(model.state_dict())
        state = torch.get_rng_state(), np.random.get_state()[1].copy()
        lime_weights(model, x, rows, samples=50)
        assert all(module.training for module in model.modules()) and torch.equal(x, kept)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all("forward" not in vars(module) for module in model.modules())
        assert torch.equal(torch.get_rng_state(), state[0])
        assert np.array_equal(np.random.get_state()[1], state[1])

        def fail(*_: object) -> None:
            raise RuntimeError("in between")

        handle = model.output.register_forward_hook(fail)
        with pytest.raises((RuntimeError, ValueError), match="in between"):
            lime_weights(model, x, rows, samples=50)
        assert all(module.training for module in model.modules())
        assert list(model.output._forward_hooks.values()) == [fail]
        handle.remove()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"samples": 1}, ValueError, "at least 2"),
        ({"kernel_width": 0}, ValueError, "kernel_width"),
        ({"inputs": torch.full((1, 13), torch.nan)}, ValueError, "finite"),
        ({"inputs": torch.zeros(0, 13)}, ValueError, "no values"),
        ({"background": torch.zeros(4, 12)}, ValueError, "background must have the shape"),
        ({"target": 3}, ValueError, "0 to 2"),
        ({"target": -1}, ValueError, "from 0"),
        ({"segments": [[0]], "discretize": True}, ValueError, "tables"),
        ({"segments": torch.zeros(12).long()}, ValueError, "shape"),
    ],
)
def test_bad_input(network: nn.Module, change: dict[str, Any], kind: type, message: str) -> None:
    asked = {"model": network, "inputs": WINE.x_test[:2], "background": WINE.x_train} | change
    with pytest.raises(kind, match=message):
        lime_weights(**asked)
