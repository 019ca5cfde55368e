"""What an instructor finds after grading: tables for the LMS, a page a student, and a summary."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vglab.assignments import gradebook, report
from vglab.assignments.marking import Release

Record = dict[str, Any]


def write(
    folder: Path,
    records: Sequence[Record],
    out: Path,
    roster: Path | None = None,
    column: str | None = None,
    written: Path | None = None,
) -> list[str]:
    """Write every table and page of graded submissions; say what there is and what to look at.

    Parameters
    ----------
    folder
        The release they were graded with.
    records
        What `grade` returned.
    out
        Gets ``grades.csv``, ``canvas.csv``, ``moodle.csv``, ``summary.html``, ``feedback/`` and,
        for written questions, ``written.csv`` and ``written/``.
    roster
        A gradebook that Canvas or Moodle gave out; the table of that system is then this one,
        filled.
    column
        What Canvas calls the assignment, if not by its title.
    written
        A filled ``written.csv``, whose points are added to those in ``out``'s own.

    Raises
    ------
    ValueError
        The roster or the table of written points does not fit; nothing was written.
    """
    about = Release.load(folder).about
    title = about["title"]
    for filled in (out / "written.csv", written):
        if filled is not None and (filled is written or filled.exists()):
            given = gradebook.read_written(filled, records)
            records = [gradebook.with_written(record, given) for record in records]
    moodle = roster is not None and "Identifier" in _head(roster)
    sheets = {
        "canvas.csv": gradebook.canvas_csv(records, column or title, None if moodle else roster),
        "moodle.csv": gradebook.moodle_csv(records, title, roster if moodle else None),
    }
    texts = {"grades.csv": gradebook.grades_csv(records)}
    texts |= {name: sheet.text for name, sheet in sheets.items()}
    texts["summary.html"] = report.summary_html(records, title=title)
    for record in records:
        page = report.feedback_html(record, title=title)
        texts[f"feedback/{record['key']}.html"] = page
    if about["rubrics"]:
        texts["written.csv"] = gradebook.written_csv(records)
    for question, rubric in about["rubrics"].items():
        if records:
            rubric = re.sub(r"(?<!\n)\n\s*(?![\s-])", " ", rubric)  # lines as long as the page
            texts[f"written/{question}.html"] = report.written_html(records, question, rubric)
    for name, text in texts.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    counts = Counter(record["status"] for record in records)
    told = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    lines = [f"{len(records)} submissions: {told or 'none'}", f"look at {out / 'summary.html'}"]
    names = ["moodle.csv" if moodle else "canvas.csv"] if roster else list(sheets)
    lines += [f"{name}: {problem}" for name in names for problem in sheets[name].problems]
    return lines


def _head(roster: Path) -> str:
    with roster.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline()
