import copy
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance as scikit_importance
from torch import Tensor, nn

from vglab import _importance, data, models
from vglab._first_layer import first_layer
from vglab._importance import permutation_importance

WINE = data.load("wine")


def linear(weights: list[float], bias: float = 0.0) -> nn.Linear:
    layer = nn.Linear(len(weights), 1)
    layer.weight.data = torch.tensor([weights])
    layer.bias.data = torch.tensor([bias])
    return layer


class Skips(nn.Module):
    """Begins with a linear layer, but looks at its input again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(13, 13), nn.Linear(13, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.first(x).tanh())


def brute(model: nn.Module, x: Tensor, y: Tensor, score: Any, repeats: int, seed: int) -> Tensor:
    """One feature, one repeat at a time, with copies."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(x), generator=generator) for _ in range(repeats)]
    rows = []
    with torch.no_grad():
        for order in orders:
            changed = []
            for j in range(x.shape[1]):
                copied = x.clone()
                copied[:, j] = x[order, j]
                changed.append(float(score(model(copied), y)) - float(score(model(x), y)))
            rows.append(changed)
    return torch.tensor(rows)


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.argmax(1) == y).double().mean()


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize(
    "make", [lambda norm: models.MLP((13, 8, 3), norm=norm), lambda _: Skips()]
)
def test_is_what_shuffling_one_column_at_a_time_gives(make: Any, norm: str | None) -> None:
    torch.manual_seed(1)
    model = make(norm).eval()
    x, y = WINE.x_test, WINE.y_test
    for metric, score, sign in (
        ("accuracy", accuracy, -1), ("loss", nn.functional.cross_entropy, 1)
    ):  # fmt: skip
        found = permutation_importance(model, x, y, metric=metric, repeats=4, seed=3)
        wanted = sign * brute(model, x, y, score, 4, 3)
        torch.testing.assert_close(found.mean, wanted.mean(0), atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(found.std, wanted.std(0, correction=0), atol=2e-6, rtol=1e-5)


def test_short_cut_only_where_the_first_layer_sees_all() -> None:
    x = WINE.x_test
    for model in (
        models.MLP((13, 8, 3)), models.MLP((13, 8, 3), norm="batch"), nn.Linear(13, 3),
        nn.Sequential(nn.Flatten(), nn.Linear(13, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)),
    ):  # fmt: skip
        assert first_layer(model.eval(), x) is not None
    shared = nn.Linear(13, 13)
    for model in (
        Skips(), models.MLP((13, 13, 3), residual=True), nn.Sequential(nn.Tanh(), nn.Linear(13, 3)),
        nn.Sequential(shared, nn.Tanh(), shared), nn.Sequential(nn.LayerNorm(13), nn.Linear(13, 3)),
    ):  # fmt: skip
        assert first_layer(model.eval(), x) is None
    hooked = models.MLP((13, 8, 3)).eval()
    hooked.output.register_forward_hook(lambda *_: None)
    assert first_layer(hooked, x) is None
    assert "forward" not in hooked.hidden[0][0].__dict__


def test_blocks_of_examples_and_features_change_nothing(
    wine_network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = WINE.x_train, WINE.y_train
    whole = permutation_importance(wine_network, x, y, metric="loss", repeats=2)
    monkeypatch.setattr(_importance, "_CACHED", 16 * 50)
    parts = permutation_importance(wine_network, x, y, metric="loss", repeats=2)
    torch.testing.assert_close(parts.mean, whole.mean, atol=1e-6, rtol=1e-5)


def test_closed_form_of_a_linear_regression() -> None:
    beta = [0.5, -1.0, 2.0, 0.0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 4, generator=generator)
    noise = 0.3 * torch.randn(20_000, generator=generator)
    y = x @ torch.tensor(beta) + noise
    found = permutation_importance(linear(beta), x, y, metric="loss", repeats=10)
    wanted = 2 * torch.tensor(beta) ** 2 * x.var(0)
    # E(x - x')² = 2 Var: a mean of 20,000 squares has a relative standard error of about 1.5 %,
    # which the repeats, of the same examples, divide by less than √10.
    torch.testing.assert_close(found.mean, wanted, rtol=0.03, atol=1e-7)
    assert found.mean[3] == 0 and found.std[3] == 0
    assert found.score == pytest.approx(0.09, rel=0.05)


class Estimator(ClassifierMixin, BaseEstimator):
    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.classes_ = np.arange(3)

    def fit(self, *_: object) -> "Estimator":
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.model(torch.from_numpy(x)).argmax(1).numpy()


def test_agrees_with_scikit_learn(wine_network: nn.Module) -> None:
    x, y = WINE.x_train, WINE.y_train
    repeats = 200
    ours = permutation_importance(wine_network, x, y, repeats=repeats)
    theirs = scikit_importance(
        Estimator(wine_network.eval()), x.numpy(), y.numpy(), n_repeats=repeats, random_state=0
    )
    # Both draw their own permutations: means differ by a few standard errors of a difference.
    error = np.sqrt((ours.std.numpy() ** 2 + theirs.importances_std**2) / repeats)
    difference = np.abs(ours.mean.numpy() - theirs.importances_mean)
    assert (difference <= 4 * error + 1e-7).all()
    np.testing.assert_allclose(ours.std.numpy(), theirs.importances_std, rtol=0.25, atol=1e-3)


def test_groups_are_shuffled_together() -> None:
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    x[:, 1] = -x[:, 0]  # their sum is always 0: together they carry nothing
    model, y = linear([1.0, 1.0, 1.0, 0.0]), x[:, 2].clone()
    together = permutation_importance(model, x, y, metric="loss", groups=[[0, 1]])
    assert together.feature_names == ("feature 0 + feature 1", "feature 2", "feature 3")
    assert together.mean[0] == pytest.approx(0, abs=1e-10) and together.mean[1] > 1
    assert permutation_importance(model, x, y, metric="loss").mean[0] > 1
    named = permutation_importance(
        model, x, y, metric="loss", groups={"pair": (0, 1), "rest": (2, 3)}
    )
    assert named.feature_names == ("pair", "rest")
    as_map = permutation_importance(model, x, y, metric="loss", groups=torch.tensor([7, 7, 1, 2]))
    assert torch.equal(as_map.mean, together.mean)
    slow = nn.Sequential(nn.Identity(), model)
    slow.register_forward_hook(lambda *_: None)  # the long way
    again = permutation_importance(slow, x, y, metric="loss", groups=[[0, 1]])
    torch.testing.assert_close(again.mean, together.mean, atol=1e-6, rtol=1e-5)


def test_images_and_frames() -> None:
    digits = data.load("digits")
    found = permutation_importance(
        models.ConvNet(1, 10), digits.x_test[:20], digits.y_test[:20], repeats=2,
        groups=torch.arange(64).view(8, 8) // 16,
    )  # fmt: skip
    assert found.mean.shape == found.std.shape == (4,) and len(found.to_frame()) == 4


def test_same_seed_same_bits_and_nothing_changed(wine_network: nn.Module) -> None:
    model = copy.deepcopy(wine_network).train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    x, y = WINE.x_test.clone(), WINE.y_test
    first, again = (permutation_importance(model, x, y, metric="loss", seed=5) for _ in range(2))
    other = permutation_importance(model, x, y, metric="loss", seed=6)
    assert torch.equal(first.mean, again.mean) and not torch.equal(first.mean, other.mean)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, WINE.x_test)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all("forward" not in module.__dict__ for module in model.modules())
    assert list(first.to_frame()["mean"]) == sorted(first.mean.tolist(), reverse=True)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"metric": "r2"}, ValueError, "accuracy, loss"),
        ({"repeats": 0}, ValueError, "at least 1"),
        ({"x": torch.full((5, 13), torch.nan)}, ValueError, "finite"),
        ({"x": torch.zeros(5, 12)}, ValueError, "shape"),
        ({"x": torch.zeros(1, 13), "y": torch.zeros(1).long()}, ValueError, "at least 2"),
        ({"y": torch.zeros(4).long()}, ValueError, r"\[5\]"),
        ({"y": torch.zeros(5)}, ValueError, 'metric="loss"'),
        ({"y": torch.zeros(5), "metric": "loss"}, ValueError, "3 logits"),
        ({"y": torch.full((5,), 3)}, ValueError, "0 to 2"),
        ({"y": torch.full((5,), -1)}, ValueError, "0 to 2"),
        ({"groups": [[0, 13]]}, ValueError, "0 to 12"),
        ({"groups": [[0, 1], [1, 2]]}, ValueError, "twice"),
        ({"groups": torch.zeros(12).long()}, ValueError, "shape"),
        ({"groups": torch.zeros(13)}, TypeError, "integers"),
        ({"feature_names": ["a"]}, ValueError, "13 names"),
        ({"model": lambda x: x}, TypeError, "Module"),
    ],
)
def test_bad_input(
    wine_network: nn.Module, change: dict[str, Any], kind: type, message: str
) -> None:
    given = {"model": wine_network, "x": torch.zeros(5, 13), "y": torch.zeros(5).long()} | change
    with pytest.raises(kind, match=message):
        permutation_importance(**given)
