"""Checkpoints that a killed process cannot break and a hostile file cannot abuse."""

import os
from pathlib import Path
from typing import Any

import torch

Content = dict[str, Any]


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


def load(path: Path, settings: Content) -> Content | None:
    """Content of the checkpoint at ``path``, None where there is none.

    Raises ValueError where the file is no checkpoint, holds anything but tensors and plain values
    (nothing in it is ever executed), or comes from a run with other settings.
    """
    if not path.exists():
        return None
    try:
        # Said outright, so that no environment variable can turn it off.
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["settings"]
    except Exception as error:
        raise ValueError(
            f"{path} is no checkpoint of vglab.train.fit, or it is damaged, and was not loaded "
            f"({type(error).__name__}); remove it to start anew"
        ) from None
    differing = [
        f"{name} was {found.get(name)!r}, now {settings.get(name)!r}"
        for name in sorted({*found, *settings})
        if found.get(name) != settings.get(name)
    ]
    if differing:
        raise ValueError(
            f"checkpoint {path} belongs to another run: {'; '.join(differing)}. "
            "Use the same arguments, another path, or remove the file"
        )
    return dict(content)
