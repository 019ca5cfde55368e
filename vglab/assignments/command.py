"""The command line for instructors: ``python -m vglab assignments list|release|grade|check``."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

import vglab

DESCRIPTION = "Assignments for a class: student notebooks, and grades that cannot be forged."


JOBS = min(os.cpu_count() or 1, 8)


class UsageError(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


def add(commands: Any) -> None:
    """Add ``assignments`` and its own commands to a parser's subcommands."""
    parser = commands.add_parser("assignments", help="for instructors", description=DESCRIPTION)
    parser.add_argument("--masters", type=Path, help="the folder of masters (assignments/)")
    inner = parser.add_subparsers(dest="action", required=True)
    inner.add_parser("list", help="what there is")

    release = inner.add_parser("release", help="make a class's notebook and the grader's folder")
    release.add_argument("name", nargs="+", help="as `list` shows it, or: all")
    release.add_argument("--seed", type=int, required=True, help="the class's, such as the year")
    release.add_argument("--out", type=Path, required=True, help="folder of the class")

    grade = inner.add_parser("grade", help="grade a folder or archive of submissions")
    grade.add_argument("release", type=Path, help="what `release` made")
    grade.add_argument("submissions", type=Path, help="Canvas's, Moodle's, Gradescope's or files")
    grade.add_argument("--out", type=Path, required=True, help="gets grades, feedback, summary")
    grade.add_argument("--jobs", type=int, default=JOBS)
    grade.add_argument("--roster", type=Path, help="Canvas's or Moodle's gradebook, to fill in")
    grade.add_argument("--column", help="what Canvas calls the assignment, if not by its title")
    grade.add_argument("--written", type=Path, help="a filled written.csv")
    grade.add_argument(
        "--trusted", action="store_true", help="run without a sandbox (you have read every file)"
    )

    check = inner.add_parser("check", help="solutions earn every point, wrong ones do not")
    check.add_argument("name", nargs="*", help="only these")
    check.add_argument("--seed", type=int, default=0)
    check.add_argument("--jobs", type=int, default=JOBS)


def main(given: argparse.Namespace) -> int:
    """Run one command; 0 where all is well, 1 where `check` found something, 2 for a wrong call."""
    try:
        action = {"list": _list, "release": _release, "grade": _grade, "check": _check}
        return action[given.action](given)
    except ModuleNotFoundError as error:
        print(f"error: {error}; instructors need: pip install 'vglab[teaching]'", file=sys.stderr)
    except (UsageError, OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 2


def _masters(given: argparse.Namespace, wanted: list[str]) -> list[Path]:
    """Find the masters that were asked for; all where none were named."""
    from vglab.assignments import master

    beside = Path(vglab.__file__).resolve().parents[1] / "assignments"
    folder = given.masters or (Path("assignments") if Path("assignments").is_dir() else beside)
    known = master.names(folder)
    if not known:
        raise UsageError(f"no masters in {folder}; give --masters, a clone's folder")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(f"no assignment {', '.join(unknown)}; there are: {', '.join(known)}")
    return [folder / f"{name}.md" for name in wanted or known]


def _list(given: argparse.Namespace) -> int:
    from vglab.assignments import master

    print(f"{'name':30}{'questions':>10}{'points':>8}{'minutes':>9}  chapter")
    for path in _masters(given, []):
        one = master.read(path, seed=0)
        points = sum(question.possible for question in one.questions)
        print(f"{one.name:30}{len(one.questions):10}{points:8g}{one.minutes:9}  {one.chapter}")
    return 0


def _release(given: argparse.Namespace) -> int:
    from vglab.assignments import gradescope, release

    for path in _masters(given, [] if given.name == ["all"] else given.name):
        folder = release.release(path, given.out, seed=given.seed)
        archive = gradescope.write_zip(folder)
        name = path.stem
        print(f"{name}: hand out {folder / 'student' / f'{name}.ipynb'}")
        print(f"{' ' * len(name)}  keep to yourself {folder / 'instructor'} (for Gradescope: "
              f"{archive.name})")  # fmt: skip
    return 0


def _check(given: argparse.Namespace) -> int:
    from vglab.assignments import check

    problems = check.check_all(_masters(given, given.name), seed=given.seed, jobs=given.jobs)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _grade(given: argparse.Namespace) -> int:
    from vglab.assignments import grade, outcome

    if given.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {given.jobs}")

    def shown(records: Iterator[Any], total: int) -> Iterator[Any]:
        return iter(tqdm(records, total=total, unit="submission", disable=not sys.stderr.isatty()))

    records = grade.grade(
        given.release, given.submissions, given.out, jobs=given.jobs,
        kind="none" if given.trusted else None, progress=shown,
    )  # fmt: skip
    for line in outcome.write(
        given.release, records, given.out, given.roster, given.column, given.written
    ):
        print(line)
    return 0
