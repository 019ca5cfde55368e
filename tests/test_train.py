"""`fit` against loops written out: the documents' own, and NumPy's."""

import copy
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from vglab import _fit_checks, train
from vglab import data as datasets
from vglab.data import Dataset
from vglab.models import MLP, SequenceClassifier
from vglab.probe import layer_gradients


class Net(nn.Module):
    """The documents' network, as it stands there."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = torch.flatten(x, 1)
        x = torch.relu(self.fc1(x))
        return self.fc2(x)


def make_data(n=60, shape=(5,), classes=3, n_test=20, dtype=torch.float32, seed=0):
    """Random inputs; labels that can be learned, or for classes=0 a linear target."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n + n_test, *shape, generator=generator, dtype=dtype)
    direction = torch.randn(math.prod(shape), max(classes, 1), generator=generator, dtype=dtype)
    score = x.flatten(1) @ direction
    y = score.argmax(1) if classes else score[:, 0]
    names = tuple(map(str, range(math.prod(shape)))), tuple(map(str, range(classes)))
    return Dataset("random", x[:n], y[:n], x[n:], y[n:], *names)


def make_model(widths=(5, 6, 3), seed=1, **options):
    torch.manual_seed(seed)
    return MLP(widths, **options)


def fit(model, data=None, **options):
    options = {"epochs": 2, "batch_size": 16, "lr": 0.05, **options}
    return train.fit(model, data or make_data(), **options)


