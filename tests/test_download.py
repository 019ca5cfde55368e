"""Downloads against a real HTTP server on loopback: a clean recovery or a clear error, always."""

import errno
import gzip
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import time
import warnings
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from filelock import FileLock
from torchvision import datasets

from vglab import _download
from vglab._download import DownloadError, images

pytestmark = pytest.mark.filterwarnings("error")
NAMES = ("mnist", "fashion_mnist", "cifar10")
EMBEDDED = {"mnist": 'load("digits", image_size=28)', "cifar10": 'load("faces")'}
LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


# The published formats, written by other means than they are read.


class Python2Pickler(pickle._Pickler):
    """Writes strings and arrays as CIFAR's Python 2 and NumPy 1 did, which no module does now."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_text(self, text):
        data = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)

    def save_array(self, array):
        new = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        minus_one = b"J\xff\xff\xff\xff"
        dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN%b%bK\x00tb"
        self.write(new + b"(K\x01")
        self.save(array.shape)
        self.write(dtype % (minus_one, minus_one) + b"\x89")
        self.save_text(array.tobytes())
        self.write(b"tb")

    dispatch[str] = dispatch[bytes] = save_text
    dispatch[np.ndarray] = save_array


def python2(value):
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes(), mtime=0)


def tar(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        folder = tarfile.TarInfo("cifar-10-batches-py")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for name, content in {"readme.html": b"<html>", **members}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def md5(content):
    return hashlib.md5(content).hexdigest()


def published(name):
    """Archives of a few random images, by file name, and the arrays that they hold."""
    random = np.random.default_rng(NAMES.index(name))
    shape = (3, 32, 32) if name == "cifar10" else (28, 28)
    x_train, x_test = (random.integers(0, 256, (n, *shape), dtype=np.uint8) for n in (10, 3))
    y_train, y_test = (random.integers(0, 10, n, dtype=np.uint8) for n in (10, 3))
    arrays = (x_train, y_train, x_test, y_test)
    if name != "cifar10":
        return {
            file: idx(a) for (file, _), a in zip(datasets.MNIST.resources, arrays, strict=True)
        }, arrays
    batches = {f"data_batch_{i + 1}": slice(2 * i, 2 * i + 2) for i in range(5)}
    entries = {
        key: {"data": x_train[part].reshape(2, 3072), "labels": y_train[part].tolist()}
        for key, part in batches.items()
    }
    entries["test_batch"] = {"data": x_test.reshape(3, 3072), "labels": y_test.tolist()}
    entries["batches.meta"] = {"num_cases_per_batch": 2, "label_names": LABELS, "num_vis": 3072}
    members = {key: python2(entries[key]) for key in sorted(entries, reverse=True)}
    return {"cifar-10-python.tar.gz": tar(members)}, arrays


ARCHIVES = {name: published(name)[0] for name in NAMES}
ARRAYS = {name: published(name)[1] for name in NAMES}
CHECKSUMS = {name: {file: md5(c) for file, c in ARCHIVES[name].items()} for name in NAMES}
FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw", "cifar10": "."}


# What a server may do with a request.


def good(handler, content):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def slow(handler, content):
    time.sleep(0.2)
    good(handler, content)


def cut(handler, content):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])


def cut_without_length(handler, content):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])


def drop(handler, content):
    handler.connection.shutdown(2)


def html(handler, content):
    good(handler, b"<!DOCTYPE html><title>Please log in</title>")


def not_found(handler, content):
    handler.send_error(404)


def broken(handler, content):
    handler.send_error(500)


def hang(handler, content):
    handler.server.release.wait(30)


def stall(handler, content):
    cut(handler, content)
    handler.wfile.flush()
    handler.server.stalled.set()
    handler.server.release.wait(30)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        _, name, file = self.path.split("/")
        self.server.requests[file] += 1
        behave = self.server.mirrors.get(name, self.server.behave)
        behave(self, ARCHIVES[name.removeprefix("first-")][file])

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    behave = staticmethod(good)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.mirrors = Counter(), {}
        self.release, self.stalled = threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        pass  # a client that went away is what some tests want


@pytest.fixture
def server(monkeypatch):
    """A server of tiny archives, which torchvision's classes point to."""
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    for name, dataset in (("mnist", datasets.MNIST), ("fashion_mnist", datasets.FashionMNIST)):
        monkeypatch.setattr(dataset, "mirrors", [f"{server.url}/{name}/"])
        monkeypatch.setattr(dataset, "resources", list(CHECKSUMS[name].items()))
    url = f"{server.url}/cifar10/cifar-10-python.tar.gz"
    monkeypatch.setattr(datasets.CIFAR10, "url", url)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", *CHECKSUMS["cifar10"].values())
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def offline(server):
    """Torchvision's classes point to a port where nobody listens."""
    server.shutdown()
    server.server_close()


