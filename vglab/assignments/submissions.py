"""Submissions: what students handed in, found in the folder or archive that an LMS downloads.

Canvas's and Moodle's downloads and Gradescope's export are told apart by their names; anything else
is a file, or a folder, for each student. Nothing in the given place is changed or unpacked.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vglab.assignments._entries import Entry, Refused, inside, listed
from vglab.assignments._layouts import (
    COPY,
    NOTEBOOK,
    Owner,
    attempt,
    is_late,
    own_name,
    owners,
    uploaded,
)
from vglab.assignments._notebook import Cell, UnreadableNotebook, read_cells

__all__ = ["Cell", "Submission", "UnreadableNotebook", "find", "read_cells"]

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # names in Windows
# Signs that show nothing or turn the writing around; those that join letters stay.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


@dataclass(frozen=True)
class Submission:
    """What one student handed in.

    ``key`` names the student's files; it is unique among what `find` returns. ``name`` is the
    notebook's name, "" where there is none; ``attempt`` is 2 where that name says that it is the
    second upload. ``problem`` says what the instructor should know.
    """

    key: str
    student: str
    student_id: str
    name: str
    late: bool = False
    attempt: int = 1
    problem: str = ""
    _entry: Entry | None = field(default=None, repr=False, compare=False)

    def read(self) -> bytes:
        """The notebook's bytes; `UnreadableNotebook` where there are none."""
        if self._entry is None:
            raise UnreadableNotebook(self.problem)
        try:
            return self._entry.read()
        except Refused as error:
            raise UnreadableNotebook(str(error)) from None


def find(path: Path) -> list[Submission]:
    """Every student's submission in a folder, a .zip or a single file, sorted by key.

    A student of whom there is no notebook that can be read is listed as well, with the reason in
    ``problem``. Of several notebooks the one uploaded last is taken, and ``problem`` names all.

    Raises
    ------
    FileNotFoundError, ValueError
        ``path`` is neither a folder, a file nor an archive that can be opened.
    """
    path = Path(path)
    owned = owners(listed(path), path.stem)
    found = [
        _submission(key, owner, owned[owner])
        for owner, key in zip(owned, _keys(list(owned)), strict=True)
    ]
    return sorted(found, key=lambda each: each.key)


def _submission(key: str, owner: Owner, entries: Sequence[Entry]) -> Submission:
    """The notebook among a student's files, and what was odd about them."""
    names = {entry: own_name(owner, entry) for entry in entries}
    notebooks = [entry for entry in entries if NOTEBOOK.fullmatch(names[entry])]
    refusals = [entry.refused for entry in notebooks or entries if entry.refused]
    notes = []
    if not notebooks:
        for archive in (e for e in entries if names[e].lower().endswith(".zip") and not e.refused):
            try:
                inner = [entry for entry in inside(archive) if NOTEBOOK.fullmatch(entry.name)]
            except Refused as error:
                refusals.append(str(error))
                continue
            names |= {entry: entry.name for entry in inner}
            notebooks += inner
            refusals += [entry.refused for entry in inner if entry.refused]
            notes += [f"taken out of {_clean(names[archive])}"] if inner else []
    usable = [entry for entry in notebooks if not entry.refused]
    usable.sort(key=lambda entry: (entry.size > 0, uploaded(owner, entry)))
    if not usable:
        why = refusals or [_nothing(names)]
        student = _clean(owner.student), _clean(owner.student_id)
        late = any(is_late(owner, entry) for entry in entries)
        return Submission(key, *student, "", late, problem=_joined(why))
    taken = usable[-1]
    if len(usable) > 1:
        several = _several([names[entry] for entry in usable])
        notes.append(f"{len(usable)} notebooks: {several}; taken was the last, {names[taken]}")
    if not names[taken].lower().endswith(".ipynb"):
        notes.append(f"named {_clean(names[taken])}, and taken as a notebook")
    if owner.layout == "file" and (match := COPY.fullmatch(owner.student)):
        notes.append(f"perhaps a second copy of {_clean(match['stem'])}.ipynb, graded on its own")
    if not taken.size:
        notes.append(f"{_clean(names[taken])} is empty")
    return Submission(
        key,
        _clean(owner.student),
        _clean(owner.student_id),
        _clean(names[taken]),
        late=is_late(owner, taken),
        attempt=attempt(owner, taken),
        problem=_joined(refusals + notes),
        _entry=taken,
    )


def _nothing(names: dict[Entry, str]) -> str:
    other = [name for name in names.values() if name]
    if not names:
        return "nothing was handed in"
    if not other:
        return "no file, only text typed into the system"
    return f"no notebook, only {_several(other)}"


def _several(names: Sequence[str]) -> str:
    told = ", ".join(_clean(name) for name in names[:4])
    return told + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _joined(notes: Sequence[str]) -> str:
    told = [_clean(note, 400) for note in notes[:5]]
    return "; ".join(told) + (f"; and {len(notes) - 5} more" if len(notes) > 5 else "")


def _clean(text: str, length: int = 120) -> str:
    """A text on one line, without signs that hide or reorder others."""
    text = " ".join(UNSEEN.sub(" ", unicodedata.normalize("NFC", text)).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _keys(owned: Sequence[Owner]) -> list[str]:
    """A name for each student's files, which differ even where case does not count."""
    slugs = [_slug(owner) for owner in owned]
    keys = slugs
    for length in (8, 64):  # a hash where names meet; longer should somebody aim at a hash
        often = Counter(map(_folded, keys))
        keys = [
            f"{slug}-{_hash(owner)[:length]}" if often[_folded(key)] > 1 else key
            for slug, key, owner in zip(slugs, keys, owned, strict=True)
        ]
    return keys


def _slug(owner: Owner) -> str:
    text = " ".join(part for part in (_clean(owner.student), owner.student_id) if part)
    if owner.layout == "canvas" and owner.student == owner.student_id:
        text = owner.student
    slug = re.sub(r"[^\w.-]+", "-", _clean(text)).strip("-._")
    short = slug.encode()[:100].decode(errors="ignore")
    if short != slug or not short or RESERVED.match(short):
        return f"{short}-{_hash(owner)[:8]}".lstrip("-")
    return short


def _folded(key: str) -> str:
    return unicodedata.normalize("NFKC", key).casefold()


def _hash(owner: Owner) -> str:
    origin = f"{owner.layout} {owner.origin}".encode(errors="surrogatepass")
    return hashlib.sha256(origin).hexdigest()