def textbook(
    model, data, optimizer, *, epochs, batch_size, seed=0, clip_norm=None, probe_every=None
):
    """The loop of every tutorial over the batches that `fit` documents, by one thread, as `fit`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    order = torch.Generator().manual_seed(seed)
    optimizer = optimizer(model.parameters())
    losses, accuracies, probed, tests = [], [], [], []
    for _ in range(epochs):
        permutation = torch.randperm(len(data.x_train), generator=order)
        model.train()
        right = 0
        for start in range(0, len(permutation), batch_size):
            chosen = permutation[start : start + batch_size]
            inputs, targets = data.x_train[chosen], data.y_train[chosen]
            optimizer.zero_grad()
            output = model(inputs)
            if data.class_names:
                loss = nn.CrossEntropyLoss()(output, targets)
                right += int((output.argmax(1) == targets).sum())
            else:
                loss = ((output.flatten() - targets) ** 2).mean()
            if probe_every and len(losses) % probe_every == 0:
                probed.append(layer_gradients(model, loss).gradient_norm)
            loss.backward()
            if clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
            losses.append(loss.item())
        accuracies.append(right / len(permutation))
        model.eval()
        with torch.no_grad():
            output = model(data.x_test)
        if data.class_names:
            share = (output.argmax(1) == data.y_test).double().mean().item()
            tests.append((nn.CrossEntropyLoss()(output, data.y_test).item(), share))
        else:
            tests.append((((output.flatten() - data.y_test) ** 2).mean().item(), math.nan))
    torch.set_num_threads(threads)
    return losses, accuracies, tests, probed


def assert_same_weights(one, other, equal=torch.equal):
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert equal(states[0][name], states[1][name]), name


def assert_as_textbook(model, data, made, *, exact=True, **options):
    """Same losses, accuracies and weights: bit for bit where the operations are the same."""
    twin = copy.deepcopy(model)
    loop = {key: options[key] for key in ("seed", "clip_norm", "probe_every") if key in options}
    options = {"epochs": 3, "batch_size": 16, **options}
    sizes = {key: options[key] for key in ("epochs", "batch_size")}
    losses, accuracies, tests, probed = textbook(twin, data, made, **sizes, **loop)
    history = train.fit(model, data, **options)
    # Otherwise float32 rounding, 6e-8, over some ten steps.
    tolerance = 0.0 if exact else 1e-5
    np.testing.assert_allclose(history.loss, np.float32(losses), rtol=tolerance)
    np.testing.assert_allclose(history.test_loss, np.float32([t[0] for t in tests]), rtol=1e-6)
    np.testing.assert_allclose(history.test_accuracy, np.float32([t[1] for t in tests]), rtol=1e-6)
    if data.class_names:
        np.testing.assert_array_equal(history.train_accuracy, np.float32(accuracies))
    assert_same_weights(
        model, twin, lambda a, b: torch.allclose(a, b, rtol=tolerance, atol=tolerance)
    )
    return history, probed


# The same as a loop written out.

NAMED = {
    "sgd": lambda p, **o: torch.optim.SGD(p, lr=0.05, **o),
    "momentum": lambda p, **o: torch.optim.SGD(p, lr=0.05, **{"momentum": 0.9, **o}),
    "rmsprop": lambda p, **o: torch.optim.RMSprop(p, lr=0.05, **o),
    "adam": lambda p, **o: torch.optim.Adam(p, lr=0.05, **o),
    "adamw": lambda p, **o: torch.optim.AdamW(p, lr=0.05, **{"weight_decay": 0.0, **o}),
}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", NAMED)
def test_named_optimizers_equal_the_textbook_loop(name, weight_decay):
    def made(p):
        return NAMED[name](p, weight_decay=weight_decay)

    options = {"optimizer": name, "lr": 0.05, "weight_decay": weight_decay}
    history, _ = assert_as_textbook(make_model(), make_data(), made, **options)
    assert history.loss.shape == (12,)  # 60 examples in batches of 16, three times
    assert history.loss[-4:].mean() < history.loss[:4].mean()


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop"])
def test_momentum_is_passed_on(name):
    def made(p):
        return NAMED[name](p, momentum=0.5)

    assert_as_textbook(make_model(), make_data(), made, optimizer=name, lr=0.05, momentum=0.5)


def test_documented_defaults():
    model, twin = make_model(), make_model()
    history = train.fit(model, make_data(200))
    explicit = train.fit(
        twin, make_data(200), optimizer="sgd", lr=0.01, epochs=10, batch_size=64, weight_decay=0.0,
        momentum=0.0, clip_norm=None, probe_every=None, seed=0, device="cpu", checkpoint=None,
        progress=False,
    )  # fmt: skip
    assert history.loss.shape == (40,)
    assert torch.equal(history.loss, explicit.loss)
    assert_same_weights(model, twin)


@pytest.mark.parametrize("clip_norm", [0.01, 0.5, 100.0])
def test_clipping_equals_the_textbook_loop(clip_norm):
    options = {"lr": 0.05, "clip_norm": clip_norm}
    assert_as_textbook(make_model(), make_data(), NAMED["sgd"], **options)


def test_clipping_by_plain_arithmetic():
    """One step on all data: the weights move by lr * min(1, clip / norm) * gradient."""
    data, model = make_data(), make_model()
    loss = functional.cross_entropy(model(data.x_train), data.y_train)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
    before = [p.detach().clone() for p in model.parameters()]
    history = fit(model, data, epochs=1, batch_size=60, lr=0.05, clip_norm=norm / 3, probe_every=1)
    for parameter, old, gradient in zip(model.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(parameter.detach(), old - 0.05 / 3 * gradient)
    # Recorded before clipping.
    found = [g.double().norm().item() for g in gradients[::2]]
    np.testing.assert_allclose(history.gradient_norms[0], found, rtol=1e-5)


def test_a_callable_optimizer():
    def own(parameters):
        return torch.optim.Adagrad(parameters, lr=0.3)

    assert_as_textbook(make_model(), make_data(), own, optimizer=own, lr=99.0)
    assert_as_textbook(
        make_model(), make_data(), torch.optim.Adagrad, optimizer=torch.optim.Adagrad
    )


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_the_documents_network_and_loops(name):
    torch.manual_seed(0)
    digits = datasets.load("digits", image_size=28)
    made = {"sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}[name]
    history, _ = assert_as_textbook(
        Net(), digits, lambda p: made(p, lr=0.01), optimizer=name, lr=0.01, batch_size=64, epochs=3
    )
    assert history.layer_names == ("fc1", "fc2")
    assert history.test_accuracy[-1] > 0.8


@pytest.mark.parametrize("flat", [False, True])
def test_regression(flat):
    class Flat(MLP):
        def forward(self, x):
            return super().forward(x)[:, 0]

    torch.manual_seed(0)
    model = Flat((5, 6, 1)) if flat else MLP((5, 6, 1))
    history, _ = assert_as_textbook(model, make_data(classes=0), NAMED["sgd"], lr=0.05, exact=False)
    assert history.train_accuracy.isnan().all() and history.test_accuracy.isnan().all()
    assert history.loss[-1] < history.loss[0]


def test_regression_with_outputs_that_cannot_be_viewed():
    class Strided(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, x):
            return self.layer(x).t()[:1].t()

    assert fit(Strided(), make_data(classes=0)).loss.isfinite().all()


def test_double_precision():
    data = make_data()
    wide = dataclasses.replace(data, x_train=data.x_train.double(), x_test=data.x_test.double())
    model, twin = make_model().double(), make_model().double()
    losses, _, _, _ = textbook(twin, wide, NAMED["adam"], epochs=3, batch_size=16)
    history = fit(model, data, optimizer="adam", epochs=3)  # float32 data: converted
    assert_same_weights(model, twin)
    np.testing.assert_array_equal(history.loss, np.float32(losses))
    assert history.loss.dtype == history.gradient_norms.dtype == torch.float32
    assert data.x_train.dtype == torch.float32
    fit(make_model((5, 6, 1)).double(), make_data(classes=0))


def test_a_model_that_wants_other_numbers():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.output = nn.Embedding(10, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.output(self.embed(x.long().clamp(0, 9)).mean(1))

    assert fit(Tokens()).loss.isfinite().all()


@pytest.mark.parametrize("examples", [48, 60])
def test_batch_norm_and_dropout(examples):
    """Dropout draws from the global generator: seeded alike, both draw the same."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 3)
    )
    torch.manual_seed(7)
    assert_as_textbook(model, make_data(examples), NAMED["sgd"], lr=0.05, seed=7)
    assert model[1].num_batches_tracked == 3 * math.ceil(examples / 16)


