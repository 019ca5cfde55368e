"""The files in a folder or a zip archive, listed and read without trusting any of them.

Nothing is ever unpacked to disk or followed through a link, so that a path, a link or an archive
made to break out reaches nothing; sizes are limited before memory is spent.
"""

import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

MAX_BYTES = 20 * 2**20
"""Largest file that is read."""
MAX_FILES = 100_000
"""Most files that a folder or an archive is searched for."""
MAX_DEPTH = 40
"""Most folders within each other."""
MAX_NESTED = 2_000
"""Most files in an archive that a student handed in."""
NOISE = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_HEADER = b"PK\x01\x02"  # starts each entry of an archive's list of contents


class Refused(ValueError):
    """A file that was not read, and why."""


@dataclass(frozen=True)
class Entry:
    """One file: the folders that lead to it and its name, and what keeps it from being read.

    ``modified`` is in seconds and compares files of one place. ``place`` is the file itself, or the
    archive that holds the member ``info``.
    """

    path: tuple[str, ...]
    size: int
    modified: float
    place: "Path | Entry"
    info: zipfile.ZipInfo | None = None
    refused: str = ""

    @property
    def name(self) -> str:
        """The file's own name, without folders."""
        return self.path[-1]

    def read(self) -> bytes:
        """The content, at most `MAX_BYTES`; `Refused` says why there is none."""
        if self.refused:
            raise Refused(self.refused)
        try:
            content = self._read()
        except Refused:
            raise
        except Exception as error:  # a damaged archive can raise whatever its decompressors do
            why = error.strerror if isinstance(error, OSError) else None  # without the path
            raise Refused(f"{self.name} could not be read: {why or error}") from None
        if len(content) > MAX_BYTES:
            raise Refused(_too_large(self.name, len(content)))
        return content

    def _read(self) -> bytes:
        if self.info is None:
            assert isinstance(self.place, Path)
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            number = os.open(self.place, flags | getattr(os, "O_BINARY", 0))
            with os.fdopen(number, "rb") as file:
                if not stat.S_ISREG(os.fstat(number).st_mode):
                    raise OSError("not an ordinary file")
                return file.read(MAX_BYTES + 1)
        source = self.place if isinstance(self.place, Path) else io.BytesIO(self.place.read())
        with zipfile.ZipFile(source) as archive, archive.open(self.info) as member:
            return member.read(MAX_BYTES + 1)


def listed(path: Path) -> list[Entry]:
    """Every file below a folder or in a .zip, in the order of names; or the one file itself."""
    if path.is_dir():
        found = list(_below(path, ()))
    elif path.suffix.lower() == ".zip":
        found = _members(path)
    elif path.is_file():
        found = [_file(path, (path.name,), path.stat())]
    else:
        raise FileNotFoundError(f"expected a folder or a .zip of submissions, got {path}")
    if len(found) > MAX_FILES:
        raise ValueError(f"{path} holds {len(found):,} files, more than {MAX_FILES:,}")
    return sorted(found, key=lambda entry: entry.path)


def inside(archive: Entry) -> list[Entry]:
    """The files of an archive that a student handed in; archives in it stay closed."""
    content = archive.read()
    if content.count(_HEADER) > MAX_NESTED:  # before their list takes memory
        raise Refused(f"{archive.name} holds more than {MAX_NESTED:,} files")
    return _members(archive)


def _below(folder: Path, above: tuple[str, ...]) -> Iterator[Entry]:
    try:
        children = list(os.scandir(folder))
    except OSError as error:
        if not above:
            raise
        why = f"the folder {folder.name} could not be opened: {error.strerror}"
        yield Entry((*above, folder.name), 0, 0.0, folder, refused=why)
        return
    children = [child for child in children if not _is_noise(child.name)]
    if above and not children:
        yield _empty(above, folder)
    for child in children:
        path = (*above, child.name)
        if child.is_symlink():
            why = f"{child.name} is a link, and links are not followed"
            yield Entry(path, 0, 0.0, Path(child.path), refused=why)
        elif child.is_dir(follow_symlinks=False) and len(path) < MAX_DEPTH:
            yield from _below(Path(child.path), path)
        elif child.is_file(follow_symlinks=False):
            yield _file(Path(child.path), path, child.stat(follow_symlinks=False))
        else:
            why = f"{child.name} is not an ordinary file"
            yield Entry(path, 0, 0.0, Path(child.path), refused=why)


def _file(place: Path, path: tuple[str, ...], state: os.stat_result) -> Entry:
    refused = _too_large(path[-1], state.st_size) if state.st_size > MAX_BYTES else ""
    return Entry(path, state.st_size, state.st_mtime, place, refused=refused)


def _members(place: "Path | Entry") -> list[Entry]:
    name = place.name
    try:
        source = place if isinstance(place, Path) else io.BytesIO(place.read())
        with zipfile.ZipFile(source) as archive:
            infos = archive.infolist()
    except Refused:
        raise
    except Exception as error:  # whatever zipfile stumbles over in a damaged list of contents
        if isinstance(place, Path):
            raise ValueError(f"{name} is not a zip archive that can be read: {error}") from None
        raise Refused(f"{name} is not a zip archive that can be read: {error}") from None
    kept = [entry for entry in (_member(place, info) for info in infos) if not _noise(entry)]
    files = [entry for entry in kept if entry.info and entry.info.filename[-1:] != "/"]
    used = {entry.path[:depth] for entry in files for depth in range(1, len(entry.path))}
    folders = {entry.path for entry in kept} - {entry.path for entry in files} - used
    return files + [_empty(path, place) for path in sorted(folders)]


def _member(place: "Path | Entry", info: zipfile.ZipInfo) -> Entry:
    name = info.filename
    if not info.flag_bits & 0x800:  # macOS writes UTF-8 and does not say so
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = info.filename
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
    path = tuple(part for part in parts if part != "..") or ("unnamed",)
    entry = Entry(path, info.file_size, _seconds(info), place, info)
    if ".." in parts or name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return replace(entry, refused=f"{name} leads out of the archive")
    if stat.S_ISLNK(info.external_attr >> 16):
        return replace(entry, refused=f"{path[-1]} is a link, and links are not followed")
    if info.flag_bits & 1:
        return replace(entry, refused=f"{path[-1]} is locked with a password")
    if info.file_size > MAX_BYTES:
        return replace(entry, refused=_too_large(path[-1], info.file_size))
    return entry


def _seconds(info: zipfile.ZipInfo) -> float:
    try:
        return datetime(*info.date_time).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _empty(path: tuple[str, ...], place: "Path | Entry") -> Entry:
    """Stands for a folder without files: somebody's, who handed in none."""
    return Entry((*path, ""), 0, 0.0, place, refused=f"the folder {path[-1]} is empty")


def _noise(entry: Entry) -> bool:
    return any(map(_is_noise, entry.path))


def _is_noise(name: str) -> bool:
    return name in NOISE or name.startswith(".")


def _too_large(name: str, size: int) -> str:
    return f"{name} is too large: {size / 2**20:.0f} MB, and {MAX_BYTES // 2**20} MB are allowed"
