"""Are the assignments right? Solutions earn every point, and whatever should lose points does."""

import functools
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat

from vglab.assignments import master as masters
from vglab.assignments import release
from vglab.assignments.marking import Release
from vglab.assignments.master import Master, Question
from vglab.assignments.session import Session, Stopped

OTHERS = 3  # classes whose solutions are tried on this one
MOST_KEPT = 0.5  # share of a class's points that another class's solutions may keep


@dataclass(frozen=True)
class Row:
    """What `check` found of one question: points kept by each kind of answer."""

    assignment: str
    question: str
    manual: bool
    possible: float
    solution: float
    mutants: int
    caught: int
    others: float


def check(path: Path, *, seed: int = 0) -> tuple[list[Row], list[str]]:
    """Try a master's solution, mutants, empty notebook, and other classes' solutions.

    Everything runs in one process of its own, without a sandbox: it is all our own code.

    Returns
    -------
    rows, problems
        A row for each question; what has to be mended, empty where nothing has.
    """
    master = masters.read(path, seed=seed, key="check")
    others = [masters.read(path, seed=seed + n, key="check") for n in range(1, OTHERS + 1)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / master.name
        release.make(master, folder)
        made = Release.load(folder)
        student = nbformat.read(folder / "student" / f"{master.name}.ipynb", as_version=4)
        try:
            rows, problems = _try_solutions(master, others, made)
            problems += _try_nothing(code_cells(student), made)
        except Stopped as error:
            rows, problems = [], [f"{master.name}: stopped: {error}"]
    kept = sum(row.others for row in rows)
    possible = sum(row.possible for row in rows if not row.manual)
    if kept > MOST_KEPT * possible:
        problems.append(
            f"{master.name}: other classes' solutions keep {kept:g} of {possible:g} points"
        )
    return rows, problems


def code_cells(notebook: nbformat.NotebookNode) -> list[tuple[int, str]]:
    """List the ``(number, source)`` of a notebook's code cells."""
    numbered = enumerate(notebook.cells, start=1)
    return [(number, cell.source) for number, cell in numbered if cell.cell_type == "code"]


def _try_solutions(
    master: Master, others: list[Master], made: Release
) -> tuple[list[Row], list[str]]:
    rows, problems = [], []
    tests = {cell.source for q in master.questions for cell in q.cells if _is_test(cell)}
    cells = [cell for cell in code_cells(master.notebook) if cell[1] not in tests]
    with Session(cells, kind="own", seconds=master.seconds) as session:
        problems += [f"{master.name}: cell {n}: {message}" for n, message in session.errors]
        for question, *same in zip(
            master.questions, *(other.questions for other in others), strict=True
        ):
            row, found = _try_question(master.name, question, same, made, session)
            rows.append(row)
            problems += found
    return rows, problems


def _is_test(cell: nbformat.NotebookNode) -> bool:
    """Tell whether a question's cell is a test, a single function called test_…."""
    return cell.cell_type == "code" and "\ndef test_" in f"\n{cell.source}"


def _try_question(
    name: str, question: Question, same: list[Question], made: Release, session: Session
) -> tuple[Row, list[str]]:
    where, problems, caught, kept = f"{name}, {question.name}", [], 0, 0.0
    if question.manual:
        return Row(name, question.name, True, question.possible, 0.0, 0, 0, 0.0), []

    def points(sources: tuple[str, ...]) -> float:
        for source in sources:
            session.run(source)
        marked = made.mark_question(question.name, session)
        return float(marked["points"])

    whole = points(())
    if whole != question.possible:
        marked = made.mark_question(question.name, session)
        failed = [f"{t['name']} ({t['message']})" for t in marked["tests"] if not t["passed"]]
        problems.append(f"{where}: the solution fails {', '.join(failed)}")
    for mutant in question.mutants:
        got = points((mutant.source,))
        caught += got <= mutant.keeps
        if got > mutant.keeps:
            problems.append(
                f"{where}: a mutant ({mutant.why}) keeps {got:g} of {question.possible:g} points, "
                f"may keep {mutant.keeps:g}"
            )
    for other in same:
        kept += points(other.solution) / len(same)
    if points(question.solution) != whole:
        problems.append(f"{where}: the solution gives other points when it is run again")
    return Row(
        name, question.name, False, question.possible, whole, len(question.mutants), caught, kept
    ), problems


def _try_nothing(cells: list[tuple[int, str]], made: Release) -> list[str]:
    """An untouched notebook must run to its end and earn nothing."""
    name = made.about["name"]
    with Session(cells, kind="own", seconds=made.about["seconds"]) as session:
        problems = [f"{name}: untouched, cell {n} raises {said}" for n, said in session.errors]
        marked = [made.mark_question(q["name"], session) for q in made.about["questions"]]
    return problems + [
        f"{name}, {q['name']}: an untouched notebook earns {q['points']:g} points"
        for q in marked if q["points"]
    ]  # fmt: skip


def check_all(
    paths: list[Path], *, seed: int = 0, jobs: int = 1, tell: Callable[[str], None] = print
) -> list[str]:
    """Check several masters, ``jobs`` at a time, telling a table; list what has to be mended."""
    tell(
        f"{'assignment':28}{'question':10}{'points':>7}{'solution':>9}{'mutants caught':>15}"
        f"{'other classes':>15}"
    )
    problems = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for rows, found in pool.map(functools.partial(_checked, seed=seed), paths):
            for row in rows:
                told = "by hand" if row.manual else f"{row.solution:g}"
                caught = "" if row.manual else f"{row.caught} of {row.mutants}"
                others = "" if row.manual else f"{row.others:.1f}"
                tell(
                    f"{row.assignment:28}{row.question:10}{row.possible:7g}{told:>9}{caught:>15}"
                    f"{others:>15}"
                )
            problems += found
    return problems


def _checked(path: Path, seed: int) -> tuple[list[Row], list[str]]:
    try:
        return check(path, seed=seed)
    except masters.MasterError as error:
        return [], [str(error)]