def test_recurrent_network():
    torch.manual_seed(0)
    model = SequenceClassifier("lstm", 2, 4, 3)
    history, _ = assert_as_textbook(
        model, make_data(shape=(6, 2)), NAMED["adam"], optimizer="adam", lr=0.05
    )
    assert history.layer_names == ("cell.weight_ih_l0", "cell.weight_hh_l0", "output")


def test_a_test_part_of_many_examples():
    """More than are taken at once: the mean is over examples, not over pieces."""
    data = make_data(n_test=8192 + 3)
    model = make_model()
    history = fit(model, data, epochs=1)
    with torch.no_grad():
        outputs = model.eval()(data.x_test).double()
    expected = -torch.log_softmax(outputs, 1)[torch.arange(len(outputs)), data.y_test].mean()
    assert history.test_loss.item() == pytest.approx(expected.item(), rel=1e-5)
    right = (outputs.argmax(1) == data.y_test).double().mean().item()
    assert history.test_accuracy.item() == pytest.approx(right, rel=1e-6)


# The record.


@pytest.mark.parametrize("probe_every", [1, 3, 5])
def test_probed_rows_are_the_layers_gradients_at_those_steps(probe_every):
    history, probed = assert_as_textbook(
        make_model((5, 6, 6, 3)), make_data(), NAMED["sgd"], lr=0.05, probe_every=probe_every
    )
    assert history.gradient_norms.shape == (math.ceil(12 / probe_every), 3)
    assert torch.equal(history.gradient_norms, torch.stack(probed))
    assert history.layer_names == ("hidden.0.0", "hidden.1.0", "output")


