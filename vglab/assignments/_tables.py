"""Tables as text: read as a spreadsheet or an LMS writes them, filled, and written for all."""

import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

BOM = "\ufeff"
"""Tells Excel that a file is UTF-8."""
FORMULA = tuple("=+-@＝＋－＠")
"""A cell that begins so is run by some spreadsheet."""

Record = Mapping[str, Any]
Row = list[str]


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", " ", str(text))
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text[:1] in ("\t", "\n") else text


def number(value: float | None) -> str:
    """Points with two decimals at most; "" for none."""
    return "" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def worth(value: float) -> str:
    """Points with their unit."""
    return f"{number(value)} {'point' if value == 1 else 'points'}"


def words(test: str) -> str:
    """A test's name in words: ``test_shape_of_W`` is "shape of W"."""
    return test.removeprefix("test_").replace("_", " ").strip() or test


def parsed(text: str) -> float | None:
    """A finite number, with a point or a comma; None for anything else."""
    plain = re.fullmatch(r"[+-]?\d{1,9}([.,]\d{0,9})?", text.strip())
    return float(text.strip().replace(",", ".")) if plain else None


def read(path: Path) -> list[Row]:
    """The rows of a CSV file, each as long as the first; commas, semicolons or tabs apart.

    Raises
    ------
    ValueError
        The file holds no table.
    """
    content = path.read_bytes()
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # what Excel writes by default
    first = text.partition("\n")[0]
    separator = max(",;\t", key=lambda each: len(next(csv.reader([first], delimiter=each), [])))
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise ValueError(f"{path.name} is not a table that can be read: {error}") from None
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        raise ValueError(f"{path.name} is empty")
    return [row + [""] * (len(rows[0]) - len(row)) for row in rows]


def text(rows: Sequence[Sequence[str]]) -> str:
    """Rows as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def need(path: Path, head: Sequence[str], names: Sequence[str], what: str) -> None:
    """Refuse a table that lacks one of these columns."""
    if missing := [name for name in names if name not in head]:
        found = ", ".join(head[:12])
        raise ValueError(
            f"{path.name} is not {what}: it lacks the column {missing[0]!r}, and has: {found}"
        )


def fill(
    records: Sequence[Record],
    head: Sequence[str],
    rows: Sequence[Row],
    column: int,
    values: Sequence[str],
    ways: Sequence[tuple[str, Sequence[str]]],
    held: Callable[[Row], str | None],
) -> list[str]:
    """Write each record's value into its row's column, and say which records have none.

    ``ways`` are tried in turn: an entry of the record, and the columns in which it may stand. The
    name counts only for a record without a number. A row that two records claim, that ``held``
    gives a reason to leave, or whose name is another stays as it is.
    """
    named = next((head.index(each) for each in ("Student", "Full name") if each in head), None)
    index = [(entry, _index(head, rows, names)) for entry, names in ways]
    claims: dict[int, list[int]] = defaultdict(list)
    problems = []
    for i, record in enumerate(records):
        hits = _hits(record, index)
        other = [rows[hit][named] for hit in hits if named is not None]
        if len(hits) == 1 and all(_akin(record, each) for each in other):
            claims[min(hits)].append(i)
        elif len(hits) == 1:
            problems.append(f"{told(record)} has the number of {other[0]}: no grade entered")
        else:
            why = f"fits {len(hits)} rows" if hits else "fits no row"
            problems.append(f"{told(record)} {why}: no grade entered")
    for place, claimants in claims.items():
        who = " and ".join(told(records[i]) for i in claimants)
        if len(claimants) > 1:
            problems.append(f"{who} claim one row: no grade entered")
        elif reason := held(rows[place]):
            problems.append(f"{who} {reason}: no grade entered")
        else:
            rows[place][column] = values[claimants[0]]
    return problems


def told(record: Record) -> str:
    """A record by its student's name and its key, on one line."""
    return guarded(f"{record['student']} ({record['key']})").replace("\n", " ")


def _index(head: Sequence[str], rows: Sequence[Row], names: Sequence[str]) -> dict[str, set[int]]:
    """The rows in which a value stands in one of the columns."""
    index: dict[str, set[int]] = defaultdict(set)
    for column in (head.index(name) for name in names if name in head):
        for i, row in enumerate(rows):
            value = row[column]
            if head[column] == "Identifier":  # "Participant 123", in any language
                value = re.sub(r"^\D+", "", value)
            index[_folded(value)].add(i)
    return index


def _hits(record: Record, index: Sequence[tuple[str, dict[str, set[int]]]]) -> set[int]:
    for entry, values in index:
        if entry == "student" and record["student_id"]:
            continue  # a name never overrules a number
        value = _folded(record[entry])
        if value and value in values:
            return values[value]
    return set()


def _akin(record: Record, other: str) -> bool:
    """Whether two names can be one person's; Canvas writes "Example, Anna" as "exampleanna"."""
    student = _folded(record["student"])
    words_of = re.findall(r"\w+", _folded(other))
    unknown = not words_of or student == _folded(record["student_id"])
    return unknown or any(word in student for word in words_of)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