def fill(root, name="mnist"):
    """Put the archives of a set into a cache, and return their paths."""
    folder = Path(root, FOLDERS[name])
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in ARCHIVES[name].items():
        (folder / file).write_bytes(content)
    return [folder / file for file in ARCHIVES[name]]


def check_values(name, loaded):
    *tensors, class_names = loaded
    for tensor, array, dtype in zip(
        tensors, ARRAYS[name], [torch.uint8, torch.int64] * 2, strict=True
    ):
        assert tensor.dtype is dtype
        values = array.reshape(-1, 1, 28, 28) if array.shape[1:] == (28, 28) else array
        assert np.array_equal(tensor.numpy(), values)
        tensor[:1] = 0  # writable memory of its own
    expected = {"mnist": "0", "fashion_mnist": "T-shirt/top", "cifar10": "airplane"}[name]
    assert len(class_names) == 10 and class_names[0] == expected


def check_cache(root, name="mnist", *, complete=False, parts=0):
    """No file has the name of an archive without being it, and none is left over."""
    files = [path for path in Path(root).rglob("*") if path.is_file()]
    archives = [path for path in files if path.name in CHECKSUMS[name]]
    assert all(md5(path.read_bytes()) == CHECKSUMS[name][path.name] for path in archives)
    assert {path.parent for path in archives} <= {Path(root, FOLDERS[name])}
    assert len([path for path in files if path.suffix == ".part"]) == parts
    assert len(files) - len(archives) - parts == len([p for p in files if p.name == ".vglab.lock"])
    if complete:
        assert len(archives) == len(CHECKSUMS[name])


# Downloads that work.


@pytest.mark.parametrize("name", NAMES)
def test_downloads_once_and_decodes_exactly(server, tmp_path, name):
    check_values(name, images(name, tmp_path))
    check_cache(tmp_path, name, complete=True)
    check_values(name, images(name, str(tmp_path)))
    assert server.requests == dict.fromkeys(ARCHIVES[name], 1)


@pytest.mark.parametrize("name", NAMES)
def test_loads_from_the_cache_without_network(offline, tmp_path, name):
    fill(tmp_path, name)
    check_values(name, images(name, tmp_path))
    check_cache(tmp_path, name, complete=True)


def torchvision_reads(dataset, root):
    with warnings.catch_warnings():  # of tarfile and of NumPy, about how torchvision calls them
        warnings.simplefilter("ignore")
        return [dataset(root, train=train, download=True) for train in (True, False)]