def test_norms_of_gradients_whose_squares_underflow():
    model = nn.Linear(5, 1, bias=False)
    data = make_data(classes=0)
    tiny = dataclasses.replace(data, x_train=data.x_train * 1e-30)
    history = fit(model, tiny, epochs=1, batch_size=60, probe_every=1)
    assert 1e-31 < history.gradient_norms.item() < 1e-28


def test_frozen_and_unused_layers_in_the_record():
    model = make_model()
    model.hidden[0].requires_grad_(False)
    model.spare = nn.Linear(2, 2)
    history = fit(model, probe_every=1)
    assert history.layer_names == ("hidden.0.0", "output", "spare")
    assert history.gradient_norms[:, 0].isnan().all()
    assert (history.gradient_norms[:, 1] > 0).all()
    assert (history.gradient_norms[:, 2] == 0).all()


def test_without_probe_no_rows():
    history = fit(make_model())
    assert history.gradient_norms.shape == (0, 2)
    assert history.layer_names == ("hidden.0.0", "output")


def test_to_frame():
    history = fit(make_model(), epochs=3)
    frame = history.to_frame()
    assert list(frame.columns) == [
        "epoch",
        "train_loss",
        "test_loss",
        "train_accuracy",
        "test_accuracy",
    ]
    assert list(frame["epoch"]) == [1, 2, 3]
    for epoch in range(3):
        steps = history.loss[4 * epoch : 4 * epoch + 4].double()
        assert frame["train_loss"][epoch] == pytest.approx(steps.mean().item(), rel=1e-6)
    for column in ("test_loss", "train_accuracy", "test_accuracy"):
        assert list(frame[column]) == getattr(history, column).tolist()
    assert history.seconds > 0


def test_no_epochs():
    model = make_model()
    before = copy.deepcopy(model)
    history = fit(model, epochs=0)
    assert_same_weights(model, before)
    assert history.loss.shape == history.test_loss.shape == (0,)
    assert history.to_frame().empty and len(history.to_frame().columns) == 5
    assert history.seconds == 0


def test_progress(capsys):
    fit(make_model(), epochs=3)
    assert capsys.readouterr() == ("", "")
    fit(make_model(), epochs=3, progress=True)
    captured = capsys.readouterr()
    assert "3/3" in captured.out + captured.err and "epochs" in captured.out + captured.err


# The same again, and everything as it was.


def dropout_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def test_same_seed_bit_for_bit_and_another_differs():
    runs = []
    for seed, noise in ((3, 0), (3, 1), (4, 0)):
        model = dropout_model()
        torch.manual_seed(noise)
        runs.append((fit(model, seed=seed).loss, model))
    assert torch.equal(runs[0][0], runs[1][0])
    assert_same_weights(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[2][0])
    one = [fit(make_model(), seed=seed, batch_size=16).loss for seed in (3, 4)]
    assert not torch.equal(*one)  # by the order alone


class Fails(MLP):
    """Raises on its fourth training batch."""

    steps = 0

    def forward(self, x):
        self.steps += self.training
        if self.steps == 4:
            raise KeyError("inside")
        torch.rand(1)
        return super().forward(x)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_everything_borrowed_goes_back(fails, threads):
    data = make_data()
    inputs = [values.clone() for values in (data.x_train, data.y_train, data.x_test, data.y_test)]
    model = (Fails if fails else MLP)((5, 6, 6, 3), norm="batch")
    model.eval()
    model.hidden[1].train()
    modes = [module.training for module in model.modules()]
    torch.manual_seed(5)
    random, gradient_mode = torch.get_rng_state(), torch.is_grad_enabled()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if fails:
            with pytest.raises(KeyError, match="inside"):
                fit(model, data)
        else:
            fit(model, data)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled() == gradient_mode
    assert [module.training for module in model.modules()] == modes
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    for values, old in zip(
        (data.x_train, data.y_train, data.x_test, data.y_test), inputs, strict=True
    ):
        assert torch.equal(values, old)
    assert fails or all(p.grad is None for p in model.parameters())


