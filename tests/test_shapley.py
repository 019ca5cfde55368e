import copy
import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from vglab import _game, data, models, train
from vglab._shapley import shap_values, shapley

WINE = data.load("wine")
METHODS = ("exact", "permutation", "kernel", "deep", "gradient")


class Wrap(nn.Module):
    """Any function of inputs as a network with one output."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Functional(nn.Module):
    """What shap alone gets wrong: functions, modules used again, activations in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(13, 8), nn.Linear(8, 8), nn.Linear(8, 8)])
        self.again, self.last = nn.ReLU(inplace=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.again(self.layers[0](x))
        h = functional.relu(self.layers[1](h))
        return self.last(self.again(self.layers[2](h)).tanh())


def network(*widths: int, seed: int = 0, kind: str = "tanh", **more: Any) -> nn.Module:
    torch.manual_seed(seed)
    model = models.MLP(widths, kind, **more)
    for parameter in model.parameters():  # curved enough that interactions count
        parameter.data *= 2
    return model.eval()


def rows(count: int, features: int, seed: int = 1) -> Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed))


def brute(f: Callable[[Tensor], Tensor], x: Tensor, background: Tensor) -> Tensor:
    """The definition for one flat example, coalition by coalition, in float64."""
    players = range(len(x))

    def value(coalition: set[int]) -> float:
        mixed = background.clone()
        for i in coalition:
            mixed[:, i] = x[i]
        return float(f(mixed).double().mean())

    found = torch.zeros(len(x), dtype=torch.float64)
    for i in players:
        others = [j for j in players if j != i]
        for size in range(len(x)):
            weight = 1 / (len(x) * math.comb(len(x) - 1, size))
            for some in itertools.combinations(others, size):
                found[i] += weight * (value({*some, i}) - value(set(some)))
    return found


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    """To a share of the largest value: differences of float32 outputs have no more digits."""
    gap = (found.double() - wanted.double()).abs().max()
    assert gap <= tolerance * wanted.abs().max(), gap / wanted.abs().max()


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_exact_is_brute_force(output: str, short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not short:
        monkeypatch.setattr(_game, "first_layer", lambda *_: None)
    model, x, background = network(6, 8, 8, 3), rows(3, 6), rows(7, 6, 2)
    found = shap_values(model, x, background, output=output, method="exact")
    assert found.method == "shap_values (exact)" and found.standard_error is None
    with torch.no_grad():
        classes = model(x).argmax(1)
        for i, target in enumerate(classes.tolist()):

            def f(mixed: Tensor, target: int = target) -> Tensor:
                logits = model(mixed)
                return (logits.softmax(1) if output == "probability" else logits)[:, target]

            close(found.values[i], brute(f, x[i], background))
            close(found.baseline[i], f(background).mean(), 1e-6)
    assert torch.equal(found.target, classes)


GAMES: dict[str, tuple[Callable[[Tensor], Tensor], list[float]]] = {
    "and": (lambda x: x[:, 0] * x[:, 1], [0.5, 0.5]),
    "or": (lambda x: x[:, 0] + x[:, 1] - x[:, 0] * x[:, 1], [0.5, 0.5]),
    "xor": (lambda x: (x[:, 0] != x[:, 1]).float(), [0.0, 0.0]),
    # One left glove, two right ones: whoever has the left one has most of the bargain.
    "gloves": (lambda x: torch.minimum(x[:, 0], x[:, 1] + x[:, 2]), [2 / 3, 1 / 6, 1 / 6]),
    "majority": (lambda x: (x.sum(1) >= 2).float(), [1 / 3, 1 / 3, 1 / 3]),
    "unanimity": (lambda x: x.prod(1), [0.25] * 4),
}


@pytest.mark.parametrize("method", ["auto", "kernel"])
@pytest.mark.parametrize("name", GAMES)
def test_known_games(name: str, method: str) -> None:
    function, wanted = GAMES[name]
    one = torch.ones(1, len(wanted))
    found = shap_values(Wrap(function), one, torch.zeros_like(one), method=method)
    torch.testing.assert_close(found.values, torch.tensor([wanted]), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("method", ["auto", "exact", "permutation", "kernel", "linear", "deep"])
def test_linear_network_has_a_closed_form(method: str) -> None:
    model, x, background = nn.Linear(9, 3), rows(4, 9), rows(50, 9, 2)
    found = shap_values(model, x, background, 1, method=method)
    close(found.values, (x - background.mean(0)) * model.weight[1].detach(), 5e-6)
    if found.standard_error is not None:
        assert found.standard_error.max() < 1e-5 * found.values.abs().max()


numbers = st.integers(0, 2**16)


@settings(max_examples=25, deadline=None)
@given(numbers, st.integers(1, 7))
def test_axioms_of_games(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 2**count, generator=generator, dtype=torch.float64)
    values = shapley(first)
    assert float(values.sum()) == pytest.approx(float(first[-1] - first[0]), abs=1e-9)
    torch.testing.assert_close(shapley(2 * first - 3 * second), 2 * values - 3 * shapley(second))
    # A new player who adds nothing gets nothing and changes nobody's value; one who does what the
    # first player does gets as much.
    dummy = first.repeat_interleave(2)  # the lowest bit changes nothing
    torch.testing.assert_close(shapley(dummy), torch.cat([values, values.new_zeros(1)]))
    number = torch.arange(2 ** (count + 1))
    either = (number >> 1) | ((number & 1) << (count - 1))
    twins = shapley(first[either])
    assert float(twins[0]) == pytest.approx(float(twins[-1]), abs=1e-9)


@settings(max_examples=12, deadline=None)
@given(numbers, st.sampled_from(["exact", "permutation", "kernel"]))
def test_axioms_of_networks(seed: int, method: str) -> None:
    model = network(6, 8, 2, seed=seed)
    model.hidden[0][0].weight.data[:, 5] = 0
    x, background = rows(2, 6, seed), rows(5, 6, seed + 1)
    found = shap_values(model, x, background, method=method, seed=seed, samples=20)
    total = found.baseline + found.values.sum(1)
    torch.testing.assert_close(total, found.output, atol=2e-5, rtol=1e-5)
    # The network ignores the last feature. Kernel regression knows this only in expectation.
    if method != "kernel":
        assert found.values[:, 5].abs().max() <= 1e-6 * found.values.abs().max()


def test_symmetric_features_share_equally() -> None:
    model = network(5, 8, 1)
    model.hidden[0][0].weight.data[:, 1] = model.hidden[0][0].weight.data[:, 0]
    x, background = rows(2, 5), rows(4, 5, 2)
    x[:, 1], background[:, 1] = x[:, 0], background[:, 0]
    found = shap_values(model, x, background, method="exact").values
    torch.testing.assert_close(found[:, 0], found[:, 1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("method", ["permutation", "kernel"])
@pytest.mark.parametrize(("samples", "many"), [(40, 10), (25, 10), (30, 100)])
def test_estimates_scatter_around_the_truth_as_they_say(
    method: str, samples: int, many: int
) -> None:
    model, x, background = network(10, 16, 2), rows(1, 10), rows(many, 10, 2)
    truth = shap_values(model, x, background, method="exact").values.double()
    found = [
        shap_values(model, x, background, method=method, samples=samples, seed=seed)
        for seed in range(60)
    ]
    values = torch.stack([one.values.double() for one in found])[:, 0]
    said = torch.stack([one.standard_error for one in found])[:, 0].double().square().mean(0)
    spread = values.var(0)
    # The mean of 60 has a standard error of 1 / √60 of the spread; 10 features: 4 of them.
    assert ((values.mean(0) - truth).abs() <= 4 * (spread / 60).sqrt() + 1e-6).all()
    # Summed over features, what they say must be no less than what happens, nor many times more:
    # a subset of the rows, drawn without repeats, scatters less than the formula knows.
    assert 0.7 * spread.sum() <= said.sum() <= 6 * spread.sum()


@pytest.mark.parametrize("method", ["permutation", "kernel"])
def test_stops_when_precise_enough(method: str) -> None:
    model, x, background = network(12, 16, 2), rows(3, 12), rows(20, 12, 2)
    truth = shap_values(model, x, background, method="exact").values
    rough = shap_values(model, x, background, method=method, precision=0.1)
    fine = shap_values(model, x, background, method=method, precision=0.02)
    for found, precision in ((rough, 0.1), (fine, 0.02)):
        largest = found.values.abs().amax(1)
        assert (found.standard_error.amax(1) <= precision * largest * (1 + 1e-6)).all()
        assert ((found.values - truth).abs().amax(1) <= 4 * precision * largest).all()
    assert (fine.standard_error.amax(1) < rough.standard_error.amax(1)).all()
    few = shap_values(model, x, background, method=method, precision=1e-9, samples=40)
    assert (few.standard_error.amax(1) > 1e-9).all()  # it does not go on for ever


def test_control_variate_helps() -> None:
    model, x, background = network(10, 16, 2), rows(1, 10), rows(200, 10, 2)
    truth = shap_values(model, x, background, method="exact").values

    class Flat(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return model(batch.detach())

    def error(asked: nn.Module) -> float:
        found = (shap_values(asked, x, background, 0, method="permutation", samples=20, seed=seed)
                 for seed in range(20))  # fmt: skip
        return sum(float((one.values - wanted).abs().max()) for one in found)

    wanted = shap_values(model, x, background, 0, method="exact").values
    assert error(model) < 0.6 * error(Flat())
    assert truth.shape == wanted.shape


def test_groups_play_as_one() -> None:
    model, x, background = network(6, 8, 2), rows(2, 6), rows(5, 6, 2)
    groups = {"pair": [1, 4], "rest": [0, 5]}
    found = {
        method: shap_values(model, x, background, method=method, groups=groups, samples=500)
        for method in ("exact", "kernel", "permutation")
    }
    for i, target in enumerate(found["exact"].target.tolist()):

        def f(z: Tensor, i: int = i, target: int = target) -> Tensor:
            """Of four numbers in {0, 1}, on all background rows at once."""
            on = z[:, [0, 1, 2, 3, 1, 0]].bool()
            mixed = torch.where(on[:, None], x[i], background).flatten(0, 1)
            return model(mixed)[:, target].view(len(z), -1).mean(1)

        with torch.no_grad():
            wanted = brute(f, torch.ones(4), torch.zeros(1, 4))
        values = found["exact"].values[i]
        close(torch.stack([values[[0, 5]].sum(), values[[1, 4]].sum(), *values[2:4]]), wanted)
        assert values[0] == values[5] and values[1] == values[4]
    torch.testing.assert_close(found["kernel"].values, found["exact"].values)
    error = found["permutation"].standard_error
    assert ((found["permutation"].values - found["exact"].values).abs() <= 4 * error + 1e-6).all()


@pytest.mark.parametrize("method", ["permutation", "kernel", "exact"])
def test_superpixels_by_both_ways(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = data.load("digits")
    x, background = digits.x_test[:2], digits.x_train[:9]
    groups = torch.arange(64).view(8, 8) // 8
    model = network(64, 16, 10)
    found = shap_values(model, x, background, method=method, groups=groups, samples=18)
    monkeypatch.setattr(_game, "first_layer", lambda *_: None)
    monkeypatch.setattr(_game, "_CACHED", 500)
    slow = shap_values(model, x, background, method=method, groups=groups, samples=18)
    assert found.values.shape == x.shape
    torch.testing.assert_close(slow.values, found.values, atol=1e-5, rtol=1e-4)
    total = found.baseline + found.values.flatten(1).sum(1)
    torch.testing.assert_close(total, found.output, atol=1e-4, rtol=1e-5)


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, background = network(8, 8, 2), rows(2, 8), rows(11, 8, 2)
    for method in ("exact", "permutation", "kernel"):
        whole = shap_values(model, x, background, method=method)
        monkeypatch.setattr(_game, "_CACHED", 64)
        monkeypatch.setattr(_game, "_STORED", 1)
        parts = shap_values(model, x, background, method=method)
        monkeypatch.undo()
        torch.testing.assert_close(parts.values, whole.values, atol=1e-5, rtol=1e-4)


def test_agrees_with_shap() -> None:
    import shap

    model, x, background = network(8, 12, 2), rows(2, 8), rows(20, 8, 2)

    def f(values: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(values).float())[:, 0].numpy()

    exact = shap_values(model, x, background, 0, method="exact")
    theirs = shap.ExactExplainer(f, shap.maskers.Independent(background.numpy()))(x.numpy())
    close(exact.values, torch.from_numpy(theirs.values), 2e-5)
    kernel = shap.KernelExplainer(f, background.numpy())
    values = kernel.shap_values(x.numpy(), nsamples=2**8, l1_reg=0, silent=True)
    close(exact.values, torch.from_numpy(values), 2e-5)


@pytest.mark.parametrize("kind", ["relu", "tanh"])
def test_agrees_with_captum(kind: str) -> None:
    model = network(5, 12, 2, kind=kind).double()
    x, background = rows(2, 5).double(), rows(30, 5, 2).double()
    exact = shap_values(model, x, background[:1], 0, method="exact")
    every = captum.attr.ShapleyValues(model).attribute(x, background[:1], target=0)
    close(exact.values, every, 1e-6)  # captum makes float32 of it
    found = shap_values(model, x, background, 0, method="deep")
    one = captum.attr.DeepLiftShap(model).attribute(x, background, target=0)
    close(found.values, one, 1e-4)
    points = shap_values(model, x, background, 0, method="gradient", samples=2000)
    means = torch.stack([
        captum.attr.IntegratedGradients(model).attribute(x, row[None].expand_as(x), 0, n_steps=64)
        for row in background
    ]).mean(0)  # fmt: skip
    assert ((points.values - means).abs() <= 4 * points.standard_error).all()
    total = points.baseline + points.values.sum(1)
    torch.testing.assert_close(total, points.output, atol=1e-5, rtol=1e-5)


def test_deep_reads_what_shap_does_not() -> None:
    import shap

    torch.manual_seed(0)
    model, x, background = Functional().eval(), rows(3, 13), rows(150, 13, 2)
    found = shap_values(model, x, background, method="deep")
    # The whole background: shap's maskers would have taken 100 rows.
    with torch.no_grad():
        wanted = model(background)[:, found.target].mean(0)
    torch.testing.assert_close(found.baseline, wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        found.baseline + found.values.sum(1), found.output, atol=1e-4, rtol=1e-4
    )

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                model.layers[0], nn.ReLU(), model.layers[1], nn.ReLU(), model.layers[2], nn.ReLU(),
                nn.Tanh(), model.last,
            )  # fmt: skip

        def forward(self, batch: Tensor) -> Tensor:
            return self.layers(batch)

    plain, x, background = Plain().double(), x.double(), background.double()
    wanted = torch.from_numpy(shap.DeepExplainer(plain, background).shap_values(x))
    close(found.values, wanted[range(3), :, found.target], 1e-4)
    silu = shap_values(network(6, 8, 2, kind="silu"), rows(2, 6), rows(9, 6, 2), method="deep")
    torch.testing.assert_close(silu.baseline + silu.values.sum(1), silu.output)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (models.MLP((6, 8, 8, 2), norm="layer"), "LayerNorm"),
        (Wrap(lambda x: x.square().sum(1, keepdim=True)), "permutation"),
    ],
)
def test_deep_says_what_it_cannot(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shap_values(model, rows(2, 6), rows(9, 6, 2), method="deep")


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "grad": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "free": [p.requires_grad for p in model.parameters()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks),
             sorted(vars(m)))
            for m in model.modules()
        ],
        "random": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),
    }  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    return bool(np.all(a == b))


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_as_before(method: str, hooked: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)
    )
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model(rows(4, 6)).sum().backward()
    calls = []
    if hooked:
        model[4].register_forward_hook(lambda *_: calls.append(1))
    before, x, background = snapshot(model), rows(2, 6), rows(9, 6, 2)
    kept = x.clone(), background.clone()
    shap_values(model, x, background, method=method, samples=20)
    assert same(snapshot(model), before)
    assert torch.equal(x, kept[0]) and torch.equal(background, kept[1])
    assert not hooked or calls

    def fail(*_: object) -> None:
        if len(calls) > 2:
            raise RuntimeError("in between")
        calls.append(1)

    calls.clear()
    handle = model[4].register_forward_hook(fail)
    middle = snapshot(model)
    with pytest.raises((RuntimeError, ValueError), match="in between"):
        shap_values(model, x.repeat(4, 1), background, method=method, samples=20)
    assert same(snapshot(model), middle)
    handle.remove()


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_bits_and_a_batch_is_its_examples(method: str) -> None:
    model, x, background = network(7, 8, 3, kind="relu"), rows(4, 7), rows(12, 7, 2)
    x[1, 3] = background[:, 3] = 0.5  # not all players are alive in all examples
    ask = {"method": method, "samples": 30}
    found, again = (shap_values(model, x, background, seed=3, **ask) for _ in range(2))
    assert torch.equal(found.values, again.values) and torch.equal(found.baseline, again.baseline)
    for i in range(len(x)):
        one = shap_values(model, x[i : i + 1], background, seed=3, **ask)
        torch.testing.assert_close(one.values[0], found.values[i], atol=1e-5, rtol=1e-4)
    if method in ("permutation", "gradient"):
        other = shap_values(model, x, background, seed=4, **ask)
        assert not torch.equal(other.values, found.values)


