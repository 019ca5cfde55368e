import copy
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.naive_bayes import GaussianNB
from torch import Tensor, nn

from vglab import data, models
from vglab._surrogate import surrogate

WINE = data.load("wine")
X = torch.cat([WINE.x_train, WINE.x_test])


class Steps(nn.Module):
    """A tree of depth two, as logits."""

    def forward(self, x: Tensor) -> Tensor:
        yes = (x[:, 0] > 0.5) & (x[:, 1] > -0.5)
        return torch.stack([1.0 - yes.float(), yes.float()], 1)


def test_a_linear_network_is_recovered() -> None:
    torch.manual_seed(0)
    model = nn.Linear(13, 3)
    found = surrogate(model, X, "linear")
    assert found.fidelity == 1
    torch.testing.assert_close(found.coefficients, model.weight.data, atol=1e-5, rtol=1e-4)
    regression = surrogate(nn.Linear(13, 1), X, "linear")
    assert regression.fidelity == pytest.approx(1, abs=1e-9) and regression.chance < 0.01


def test_a_tree_is_recovered() -> None:
    x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    found = surrogate(Steps(), x, "tree", max_depth=2, feature_names=["a", "b", "c"])
    # Thresholds lie between two of 3,000 neighbours: a few held-out inputs in a thousand miss them.
    assert found.fidelity > 0.99 > found.chance
    assert "a <=" in found.rules() and "b <=" in found.rules() and "c <=" not in found.rules()
    assert surrogate(Steps(), x, "linear").fidelity < found.fidelity


def test_fidelity_is_agreement_on_held_out_inputs(wine_network: nn.Module) -> None:
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(4))
    held_out, rest = X[order[:44]], X[order[44:]]
    with torch.no_grad():
        wanted, classes = wine_network(held_out).argmax(1), wine_network(rest).argmax(1)
    for kind in ("linear", "tree", "naive_bayes"):
        found = surrogate(wine_network, X, kind, seed=4)
        agree = found.predict(held_out) == wanted
        assert found.fidelity == pytest.approx(float(agree.float().mean()))
        assert found.chance == pytest.approx(
            float((wanted == classes.mode().values).float().mean())
        )
        assert found.fidelity > found.chance
    bayes = GaussianNB().fit(rest.double().numpy(), classes.numpy())
    assert np.array_equal(found.predict(held_out), bayes.predict(held_out.double().numpy()))


def test_regression_tree() -> None:
    diabetes = data.load("diabetes")
    torch.manual_seed(0)
    found = surrogate(models.MLP((10, 8, 1)), diabetes.x_train, "tree")
    assert 0.2 < found.fidelity < 1
    assert found.predict(diabetes.x_test).dtype == torch.float32


def test_same_seed_same_result_and_nothing_changed(wine_network: nn.Module) -> None:
    model = copy.deepcopy(wine_network).train()
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, two = (surrogate(model, X, "tree", seed=1) for _ in range(2))
    assert one.rules() == two.rules() and one.fidelity == two.fidelity
    assert model.training and torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"kind": "forest"}, ValueError, "linear, tree, naive_bayes"),
        ({"x": torch.zeros(2, 13)}, ValueError, "too few"),
        ({"x": torch.full((9, 13), torch.inf)}, ValueError, "finite"),
        ({"x": [["a"] * 13] * 9}, TypeError, "numbers"),
        ({"max_depth": 0}, ValueError, "max_depth"),
        ({"test_fraction": 1.0}, ValueError, "test_fraction"),
        ({"model": nn.Linear(13, 1), "kind": "naive_bayes"}, ValueError, "regression"),
    ],
)
def test_bad_input(
    wine_network: nn.Module, change: dict[str, Any], kind: type, message: str
) -> None:
    given = {"model": wine_network, "x": X, "kind": "tree"} | change
    with pytest.raises(kind, match=message):
        surrogate(**given)


def test_what_a_kind_does_not_have(wine_network: nn.Module) -> None:
    with pytest.raises(AttributeError, match="kind='linear'"):
        surrogate(wine_network, X, "tree").coefficients  # noqa: B018
    with pytest.raises(AttributeError, match="kind='tree'"):
        surrogate(wine_network, X, "linear").rules()
