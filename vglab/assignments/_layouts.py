"""Whose file is whose, told from the names that Canvas, Moodle and Gradescope give.

The patterns follow what the systems' own sources write: Canvas's ``lib/content_zipper.rb`` and
Moodle's ``mod/assign/classes/downloader.php`` (and its forerunners, which end folders with "_").
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vglab.assignments._entries import Entry, Refused

# The sortable name in small letters without spaces, LATE, the student's number, the upload's
# number, the file's name. Without the student's name where grading is anonymous.
CANVAS = re.compile(
    r"(?:(?P<name>.*?)_)??(?P<late>LATE_)?(?P<id>\d+|anon_\w{5})_"
    r"(?:(?P<upload>\d+)_(?P<file>.+)|(?P<typed>text|link)\.html)",
    re.DOTALL,
)
# A folder for each student, or the same before the file's name. The number is the participant's.
MOODLE = re.compile(
    r"(?P<name>.*)_(?P<id>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_(?P<file>.*))?", re.DOTALL
)
METADATA = "submission_metadata.yml"
NOTEBOOK = re.compile(r"(?P<stem>.+)\.ipynb(?P<renamed>\.txt|\.json)?", re.IGNORECASE | re.DOTALL)
COPY = re.compile(r"(?P<stem>.+?) ?\((?P<copy>\d{1,3})\)", re.DOTALL)  # as browsers write it
AGAIN = re.compile(r".+-(?P<again>\d{1,2})", re.DOTALL)  # as Canvas writes it


@dataclass(frozen=True)
class Owner:
    """Whose a file is: ``origin`` is the same for all files of one student, and for no others."""

    layout: str
    origin: str
    student: str
    student_id: str = ""


def owners(files: list[Entry], name: str) -> dict[Owner, list[Entry]]:
    """The files of each student, in a place called ``name``."""
    files = _without_wrapping(files, name)
    metadata = next((entry for entry in files if entry.name == METADATA), None)
    if metadata is not None:
        return _gradescope(files, metadata)
    canvas, names = _is_canvas(files), {entry.path[0] for entry in files}
    owned: dict[Owner, list[Entry]] = {}
    for entry in files:
        owned.setdefault(_owner(entry, canvas, names), []).append(entry)
    return owned


def own_name(owner: Owner, entry: Entry) -> str:
    """The name that the student gave the file; "" for text typed into the system."""
    if owner.layout == "canvas" and (match := CANVAS.fullmatch(entry.name)):
        return match["file"] or ""
    for part in entry.path if owner.layout == "moodle" else ():
        if (match := MOODLE.fullmatch(part)) and match["kind"] != "file":
            return ""
        if match and match["file"]:
            return match["file"]
    return entry.name


def is_late(owner: Owner, entry: Entry) -> bool:
    """Whether the system marked the file as late."""
    match = CANVAS.fullmatch(entry.name) if owner.layout == "canvas" else None
    return bool(match and match["late"])


def uploaded(owner: Owner, entry: Entry) -> tuple[int, float, int, str]:
    """Sorts a student's files by when they were uploaded."""
    match = CANVAS.fullmatch(entry.name) if owner.layout == "canvas" else None
    number = int(match["upload"] or 0) if match else 0
    return number, entry.modified, attempt(owner, entry), entry.name


def attempt(owner: Owner, entry: Entry) -> int:
    """Which upload of the same name it is, as far as the name tells: 1 is the first."""
    notebook = NOTEBOOK.fullmatch(own_name(owner, entry))
    stem = notebook["stem"] if notebook else ""
    if match := COPY.fullmatch(stem):
        return int(match["copy"]) + 1
    if owner.layout == "canvas" and (match := AGAIN.fullmatch(stem)):
        return int(match["again"]) + 1
    return 1