def test_auto_is_exact_where_that_is_cheap() -> None:
    model = network(9, 8, 2)
    few = shap_values(model, rows(1, 9), rows(128, 9, 2))
    many = shap_values(model, rows(1, 9), rows(129, 9, 2))
    assert few.method == "shap_values (exact)" and few.standard_error is None
    assert many.method == "shap_values (permutation)" and many.standard_error is not None


def test_regression_and_real_data() -> None:
    diabetes = data.load("diabetes")
    model = network(10, 8, 1)
    found = shap_values(model, diabetes.x_test[:2], diabetes.x_train[:40])
    assert found.target.tolist() == [0, 0]
    wine = network(13, 16, 3)
    train.fit(wine, WINE, epochs=2, device="cpu")
    found = shap_values(wine, WINE.x_test[:3].numpy(), WINE.x_train, [0, 1, 2])
    total = found.baseline + found.values.sum(1)
    torch.testing.assert_close(total, found.output, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"method": "tree"}, ValueError, "auto, exact"),
        ({"samples": 1}, ValueError, "at least 2"),
        ({"samples": 2.5}, TypeError, "integer"),
        ({"precision": 0.0}, ValueError, "precision"),
        ({"seed": -1}, ValueError, "seed"),
        ({"output": "odds"}, ValueError, "logit, probability"),
        ({"inputs": torch.zeros(0, 6)}, ValueError, "no values"),
        ({"inputs": torch.full((1, 6), torch.nan)}, ValueError, "inputs must be finite"),
        ({"inputs": [["a"] * 6]}, TypeError, "numbers"),
        ({"background": torch.zeros(3, 5)}, ValueError, "background must have the shape"),
        ({"background": torch.full((3, 6), torch.inf)}, ValueError, "background must be finite"),
        ({"target": 2}, ValueError, "0 to 1"),
        ({"target": -1}, ValueError, "from 0"),
        ({"target": 0.5}, TypeError, "class"),
        ({"groups": [[6]]}, ValueError, "0 to 5"),
        ({"method": "linear"}, ValueError, "not linear"),
        ({"method": "deep", "output": "probability"}, ValueError, "logits"),
    ],
)
def test_bad_input(change: dict[str, Any], kind: type, message: str) -> None:
    model = network(6, 8, 2)
    asked = {"model": model, "inputs": rows(2, 6), "background": rows(4, 6)} | change
    before = snapshot(model)
    with pytest.raises(kind, match=message):
        shap_values(**asked)
    assert same(snapshot(model), before)