def test_other_devices_generators_are_not_seeded(monkeypatch):
    model = dropout_model()

    def seeded(_):
        raise AssertionError("seeds every GPU, which nothing puts back")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    fit(model, device="cpu")


def test_small_networks_train_on_one_thread_and_large_ones_do_not():
    seen = []

    class Watched(MLP):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return super().forward(x)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit(Watched((5, 6, 3)), epochs=1)
        assert set(seen) == {1}
        seen.clear()
        fit(Watched((5, 1000, 1000, 3)), make_data(4), epochs=1)  # just over a million weights
        assert set(seen) == {2}
    finally:
        torch.set_num_threads(before)


def test_within_no_grad():
    with torch.no_grad():
        history = fit(make_model())
        assert not torch.is_grad_enabled()
    assert torch.equal(history.loss, fit(make_model()).loss)


def test_a_model_that_changes_its_inputs_leaves_the_data_alone():
    data = make_data()
    before = data.x_train.clone(), data.x_test.clone()
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 3))
    fit(model, data)
    assert torch.equal(data.x_train, before[0]) and torch.equal(data.x_test, before[1])


def test_partly_frozen_with_gradients_left_over():
    """What is frozen stays, and its old gradient has no part in clipping."""
    model, clean = make_model(), make_model()
    for each in (model, clean):
        each.hidden[0].requires_grad_(False)
    model.hidden[0][0].weight.grad = torch.full_like(model.hidden[0][0].weight, 1e6)
    model.output.weight.grad = torch.full_like(model.output.weight, 1e6)
    start = model.hidden[0][0].weight.clone()
    assert torch.equal(fit(model, clip_norm=0.1).loss, fit(clean, clip_norm=0.1).loss)
    assert_same_weights(model, clean)
    assert torch.equal(model.hidden[0][0].weight, start)


def test_an_optimizer_of_some_parameters_only():
    """The others' gradients do not pile up from step to step."""

    def last(parameters):
        return torch.optim.SGD(list(parameters)[2:], lr=0.05)

    model, frozen = make_model(), make_model()
    frozen.hidden[0].requires_grad_(False)
    history = fit(model, optimizer=last, probe_every=1)
    other = fit(frozen, probe_every=1, lr=0.05)
    assert torch.equal(history.loss, other.loss)
    assert history.gradient_norms[:, 0].max() < 5 * history.gradient_norms[0, 0]


def test_a_network_without_known_layers():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(torch.zeros(5, 3))

        def forward(self, x):
            return x @ self.matrix

    history = fit(Own())
    assert history.layer_names == () and history.gradient_norms.shape == (0, 0)
    assert history.loss[-1] < history.loss[0]
    with pytest.raises(ValueError, match="no linear, convolutional or recurrent"):
        fit(Own(), probe_every=1)


# Refused before any work.


