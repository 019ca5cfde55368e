"""Grading a folder of submissions: each in its own sandbox, resumable, never all or nothing.

A submission runs in its sandbox; the tests run here and only ask it for values. What comes of each
is one JSON file, written whole or not at all, so that a run that was killed goes on where it
stopped.
"""

import functools
import hashlib
import json
import multiprocessing
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from vglab.assignments.marking import Release, run
from vglab.assignments.master import HEADING
from vglab.assignments.release import PUBLIC
from vglab.assignments.sandbox import Sandboxed
from vglab.assignments.session import COMMAND, CellStopped, Limits, Session, Stopped
from vglab.assignments.submissions import Cell, Submission, UnreadableNotebook, find, read_cells

STOPPED_CELLS = 2  # so many cells that end the process are left out before a submission is given up
BUDGET = 4  # times a release's seconds that all of a submission's fresh starts may take together
SPARE_SECONDS = 300  # that grading one may take besides
GRADER_BYTES = 6 * 2**30  # that a grading process may take
DIED = "grading it ended its process twice: an answer asks too much of a test"
Record = dict[str, Any]


def grade(
    folder: Path,
    submissions: Path,
    out: Path,
    *,
    jobs: int = 1,
    kind: str | None = None,
    limits: Limits | None = None,
    progress: Callable[[Iterator[Record], int], Iterator[Record]] | None = None,
) -> list[Record]:
    """Grade every submission in a folder or archive against a release.

    Parameters
    ----------
    folder
        What `release` made.
    submissions
        A download of Canvas, Moodle or Gradescope, or plain files; nothing there is changed.
    out
        Gets ``results/<key>.json`` for each. Of those there, what was graded with the same tests
        from the same bytes is kept.
    jobs
        Submissions graded at a time.
    kind, limits
        Of the sandbox; None takes the best there is, or raises `Unavailable`.
    progress
        Wraps the records as they come, given how many there will be.

    Returns
    -------
    list
        A record for each submission, in the order of their keys.
    """
    release, found = Release.load(folder), find(submissions)
    kind = Sandboxed(COMMAND, kind=kind).kind  # raises where no submission could be started
    results = out / "results"
    results.mkdir(parents=True, exist_ok=True)
    records = {one.key: _kept(results, release, one) for one in found}
    left = [one for one in found if records[one.key] is None]
    made = _graded(release, left, jobs, functools.partial(
        grade_one, folder, kind=kind, limits=limits or Limits()))  # fmt: skip
    for record in progress(made, len(left)) if progress else made:
        records[record["key"]] = record
        _write(results / f"{record['key']}.json", record)
    return [record for _, record in sorted(records.items()) if record is not None]


def _graded(
    release: Release, left: list[Submission], jobs: int, work: Callable[[Submission], Record]
) -> Iterator[Record]:
    """Give each record as soon as it is there; a process that dies takes no other one with it."""
    work = functools.partial(_in_time, work, int(BUDGET * release.about["seconds"]) + SPARE_SECONDS)
    context = multiprocessing.get_context("spawn")
    suspects: list[Submission] = []
    while left or suspects:
        alone = not left
        tried = [suspects.pop(0)] if alone else left
        with ProcessPoolExecutor(1 if alone else jobs, context, _limit_memory) as pool:
            futures: dict[Future[Record], Submission] = {
                pool.submit(work, one): one for one in tried
            }
            lost = []
            for future in as_completed(futures):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(futures[future])
        if alone:
            yield from (_record(release, one, "stopped", DIED) for one in lost)
            continue
        lost.sort(key=left.index)  # they were begun in this order: the first ones are suspected
        suspects += lost[:jobs]
        left = lost[jobs:]


def _in_time(work: Callable[[Submission], Record], seconds: int, one: Submission) -> Record:
    """Grade one; where that takes too long, the process ends, whatever it is at."""
    if not hasattr(signal, "alarm"):
        return work(one)
    signal.alarm(seconds)
    try:
        return work(one)
    finally:
        signal.alarm(0)


def _limit_memory() -> None:
    """Let an answer that makes a test ask for too much memory fail, and not this machine."""
    if sys.platform == "linux":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (GRADER_BYTES, hard))


