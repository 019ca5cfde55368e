"""Checkpoints that a killed process cannot break and a hostile file cannot abuse."""

import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from vglab.data import Dataset

Content = dict[str, Any]
PARTS = {
    *("model", "buffers", "optimizer", "order", "random", "cuda_random"),
    *("record", "seconds", "settings"),
}
RECORD = {"loss", "train_accuracy", "test_accuracy", "test_loss", "gradient_norms"}


def settings(
    model: nn.Module, data: Dataset, optimize: Optimizer, *, named: bool, **arguments: Any
) -> Content:
    """All that must be the same for a run to go on: arguments, network, optimizer and data."""
    found = arguments | {"model": _text(model)}
    if not named:
        found["optimizer"] = _text(optimize)
    checksum = 0
    for values in (data.x_train, data.y_train, data.x_test, data.y_test):
        checksum = zlib.crc32(values.detach().cpu().contiguous().numpy().data, checksum)
    found["data"] = f"{data.name} {[*data.x_train.shape]}, checksum {checksum:08x}"
    return found


def _text(described: object) -> str:
    """Description without addresses in memory, which differ from run to run."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(described))


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Raise ValueError unless a file at ``path`` can be written; nothing is created."""
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"checkpoint must be a file, but {file} is a folder")
    if not file.parent.is_dir():
        raise ValueError(f"the folder of checkpoint {file} does not exist; create it first")
    if not os.access(file.parent, os.W_OK):
        raise ValueError(f"the folder of checkpoint {file} is not writable")
    return file


def save(path: Path, content: Content) -> None:
    """Write ``content`` so that ``path`` at every moment holds a whole checkpoint, old or new."""
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def load(path: Path, settings: Content, epochs: int) -> Content | None:
    """Content of the checkpoint at ``path``, None where there is none.

    Raises ValueError where the file is no checkpoint, holds anything but tensors and plain values
    (nothing in it is ever executed), or comes from a run with other settings or more epochs.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            if broken := archive.testzip():
                raise zipfile.BadZipFile(broken)
        # Said outright, so that no environment variable can turn it off.
        content = torch.load(path, map_location="cpu", weights_only=True)
        if missing := PARTS - content.keys():
            raise KeyError(*missing)
        record = content["record"]
        if {*record} != RECORD or not all(isinstance(v, torch.Tensor) for v in record.values()):
            raise TypeError("record")
        if not isinstance(content["seconds"], float):
            raise TypeError("seconds")
        found, done = dict(content["settings"]), len(record["test_loss"])
    except Exception as error:
        raise ValueError(
            f"{path} is no checkpoint of vglab.train.fit, or it is damaged, and was not loaded "
            f"({type(error).__name__}); remove it to start anew"
        ) from None
    differing = [
        f"{name} was {_difference(found.get(name), settings.get(name))}"
        for name in sorted({*found, *settings})
        if found.get(name) != settings.get(name)
    ]
    if differing:
        raise ValueError(
            f"checkpoint {path} belongs to another run: {'; '.join(differing)}. "
            "Use the same arguments, another path, or remove the file"
        )
    if done > epochs:
        raise ValueError(f"checkpoint {path} has {done} epochs already, more than epochs={epochs}")
    return dict(content)


def _difference(was: object, now: object) -> str:
    """What differs, of descriptions of many lines only the first line that does."""
    lines = zip(str(was).splitlines(), str(now).splitlines(), strict=False)
    old, new = next(((old, new) for old, new in lines if old != new), (was, now))
    return f"{str(old).strip()}, now {str(new).strip()}"