def assert_refused(error, match, *, model=None, data=None, **options):
    model = model or make_model()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    random = torch.get_rng_state()
    with pytest.raises(error, match=match):
        fit(model, data, **options)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(torch.get_rng_state(), random)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"optimizer": "sdg"}, ValueError, "one of sgd, momentum, rmsprop, adam, adamw; got 'sdg'"),
        ({"optimizer": None}, ValueError, "must be one of"),
        ({"optimizer": lambda p: 3}, TypeError, r"return a torch\.optim\.Optimizer.*, got int"),
        *[({"lr": lr}, ValueError, f"lr must be .*greater than 0, got {lr}")
          for lr in (0, -1.0, NAN, INF)],
        *[({"lr": lr}, TypeError, "lr must be a number") for lr in (True, "0.1", None)],
        *[({"epochs": n}, TypeError, "epochs must be an integer") for n in (1.5, True, "3", NAN)],
        ({"epochs": -1}, ValueError, "epochs must be at least 0, got -1"),
        *[({"batch_size": n}, ValueError, "batch_size must be at least 1") for n in (0, -4)],
        *[({"batch_size": n}, TypeError, "batch_size must be an int") for n in (8.0, True, None)],
        *[({"weight_decay": v}, ValueError, "weight_decay must be") for v in (-0.1, NAN)],
        *[({"momentum": v}, ValueError, "momentum must .*less than 1") for v in (-0.1, 1.0, NAN)],
        *[({"momentum": 0.9, "optimizer": name}, ValueError, f"momentum=0.9 .* {name} has its own")
          for name in ("adam", "adamw")],
        *[({"clip_norm": v}, ValueError, "clip_norm must be") for v in (0, -1.0, NAN)],
        ({"clip_norm": "1"}, TypeError, "clip_norm must be a number"),
        ({"probe_every": 0}, ValueError, "probe_every must be at least 1"),
        ({"probe_every": 1.0}, TypeError, "probe_every must be an integer"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": 0.5}, TypeError, "seed must be an integer"),
        ({"device": "cuda:99"}, ValueError, "device 'cuda:99' is not there"),
        ({"device": "quantum"}, ValueError, "device 'quantum' is not there"),
        ({"device": 3.5}, ValueError, "device 3.5 is not there"),
        ({"device": "meta"}, ValueError, "'meta' holds no values"),
    ],
)  # fmt: skip
def test_bad_arguments(options, error, match):
    assert_refused(error, match, **options)


def replaced(classes=3, **changes):
    return dataclasses.replace(make_data(classes=classes), **changes)


def labels(*shape):
    return torch.zeros(shape, dtype=torch.int64)


def with_entry(values, entry):
    values = values.clone()
    values.view(-1)[7] = entry
    return values


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"x_train": with_entry(torch.zeros(60, 5), NAN)}, "x_train must be finite, got 1"),
        ({"x_test": with_entry(torch.zeros(20, 5), INF)}, "x_test must be finite, got 1"),
        ({"x_train": torch.zeros(0, 5), "y_train": labels(0)}, "at least one"),
        ({"x_test": torch.zeros(0, 5), "y_test": labels(0)}, "at least one"),
        ({"y_train": labels(59)}, "got 60 and 59"),
        ({"y_train": torch.full((60,), 3)}, "y_train must lie in 0 to 2, got 3 to 3"),
        ({"y_test": torch.full((20,), -1)}, "y_test must lie in 0 to 2, got -1"),
        ({"y_train": labels(60, 1)}, r"y_train must have shape \[N\], got \[60, 1\]"),
        ({"y_test": labels(20, 1)}, r"y_test must have shape \[N\], got \[20, 1\]"),
        ({"x_test": torch.zeros(20, 4)}, r"inputs of one shape, got \[5\] and \[4\]"),
    ],
)  # fmt: skip
def test_bad_data(changes, match):
    assert_refused(ValueError, match, data=replaced(**changes))


def test_bad_regression_targets():
    model = make_model((5, 6, 1))
    nan = with_entry(torch.zeros(60), NAN)
    assert_refused(ValueError, "y_train must be finite", model=model, data=replaced(0, y_train=nan))
    # [N, 1] against [N] would broadcast to [N, N], and train on nonsense.
    column = torch.zeros(60, 1)
    assert_refused(
        ValueError, "y_train must have shape", model=model, data=replaced(0, y_train=column)
    )


def test_data_of_another_kind():
    data = make_data()
    assert_refused(
        TypeError, "data must be a Dataset .* got tuple", data=(data.x_train, data.y_train)
    )