@pytest.mark.parametrize("name", NAMES)
def test_shares_its_cache_with_torchvision(server, tmp_path, name, monkeypatch, capfd):
    dataset = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}.get(
        name, datasets.CIFAR10
    )
    with tarfile.open(fileobj=io.BytesIO(*ARCHIVES["cifar10"].values())) as archive:
        batch = {
            Path(m.name).name: md5(archive.extractfile(m).read()) for m in archive if m.isfile()
        }
    for part in ("train_list", "test_list"):
        checksums = [[key, batch[key]] for key, _ in getattr(datasets.CIFAR10, part)]
        monkeypatch.setattr(datasets.CIFAR10, part, checksums)
    meta = {**datasets.CIFAR10.meta, "md5": batch["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)

    for ours_first in (True, False):
        root = tmp_path / f"{ours_first}"
        if ours_first:
            images(name, root)
        else:
            torchvision_reads(dataset, root)
        before = server.requests.copy()
        ours = images(name, root)
        theirs = torchvision_reads(dataset, root)
        assert server.requests == before
        for x, y, their in zip(ours[0:4:2], ours[1:4:2], theirs, strict=True):
            their_x = torch.as_tensor(their.data)
            assert torch.equal(x.permute(0, 2, 3, 1).reshape(their_x.shape), their_x)
            assert y.tolist() == list(their.targets)


def test_prints_nothing(server, tmp_path, capfd):
    images("mnist", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_path_with_spaces_and_chinese_characters(server, tmp_path):
    root = tmp_path / "梯度 消失 data" / "缓存"
    check_values("mnist", images("mnist", root))
    check_cache(root, complete=True)


@pytest.mark.parametrize("first", [not_found, html, drop, cut])
def test_second_mirror_serves_where_the_first_fails(server, tmp_path, monkeypatch, first):
    server.mirrors["first-mnist"] = first
    mirrors = [f"{server.url}/first-mnist/", f"{server.url}/mnist/"]
    monkeypatch.setattr(datasets.MNIST, "mirrors", mirrors)
    check_values("mnist", images("mnist", tmp_path))
    check_cache(tmp_path, complete=True)
    assert server.requests == dict.fromkeys(ARCHIVES["mnist"], 2)


def test_unreachable_mirror_is_passed_over(server, tmp_path, monkeypatch):
    with Server() as other:
        dead = other.url
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{dead}/", f"{server.url}/mnist/"])
    check_values("mnist", images("mnist", tmp_path))


# Downloads that fail.


@pytest.mark.parametrize("name", NAMES)
def test_offline_names_what_was_tried_and_the_embedded_alternative(offline, tmp_path, name):
    with pytest.raises(DownloadError) as caught:
        images(name, tmp_path)
    message = str(caught.value)
    assert EMBEDDED.get(name, EMBEDDED["mnist"]) in message
    assert datasets.MNIST.mirrors[0].removesuffix("/mnist/") in message
    for part in (name, next(iter(ARCHIVES[name])), "refused", "network", "No such file"):
        assert part in message
    assert isinstance(caught.value, OSError) and caught.value.__cause__ is not None
    check_cache(tmp_path, name)


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (cut, "more expected"),
        (cut_without_length, "not the published archive"),
        (drop, "closed connection"),
        (html, "<!DOCTYPE html>"),
        (not_found, "404"),
        (broken, "500"),
        (hang, "timed out"),
        (stall, "timed out"),
    ],
)
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_failed_transfer_leaves_nothing_and_is_made_good(
    server, tmp_path, monkeypatch, behave, reason, name
):
    monkeypatch.setattr(_download, "_TIMEOUT", 0.2)
    server.behave = behave
    start = time.monotonic()
    with pytest.raises(DownloadError, match=reason) as caught:
        images(name, tmp_path)
    assert time.monotonic() - start < 5
    assert EMBEDDED[name] in str(caught.value) and server.url in str(caught.value)
    check_cache(tmp_path, name)
    server.behave = good
    monkeypatch.setattr(_download, "_TIMEOUT", 10)
    check_values(name, images(name, tmp_path))
    check_cache(tmp_path, name, complete=True)


def test_archives_before_a_failure_are_kept(server, tmp_path, monkeypatch):
    *first, last = CHECKSUMS["mnist"].items()
    monkeypatch.setattr(datasets.MNIST, "resources", [*first, (last[0], "0" * 32)])
    with pytest.raises(DownloadError, match="instead of 0000"):
        images("mnist", tmp_path)
    check_cache(tmp_path)
    monkeypatch.setattr(datasets.MNIST, "resources", [*first, last])
    images("mnist", tmp_path)
    assert server.requests == {**dict.fromkeys(ARCHIVES["mnist"], 1), last[0]: 2}


def damage_start(content):
    return b"X" + content[1:]


def damage_end(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def truncate(content):
    return content[: len(content) // 2]


def empty(content):
    return b""


@pytest.mark.parametrize("damage", [damage_start, damage_end, truncate, empty])
@pytest.mark.parametrize("name", NAMES)
def test_corrupt_cache_is_downloaded_anew(server, tmp_path, damage, name):
    path = fill(tmp_path, name)[-1]
    path.write_bytes(damage(path.read_bytes()))
    check_values(name, images(name, tmp_path))
    check_cache(tmp_path, name, complete=True)
    assert server.requests == {path.name: 1}


@pytest.mark.parametrize("damage", [damage_start, truncate])
def test_corrupt_cache_without_network_is_named(offline, tmp_path, damage):
    path = fill(tmp_path)[1]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DownloadError, match="not the published archive") as caught:
        images("mnist", tmp_path)
    for part in (path.name, CHECKSUMS["mnist"][path.name], md5(path.read_bytes()), "refused"):
        assert part in str(caught.value)
    path.unlink()  # all other files are right
    check_cache(tmp_path)


def test_pickle_that_would_run_something_is_refused(server, tmp_path, monkeypatch):
    harmful = tar({"data_batch_1": b"cos\nsystem\n(S'echo harm'\ntR."})
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(harmful)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(harmful))
    with pytest.raises(pickle.UnpicklingError, match=r"got os\.system"):
        images("cifar10", tmp_path)


# The cache's folder.


@pytest.mark.parametrize("deeper", [".", "deeper"])
def test_root_that_is_a_file(server, tmp_path, deeper):
    (tmp_path / "root").write_text("mine")
    with pytest.raises(DownloadError, match="cannot be written to") as caught:
        images("mnist", tmp_path / "root" / deeper)
    assert "VGLAB_DATA" in str(caught.value) and EMBEDDED["mnist"] in str(caught.value)
    assert (tmp_path / "root").read_text() == "mine"
    assert not server.requests


def refuse(*args, **kwargs):
    raise PermissionError(errno.EACCES, "Permission denied")


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("call", "fails"),
    [
        ("pathlib.Path.mkdir", refuse),
        ("filelock.FileLock.__init__", refuse),
        ("os.replace", refuse),
        ("os.fsync", full),
    ],
)
@pytest.mark.parametrize("corrupt", [False, True])
def test_cache_that_cannot_be_written(server, tmp_path, monkeypatch, call, fails, corrupt):
    path = fill(tmp_path)[2]
    path.write_bytes(b"damaged") if corrupt else path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(call, fails)
        with pytest.raises(DownloadError, match="cannot be written to") as caught:
            images("mnist", tmp_path)
    message = str(caught.value)
    assert ("b'damaged'" if corrupt else "No such file") in message
    assert "VGLAB_DATA" in message and EMBEDDED["mnist"] in message
    assert caught.value.__cause__.strerror in message
    if corrupt:
        assert path.read_bytes() == b"damaged"
        path.unlink()
    check_cache(tmp_path)
    check_values("mnist", images("mnist", tmp_path))


