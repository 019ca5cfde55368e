"""With a GPU: what trains there comes back, nothing mixes devices, and nothing else changes.

No GPU is needed: `accelerator` is a second device that refuses to be mixed with the first.
"""

import copy

import accelerator
import pytest
import torch
from torch import nn
from torch.nn import functional

from vglab import (
    _fit_checks,
    data,
    diagnose,
    evaluate,
    explain,
    initialization,
    models,
    probe,
    train,
)
from vglab import sweep as sweeping

DIGITS = data.load("digits", flatten=True)
X, Y, FEW = DIGITS.x_test[:3], DIGITS.y_test[:3], DIGITS.x_train[:6]
IMAGES = data.load("digits")
ROWS = torch.arange(64) // 8


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """Let "auto" find the other device, as it finds CUDA."""
    there, found = accelerator.install(), _fit_checks.find_device
    monkeypatch.setattr(
        _fit_checks, "find_device", lambda device: there if device == "auto" else found(device)
    )
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield there
    torch.__future__.set_swap_module_params_on_conversion(before)


def mlp(**kind):
    torch.manual_seed(0)
    return models.MLP((64, 16, 10), **kind)


def test_the_device_refuses_company(elsewhere):
    away = X.to(elsewhere)
    assert away.device.type != "cpu"
    assert torch.equal((2 * away).cpu(), 2 * X)
    for mix in (lambda: away + X, lambda: away @ X.T, lambda: X[torch.tensor([0]).to(elsewhere)]):
        with pytest.raises(RuntimeError, match="same device"):
            mix()
    with pytest.raises(RuntimeError):
        away.numpy()


@pytest.mark.parametrize("kind", [{}, {"norm": "batch"}, {"norm": "layer", "residual": True}])
@pytest.mark.parametrize("optimizer", ["momentum", "rmsprop", "adamw"])
def test_fit_trains_there_and_comes_home(monkeypatch, kind, optimizer):
    seen = set()

    def watching(model, *_):
        seen.add(next(model.parameters()).device.type)
        return testing(model, *_)

    testing = train._training.test
    monkeypatch.setattr(train._training, "test", watching)
    here, there = mlp(**kind), mlp(**kind)
    first = there.hidden[0][0].weight
    how = {"optimizer": optimizer, "epochs": 1, "probe_every": 5, "clip_norm": 1.0}
    one, two = train.fit(here, DIGITS, device="cpu", **how), train.fit(there, DIGITS, **how)
    assert seen == {"cpu", accelerator.NAME}
    assert there.hidden[0][0].weight is first  # whoever holds a weight still does
    values = [*there.state_dict().values(), two.loss, two.gradient_norms, two.test_accuracy]
    assert {value.device.type for value in values} == {"cpu"}
    for name, value in here.state_dict().items():
        assert torch.equal(value, there.state_dict()[name]), name
    assert torch.equal(one.loss, two.loss)
    assert torch.equal(one.gradient_norms, two.gradient_norms)


def test_a_model_that_lives_there_stays_there(elsewhere):
    model = mlp().to(elsewhere)
    train.fit(model, DIGITS, epochs=1, device="cpu")
    assert next(model.parameters()).device == elsewhere


def test_a_failed_fit_comes_home_too():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10)
            self.scale = torch.ones(10)  # no buffer, so it stays behind

        def forward(self, x):
            return self.layer(x) * self.scale

    model = Broken()
    with pytest.raises(ValueError, match="same device"):
        train.fit(model, DIGITS, epochs=1)
    assert model.layer.weight.device.type == "cpu"


@pytest.mark.parametrize("make", [
    lambda: (models.ConvNet(1, 10, norm="batch"), IMAGES),
    *(lambda cell=cell: (models.SequenceClassifier(cell, 8, 4, 10), data.from_arrays(
        IMAGES.x_train[:200, 0], IMAGES.y_train[:200])) for cell in ("rnn", "lstm", "gru")),
])  # fmt: skip
def test_fit_trains_every_kind_of_model_there(make):
    model, given = make()
    here = copy.deepcopy(model)
    history = train.fit(model, given, epochs=1)
    assert torch.allclose(history.loss, train.fit(here, given, epochs=1, device="cpu").loss)
    assert next(model.parameters()).device.type == "cpu"


