"""Checkpoints: killed runs go on bit for bit, hostile files are refused and left alone."""

import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from vglab import _checkpoint, data, train
from vglab.data import Dataset
from vglab.models import MLP

# Runs in processes of their own, forked from one that has loaded what they need. Each kills itself
# by SIGKILL at the moment named, or is killed after so many seconds.
RUNS = """
import json, os, signal, sys, time, traceback
import torch
from torch import nn
from vglab import train
from vglab.data import Dataset

def kill_at(call, before):
    def patched(*arguments, **options):
        global count
        count -= 1
        if count < 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **options)
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return patched

def half_written(content, file):
    global count
    count -= 1
    if count >= 0:
        return save(content, file)
    import io
    whole = io.BytesIO()
    save(content, whole)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

save = torch.save

def run(folder, optimizer, moment):
    if moment == "in save":
        torch.save = half_written
    elif moment == "before fsync":
        os.fsync = kill_at(os.fsync, True)
    elif moment == "before replace":
        os.replace = kill_at(os.replace, True)
    elif moment == "after replace":
        os.replace = kill_at(os.replace, False)
    elif moment == "in a step":
        torch.Tensor.backward = kill_at(torch.Tensor.backward, True)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(90, 6, generator=generator), torch.randint(3, (90,), generator=generator)
    data = Dataset("random", x[:70], y[:70], x[70:], y[70:], tuple("abcdef"), tuple("xyz"))
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )
    history = train.fit(
        model, data, optimizer=optimizer, lr=0.01, epochs=6, batch_size=16, probe_every=3, seed=5,
        clip_norm=1.0, checkpoint=os.path.join(folder, "run.pt"),
    )
    names = ("loss", "train_accuracy", "test_accuracy", "test_loss", "gradient_norms")
    save([model.state_dict(), {name: getattr(history, name) for name in names}],
         os.path.join(folder, "end.pt"))

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # loads much when first made
for line in sys.stdin:
    folder, optimizer, moment, count, seconds = json.loads(line)
    child = os.fork()
    if not child:
        try:
            run(folder, optimizer, moment)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no SIGKILL")


@pytest.fixture(scope="module")
def run():
    """Train in a new process; the exit status, negative for the signal that killed it."""
    with subprocess.Popen(
        [sys.executable, "-c", RUNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:

        def run(folder, optimizer, moment="never", count=0, seconds=None):
            command = json.dumps([str(folder), optimizer, moment, count, seconds])
            print(command, file=server.stdin, flush=True)
            return int(server.stdout.readline())

        yield run
        server.stdin.close()


def end(folder):
    return torch.load(folder / "end.pt", weights_only=True)


def assert_same(one, other):
    for part, expected in zip(one, other, strict=True):
        assert part.keys() == expected.keys()
        for name, value in part.items():
            assert value.dtype == expected[name].dtype
            assert torch.equal(value, expected[name]), name


@pytest.fixture(scope="module", params=["momentum", "adam"])
def uninterrupted(request, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, request.param) == 0
    return request.param, end(folder)


@needs_fork
def test_killed_runs_end_as_one_that_was_not(run, uninterrupted, tmp_path):
    optimizer, expected = uninterrupted
    # 70 examples in batches of 16 are 5 steps for each epoch: the first in step 3 of epoch 2.
    for moment, count in [
        ("in a step", 7), ("in save", 0), ("before fsync", 1), ("before replace", 0),
        ("after replace", 0), ("in a step", 0), ("in save", 1),
    ]:  # fmt: skip
        assert run(tmp_path, optimizer, moment, count) == -signal.SIGKILL, moment
        assert not (tmp_path / "end.pt").exists()
    assert run(tmp_path, optimizer) == 0
    assert_same(end(tmp_path), expected)
    assert not list(tmp_path.glob("*unfinished*"))


@needs_fork
def test_killed_from_outside_at_random_moments(run, uninterrupted, tmp_path):
    optimizer, expected = uninterrupted
    chance = random.Random(optimizer)
    for _ in range(8):
        run(tmp_path, optimizer, seconds=chance.uniform(0.01, 0.2))
    assert run(tmp_path, optimizer) == 0
    assert_same(end(tmp_path), expected)


# In this process: quick.


def make_data(name="random", n=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 4, generator=generator), torch.arange(n) % 3
    return Dataset(name, x[10:], y[10:], x[:10], y[:10], tuple("abcd"), tuple("xyz"))


def make_model(widths=(4, 5, 3), **options):
    torch.manual_seed(2)
    return MLP(widths, **options)


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def fit(model, path, data=None, **options):
    options = {"epochs": 2, "batch_size": 8, "optimizer": "adam", **options}
    return train.fit(model, data or make_data(), checkpoint=path, **options)


def assert_refused(path, match, *, model=None, data=None, **options):
    """`fit` refuses, and neither the file nor the model has changed."""
    model = model or make_model()
    before, content = weights_of(model), path.read_bytes()
    with pytest.raises(ValueError, match=match):
        fit(model, path, data, **options)
    assert path.read_bytes() == content
    assert_same([weights_of(model)], [before])


@pytest.mark.parametrize("kind", [str, Path])
def test_a_finished_run_trains_nothing_and_more_epochs_go_on(tmp_path, monkeypatch, kind):
    path = kind(tmp_path / "with space 渐变.pt")
    whole = make_model()
    expected = fit(whole, None, epochs=5)
    first = fit(make_model(), path, epochs=2)
    monkeypatch.setattr(torch.Tensor, "backward", None)
    model = make_model()
    again = fit(model, path, epochs=2)
    assert torch.equal(again.loss, first.loss) and again.seconds == first.seconds
    monkeypatch.undo()
    more = fit(model, path, epochs=5)
    assert torch.equal(more.loss, expected.loss)
    assert torch.equal(more.test_loss, expected.test_loss)
    assert more.seconds > first.seconds
    assert_same([weights_of(model)], [weights_of(whole)])


def test_the_probe_goes_on_counting_steps(tmp_path):
    # 30 examples in batches of 8 are 4 steps; every 3rd step is step 0, 3, 6, 9.
    expected = fit(make_model(), None, epochs=3, probe_every=3)
    fit(make_model(), tmp_path / "run.pt", epochs=1, probe_every=3)
    found = fit(make_model(), tmp_path / "run.pt", epochs=3, probe_every=3)
    assert found.gradient_norms.shape == (4, 2)
    assert torch.equal(found.gradient_norms, expected.gradient_norms)


def test_a_checkpoint_of_more_epochs_is_refused(tmp_path):
    fit(make_model(), tmp_path / "run.pt", epochs=3)
    assert_refused(tmp_path / "run.pt", "has 3 epochs already, more than epochs=2")


@pytest.mark.parametrize(
    "changed",
    [
        {"lr": 0.02}, {"batch_size": 16}, {"optimizer": "sgd"}, {"weight_decay": 0.1},
        {"clip_norm": 2.0}, {"probe_every": 2}, {"seed": 1},
    ],
)  # fmt: skip
def test_other_settings_are_refused_and_named(tmp_path, changed):
    fit(make_model(), tmp_path / "run.pt")
    ((name, value),) = changed.items()
    assert_refused(tmp_path / "run.pt", rf"another run: {name} was .*, now {value}\.", **changed)


def test_all_differences_are_named(tmp_path):
    fit(make_model(), tmp_path / "run.pt", optimizer="sgd")
    match = "lr was 0.01, now 0.5; momentum was 0.0, now 0.3"
    assert_refused(tmp_path / "run.pt", match, optimizer="sgd", lr=0.5, momentum=0.3)


def test_other_data_are_refused_also_under_the_same_name(tmp_path):
    fit(make_model(), tmp_path / "run.pt")
    match = r"data was random \[30, 4\], checksum .*, now random \[30, 4\], checksum"
    assert_refused(tmp_path / "run.pt", match, data=make_data(seed=1))
    assert_refused(tmp_path / "run.pt", "now other", data=make_data("other"))


def test_another_network_is_refused_and_named(tmp_path):
    fit(make_model(), tmp_path / "run.pt")
    wider = make_model((4, 6, 3))
    assert_refused(tmp_path / "run.pt", "out_features=5.*, now .*out_features=6", model=wider)
    # The same parameters, another function.
    assert_refused(
        tmp_path / "run.pt", r"ReLU\(\), now .*Tanh\(\)", model=make_model(activation="tanh")
    )
    deeper = make_model((4, 5, 5, 3))
    assert_refused(tmp_path / "run.pt", "model was", model=deeper)


def test_a_network_that_only_its_parameters_tell_apart_is_refused(tmp_path):
    class Net(nn.Module):
        def __init__(self, *names, dtype=torch.float32, size=3):
            super().__init__()
            torch.manual_seed(0)
            self.first = nn.Linear(4, 3).to(dtype)
            for name in names:
                setattr(self, name, nn.Parameter(torch.zeros(size, dtype=dtype)))

        def forward(self, x):
            return self.first(x) + sum(p.sum() for p in self.parameters(recurse=False))

    path = tmp_path / "run.pt"
    fit(Net("shift"), path)
    # In each, `first.weight` comes before what differs, and must not be overwritten either.
    match = r"another network: tilt was not there, now float32 \[3\]"
    assert_refused(path, match, model=Net("shift", "tilt"))
    assert_refused(path, r"shift was float32 \[3\], now not there", model=Net())
    assert_refused(path, r"shift was float32 \[3\], now float32 \[2\]", model=Net("shift", size=2))
    assert_refused(
        path, r"shift was float32 .* now float64", model=Net("shift", dtype=torch.double)
    )


def test_other_frozen_parameters_are_refused(tmp_path):
    fit(make_model(), tmp_path / "run.pt")
    frozen = make_model()
    frozen.output.requires_grad_(False)
    assert_refused(tmp_path / "run.pt", "other parameters were frozen", model=frozen)


def test_another_optimizer_of_the_users_own_is_refused(tmp_path):
    def own(lr):
        return lambda parameters: torch.optim.Adagrad(parameters, lr=lr)

    path = tmp_path / "run.pt"
    expected = fit(make_model(), None, optimizer=own(0.1), epochs=3)
    fit(make_model(), path, optimizer=own(0.1))
    assert_refused(path, "optimizer was lr: 0.1, now lr: 0.2", optimizer=own(0.2))
    assert_refused(path, "optimizer was Adagrad .*, now SGD", optimizer=torch.optim.SGD)
    assert_refused(path, "optimizer was Adagrad .*, now adam", optimizer="adam")
    found = fit(make_model(), path, optimizer=own(0.1), epochs=3)
    assert torch.equal(found.loss, expected.loss)


def test_an_address_in_a_description_does_not_matter(tmp_path):
    class Lambda(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def extra_repr(self):
            return repr(self.function)

        def forward(self, x):
            return self.function(x)

    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3), Lambda(lambda x: x))

    one, other = model(), model()
    assert repr(one) != repr(other)
    fit(one, tmp_path / "run.pt")
    fit(other, tmp_path / "run.pt", epochs=3)


# Files that are no checkpoint.


class Payload:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def hostile(kind, path, marker):
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Payload(marker)))
    elif kind == "zip":
        torch.save(Payload(marker), path)
    elif kind == "legacy":
        torch.save({"settings": Payload(marker)}, path, _use_new_zipfile_serialization=False)
    else:  # all that a checkpoint has, and one thing more
        fit(make_model(), path)
        torch.save(torch.load(path, weights_only=True) | {"seconds": Payload(marker)}, path)


KINDS = ["pickle", "zip", "legacy", "inside a checkpoint"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_payload_is_refused_without_running_it(tmp_path, kind):
    marker, path = tmp_path / "ran", tmp_path / "run.pt"
    hostile(kind, path, marker)
    assert_refused(path, "no checkpoint of vglab.train.fit.*was not loaded")
    assert not marker.exists()
    with suppress(RuntimeError):  # it is a payload: this is what would have happened
        torch.load(path, weights_only=False)
    assert marker.exists()


def test_a_payload_is_refused_also_where_the_environment_asks_for_it(tmp_path):
    code = (
        "import sys, torch; from vglab import _checkpoint\nfrom pathlib import Path\n"
        "for path in sys.argv[1:]:\n"
        "    try: _checkpoint.load(Path(path), {}, 9)\n"
        "    except ValueError as error: print(error)\n"
        "torch.load(sys.argv[2])"
    )
    files = []
    for kind in KINDS:
        hostile(kind, tmp_path / f"{kind}.pt", tmp_path / f"{kind} ran")
        files.append(str(tmp_path / f"{kind}.pt"))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *files], capture_output=True, text=True,
        check=True, env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
    )  # fmt: skip
    assert result.stdout.count("no checkpoint of vglab.train.fit") == len(KINDS)
    # Plain torch.load of the second ran its payload: the variable was in force.
    assert [kind for kind in KINDS if (tmp_path / f"{kind} ran").exists()] == ["zip"]


@pytest.mark.parametrize("size", [0, 1, 100, 0.5, -1, -30])
def test_a_truncated_file_is_refused(tmp_path, size):
    path = tmp_path / "run.pt"
    fit(make_model(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(size * len(whole)) if 0 < size < 1 else size])
    assert_refused(path, "no checkpoint of vglab.train.fit, or it is damaged.*remove it to start")


@pytest.mark.parametrize(
    "content",
    [
        b"garbage" * 100, b"PK\x03\x04" + bytes(500), b"<html></html>", b"\x80\x02}.",
    ],
)  # fmt: skip
def test_garbage_is_refused(tmp_path, content):
    (tmp_path / "run.pt").write_bytes(content)
    assert_refused(tmp_path / "run.pt", "no checkpoint")


@pytest.mark.parametrize(
    "content",
    [
        {}, [], torch.ones(2), make_model().state_dict(), {"settings": {}},
        dict.fromkeys(_checkpoint.PARTS, 3), {part: {} for part in _checkpoint.PARTS},
    ],
)  # fmt: skip
def test_another_file_of_torch_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "run.pt")
    assert_refused(tmp_path / "run.pt", "no checkpoint")


def test_flipped_bytes_never_pass_for_weights(tmp_path):
    path = tmp_path / "run.pt"
    fit(make_model(), path)
    expected = torch.load(path, weights_only=True)["model"]["hidden.0.0.weight"]
    whole = path.read_bytes()
    at = whole.index(expected.numpy().tobytes())
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert_refused(path, "no checkpoint")


# Where it is written.


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    model = make_model()
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"folder of checkpoint .*nowhere.* does not exist"):
        fit(model, tmp_path / "nowhere" / "run.pt")
    with pytest.raises(ValueError, match=r"must be a file, but .* is a folder"):
        fit(model, tmp_path)
    assert_same([weights_of(model)], [before])
    assert not list(tmp_path.iterdir())


def test_a_folder_without_write_permission_is_refused(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((path, mode)))
    with pytest.raises(ValueError, match="is not writable"):
        fit(make_model(), tmp_path / "run.pt")
    assert asked == [(tmp_path, os.W_OK)]


def test_a_disk_that_is_full_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    fit(make_model(), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fit(make_model(), path, epochs=3)
    assert path.read_bytes() == before


def test_the_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append("fsync") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda *names: done.append("replace") or replace(*names))
    fit(make_model(), tmp_path / "run.pt")
    assert done == ["fsync", "replace"] * 2
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_only_plain_values_are_stored(tmp_path):
    fit(make_model(), tmp_path / "run.pt")
    content = torch.load(tmp_path / "run.pt", weights_only=True)
    assert content.keys() == _checkpoint.PARTS
    assert not re.search(r"/|\\", str(content["settings"]["data"]))  # and no path of this machine


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("order", torch.zeros(3)), ("random", None), ("model", {}), ("optimizer", None),
        ("seconds", "x"), ("record", {}), ("buffers", None),
    ],
)  # fmt: skip
def test_a_malformed_checkpoint_changes_nothing(tmp_path, part, value):
    wine, path = data.load("wine"), tmp_path / "run.pt"
    train.fit(MLP((13, 4, 3), norm="batch"), wine, epochs=1, checkpoint=path)
    content = torch.load(path, weights_only=True)
    torch.save(content | {part: value}, path)
    model = MLP((13, 4, 3), norm="batch")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    with pytest.raises(ValueError, match="checkpoint"):
        train.fit(model, wine, epochs=2, checkpoint=path)
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


def test_buffers_that_a_state_dict_leaves_out_resume_too(tmp_path):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(13, 3)
            self.register_buffer("calls", torch.zeros(()), persistent=False)

        def forward(self, x):
            if self.training:
                self.calls += 1
            return self.linear(x) * (1 + self.calls / 100)

    def model():
        torch.manual_seed(0)
        return Counting()

    wine = data.load("wine")
    whole, cut = model(), model()
    train.fit(whole, wine, epochs=3)
    train.fit(cut, wine, epochs=1, checkpoint=tmp_path / "run.pt")
    again = model()
    train.fit(again, wine, epochs=3, checkpoint=tmp_path / "run.pt")
    assert torch.equal(whole.linear.weight, again.linear.weight)
    assert again.calls == whole.calls
