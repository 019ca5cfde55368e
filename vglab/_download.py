"""Image sets that are downloaded: published archives, checked on every load, decoded in memory.

Addresses, file names and checksums are torchvision's, and so is the layout of the cache: a folder
that torchvision filled serves here, and the other way round.
"""

import contextlib
import gzip
import hashlib
import http.client
import os
import pickle
import tarfile
import urllib.request
import uuid
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

_TIMEOUT = 30.0  # seconds without a byte from the server
_LOCK_TIMEOUT = 1800.0  # seconds that another process may take to download one archive

_Images: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, tuple[str, ...]]

_DIGITS, _FACES = 'load("digits", image_size=28)', 'load("faces")'
_EMBEDDED = {"mnist": _DIGITS, "fashion_mnist": _DIGITS, "cifar10": _FACES}

# What CIFAR's pickles name. NumPy has moved the first since and deprecated the second's further
# arguments, hence stand-ins.
_PICKLED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda kind, shape, code: kind(shape, code),
    ("numpy", "dtype"): lambda code, align, copy: np.dtype(code),
    ("numpy", "ndarray"): np.ndarray,
}


class DownloadError(OSError):
    """A published data set is not in the cache and could not be brought there."""


class _Archive(NamedTuple):
    """One published file: its data set, place in the cache, MD5 and addresses."""

    name: str
    path: Path
    md5: str
    urls: list[str]


def images(name: str, root: str | os.PathLike[str] | None = None) -> _Images:
    """Images and labels of a published set, downloaded where the cache lacks them.

    Parameters
    ----------
    name
        ``"mnist"``, ``"fashion_mnist"`` or ``"cifar10"``.
    root
        Folder of the cache; by default ``$VGLAB_DATA``, else a folder of the user's own.

    Returns
    -------
    x_train, y_train, x_test, y_test, class_names
        Pixels uint8 ``[N, C, H, W]``, classes int64 ``[N]``, in the published split and order.

    Raises
    ------
    DownloadError
        An archive is missing or corrupt, and could not be downloaded or written to the cache.
    """
    from torchvision import datasets

    folder = _cache_folder(root)
    if name == "cifar10":
        cifar = datasets.CIFAR10
        archive = _Archive(name, folder / cifar.filename, cifar.tgz_md5, [cifar.url])
        return _decode_cifar10(_load(archive))
    published = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[name]
    raw = folder / published.__name__ / "raw"
    x_train, y_train, x_test, y_test = (
        _decode_idx(_load(_Archive(name, raw / file, md5, [m + file for m in published.mirrors])))
        for file, md5 in published.resources
    )
    # torchvision calls MNIST's classes "0 - zero"; the embedded digits call them "0".
    class_names = tuple(label.split(" - ")[0] for label in published.classes)
    return x_train[:, None], y_train.long(), x_test[:, None], y_test.long(), class_names


def _cache_folder(root: str | os.PathLike[str] | None) -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return Path(root or os.environ.get("VGLAB_DATA") or Path(caches, "vglab")).expanduser()


def _load(archive: _Archive) -> bytes:
    """Read an archive from the cache, downloaded first where it is missing or corrupt."""
    try:
        return _verified(archive.path.read_bytes(), archive.md5)
    except OSError as error:
        found = error
    from filelock import FileLock  # not before: a complete cache may be read-only

    try:
        archive.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(archive.path.with_name(".vglab.lock"), timeout=_LOCK_TIMEOUT):
            with contextlib.suppress(OSError):  # another process may have been faster
                return _verified(archive.path.read_bytes(), archive.md5)
            content = _download(archive)
            _write(archive.path, content)
            return content
    except OSError as error:
        if isinstance(error, DownloadError):
            problem, advice = str(error), "Check the network connection and call again"
        else:
            problem = f"The cache cannot be written to: {error}"
            advice = "Choose another folder with root= or the environment variable VGLAB_DATA"
        raise DownloadError(
            f"{archive.name} is not available.\n{archive.path}: {found.strerror or found}\n"
            f"{problem}\n{advice}, or use data.{_EMBEDDED[archive.name]}, which needs no download."
        ) from error


def _verified(content: bytes, expected: str) -> bytes:
    # usedforsecurity=False: the checksums were published as MD5, which some policies bar.
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 == expected:
        return content
    raise OSError(
        f"not the published archive but {len(content)} bytes that begin with {content[:15]!r} "
        f"(MD5 {md5} instead of {expected})"
    )


def _download(archive: _Archive) -> bytes:
    """Receive an archive from the first address that sends the published one."""
    failures = ["Tried to download it:"]
    for url in archive.urls:
        request = urllib.request.Request(url, headers={"User-Agent": "vglab"})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
                return _verified(response.read(), archive.md5)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"  {url}: {error}")
    raise DownloadError("\n".join(failures))


def _write(path: Path, content: bytes) -> None:
    """Write a file that has its name only once it is whole and on the disk."""
    for stale in path.parent.glob(f"{path.name}.*.part"):  # left by a process that was killed
        with contextlib.suppress(OSError):
            stale.unlink()
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _decode_idx(archive: bytes) -> Tensor:
    """Bytes in LeCun's IDX format: two zeros, type, rank, big-endian sizes, values."""
    content = bytearray(gzip.decompress(archive))
    rank = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=rank, offset=4).tolist()
    return torch.frombuffer(content, dtype=torch.uint8, offset=4 + 4 * rank).reshape(shape)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads the plain values and arrays that Python 2 wrote, and runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"expected arrays and plain values, got {module}.{name}")
        return _PICKLED[module, name]


def _decode_cifar10(archive: bytes) -> _Images:
    from torchvision.datasets import CIFAR10

    train, test = ([batch for batch, _ in part] for part in (CIFAR10.train_list, CIFAR10.test_list))
    entries: dict[str, Any] = {}
    with tarfile.open(fileobj=BytesIO(archive), mode="r|gz") as members:
        for member in members:
            name, content = PurePosixPath(member.name).name, members.extractfile(member)
            if content is not None and name in (*train, *test, CIFAR10.meta["filename"]):
                entries[name] = _ArrayUnpickler(content, encoding="latin1").load()

    def stack(names: list[str]) -> tuple[Tensor, Tensor]:
        pixels = np.concatenate([entries[name]["data"] for name in names]).reshape(-1, 3, 32, 32)
        labels = [label for name in names for label in entries[name]["labels"]]
        return torch.from_numpy(pixels), torch.tensor(labels, dtype=torch.int64)

    class_names = tuple(entries[CIFAR10.meta["filename"]][CIFAR10.meta["key"]])
    return *stack(train), *stack(test), class_names
