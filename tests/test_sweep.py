import itertools
import math
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from vglab import _grid, data, initialization, models, probe, sweep, train
from vglab import sweep as sweep_module
from vglab.data import Dataset
from vglab.train import History

DIGITS = data.load("digits", flatten=True)
EPOCH = -(-len(DIGITS.x_train) // 64)


def network(run: dict[str, Any], seed: int, dataset: Dataset = DIGITS) -> models.MLP:
    """What a user would write to make one network of a grid."""
    torch.manual_seed(seed)
    widths = [math.prod(dataset.input_shape), *[run.get("width", 64)] * run.get("depth", 1)]
    kind = run.get("activation", "relu")
    model = models.MLP(
        [*widths, dataset.n_classes or 1],
        kind,
        norm=run.get("norm"),
        residual=run.get("residual", False),
    )
    if run.get("init") is not None:
        initialization.initialize(
            model, run["init"], activation=kind, sigma_w=run.get("sigma_w", 1.0),
            sigma_b=run.get("sigma_b", 0.0), data=dataset, seed=seed,
        )  # fmt: skip
    return model


def alone(run: dict[str, Any], seed: int, epochs: int, dataset: Dataset = DIGITS) -> History:
    training = {key: run[key] for key in ("optimizer", "lr", "momentum", "clip_norm") if key in run}
    model = network(run, seed, dataset)
    return train.fit(model, dataset, epochs=epochs, seed=seed, probe_every=1, **training)


def runs(grid: dict[str, list[Any]], seeds: int) -> Iterator[tuple[dict[str, Any], int]]:
    for *values, seed in itertools.product(*grid.values(), range(seeds)):
        yield dict(zip(grid, values, strict=True)), seed


GRIDS: dict[str, dict[str, list[Any]]] = {
    "defaults": {"depth": [1]},
    "learning rates": {"depth": [3], "activation": ["tanh"], "lr": [0.01, 0.05, 0.02]},
    "optimizers": {
        "optimizer": ["sgd", "momentum", "rmsprop", "adam", "adamw"],
        "activation": ["tanh"],
        "lr": [0.001, 0.002],
    },
    "momentum": {"optimizer": ["sgd", "rmsprop"], "momentum": [0.0, 0.5], "lr": [0.001, 0.003]},
    "clipping": {"clip_norm": [None, 0.05, 100.0], "lr": [0.1]},
    "norms": {
        "norm": ["batch", "layer", "rms"],
        "residual": [True, False],
        "depth": [2],
        "activation": ["tanh"],
    },
    "schemes": {"init": list(initialization.SCHEMES), "depth": [2], "sigma_w": [0.5]},
    "activations": {"activation": list(models.ACTIVATIONS), "depth": [2], "width": [16]},
    "mean field": {"sigma_w": [1.0, 1.5], "sigma_b": [0.0, 0.1], "init": ["mean_field"]},
    "no hidden layer": {"depth": [0], "lr": [0.1]},
}


@pytest.mark.parametrize("name", GRIDS)
def test_equals_fit_one_at_a_time(name: str) -> None:
    grid = GRIDS[name]
    frame = sweep.sweep(grid, DIGITS, steps=2 * EPOCH, seeds=2, probe_every=1)
    for (run, seed), row in zip(runs(grid, 2), frame.itertuples(), strict=True):
        history = alone(run, seed, epochs=2)
        norms = history.gradient_norms[-1]
        # 44 steps of these tame settings amplify a rounding of 1e-7 far less than a thousandfold.
        assert row.final_loss == pytest.approx(history.loss[-1].item(), rel=1e-4), run
        assert row.best_loss == pytest.approx(history.loss.min().item(), rel=1e-4)
        assert row.test_accuracy == pytest.approx(history.test_accuracy[-1].item(), abs=2 / 450)
        assert row.gradient_ratio == pytest.approx((norms[0] / norms[-1]).item(), rel=1e-3)
        assert not row.diverged and row.error is None


def test_equals_fit_after_200_steps() -> None:
    grid = {"depth": [10], "init": ["he"], "activation": ["tanh"], "optimizer": ["rmsprop"],
            "lr": [1e-4, 3e-4]}  # fmt: skip
    steps = 9 * EPOCH  # 198
    frame = sweep.sweep(grid, DIGITS, steps=steps, seeds=2)
    for (run, seed), row in zip(runs(grid, 2), frame.itertuples(), strict=True):
        loss = alone(run, seed, epochs=9).loss
        assert row.final_loss == pytest.approx(loss[-1].item(), rel=1e-3)


def test_one_step_equals_the_chain_rule() -> None:
    """The loss after one step of SGD, from autograd on one network and the update rule."""
    frame = sweep.sweep({"lr": [0.1, 0.5], "init": ["he"]}, DIGITS, steps=2, seeds=3)
    for (run, seed), row in zip(runs({"lr": [0.1, 0.5], "init": ["he"]}, 3), frame.itertuples(),
                                strict=True):  # fmt: skip
        model = network(run, seed)
        order = torch.randperm(len(DIGITS.x_train), generator=torch.Generator().manual_seed(seed))
        first, second = order[:64], order[64:128]
        loss = functional.cross_entropy(model(DIGITS.x_train[first]), DIGITS.y_train[first])
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(model.parameters(), slopes, strict=True):
                parameter -= run["lr"] * slope
            after = functional.cross_entropy(model(DIGITS.x_train[second]), DIGITS.y_train[second])
        assert row.final_loss == pytest.approx(after.item(), rel=1e-5)


def test_gradient_ratio_is_that_of_the_first_step() -> None:
    grid = {"depth": [2, 8], "activation": ["sigmoid", "tanh"], "init": ["lecun"]}
    frame = sweep.sweep(grid, DIGITS, steps=3, seeds=2)
    for (run, seed), row in zip(runs(grid, 2), frame.itertuples(), strict=True):
        model = network(run, seed)
        order = torch.randperm(len(DIGITS.x_train), generator=torch.Generator().manual_seed(seed))
        batch = order[:64]
        loss = functional.cross_entropy(model(DIGITS.x_train[batch]), DIGITS.y_train[batch])
        norms = probe.layer_gradients(model, loss).gradient_norm
        assert row.gradient_ratio == pytest.approx((norms[0] / norms[-1]).item(), rel=1e-4)


def test_regression() -> None:
    diabetes = data.load("diabetes")
    steps = 2 * -(-len(diabetes.x_train) // 64)
    frame = sweep.sweep({"lr": [0.01, 0.05]}, diabetes, steps=steps, seeds=2)
    for (run, seed), row in zip(runs({"lr": [0.01, 0.05]}, 2), frame.itertuples(), strict=True):
        history = alone(run, seed, 2, diabetes)
        assert row.final_loss == pytest.approx(history.loss[-1].item(), rel=1e-4)
        assert math.isnan(row.test_accuracy) and not row.diverged


def test_images_are_flattened() -> None:
    images = data.load("digits")
    pd.testing.assert_frame_equal(
        sweep.sweep({"lr": [0.1]}, images, steps=3), sweep.sweep({"lr": [0.1]}, DIGITS, steps=3)
    )


def test_what_diverges_stays_alone() -> None:
    grid = {"lr": [0.01, 1e30, 0.1], "optimizer": ["sgd", "momentum", "adam"]}
    mixed = sweep.sweep(grid, DIGITS, steps=30, seeds=2)
    calm = sweep.sweep(grid | {"lr": [0.01, 0.1]}, DIGITS, steps=30, seeds=2)
    wild = mixed["lr"] == 1e30
    assert mixed[wild]["diverged"].all() and mixed[wild]["error"].isna().all()
    assert not mixed[~wild]["diverged"].any()
    pd.testing.assert_frame_equal(mixed[~wild].reset_index(drop=True), calm, check_dtype=False)


def test_best_loss_of_what_diverges_is_finite() -> None:
    row = sweep.sweep({"lr": [1e30]}, DIGITS, steps=5).iloc[0]
    assert row.diverged and math.isfinite(row.best_loss) and not math.isfinite(row.final_loss)


def test_rows_and_columns() -> None:
    grid = {"lr": [0.1, 0.2], "depth": [2, 1]}
    frame = sweep.sweep(grid, DIGITS, steps=1, seeds=[7, 3])
    assert list(frame) == ["lr", "depth", "seed", *sweep.MEASURED]
    expected = [(*values, seed) for *values, seed in itertools.product(*grid.values(), [7, 3])]
    assert list(frame[["lr", "depth", "seed"]].itertuples(index=False, name=None)) == expected
    assert frame["diverged"].dtype == bool and frame["final_loss"].dtype == float
    mixed = sweep.sweep({"norm": [None, "rms"], "clip_norm": [1.0, None]}, DIGITS, steps=1)
    assert [*mixed["norm"]] == [None, None, "rms", "rms"]
    assert [*mixed["clip_norm"]] == [1.0, None, 1.0, None]


def test_losses_are_those_of_fit_step_by_step() -> None:
    grid = GRIDS["learning rates"]
    frame = sweep.sweep(grid, DIGITS, steps=EPOCH + 3, seeds=2, losses=True)
    assert list(frame)[-1] == "losses" and set(sweep.MEASURED) < {*frame}
    for (run, seed), row in zip(runs(grid, 2), frame.itertuples(), strict=True):
        expected = alone(run, seed, epochs=2).loss[: EPOCH + 3].numpy()
        np.testing.assert_allclose(row.losses, expected, rtol=1e-4)  # as final_loss above
        assert row.losses[-1] == np.float32(row.final_loss)
        assert row.losses.min() == np.float32(row.best_loss)


def test_what_could_not_be_trained_has_no_losses() -> None:
    frame = sweep.sweep({"optimizer": ["adam", "sgd"], "momentum": [0.9]}, DIGITS, steps=2,
                        losses=True)  # fmt: skip
    assert frame["losses"][0] is None and len(frame["losses"][1]) == 2


def test_same_bits_whatever_the_jobs() -> None:
    grid = {"depth": [1, 2, 3], "lr": [0.1, 0.2], "optimizer": ["rmsprop"]}
    one = sweep.sweep(grid, DIGITS, steps=10, seeds=3)
    pd.testing.assert_frame_equal(
        one, sweep.sweep(grid, DIGITS, steps=10, seeds=3), check_exact=True
    )
    two = sweep.sweep(grid, DIGITS, steps=10, seeds=3, n_jobs=2)
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_processes_give_the_same() -> None:
    grid = {"depth": [1, 2]}
    one = sweep.sweep(grid, DIGITS, steps=3)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        pd.testing.assert_frame_equal(one, sweep.sweep(grid, DIGITS, steps=3))


@pytest.mark.parametrize("init", [None, "he"])
def test_random_state_and_threads_stay(init: str | None) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        sweep.sweep({"init": [init]}, DIGITS, steps=1, n_jobs=2)
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="no_such"):
            sweep.sweep({"init": ["no_such"]}, DIGITS, steps=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)


def test_large_groups_are_split() -> None:
    group = [dict(_grid.DEFAULTS, seed=seed) for seed in range(100)]
    parts = sweep_module._stacks(group, DIGITS)
    assert sorted(place for part in parts for place in part) == list(range(100))
    assert max(map(len, parts)) <= sweep_module.MOST_NETWORKS
    wide = [dict(_grid.DEFAULTS, seed=seed, width=2000, depth=3) for seed in range(3)]
    assert sweep_module._stacks(wide, DIGITS) == [[0], [1], [2]]


def test_what_fit_refuses_is_reported_and_the_rest_kept() -> None:
    frame = sweep.sweep(
        {"optimizer": ["adam", "sgd"], "momentum": [0.0, 0.9]}, DIGITS, steps=2, seeds=2
    )
    refused = (frame["optimizer"] == "adam") & (frame["momentum"] == 0.9)
    assert frame[refused]["error"].str.contains("adam has its own").all()
    assert frame[refused]["final_loss"].isna().all()
    assert frame[~refused]["error"].isna().all() and frame[~refused]["final_loss"].notna().all()


def test_a_failing_member_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = initialization.initialize

    def fails_for_seed_1(model: torch.nn.Module, scheme: str, **rest: Any) -> torch.nn.Module:
        if rest["seed"] == 1:
            raise RuntimeError("out of luck")
        return draw(model, scheme, **rest)

    expected = sweep.sweep({"init": ["he"]}, DIGITS, steps=2, seeds=3)
    monkeypatch.setattr("vglab._stacked.initialize", fails_for_seed_1)
    frame = sweep.sweep({"init": ["he"]}, DIGITS, steps=2, seeds=3)
    assert frame["error"].tolist() == [None, "RuntimeError: out of luck", None]
    assert frame["final_loss"][[0, 2]].tolist() == pytest.approx(expected["final_loss"][[0, 2]])


def test_batch_norm_with_a_batch_of_one_says_so() -> None:
    x, y = torch.randn(44, 3), torch.arange(44) % 2
    lonely = data.from_arrays(x, y, test_fraction=0.25)  # 33 examples to train on
    assert len(lonely.x_train) == 33
    frame = sweep.sweep({"norm": ["batch", None]}, lonely, steps=2, batch_size=32)
    assert "batch norm needs two examples" in frame["error"][0]
    assert frame["error"][1] is None


class Killed(Exception):
    pass


def test_no_row_is_lost_with_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, calls = {"depth": [1, 2, 3]}, []
    expected = sweep.sweep(grid, DIGITS, steps=2)
    run = sweep_module._parallel

    def dies_after_one(work: Any, stacks: list[Any], n_jobs: int) -> Iterator[Any]:
        calls.append(len(stacks))
        results = iter(run(work, stacks, n_jobs))
        yield next(results)
        if len(calls) == 1:
            raise Killed
        yield from results

    monkeypatch.setattr(sweep_module, "_parallel", dies_after_one)
    pd.testing.assert_frame_equal(sweep.sweep(grid, DIGITS, steps=2), expected)
    assert calls == [3, 2]


def test_what_kills_its_worker_each_time_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    run = sweep_module._parallel

    def poisoned(work: Any, stacks: list[Any], n_jobs: int) -> Iterator[Any]:
        if any(networks[0]["depth"] == 2 for _, networks in stacks):
            raise Killed("signal 9")
        yield from run(work, stacks, n_jobs)

    monkeypatch.setattr(sweep_module, "_parallel", poisoned)
    frame = sweep.sweep({"depth": [1, 2, 3]}, DIGITS, steps=2)
    assert frame["error"][1] == "its worker was lost three times (Killed: signal 9)"
    assert frame["final_loss"].notna().tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"layers": [1]}, "a key of grid must be one of depth, width"),
        ({"depth": []}, "is empty"),
        ({"depth": [-1]}, "depth must be at least 0"),
        ({"width": [0]}, "width must be at least 1"),
        ({"activation": ["rleu"]}, "activation must be one of linear"),
        ({"norm": ["group"]}, "norm must be one of batch"),
        ({"init": ["hee"]}, "init must be one of normal"),
        ({"sigma_w": [-1.0]}, "sigma_w must be finite and at least 0"),
        ({"sigma_b": [math.nan]}, "sigma_b must be finite"),
        ({"optimizer": ["lion"]}, "optimizer must be one of sgd"),
        ({"lr": [0.1, 0.0]}, "lr must be finite and greater than 0"),
        ({"momentum": [1.0]}, "momentum must be finite and at least 0 and less than 1"),
        ({"clip_norm": [-1.0]}, "clip_norm must be finite and greater than 0"),
    ],
)
def test_bad_grids_are_refused(grid: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep.sweep(grid, DIGITS, steps=1)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([("depth", [1])], "grid must map"),
        ({"activation": "relu"}, "must be a list of values, got 'relu'"),
        ({"depth": 3}, "must be a list of values, got 3"),
        ({"depth": [1.5]}, "depth must be an integer"),
        ({"residual": ["yes"]}, "residual must be True or False"),
        ({"lr": ["0.1"]}, "lr must be a number"),
        ({"optimizer": [torch.optim.SGD]}, "optimizer must be one of"),
    ],
)
def test_grids_of_the_wrong_kind_are_refused(grid: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        sweep.sweep(grid, DIGITS, steps=1)


@pytest.mark.parametrize(
    "arguments",
    [{"steps": 0}, {"seeds": 0}, {"seeds": []}, {"seeds": [-1]}, {"batch_size": 0},
     {"probe_every": 0}, {"n_jobs": 0}],
)  # fmt: skip
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=name.rstrip("s")):
        sweep.sweep({"depth": [1]}, DIGITS, **({"steps": 1} | arguments))


def test_numpy_values_are_values() -> None:
    frame = sweep.sweep(
        {"lr": np.geomspace(0.01, 0.1, 2), "depth": np.arange(1, 3), "residual": np.array([True])},
        DIGITS, steps=2, seeds=np.arange(2),
    )  # fmt: skip
    assert len(frame) == 8 and frame["error"].isna().all()


def test_missing_init_is_mean_field_where_sigma_is_given() -> None:
    given = sweep.sweep({"sigma_w": [1.5], "init": ["mean_field"]}, DIGITS, steps=2)
    missing = sweep.sweep({"sigma_w": [1.5]}, DIGITS, steps=2)
    assert given["final_loss"].equals(missing["final_loss"])


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    sweep.sweep({"depth": [1, 2]}, DIGITS, steps=1)
    assert capsys.readouterr().err == ""
    sweep.sweep({"depth": [1, 2]}, DIGITS, steps=1, progress=True)
    assert "2/2" in capsys.readouterr().err
