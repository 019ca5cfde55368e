"""Diagnoses against networks whose gradients are known, and whose remedies can be tried."""

import copy
import math
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from diagnose_corpus import (
    BROKEN,
    HEALTHY,
    Functional,
    Loop,
    mlp,
    recurrent,
    vectors,
)
from torch import nn
from torch.nn import functional

from vglab import theory
from vglab.diagnose import Diagnosis, diagnose
from vglab.initialization import initialize
from vglab.models import MLP, SequenceClassifier

CASES = {**BROKEN, **{name: ("healthy", make) for name, make in HEALTHY.items()}}


# An oracle of its own: torch's hooks on outputs in float64, and autograd for time.


def gradient_ratio(model, x, y):
    """Norm of ∂J/∂z at the first layer (or ∂J/∂x at the first step) over that at the last."""
    model, x = copy.deepcopy(model).double().train(), x.double().requires_grad_()
    kept = []
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    handles = [m.register_forward_hook(lambda m, i, z: kept.append(z)) for m in layers]
    loss = functional.cross_entropy(model(x), y)
    for handle in handles:
        handle.remove()
    if isinstance(model, SequenceClassifier | Loop):
        (gradient,) = torch.autograd.grad(loss, x)
        norms = gradient.norm(dim=(0, 2))
    else:
        norms = torch.stack([g.norm() for g in torch.autograd.grad(loss, kept)])
    return (norms[0] / norms[-1]).item()


def learns(model, x, y):
    """Does SGD at one of four rates learn more of the targets than how frequent each class is?"""
    shares = torch.bincount(y) / len(y)
    goal = 0.9 * torch.special.entr(shares).sum().item()
    for lr in (0.3, 0.1, 0.03, 0.01):
        copied, below = copy.deepcopy(model), 0
        optimizer = torch.optim.SGD(copied.parameters(), lr)
        for _ in range(50):
            loss = functional.cross_entropy(copied(x), y)
            below = below + 1 if loss.item() < goal else 0
            if below == 3:  # no accident of one step
                return True
            if not loss.isfinite():
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return False