def test_complete_cache_needs_neither_lock_nor_writing(offline, tmp_path, monkeypatch):
    fill(tmp_path)
    for call in ("pathlib.Path.mkdir", "filelock.FileLock.__init__", "os.replace", "os.open"):
        monkeypatch.setattr(call, refuse)
    check_values("mnist", images("mnist", tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_read_only_folder(server, tmp_path):
    paths = fill(tmp_path)
    folder = paths[0].parent
    folder.chmod(0o555)
    try:
        check_values("mnist", images("mnist", tmp_path))
        assert sorted(folder.iterdir()) == sorted(paths)
        folder.chmod(0o755)
        paths[0].unlink()
        folder.chmod(0o555)
        with pytest.raises(DownloadError, match="cannot be written to"):
            images("mnist", tmp_path)
        assert sorted(folder.iterdir()) == sorted(paths[1:])
    finally:
        folder.chmod(0o755)
    assert not server.requests


def test_interrupt_leaves_no_temporary_file(server, tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.fsync", interrupt)
        images("mnist", tmp_path)
    check_cache(tmp_path)
    check_values("mnist", images("mnist", tmp_path))


def test_stale_temporary_files_do_no_harm(server, tmp_path):
    folder = tmp_path / FOLDERS["mnist"]
    first, second, *_ = ARCHIVES["mnist"]
    (folder / f"{second}.b.part").mkdir(parents=True)  # cannot be unlinked
    (folder / f"{first}.a.part").write_bytes(b"half")
    (folder / ".vglab.lock").touch()
    check_values("mnist", images("mnist", tmp_path))
    check_cache(tmp_path, complete=True)


def test_lock_that_is_never_released_is_reported(server, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "_LOCK_TIMEOUT", 0.1)
    with FileLock(tmp_path / ".vglab.lock"), pytest.raises(DownloadError, match=r"vglab\.lock"):
        images("cifar10", tmp_path)
    assert not server.requests


def test_default_folder(server, tmp_path, monkeypatch):
    home = tmp_path / "home"
    for variable in ("VGLAB_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    folders = [home / ".cache" / "vglab"]
    images("mnist", None)
    for variable in ("LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        folders.append(tmp_path / variable / "vglab")
        images("mnist", None)
    monkeypatch.setenv("VGLAB_DATA", "~/data")
    folders.append(home / "data")
    images("mnist", None)
    folders.append(tmp_path / "root")
    images("mnist", tmp_path / "root")
    assert set(server.requests.values()) == {len(folders)}
    for folder in folders:
        check_cache(folder, complete=True)


# Other processes. Importing torch takes seconds, so eight of them fork from one where that exists,
# and they get torchvision's attributes alone and the module by its path.

WORKER = """
import importlib.util, json, os, sys, time, types
module, mirrors, resources, root, count, block = json.loads(sys.argv[1])
MNIST = type("MNIST", (), {"mirrors": mirrors, "resources": resources, "classes": ["0 - zero"]})
datasets = types.SimpleNamespace(MNIST=MNIST, FashionMNIST=None)
sys.modules["torchvision"] = types.SimpleNamespace(datasets=datasets)
spec = importlib.util.spec_from_file_location("_download", module)
download = importlib.util.module_from_spec(spec)
spec.loader.exec_module(download)
if block:
    os.fsync = lambda _: (print("writing", flush=True), time.sleep(60))
for _ in range(count - 1):
    if os.fork() == 0:
        break
x_train, y_train, x_test, y_test, _ = download.images("mnist", root)
line = f"{[int(t.sum()) for t in (x_train, y_train, x_test, y_test)]};"
os.write(1, line.encode())  # at once, so that eight lines do not mix
os._exit(0)  # tearing torch down eight times would take longer than the rest
"""


def load_elsewhere(root, url, count=1, block=False):
    """Start a process, or several by forking, that load MNIST into a cache."""
    resources = datasets.MNIST.resources
    config = json.dumps([_download.__file__, [url], resources, str(root), count, block])
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", WORKER, config]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_eight_processes_download_once(server, tmp_path):
    server.behave = slow
    forked = 8 if hasattr(os, "fork") else 1
    processes = [
        load_elsewhere(tmp_path, f"{server.url}/mnist/", forked) for _ in range(8 // forked)
    ]
    outputs, errors = zip(*[process.communicate(timeout=60) for process in processes], strict=True)
    expected = f"{[int(array.sum()) for array in ARRAYS['mnist']]};"
    assert "".join(errors) == ""
    assert "".join(outputs) == expected * 8
    assert server.requests == dict.fromkeys(ARCHIVES["mnist"], 1)
    check_cache(tmp_path, complete=True)


def test_killed_while_receiving_or_writing(server, tmp_path):
    server.mirrors["first-mnist"] = stall
    receiving = load_elsewhere(tmp_path / "receiving", f"{server.url}/first-mnist/")
    writing = load_elsewhere(tmp_path / "writing", f"{server.url}/mnist/", block=True)
    assert server.stalled.wait(60)
    assert writing.stdout.readline() == "writing\n"
    for process in (receiving, writing):
        process.kill()
        process.communicate()
    check_cache(tmp_path / "receiving")
    check_cache(tmp_path / "writing", parts=1)
    assert not list(tmp_path.rglob("*.gz"))

    for root in (tmp_path / "receiving", tmp_path / "writing"):
        check_values("mnist", images("mnist", root))
        check_cache(root, complete=True)
