"""The cells of a notebook that a student handed in, whatever happened to the file on its way."""

import json
import re
from dataclasses import dataclass
from typing import Any

from vglab.assignments._entries import MAX_BYTES

MAX_CELLS = 5_000
MAX_BRACKETS = 1_000_000
"""Most lists and objects: more would be a file made to fill the memory of who opens it."""
AGAIN = "download it again from Colab with File > Download > Download .ipynb"
STARTS = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a Word file or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Office file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x1f\x8b": "a compressed archive",
    b"Rar!": "an archive",
    b"7z\xbc\xaf": "an archive",
    b"\x80\x04": "a pickle",
    b"{\\rtf": "a text document (RTF)",
}


class UnreadableNotebook(ValueError):
    """Why a file is not a notebook that can be graded, in words for the student."""


@dataclass(frozen=True)
class Cell:
    """One cell: ``kind`` is "code", "markdown" or "raw"."""

    kind: str
    source: str


def read_cells(content: bytes) -> list[Cell]:
    """The cells of a notebook of format 3 or 4, in their order.

    Only the cells' kind and text are read; outputs, metadata, ids and the format's number may be
    missing or wrong, and the text may be UTF-8 or UTF-16, with or without a byte order mark.
    Nothing is executed.

    Raises
    ------
    UnreadableNotebook
        With a message for the student: what the file is, and what to do.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableNotebook(
            f"the file has {len(content) / 2**20:.0f} MB, and {MAX_BYTES // 2**20} MB are allowed; "
            "clear the outputs (Edit > Clear all outputs) and download it again"
        )
    if not content.strip(b" \t\r\n\0\xef\xbb\xbf\xff\xfe"):
        raise UnreadableNotebook(f"the file is empty; {AGAIN}")
    for start, what in STARTS.items():
        if content.startswith(start):
            raise UnreadableNotebook(f"the file is {what} and not a notebook; {AGAIN}")
    text = content.decode(json.detect_encoding(content), errors="replace").lstrip("\ufeff")
    cells = _cells(_parsed(text))
    if len(cells) > MAX_CELLS:
        raise UnreadableNotebook(f"the notebook has {len(cells):,} cells, more than {MAX_CELLS:,}")
    return [_cell(cell, number) for number, cell in enumerate(cells, start=1)]


def _parsed(text: str) -> Any:
    if re.match(r"\s*<", text):
        raise UnreadableNotebook(
            f"the file is a web page and not a notebook; {AGAIN}, and not with the browser's Save"
        )
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise UnreadableNotebook(
            "the notebook holds more data than can be read; clear the outputs "
            "(Edit > Clear all outputs) and download it again"
        )
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        whole = text.rstrip()
        if not whole.startswith("{"):
            raise UnreadableNotebook(f"the file is not a notebook; {AGAIN}") from None
        unfinished = error.msg.startswith("Unterminated string") or error.pos >= len(whole) - 8
        if unfinished and error.msg != "Extra data":
            line = whole.count("\n") + 1
            raise UnreadableNotebook(
                f"the file ends in the middle (line {line}); {AGAIN}"
            ) from None
        raise UnreadableNotebook(f"the file is damaged at line {error.lineno}; {AGAIN}") from None
    except RecursionError:
        raise UnreadableNotebook(f"the file is nested too deeply for a notebook; {AGAIN}") from None
    except ValueError:  # a number of more digits than Python takes
        raise UnreadableNotebook(f"the file holds a number that is too long; {AGAIN}") from None


def _cells(notebook: Any) -> list[Any]:
    if not isinstance(notebook, dict):
        raise UnreadableNotebook(f"the file is not a notebook, but a {_kind(notebook)}; {AGAIN}")
    cells = notebook.get("cells")
    sheets = notebook.get("worksheets")
    if cells is None and isinstance(sheets, list):  # format 3
        parts = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
        cells = [cell for part in parts if isinstance(part, list) for cell in part]
    if isinstance(cells, list):
        return cells
    if "error" in notebook:
        raise UnreadableNotebook(
            f"the file is a server's error message and not a notebook; {AGAIN}"
        )
    raise UnreadableNotebook(f"the file has no cells, so it is not a notebook; {AGAIN}")


def _cell(cell: Any, number: int) -> Cell:
    if not isinstance(cell, dict):
        raise UnreadableNotebook(f"cell {number} is a {_kind(cell)} and not a cell; {AGAIN}")
    kind = cell.get("cell_type")
    source = cell.get("source", cell.get("input", "") if kind == "code" else "")
    lines = source if isinstance(source, list) else [source]
    texts = [line for line in lines if isinstance(line, str)]
    if len(texts) < len(lines):
        raise UnreadableNotebook(f"the text of cell {number} is not text; {AGAIN}")
    joined = "".join(texts).replace("\r\n", "\n")
    joined = joined.encode(errors="replace").decode()  # half of a character outside the BMP
    if kind == "heading":  # format 3
        level = cell.get("level")
        joined = "#" * (level if isinstance(level, int) and 1 <= level <= 6 else 1) + f" {joined}"
        kind = "markdown"
    return Cell(kind if kind in ("code", "markdown") else "raw", joined)


def _kind(value: object) -> str:
    names = {list: "list", str: "text", bool: "truth value", type(None): "null", dict: "table"}
    return names.get(type(value), "number")