def test_too_many_players() -> None:
    with pytest.raises(ValueError, match="groups of at most 20"):
        shap_values(network(21, 4, 2), rows(1, 21), rows(2, 21, 2), method="exact")


def test_nothing_differs() -> None:
    model, x = network(5, 8, 2), rows(1, 5)
    for method in ("exact", "permutation", "kernel"):
        found = shap_values(model, x, x.expand(3, -1), method=method)
        assert (found.values == 0).all()
        torch.testing.assert_close(found.baseline, found.output)


@pytest.mark.parametrize("method", ["exact", "permutation", "kernel"])
def test_few_play_in_a_batch_of_several_classes(method: str) -> None:
    model, x, background = network(6, 8, 3), rows(1, 6).repeat(7, 1), rows(9, 6, 2)
    background[:, :5] = x[0, :5]
    x[2:4, 5] = background[0, 5]
    x[4:] = rows(3, 6, 4)  # nobody but the last feature plays in the first four
    target, ask = torch.tensor([0, 1, 2, 0, 2, 1, 0]), {"method": method, "samples": 5}
    found = shap_values(model, x, background, target, **ask)
    assert (found.values[:4, :5] == 0).all() and (found.values[4:] != 0).all()
    assert found.baseline is not None and found.output is not None
    torch.testing.assert_close(found.baseline + found.values.sum(1), found.output)
    for i in range(len(x)):
        one = shap_values(model, x[i : i + 1], background, target[i], **ask)
        torch.testing.assert_close(one.values[0], found.values[i], atol=1e-5, rtol=1e-4)


def test_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in ("auto", "permutation", "kernel"):
            shap_values(copy.deepcopy(network(6, 8, 2)), rows(2, 6), rows(4, 6), method=method)
