"""Grades as tables: for a spreadsheet, for Canvas, for Moodle, and for what is graded by hand.

Files for a spreadsheet begin with a byte order mark, without which Excel takes UTF-8 for the
system's old encoding. Those for Canvas and Moodle do without: neither writes one by default, and
Canvas's importer does not take it away. A text that a spreadsheet would run as a formula gets a
leading apostrophe; rows that came from the LMS go back as they came.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vglab.assignments import _tables
from vglab.assignments._tables import Record, Row, guarded, number
from vglab.assignments._written import read_written, with_written, written_csv

__all__ = [
    "Points",
    "Sheet",
    "canvas_csv",
    "grades_csv",
    "moodle_csv",
    "points",
    "read_written",
    "with_written",
    "written_csv",
]

POSSIBLE = "    Points Possible"  # Canvas knows the row by this
MOODLE = (
    "Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade",
    "Grade can be changed", "Last modified (submission)", "Last modified (grade)",
)  # fmt: skip


@dataclass(frozen=True)
class Points:
    """A record's points: those of tests, those given by hand, and whether some are still due."""

    auto: float
    manual: float
    possible: float
    pending: bool

    @property
    def total(self) -> float:
        """What there is so far."""
        return self.auto + self.manual


@dataclass(frozen=True)
class Sheet:
    """A table as text, and what the instructor should know before it is uploaded."""

    text: str
    problems: tuple[str, ...] = ()


def points(record: Record) -> Points:
    """Add up the questions of a record."""
    questions = record["questions"]
    manual = [question["points"] for question in questions if question["manual"]]
    return Points(
        auto=sum(question["points"] for question in questions if not question["manual"]),
        manual=sum(given for given in manual if given is not None),
        possible=sum(question["possible"] for question in questions),
        pending=any(given is None for given in manual),
    )


def grades_csv(records: Sequence[Record]) -> str:
    """One row for each student: the points of each question, their sums, and what went wrong.

    The cell of a written question is empty until it is graded by hand.
    """
    questions = {question["name"]: None for each in records for question in each["questions"]}
    head = ["student", "id", "file", "late", "status", *questions, "auto points", "manual points"]
    rows: list[list[str]] = [[*map(guarded, head), "total", "possible", "message"]]
    for record in records:
        given = {question["name"]: question["points"] for question in record["questions"]}
        sums = points(record)
        rows.append(
            [
                guarded(record["student"]),
                guarded(record["student_id"]),
                guarded(record["file"]),
                "yes" if record["late"] else "no",
                guarded(record["status"]),
                *(number(given.get(name)) for name in questions),
                *map(number, (sums.auto, sums.manual, sums.total, sums.possible)),
                guarded(record["message"]),
            ]
        )
    return _tables.BOM + _tables.text(rows)


def canvas_csv(records: Sequence[Record], assignment: str, roster: Path | None = None) -> Sheet:
    """The file that Canvas's gradebook imports.

    Parameters
    ----------
    records
        One for each submission.
    assignment
        Name of the column: "Title (id)" as Canvas writes it, or either part where a roster is
        given. Canvas makes a new assignment of a name that it does not know.
    roster
        An export of Canvas's gradebook. Its rows, their order and its columns are kept, and only
        the assignment's cells of students with a record are filled. A record belongs to the one row
        with its number in ID, SIS User ID or SIS Login ID, unless the names have no word in common;
        without a number, to the one row whose login or full name it bears.

    Raises
    ------
    ValueError
        The roster is not Canvas's, lacks the assignment, or gives it another number of points.
    """
    if roster is None:
        head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment]
        table = [head, [POSSIBLE, "", "", "", "", number(_possible(records))]]
        table += [[who, guarded(mark), "", "", "", ""] for mark, who in _numbered(records)]
    else:
        table = _tables.read(roster)
        _tables.need(roster, table[0], ("ID", "Section"), "an export of Canvas's gradebook")
    column = _canvas_column(table[0], assignment)
    students = []
    for row in table[1:]:
        if "Points Possible" in row[0]:
            _same_possible(records, row[column], "Points Possible in Canvas", assignment)
        elif row[table[0].index("ID")].strip():
            students.append(row)
    logins = ("SIS User ID", "SIS Login ID")
    ways = (("student_id", ("ID", *logins)), ("student", (*logins, "Student")))
    held = {"EX": "is excused in Canvas", "N/A": "is not assigned this in Canvas"}
    totals = [number(points(record).total) for record in records]
    problems = _tables.fill(
        records, table[0], students, column, totals, ways, lambda row: held.get(row[column])
    )
    return Sheet(_tables.text(table), (*problems, *_provisional(records, roster)))