def test_bad_models():
    takes_more = make_model((7, 6, 3))
    assert_refused(ValueError, "takes 7 values for each example, got 5", model=takes_more)
    plain = nn.Sequential(nn.Linear(7, 3))
    assert_refused(ValueError, r"does not take inputs of shape \[5\]", model=plain)
    match = r"for 2 random inputs must have shape \(2, 3\), got \(2, 4\)"
    assert_refused(ValueError, match, model=make_model((5, 6, 4)))
    match = r"must have shape \(2,\) or \(2, 1\), got \(2, 3\)"
    assert_refused(ValueError, match, data=make_data(classes=0))
    frozen = make_model().requires_grad_(False)
    assert_refused(ValueError, "nothing to train: .* all are frozen", model=frozen)
    assert_refused(ValueError, "nothing to train: the model has no parameters", model=nn.Flatten())
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got str"):
        fit("model")

    class Pair(MLP):
        def forward(self, x):
            return super().forward(x), x

    assert_refused(ValueError, "must return one tensor, got tuple", model=Pair((5, 3)))


@pytest.mark.parametrize("batch_size", [1, 12, 59, 60])
def test_batch_norm_with_a_single_example(batch_size):
    """61 = 5 * 12 + 1: the last batch has one example, of which batch norm knows no variance."""
    data = make_data(61)
    if batch_size == 59:  # two are left: enough
        fit(make_model(norm="batch"), data, batch_size=batch_size)
        return
    match = f"of 61 in batches of {batch_size} one is left alone; use another batch_size"
    assert_refused(
        ValueError, match, model=make_model(norm="batch"), data=data, batch_size=batch_size
    )
    fit(make_model(norm="layer"), data, batch_size=batch_size)
    images = make_data(61, shape=(1, 4, 4))
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    )
    fit(model, images, batch_size=batch_size)  # has many values of even one image
    assert model[1].num_batches_tracked == 2 * math.ceil(61 / batch_size)


def test_a_single_example():
    data = make_data(1)
    history = fit(make_model(), data, epochs=3)
    assert history.loss.shape == (3,)
    assert history.train_accuracy.tolist()[-1] in (0.0, 1.0)


@pytest.mark.parametrize("device", ["auto", "cpu", torch.device("cpu")])
def test_devices(device):
    assert fit(make_model(), device=device).loss.isfinite().all()


# Gradient descent on a function.


@pytest.mark.parametrize("lr", [0.1, 0.5, 1.1])
def test_gradient_descent_on_a_quadratic_in_closed_form(lr):
    """θ_t = (1 - η λ)^t θ_0 along each axis: overshooting above 1 / λ, diverging above 2 / λ."""
    eigenvalues = np.array([0.3, 1.0, 2.0])
    start = np.array([1.0, -2.0, 0.5])

    def objective(theta):
        return 0.5 * (torch.tensor(eigenvalues) * theta**2).sum()

    found = train.gradient_descent(objective, torch.tensor(start), lr=lr, steps=20)
    expected = (1 - lr * eigenvalues) ** np.arange(21)[:, None] * start
    assert found.shape == (21, 3) and found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("start", [[1, 2], [1.0, 2.0], torch.tensor([1, 2]), np.float32([1, 2])])
def test_gradient_descent_is_float32_unless_asked(start):
    found = train.gradient_descent(lambda t: t.square().sum(), start, lr=0.25, steps=2)
    assert found.dtype == torch.float32
    assert found.tolist() == [[1, 2], [0.5, 1], [0.25, 0.5]]


def test_gradient_descent_leaves_its_start_alone():
    start = torch.tensor([3.0], requires_grad=True)
    with torch.no_grad():
        found = train.gradient_descent(lambda t: t.square().sum().view(1), start, lr=0.5, steps=1)
    assert start.item() == 3 and start.grad is None
    assert found.tolist() == [[3], [0]] and not found.requires_grad
    double = torch.tensor([3.0], dtype=torch.float64)
    found = train.gradient_descent(lambda t: t.sum(), double, lr=0.5, steps=0)
    assert found.tolist() == [[3]]
    found[0] = 9
    assert double.item() == 3


OTHER = torch.ones((), requires_grad=True)