def grade_one(
    folder: Path, submission: Submission, *, kind: str | None = None, limits: Limits | None = None
) -> Record:
    """Grade one submission; whatever is wrong with it is told in its record."""
    release, began = _loaded(folder), time.monotonic()
    try:
        content = submission.read()
        cells = read_cells(content)
    except UnreadableNotebook as error:
        return _record(release, submission, "unreadable", str(error))
    record = _record(release, submission, "graded", submission.problem)
    record["sha256"] = hashlib.sha256(content).hexdigest()
    own = own_cells(release, cells)
    code = [(number, cell.source) for number, cell in own if cell.kind == "code"]
    try:
        _mark(record, release, code, kind, limits or Limits())
    except Stopped as error:
        record |= {"status": "stopped", "message": f"stopped: {error}"}
    record["answers"] = _answers(release, own)
    record["seconds"] = round(time.monotonic() - began, 1)
    return record


@functools.cache
def _loaded(folder: Path) -> Release:
    return Release.load(folder)


def _mark(
    record: Record, release: Release, code: list[tuple[int, str]], kind: str | None, limits: Limits
) -> None:
    """Mark test by test; where one ends the process, the next gets a fresh one."""
    errors: dict[int, str] = {}
    waiting = release.cases()
    end = time.monotonic() + BUDGET * release.about["seconds"]
    while waiting:
        if time.monotonic() > end:
            raise Stopped(f"{len(waiting)} tests not reached in time")
        try:
            cells = [cell for cell in code if cell[0] not in errors]
            with Session(
                cells, seconds=release.about["seconds"], limits=limits, kind=kind
            ) as asked:
                told = sorted((errors | dict(asked.errors)).items())
                record["errors"] = [{"cell": number, "message": said} for number, said in told]
                while waiting and not asked.stopped:
                    place, number, case = waiting.pop(0)
                    question = record["questions"][place]
                    question["tests"][number] = run(case, asked)
                    question["points"] = sum(test["points"] for test in question["tests"])
        except CellStopped as error:
            errors[error.cell] = str(error)
            if len(errors) > STOPPED_CELLS:
                raise


def own_cells(release: Release, cells: list[Cell]) -> list[tuple[int, Cell]]:
    """Number the cells, and leave out what the release itself put there to be run or read."""
    path = release.folder / "student" / f"{release.about['name']}.ipynb"
    given = {cell.source.strip() for cell in read_cells(path.read_bytes())}
    given = {source for source in given if _is_ours(source)}
    return [(n, cell) for n, cell in enumerate(cells, start=1) if cell.source.strip() not in given]


def _is_ours(source: str) -> bool:
    return source.startswith(PUBLIC) or '"google.colab" in sys.modules' in source


def _answers(release: Release, cells: list[tuple[int, Cell]]) -> dict[str, str]:
    """Collect what stands between the heading of a written question and the next question's."""
    path = release.folder / "student" / f"{release.about['name']}.ipynb"
    given = {cell.source.strip() for cell in read_cells(path.read_bytes())}
    titles = {about["title"]: about for about in release.about["questions"]}
    found: dict[str, list[str]] = {}
    current = None
    for _, cell in cells:
        for title in re.findall(HEADING, cell.source, re.M):
            current = titles.get(title, current if title != "Handing in" else None)
        if current and current["manual"] and cell.source.strip() not in given:
            found.setdefault(current["name"], []).append(cell.source.strip())
    return {name: "\n\n".join(texts) for name, texts in found.items()}


def _record(release: Release, submission: Submission, status: str, message: str) -> Record:
    return {
        "schema": 1, "assignment": release.about["name"], "tests": release.digest,
        "key": submission.key, "student": submission.student,
        "student_id": submission.student_id, "file": submission.name, "sha256": "",
        "late": submission.late, "status": status, "message": message, "seconds": 0.0,
        "questions": release.blank(), "errors": [], "answers": {},
    }  # fmt: skip


def _kept(results: Path, release: Release, submission: Submission) -> Record | None:
    """Give the record of an earlier run where tests and bytes are the same."""
    path = results / f"{submission.key}.json"
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        digest = hashlib.sha256(submission.read()).hexdigest()
    except (OSError, ValueError):
        return None
    same = record.get("tests") == release.digest and record.get("sha256") == digest
    return record if same else None


def _write(path: Path, record: Record) -> None:
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")
    unfinished.replace(path)