def moodle_csv(records: Sequence[Record], assignment: str, roster: Path | None = None) -> Sheet:
    """The grading worksheet that Moodle takes back.

    Parameters
    ----------
    records
        One for each submission.
    assignment
        Its name, for what is said where the worksheet does not fit.
    roster
        The worksheet that Moodle gives out (in English). Only Grade is filled: by the number in
        Identifier, unless the names have no word in common, or, for a record without a number, by
        Full name. Rows that Moodle has locked stay as they are.

    Raises
    ------
    ValueError
        The roster is not such a worksheet, or has another maximum grade.
    """
    if roster is None:
        rest = ["", "", "", number(_possible(records)), "Yes", "-", "-"]
        table = [list(MOODLE)]
        table += [[guarded(f"Participant {mark}"), who, *rest] for mark, who in _numbered(records)]
    else:
        table = _tables.read(roster)
        needed = ("Identifier", "Grade", "Last modified (grade)")  # no names in blind marking
        _tables.need(roster, table[0], needed, "Moodle's grading worksheet in English")
    head, students = table[0], table[1:]
    if "Maximum Grade" in head and students:
        maximum = students[0][head.index("Maximum Grade")]
        _same_possible(records, maximum, "Maximum Grade in Moodle", assignment)
    locked = head.index("Grade can be changed") if "Grade can be changed" in head else None

    def held(row: Row) -> str | None:
        return "is locked in Moodle" if locked is not None and row[locked] == "No" else None

    ways = (("student_id", ("Identifier",)), ("student", ("Full name",)))
    totals = [number(points(record).total) for record in records]
    problems = _tables.fill(records, head, students, head.index("Grade"), totals, ways, held)
    return Sheet(_tables.text(table), (*problems, *_provisional(records, roster)))


def _numbered(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Numbers and names of the students whose number is known, each once."""
    known = {each["student_id"]: guarded(each["student"]) for each in records}
    return [(mark, student) for mark, student in known.items() if mark]


def _canvas_column(head: Sequence[str], assignment: str) -> int:
    """The one column of an assignment, "Title (id)", named whole or by either part."""
    titled = {i: re.fullmatch(r"(.*)\s\((\d+)\)", name, re.DOTALL) for i, name in enumerate(head)}
    found = [i for i, name in enumerate(head) if name == assignment] or [
        i for i, match in titled.items() if match and assignment in match.groups()
    ]
    if len(found) != 1:
        there = (
            ", ".join(repr(head[i]) for i in found or [i for i in titled if titled[i]]) or "none"
        )
        fault = "several assignments are" if found else "no assignment is"
        raise ValueError(f"{fault} called {assignment!r}; give one of: {there}")
    return found[0]


def _possible(records: Sequence[Record]) -> float:
    """The points that an assignment has, the same for every student."""
    possible = {points(record).possible for record in records}
    if len(possible) > 1:
        several = ", ".join(map(number, sorted(possible)))
        raise ValueError(f"the records are of several assignments, with {several} points")
    return possible.pop() if possible else 0.0


def _same_possible(records: Sequence[Record], cell: str, what: str, assignment: str) -> None:
    """Refuse to write points where the LMS would read them on another scale."""
    theirs, ours = _tables.parsed(cell), _possible(records)
    if records and theirs is not None and abs(theirs - ours) > 0.005:
        raise ValueError(
            f"{what} is {cell.strip()}, but {assignment} has {number(ours)} points: "
            "set it there, and export again"
        )


def _provisional(records: Sequence[Record], roster: Path | None) -> list[str]:
    """What is entered, but is not the last word."""
    pending = [record for record in records if points(record).pending]
    halted = [record for record in records if record["status"] != "graded"]
    said = []
    if roster is None and not all(record["student_id"] for record in records):
        said.append("without a roster only students whose number is known have a row")
    if pending:
        said.append(
            f"{len(pending)} of {len(records)} submissions have answers that are not graded yet: "
            "what is entered is without them"
        )
    if halted:
        names = ", ".join(map(_tables.told, halted[:10])) + (", …" if len(halted) > 10 else "")
        share = f"{len(halted)} of {len(records)} submissions"
        said.append(f"{share} were not graded to the end: {names}")
    return said