@pytest.mark.parametrize(
    ("objective", "options", "error", "match"),
    [
        (torch.sum, {"lr": 0}, ValueError, "lr must be .*greater than 0, got 0"),
        (torch.sum, {"lr": NAN}, ValueError, "lr must be"),
        (torch.sum, {"lr": "0.1"}, TypeError, "lr must be a number"),
        (torch.sum, {"steps": -1}, ValueError, "steps must be at least 0"),
        (torch.sum, {"steps": 1.0}, TypeError, "steps must be an integer"),
        (torch.sum, {"start": [[1.0]]}, ValueError, r"vector \[D\], got shape \[1, 1\]"),
        (torch.sum, {"start": 1.0}, ValueError, r"vector \[D\], got shape \[\]"),
        (torch.sum, {"start": []}, ValueError, r"vector \[D\], got shape \[0\]"),
        (torch.sum, {"start": [NAN]}, ValueError, "start must be finite"),
        (lambda t: t, {"start": [1.0, 2.0]}, ValueError, "must return one number"),
        (lambda t: 3.0, {}, ValueError, "must return one number.* got 3.0"),
        (lambda t: t.detach().sum(), {}, ValueError, "differentiable operations"),
        (lambda t: OTHER * 2, {}, ValueError, "does not depend on its argument"),
    ],
)  # fmt: skip
def test_gradient_descent_refuses(objective, options, error, match):
    with pytest.raises(error, match=match):
        train.gradient_descent(objective, **{"start": [1.0], "lr": 0.1, "steps": 1, **options})


def test_numbers_from_numpy_are_numbers(tmp_path):
    """As np.logspace and np.arange give them; a checkpoint of theirs must load again."""
    plain = dict(lr=0.25, epochs=2, batch_size=8, clip_norm=1.0, probe_every=3, seed=4)
    kinds = {float: np.float64, int: np.int64}
    numpy = {name: kinds[type(value)](value) for name, value in plain.items()}
    x = np.random.default_rng(0).normal(size=(40, 3))
    data = datasets.from_arrays(x, x[:, 0] > 0)
    torch.manual_seed(0)
    model = MLP((3, 2))
    other, again = copy.deepcopy(model), copy.deepcopy(model)
    train.fit(model, data, **plain)
    train.fit(other, data, **numpy, checkpoint=tmp_path / "run")
    train.fit(again, data, **numpy, checkpoint=tmp_path / "run")
    for trained in (other, again):
        assert torch.equal(trained.output.weight, model.output.weight)


def test_auto_finds_a_numbered_device(monkeypatch):
    # No GPU here: one that "auto" finds must come back as cuda:0, since its generator has a number.
    asked = []

    def empty(size, *, device):
        asked.append(device)
        return SimpleNamespace(device=torch.device("cuda:0"))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(_fit_checks.torch, "empty", empty)
    assert _fit_checks.find_device("auto").index == 0
    assert asked == ["cuda"]


def test_lbfgs_and_endless_seeds_are_refused_before_any_work():
    wine, model = datasets.load("wine"), MLP((13, 3))
    with pytest.raises(ValueError, match="LBFGS"):
        train.fit(model, wine, optimizer=lambda p: torch.optim.LBFGS(p))
    with pytest.raises(ValueError, match="seed"):
        train.fit(model, wine, seed=2**64)


def test_inputs_that_want_gradients_get_none_and_history_is_single_precision():
    wine = datasets.load("wine")
    x = wine.x_train.clone().requires_grad_()
    try:
        torch.set_default_dtype(torch.float64)
        history = train.fit(
            MLP((13, 3)), dataclasses.replace(wine, x_train=x), epochs=1, probe_every=1
        )
    finally:
        torch.set_default_dtype(torch.float32)
    assert x.grad is None
    fields = ("loss", "train_accuracy", "test_accuracy", "test_loss", "gradient_norms")
    assert {getattr(history, name).dtype for name in fields} == {torch.float32}