def _without_wrapping(files: list[Entry], name: str) -> list[Entry]:
    """Drop the one folder that all files lie in, unless it is a student's."""
    tops = {entry.path[0] for entry in files}
    if len(tops) != 1 or any(len(entry.path) == 1 for entry in files):
        return files
    top = tops.pop()
    folders = any(len(entry.path) > 2 for entry in files)
    notebooks = sum(bool(NOTEBOOK.fullmatch(entry.name)) for entry in files)
    if MOODLE.fullmatch(top) or (top != name and not folders and notebooks < 3):
        return files
    inner = [replace(entry, path=entry.path[1:]) for entry in files]
    return _without_wrapping(inner, name)


def _is_canvas(files: Sequence[Entry]) -> bool:
    """Whether names are Canvas's, and not others that hold numbers.

    In Canvas no two files share an upload's number, and each student has one number.
    """
    top = [entry.name for entry in files if len(entry.path) == 1]
    matches = [match for match in map(CANVAS.fullmatch, top) if match]
    uploads = [match["upload"] for match in matches if match["upload"]]
    students = {(match["name"], match["id"]) for match in matches}
    return (
        len(matches) > len(top) / 2
        and len(set(uploads)) == len(uploads)
        and len(students) == len({match["id"] for match in matches})
    )


def _owner(entry: Entry, canvas: bool, names: set[str]) -> Owner:
    for part in entry.path:
        if match := MOODLE.fullmatch(part):
            return Owner("moodle", part[: match.end("id")], match["name"], match["id"])
    if len(entry.path) > 1:
        return Owner("folder", entry.path[0], entry.path[0])
    if canvas and (match := CANVAS.fullmatch(entry.name)):
        return Owner("canvas", match["id"], match["name"] or match["id"], match["id"])
    notebook = NOTEBOOK.fullmatch(entry.name)
    stem = notebook["stem"] if notebook else entry.name.rpartition(".")[0] or entry.name
    copy = COPY.fullmatch(stem)
    if notebook and copy and copy["copy"] and f"{copy['stem']}.ipynb" not in names:
        stem = copy["stem"]  # what a browser adds
    return Owner("file", entry.name, stem)


def _gradescope(files: Sequence[Entry], metadata: Entry) -> dict[Owner, list[Entry]]:
    """Each submission's files, once for each student who shares it."""
    depth = len(metadata.path) - 1
    folders: dict[str, list[Entry]] = {}
    for entry in files:
        if len(entry.path) > depth + 1 and entry.path[:depth] == metadata.path[:depth]:
            folders.setdefault(entry.path[depth], []).append(entry)
    try:
        people = _submitters(metadata.read().decode(errors="replace"))
    except Refused:
        people = {}
    owned = {}
    for folder in sorted(folders.keys() | people.keys()):
        for student, number in people.get(folder) or [(folder, "")]:
            owner = Owner("gradescope", f"{folder} {number} {student}", student, number)
            owned[owner] = folders.get(folder, [])
    return owned


def _submitters(text: str) -> dict[str, list[tuple[str, str]]]:
    """Names and student numbers by folder, from the lines of Gradescope's metadata.

    Read line by line, because further down the file holds Ruby's own objects, which a safe reader
    of YAML refuses.
    """
    people: dict[str, list[dict[str, str]]] = {}
    folder, section = "", ""
    for line in text.splitlines():
        if match := re.fullmatch(r"(\S.*):\s*", line):
            folder, section = _scalar(match[1]), ""
            people[folder] = []
        elif match := re.match(r"  (:\w+):", line):
            section = match[1]
        elif folder and section == ":submitters":
            if re.match(r" *- ", line):
                people[folder].append({})
            if (match := re.match(r"[ -]*:(name|sid): *(.*)", line)) and people[folder]:
                people[folder][-1][match[1]] = _scalar(match[2])
    return {
        folder: [(each.get("name") or folder, each.get("sid", "")) for each in each_folder]
        for folder, each_folder in people.items()
    }


def _scalar(text: str) -> str:
    """One value of YAML: plain, or in quotes of either kind."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(re.sub(r"\\x(..)", r"\\u00\1", text)))
        except ValueError:
            return text[1:-1]
    return "" if text in ("null", "~") else text
