"""Written answers: a table to grade them in, and what comes back of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vglab.assignments import _tables
from vglab.assignments._tables import Record, guarded, number

CELL = 30_000
"""Characters of an answer in a cell; Excel takes 32,767."""
WRITTEN = ("key", "student", "question", "title", "answer", "possible", "points")


def written_csv(records: Sequence[Record]) -> str:
    """One row for each written answer; type its points into the last column, and give it back."""
    rows = [list(WRITTEN)]
    for record in records:
        for question in record["questions"]:
            if question["manual"]:
                answer = record["answers"].get(question["name"], "")
                texts = record["key"], record["student"], question["name"], question["title"]
                cut = answer if len(answer) <= CELL else answer[:CELL] + " … (cut)"
                numbers = number(question["possible"]), number(question["points"])
                rows.append([*map(guarded, (*texts, cut)), *numbers])
    return _tables.BOM + _tables.text(rows)


def read_written(path: Path, records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """The points of written answers by key and question, from a filled `written_csv`.

    Empty points are not graded yet. The file may come from a spreadsheet that writes semicolons,
    or commas in numbers.

    Raises
    ------
    ValueError
        Names every line that cannot be used: what came, and what was expected.
    """
    table = _tables.read(path)
    _tables.need(path, table[0], ("key", "question", "points"), "a table of written answers")
    places = [table[0].index(name) for name in ("key", "question", "points")]
    expected = {
        record["key"]: {
            each["name"]: each["possible"] for each in record["questions"] if each["manual"]
        }
        for record in records
    }
    given: dict[str, dict[str, float]] = {}
    wrong = []
    for line, row in enumerate(table[1:], start=2):
        key, question, text = (row[place].strip() for place in places)
        key, question = key.removeprefix("'"), question.removeprefix("'")
        value, limit = _tables.parsed(text), expected.get(key, {}).get(question)
        if not text:
            continue
        if key not in expected:
            wrong.append(f"row {line}: no submission has the key {key!r}")
        elif limit is None:
            names = ", ".join(expected[key]) or "none"
            wrong.append(f"row {line}: {question!r} is no written question; there are: {names}")
        elif value is None or not 0 <= value <= limit:
            wrong.append(f"row {line}: points must be from 0 to {number(limit)}, got {text!r}")
        elif given.get(key, {}).get(question, value) != value:
            wrong.append(f"row {line}: {key} has other points for {question} further up")
        else:
            given.setdefault(key, {})[question] = value
    if wrong:
        told = "\n".join(wrong[:20]) + (f"\nand {len(wrong) - 20} more" if len(wrong) > 20 else "")
        raise ValueError(f"{path.name} was not used:\n{told}")
    return given


def with_written(record: Record, given: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """A copy of a record with the points that `read_written` gives for its written answers."""
    mine = given.get(record["key"], {})
    questions = [
        {**each, "points": mine.get(each["name"], each["points"])} if each["manual"] else each
        for each in record["questions"]
    ]
    return {**record, "questions": questions}


def _written(record: Record) -> dict[str, float]:
    """The written questions of a record and their points."""
    return {each["name"]: each["possible"] for each in record["questions"] if each["manual"]}