@pytest.fixture(scope="module")
def diagnoses():
    torch.manual_seed(0)
    return {name: diagnose(*make()) for name, (_, make) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_verdict(name, diagnoses):
    assert diagnoses[name].verdict == CASES[name][0], str(diagnoses[name])


def test_confusion_table(diagnoses):
    table = Counter((truth, diagnoses[name].verdict) for name, (truth, _) in CASES.items())
    for (truth, verdict), count in sorted(table.items()):
        print(f"{truth:>10} -> {verdict:<10} {count}")  # pytest -s shows it
    assert len(BROKEN) >= 40 and len(HEALTHY) >= 20
    assert all(truth == verdict for truth, verdict in table)


@pytest.mark.parametrize(
    "name", [name for name, (truth, _) in BROKEN.items() if truth in ("vanishing", "exploding")]
)
def test_truth_of_the_broken(name):
    ratio = gradient_ratio(*BROKEN[name][1]())
    assert ratio < 1e-3 if BROKEN[name][0] == "vanishing" else ratio > 1e3


@pytest.mark.parametrize("name", HEALTHY)
def test_truth_of_the_healthy(name):
    model, x, y = HEALTHY[name]()
    if name == "trained":
        assert (model(x).argmax(1) == y).float().mean() > 0.95
    else:
        assert learns(model, x, y)


def trainable(model, x, y):
    """Fed by vectors (what vanishes over time hinders no learning from the last steps), cheap."""
    return x.ndim == 2 and sum(p.ndim > 1 for p in model.parameters()) <= 20


TRAINABLE = [name for name, (_, make) in BROKEN.items() if trainable(*make())]


def test_the_broken_do_not_learn_and_the_repaired_do(diagnoses):
    """A truth of its own, with no threshold of `diagnose`: training, before and after."""
    learning, hopeless = [], []
    for name in TRAINABLE:
        make = BROKEN[name][1]
        torch.manual_seed(0)
        if learns(*make()):
            learning.append(name)
        if not learns(*apply(diagnoses[name].remedies[0], *make())):
            hopeless.append(name)
    print(f"of {len(TRAINABLE)} broken networks learn {learning}, repaired do not {hopeless}")
    assert len(TRAINABLE) >= 24
    assert not learning
    assert not hopeless


def test_every_broken_network_has_causes_and_remedies(diagnoses):
    for name in BROKEN:
        found = diagnoses[name]
        assert found.causes and found.remedies, name
        assert all(one.change and one.effect and one.source for one in found.remedies)
        assert set().union(*(cause.layers for cause in found.causes)) <= set(found.rows)


# The first remedy, applied by its kind and arguments alone.


def open_gates(cell, bias):
    for name, parameter in cell.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
    size = cell.hidden_size
    start = next(p for n, p in cell.named_parameters() if n.startswith("bias_ih"))
    with torch.no_grad():
        if isinstance(cell, nn.LSTM | nn.LSTMCell):  # gates i, f, g, o
            start[:size] = -bias
            start[size : 2 * size] = bias
        else:  # r, z, n
            start[size : 2 * size] = bias


def apply(remedy, model, x, y):
    arguments = dict(remedy.arguments)
    if remedy.kind in ("initialize", "replace_activation"):
        if remedy.kind == "replace_activation":
            for parent in list(model.modules()):
                for name, child in list(parent.named_children()):
                    if isinstance(child, nn.Sigmoid):
                        setattr(parent, name, nn.ReLU())
            if isinstance(model, Functional):
                model.function = torch.relu
        initialize(model, **arguments)
    elif remedy.kind == "residual":
        model.residual = True
    elif remedy.kind == "replace_cell" and isinstance(model, Loop):
        model.cell = nn.GRUCell(model.cell.input_size, model.cell.hidden_size)
        open_gates(model.cell, arguments["bias"])
    elif remedy.kind == "replace_cell" and hasattr(model, "cell"):
        model.cell = nn.GRU(model.cell.input_size, model.cell.hidden_size, batch_first=True)
        open_gates(model.cell, arguments["bias"])
    elif remedy.kind == "gate_bias":
        open_gates(model.cell, arguments["bias"])
    elif remedy.kind == "clean_inputs":
        kept = x.isfinite().all(1)
        x, y = x[kept], y[kept]
    else:
        pytest.fail(f"nobody knows how to apply {remedy}")
    return model, x, y


def gradients_are_back(model, x, y):
    ratio = gradient_ratio(model, x, y)
    loss = functional.cross_entropy(model(x), y)
    weights = [p for p in model.parameters() if p.ndim > 1]
    found = torch.autograd.grad(loss, weights)
    alive = all(g.isfinite().all() and g.norm() > 0 for g in found)
    varied = all(len(g) < 2 or not (g == g[0]).all() for g in found)
    return alive and varied and 1e-3 < ratio < 1e3


def test_the_first_remedy_brings_the_gradients_back(diagnoses):
    failed = []
    for name, (_, make) in BROKEN.items():
        torch.manual_seed(0)
        if not gradients_are_back(*apply(diagnoses[name].remedies[0], *make())):
            failed.append((name, diagnoses[name].remedies[0].kind))
    print(f"first remedy: {len(BROKEN) - len(failed)} of {len(BROKEN)}; failed: {failed}")
    assert len(failed) <= len(BROKEN) / 10, failed


def test_predicted_rate_is_what_the_remedy_gives(diagnoses):
    for name in ("relu, 20 layers, torch's default", "tanh, 12 layers, σ_w 0.3",
                 "sigmoid, 50 layers", "linear, 15 layers, σ_w 0.5"):  # fmt: skip
        remedy = diagnoses[name].remedies[0]
        after = diagnose(*apply(remedy, *BROKEN[name][1]()))
        # Width 48 over some ten layers: the rate of one draw is known to about 1/√48 ≈ 0.15.
        assert after.rate == pytest.approx(remedy.predicted_rate, abs=0.15), name


# Rates in closed form.


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_rate_of_a_linear_chain(factor):
    layers = [nn.Linear(6, 6, bias=False) for _ in range(9)]
    for layer in layers:
        layer.weight.data = factor * torch.linalg.qr(torch.randn(6, 6))[0]
    found = diagnose(nn.Sequential(*layers), torch.randn(4, 6), torch.randn(4, 6))
    # Orthogonal matrices keep every length: eight products, each rounded in float32.
    assert found.rate == pytest.approx(factor, rel=1e-5)
    assert found.ratio == pytest.approx(factor**8, rel=1e-5)
    assert found.along == "layers"


@pytest.mark.parametrize(("activation", "sigma_w"), [("tanh", 1.5), ("tanh", 0.8), ("relu", 1.0)])
def test_rate_of_a_wide_network_is_the_root_of_chi(activation, sigma_w):
    expected = math.sqrt(theory.chi(activation, sigma_w, 0.0))
    rates = []
    for seed in range(3):
        model = initialize(MLP((256,) * 13, activation), "mean_field", sigma_w=sigma_w, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(32, 256, generator=generator)
        rates.append(diagnose(model, x, torch.randn(32, 256, generator=generator)).rate)
    # Theory is for infinite width, at the fixed point; tanh takes a few layers to reach it.
    assert np.mean(rates) == pytest.approx(expected, rel=0.06)


def test_batch_normalised_depth_explodes_as_published():
    found = diagnose(*mlp(60, "relu", "he", norm="batch"))
    # Yang et al. 2019: the squared norm grows by π / (π - 1) per layer, for large batches.
    assert found.rate == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=0.03)
    assert found.causes[0].kind == "norm_without_skip"


def test_layers_hold_what_autograd_gives():
    model, x, y = mlp(4, "tanh")
    zs, hs = [], []
    for block in model.hidden:
        block[0].register_forward_hook(lambda m, i, z: zs.append(z))
        block[1].register_forward_hook(lambda m, i, h: hs.append(h))
    loss = functional.cross_entropy(model(x), y)
    dz, dh = torch.autograd.grad(loss, zs, retain_graph=True), torch.autograd.grad(loss, hs)
    frame = diagnose(model, x, y).layers
    zs, hs = zs[:3], hs[:3]
    for i, name in enumerate(("hidden.0.0", "hidden.1.0", "hidden.2.0")):
        row = frame.loc[name]
        assert row["delta_norm"] == pytest.approx(dz[i].norm().item(), rel=1e-5)
        assert row["gradient_norm"] == pytest.approx(dh[i].norm().item(), rel=1e-5)
        assert row["std"] == pytest.approx(zs[i].std(correction=0).item(), rel=1e-5)
        slopes = 1 - hs[i].detach() ** 2
        assert row["slope"] == pytest.approx(slopes.square().mean().sqrt().item(), rel=1e-5)
        assert row["saturated"] == pytest.approx((slopes < 0.05).float().mean().item())
        weight = model.hidden[i][0].weight
        assert row["sigma_w"] == pytest.approx(weight.norm().item() / 48**0.5, rel=1e-5)
    assert frame["critical_sigma_w"].iloc[0] == pytest.approx(1.0, abs=1e-3)


def test_norm_activation_and_skip_paths_are_seen():
    frame = diagnose(*HEALTHY["resnet-18"]()).layers
    assert set(frame["norm"]) == {"batch", ""}
    assert frame.loc["conv1", "activation"] == "relu" and not frame.loc["conv1", "skip"]
    assert frame.loc["layer1.0.conv1", "skip"] and not frame.loc["fc", "skip"]
    frame = diagnose(*mlp(6, "relu", norm="rms", residual=True)).layers
    assert frame.loc["hidden.2.0", "norm"] == "rms" and frame.loc["hidden.2.0", "skip"]
    frame = diagnose(Functional(3, functional.silu), *vectors()).layers
    assert list(frame["activation"]) == ["silu"] * 3 + [""]


# What a diagnosis must not change.


def snapshot(model):
    state = [(n, t.clone(), t.requires_grad) for n, t in model.state_dict(keep_vars=True).items()]
    modules = [
        (m.training, *(tuple(hooks) for name, hooks in vars(m).items() if name.endswith("_hooks")))
        for m in model.modules()
    ]
    keys = [set(vars(m)) for m in model.modules()]
    grads = [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()]
    return (
        state,
        modules,
        keys,
        grads,
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state(),
    )


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class Awkward(nn.Module):
    """Batch norm, dropout, noise, a counter, a stored state, a frozen layer, tied weights."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.b.weight = self.a.weight
        self.norm, self.drop = nn.BatchNorm1d(8), nn.Dropout(0.5)
        self.frozen = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))
        self.frozen.requires_grad_(False)
        self.calls, self.state, self.fail = 0, None, False
        self.register_buffer("seen", torch.zeros(8))

    def forward(self, x):
        self.calls += 1
        self.seen += x.detach().mean(0)
        x.mul_(1.0 + 0 * random.random() + 0 * np.random.rand())
        h = torch.relu_(self.norm(self.a(x))) + torch.randn_like(x)
        self.state = h = self.drop(torch.tanh(self.frozen(self.b(h))))
        if self.fail:
            raise KeyError("half way")
        return self.c(h)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("failing", ["", "model", "loss", "targets"])
def test_everything_is_as_it_was(training, failing):
    torch.manual_seed(0)
    model, x, y = Awkward(), torch.randn(16, 8), torch.randint(0, 3, (16,))
    model.train(training)
    model.norm.eval()
    model.c.register_forward_hook(lambda *_: None)
    for i, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, float(i)) if i % 2 else None
    model.fail = failing == "model"
    before, data = snapshot(model), x.clone()
    if failing == "loss":
        with pytest.raises(ZeroDivisionError):
            diagnose(model, x, y, loss=lambda *_: 1 / 0)
    elif failing == "targets":
        with pytest.raises(ValueError, match="no default loss"):
            diagnose(model, x, y[:3])
    elif failing == "model":
        with pytest.raises(KeyError) as caught:
            diagnose(model, x, y)
        assert "inputs float32 [16, 8]" in caught.value.__notes__[0]
    else:
        assert diagnose(model, x, y).verdict == "healthy"
    assert same(before, snapshot(model)) and torch.equal(x, data)
    assert model.calls == 0 and model.state is None


# Unusual networks.


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.out = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 1)

    def forward(self, a, b):
        return self.out(torch.relu(self.left(a) + self.right(b)))


def test_several_inputs_and_kinds_of_loss():
    torch.manual_seed(0)
    a, b, y = torch.randn(9, 4), torch.randn(9, 3), torch.randn(9)
    one = diagnose(Two(), (a, b), y)
    assert one.verdict == "healthy" and list(one.rows) == ["left", "right", "out"]
    assert diagnose(Two(), {"b": b, "a": a}, (y > 0).long()).verdict == "healthy"
    model = Two()
    logits = model(a, b)
    losses = {
        "real": (y[:, None], functional.mse_loss(logits, y[:, None])),
        "flat": (y, functional.mse_loss(logits[:, 0], y)),
        "binary": (
            y > 0,
            functional.binary_cross_entropy_with_logits(logits[:, 0], (y > 0).float()),
        ),
    }
    for targets, expected in losses.values():
        assert diagnose(model, (a, b), targets).loss == pytest.approx(expected.item(), rel=1e-6)
    with pytest.raises(ValueError, match="integers beyond 0 and 1"):
        diagnose(model, (a, b), torch.arange(9))
    own = diagnose(model, (a, b), None, loss=lambda out, _: out.square().mean())
    assert own.loss == pytest.approx(logits.square().mean().item(), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, torch.ones(2, 2), None), TypeError, "must be a torch.nn.Module, got int"),
        ((nn.ReLU(), torch.ones(2, 2), None), ValueError, "no linear, convolutional or recurrent"),
        ((nn.LazyLinear(3), torch.ones(2, 2), None), ValueError, "run one batch through"),
        ((nn.Linear(2, 2), [[1.0, 2.0]], None), TypeError, "inputs must be a tensor"),
        ((nn.Linear(2, 2), torch.ones(0, 2), None), ValueError, "inputs are empty"),
        ((nn.Linear(2, 2), torch.ones(2, 2), [0, 1]), TypeError, "give loss=lambda"),
        ((nn.Linear(2, 2).requires_grad_(False), torch.ones(2, 2), None), ValueError, "frozen"),
        ((nn.LSTM(2, 2), torch.ones(2, 2), torch.ones(2, 2)), TypeError, "got tuple and Tensor"),
    ],
)
def test_clear_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        diagnose(*arguments)


def test_losses_that_cannot_be_used():
    model, x, y = mlp(2)
    with pytest.raises(TypeError, match=r"scalar tensor, got \[64, 5\]"):
        diagnose(model, x, y, loss=lambda out, _: out)
    with pytest.raises(ValueError, match="no graph"):
        diagnose(model, x, y, loss=lambda out, _: out.detach().sum())


def test_saturated_output_unresponsive_and_flat_losses():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
    with torch.no_grad():
        model[2].bias.fill_(12.0)
    x, y = torch.randn(16, 4), torch.zeros(16, 1)
    found = diagnose(model, x, y)
    assert (found.verdict, found.causes[0].kind) == ("vanishing", "saturated_output")
    model, x, y = mlp(3, "relu", "he")
    found = diagnose(model, x, y, loss=lambda out, _: 5 + functional.relu(-1e3 - out.abs()).sum())
    assert (found.verdict, found.causes[0].kind) == ("dead", "unresponsive_loss")
    fitted = model(x).detach()
    found = diagnose(model, x, fitted)
    assert (found.verdict, found.causes[0].kind) == ("healthy", "flat_loss")
    # Targets that are nearly met: small gradients, but no vanishing ones.
    found = diagnose(model, x, fitted + 1e-5)
    assert (found.verdict, found.causes[0].kind) == ("healthy", "flat_loss")


def test_inputs_that_are_too_large_are_to_be_standardised():
    model, x, y = mlp(3, "tanh")
    found = diagnose(model, 1e7 * x, y)
    assert found.verdict == "dead" and found.causes[0].layers == ("hidden.0.0",)
    assert found.remedies[0].kind == "standardize_inputs"
    assert diagnose(model, x, y).verdict == "healthy"


def test_inputs_that_saturate_the_first_layer_are_noted():
    model, x, y = mlp(3, "tanh")
    found = diagnose(model, 100 * x, y)
    assert found.verdict == "healthy"  # the first layer's weights still learn from so large inputs
    assert [cause.kind for cause in found.causes] == ["large_inputs"]
    assert found.causes[0].evidence["input_size"] == pytest.approx(100, rel=0.1)
    assert [remedy.kind for remedy in found.remedies] == ["standardize_inputs"]
    assert "note: the inputs are large" in str(found)
    for activation in ("relu", "linear"):  # which large inputs do not saturate
        assert not diagnose(*mlp(3, activation)[:1], 100 * x, y).causes
    sick = diagnose(*mlp(3, "sigmoid")[:1], 1e4 * x, y)
    assert (sick.verdict, sick.causes[0].kind) == ("vanishing", "large_inputs")
    assert sick.remedies[0].kind == "standardize_inputs"


def test_an_output_that_starts_at_zero_is_healthy():
    model, x, y = mlp(3, "relu", "he")
    nn.init.zeros_(model.output.weight)
    found = diagnose(model, x, y)
    assert (found.verdict, found.causes[0].kind) == ("healthy", "zero_start")
    assert learns(model, x, y)


def test_detached_layers_are_named():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(torch.relu(self.a(x)).detach())

    found = diagnose(Cut(), torch.randn(3, 4), torch.tensor([0, 1, 0]))
    assert (found.verdict, found.causes[0].kind) == ("dead", "detached")
    assert found.causes[0].layers == ("a",) and found.remedies[0].kind == "connect"


def test_what_is_frozen_on_purpose_is_not_detached():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(4, 8).requires_grad_(False), nn.Linear(8, 2)

        def forward(self, x):
            with torch.no_grad():
                h = torch.relu(self.body(x))
            return self.head(h)

    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.out = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.out(self.table(x.long()).mean(1))

    y = torch.tensor([0, 1, 0])
    assert diagnose(Head(), torch.randn(3, 4), y).verdict == "healthy"
    assert diagnose(Table(), torch.randint(0, 9, (3, 5)).float(), y).verdict == "healthy"


def test_weights_that_training_broke():
    found = diagnose(*BROKEN["NaN in a weight"][1]())
    assert [remedy.kind for remedy in found.remedies] == ["initialize", "clip"]
    assert "checkpoint" in found.remedies[0].change
    found = diagnose(*BROKEN["biases -20"][1]())
    assert [remedy.kind for remedy in found.remedies] == ["initialize", "replace_activation"]
    assert found.remedies[1].arguments["activation"] == "leaky_relu"


@pytest.mark.filterwarnings("error")
def test_inputs_that_require_gradients_get_none():
    model, x, y = mlp(2)
    diagnose(model, x.requires_grad_(), y)
    assert x.grad is None


@pytest.mark.parametrize(
    "name",
    ["resnet-18", "lstm, 8 steps", "transformer, norm last, 2 blocks", "relu, 10 layers, he"],
)
def test_large_tensors_are_measured_as_small_ones_are(name, monkeypatch):
    """Small tensors wait to be measured together, large ones are measured at once."""
    torch.manual_seed(0)
    together = diagnose(*HEALTHY[name]()).layers
    monkeypatch.setattr("vglab._watch.SMALL", 0)
    monkeypatch.setattr("vglab._tally.SMALL", 0)
    torch.manual_seed(0)
    pd.testing.assert_frame_equal(together, diagnose(*HEALTHY[name]()).layers, rtol=1e-5)


def test_the_first_nan_is_located():
    class Log(nn.Module):
        def forward(self, x):
            return x.log()

    model = nn.Sequential(nn.Linear(4, 4), Log(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    found = diagnose(model, torch.randn(8, 4), torch.zeros(8, dtype=torch.long))
    assert (found.verdict, found.causes[0].kind) == ("invalid", "invalid_operation")
    assert found.causes[0].layers == ("2",) and "between 0 and 2" in found.causes[0].statement


def test_half_precision():
    model, x, y = mlp(30, "sigmoid")
    found = diagnose(model.half(), x.half(), y)
    assert found.verdict == "vanishing" and found.causes[0].kind == "underflow"
    assert found.remedies[0].kind == "loss_scaling"
    model, x, y = mlp(4, "relu", "he")
    assert diagnose(model.bfloat16(), x.bfloat16(), y).verdict == "healthy"
    with pytest.raises(RuntimeError) as caught:
        diagnose(model, x, y)  # half a model, whole inputs
    assert "float32 [64, 48]" in caught.value.__notes__[0]


def test_sequences_of_every_form():
    for bidirectional in (False, True):

        class Packed(nn.Module):
            def __init__(self, both):
                super().__init__()
                self.cell = nn.GRU(4, 8, batch_first=True, bidirectional=both)
                self.out = nn.Linear(8 * (1 + both), 2)

            def forward(self, x):
                packed = nn.utils.rnn.pack_padded_sequence(x, [30, 20], batch_first=True)
                return self.out(self.cell(packed)[1].transpose(0, 1).flatten(1))

        found = diagnose(Packed(bidirectional), torch.randn(2, 30, 4), torch.tensor([0, 1]))
        assert found.verdict in ("vanishing", "healthy") and found.along == "time steps"
    tokens = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9))
    x = torch.randint(0, 9, (5, 7))
    assert diagnose(tokens, x, x).verdict == "healthy"  # logits [N, T, C] for targets [N, T]


def test_time_in_closed_form():
    model = SequenceClassifier("rnn", 3, 5, 2)
    with torch.no_grad():
        model.cell.weight_hh_l0.copy_(0.7 * torch.linalg.qr(torch.randn(5, 5))[0])
        model.cell.weight_ih_l0.copy_(torch.eye(5)[:, :3])
        for bias in (model.cell.bias_ih_l0, model.cell.bias_hh_l0):
            bias.zero_()
    found = diagnose(model, 1e-6 * torch.randn(4, 40, 3), torch.tensor([0, 1, 0, 1]))
    # At 0 tanh has slope 1, so that h loses 0.7 per step; only 3 of 5 units are seen through x.
    assert found.along == "time steps"
    assert found.rate == pytest.approx(0.7, rel=0.05)
    assert found.causes[0].evidence["spectral_radius"] == pytest.approx(0.7, rel=1e-5)


# What it looks like.


def test_text_html_and_plot(diagnoses):
    found = diagnoses["sigmoid, 10 layers"]
    assert isinstance(found, Diagnosis)
    text = str(found)
    assert text.startswith("vanishing: going back, the gradient changes by 0.14")
    assert "slope of sigmoid is at most 1/4" in text and "expect: factor per layer" in text
    assert "<strong>vanishing" in found._repr_html_() and "hidden.0.0" in found._repr_html_()
    axes = found.plot()
    values = axes.lines[0].get_ydata()
    assert np.array_equal(values, found.layers["delta_norm"])
    assert axes.get_yscale() == "log" and "vanishing" in axes.get_title(loc="left")


def test_command(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom vglab.models import MLP\n"
        "def bad():\n    model = MLP((4,) * 20 + (2,), 'sigmoid')\n"
        "    return model, torch.randn(5, 4), torch.tensor([0, 1, 0, 1, 0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "vglab", "diagnose", "mine:bad", "--layers"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "vanishing" in done.stdout and "delta_norm" in done.stdout
    assert done.stderr == ""


def test_command_status(tmp_path, monkeypatch, capsys):
    (tmp_path / "factories.py").write_text(
        "import torch\nfrom torch.nn import functional\nfrom vglab.models import MLP\n"
        "def good():\n    return MLP((4, 3, 2)), torch.randn(5, 4), torch.tensor([0, 1, 0, 1, 0])\n"
        "def own():\n    return *good(), functional.cross_entropy\n"
        "def wrong():\n    return 3\n"
        "def fails():\n    return 1 / 0\n"
        "def frozen():\n    model, x, y = good()\n    return model.requires_grad_(False), x, y\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    from vglab.__main__ import main

    for name in ("good", "own"):
        assert main(["diagnose", f"factories:{name}"]) == 0
        assert capsys.readouterr().out.startswith("healthy")
    for name, message in [("wrong", "must return (model, inputs"), ("fails", "ZeroDivisionError"),
                          ("frozen", "frozen")]:  # fmt: skip
        assert main(["diagnose", f"factories:{name}"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere:f", "cannot import nowhere"),
        ("mine", "expected package"),
        ("math:no", "no function"),
    ],
)
def test_command_errors(path, message, capsys):
    from vglab.__main__ import main

    assert main(["diagnose", path]) == 2
    assert message in capsys.readouterr().err


def test_recurrent_cells_in_loops_are_followed_over_time():
    found = diagnose(*BROKEN["rnn cell in a loop, 60 steps"][1]())
    whole = diagnose(*recurrent("rnn", 60))
    assert found.along == whole.along == "time steps"
    assert found.rate == pytest.approx(whole.rate, abs=0.1)