def test_sweep_trains_there(monkeypatch):
    grid = {"depth": [2], "width": [8], "norm": [None, "batch"], "optimizer": ["adam"]}
    grid |= {"init": ["he", "lsuv"]}
    there = sweeping.sweep(grid, DIGITS, steps=5)
    monkeypatch.setattr(_fit_checks, "find_device", lambda _: torch.device("cpu"))
    here = sweeping.sweep(grid, DIGITS, steps=5)
    assert not there["error"].any()
    assert there["final_loss"].tolist() == here["final_loss"].tolist()


ASKED = {
    "saliency": lambda m: explain.saliency(m, X).values,
    "gradient_x_input": lambda m: explain.gradient_x_input(m, X).values,
    "smooth_grad": lambda m: explain.smooth_grad(m, X, samples=3).values,
    "integrated_gradients": lambda m: explain.integrated_gradients(m, X, steps=4).values,
    "occlusion": lambda m: explain.occlusion(m, X, patch=1).values,
    "lime_weights": lambda m: explain.lime_weights(m, X, FEW, samples=80).values,
    "permutation_importance": lambda m: explain.permutation_importance(m, X, Y, repeats=2).mean,
    "surrogate": lambda m: torch.tensor(explain.surrogate(m, DIGITS.x_train, "tree").fidelity),
    "sensitivity": lambda m: evaluate.sensitivity(explain.saliency, m, X, samples=2),
    "randomization_test": lambda m: evaluate.randomization_test(explain.saliency, m, X).similarity,
    "deletion_auc": lambda m: evaluate.deletion_auc(explain.saliency(m, X), m, X, baseline=0.0),
    "infidelity": lambda m: evaluate.infidelity(explain.saliency(m, X), m, X, samples=16),
    "initialize": lambda m: next(
        initialization.initialize(copy.deepcopy(m), "lsuv", data=DIGITS).parameters()
    ).detach().cpu(),
} | {
    f"shap_values, {method}": lambda m, method=method, groups=groups: explain.shap_values(
        m, X, FEW, method=method, samples=16, groups=groups).values
    for method, groups in [("exact", ROWS), ("permutation", ROWS), ("kernel", ROWS),
                           ("deep", None), ("gradient", None)]
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_a_model_there_is_asked_from_here(elsewhere, name):
    """Inputs stay where readers have them; so do the answers, which are the same."""
    model = mlp().eval()
    expected = ASKED[name](model)
    answer = ASKED[name](copy.deepcopy(model).to(elsewhere))
    assert answer.device.type == "cpu"
    assert torch.allclose(torch.as_tensor(answer), torch.as_tensor(expected), equal_nan=True)


def test_grad_cam_of_a_model_there(elsewhere):
    torch.manual_seed(0)
    model = models.ConvNet(1, 10).eval()
    expected = explain.grad_cam(model, IMAGES.x_test[:2]).values
    answer = explain.grad_cam(model.to(elsewhere), IMAGES.x_test[:2]).values
    assert torch.allclose(answer, expected)


def test_probe_and_diagnose_work_where_the_model_is(elsewhere):
    model = mlp()
    rate = diagnose.diagnose(model, X, Y).rate
    here = probe.layer_gradients(model, functional.cross_entropy(model(X), Y)).gradient_norm
    model.to(elsewhere)
    x, y = X.to(elsewhere), Y.to(elsewhere)
    assert diagnose.diagnose(model, x, y).rate == pytest.approx(rate)
    with probe.Probe(model) as watched:
        loss = functional.cross_entropy(model(x), y)
        loss.backward(retain_graph=True)
    assert watched.frame()["gradient_norm"].notna().all()
    there = probe.layer_gradients(model, loss).gradient_norm
    assert torch.allclose(there.cpu(), here)
