"""Marking one submission: a release's tests, run here, on what its session answers."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vglab.assignments.session import Session, Stopped, SubmissionError


@dataclass(frozen=True)
class Release:
    """A released assignment as its instructor keeps it: what it is, and its tests by question.

    ``digest`` changes when a test does: what was graded before is then graded anew.
    """

    folder: Path
    about: dict[str, Any]
    tests: dict[str, Any]
    digest: str

    @classmethod
    def load(cls, folder: Path) -> "Release":
        """Read `folder`/instructor; raise FileNotFoundError where it is no release."""
        from otter.test_files.exception_test import ExceptionTestFile

        path = folder / "instructor" / "assignment.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} is not a released assignment: it has no instructor/assignment.json; "
                "make one with `python -m vglab assignments release`"
            )
        about = json.loads(path.read_text(encoding="utf-8"))
        paths = sorted((folder / "instructor" / "tests").glob("*.py"))
        tests = {one.stem: ExceptionTestFile.from_file(str(one)) for one in paths}
        digest = hashlib.sha256(b"\0".join(one.read_bytes() for one in paths)).hexdigest()
        return cls(folder, about, tests, digest)

    def blank(self) -> list[dict[str, Any]]:
        """List every question as a record has it, no test run."""
        return [self.mark_question(about["name"], None) for about in self.about["questions"]]

    def mark_question(self, name: str, session: Session | None) -> dict[str, Any]:
        """Run one question's tests."""
        about = next(about for about in self.about["questions"] if about["name"] == name)
        if about["manual"]:
            return {**about, "points": None, "tests": []}
        tests = [run(case, session) for case in self.tests[name].test_cases]
        return {**about, "points": sum(test["points"] for test in tests), "tests": tests}

    def cases(self) -> list[tuple[int, int, Any]]:
        """List (question, number, case) of every test, the public ones first.

        What is told of a public test must not hold what a submission saw of a hidden one.
        """
        found = [
            (question, number, case)
            for question, about in enumerate(self.about["questions"]) if not about["manual"]
            for number, case in enumerate(self.tests[about["name"]].test_cases)
        ]  # fmt: skip
        return sorted(found, key=lambda each: bool(each[2].hidden))


def run(case: Any, session: Session | None) -> dict[str, Any]:
    """Run one of otter's test cases on a session; without one, or where it ended, it fails.

    Only an exception fails a test, as in otter; what the submission raised is part of its message.
    """
    name, passed, message = case.body.test_func.__name__, False, ""
    try:
        if session is None:
            message = "not run"
        else:
            case.body.call_func(session)
            passed = True
    except AssertionError as error:
        message = str(error) or "it did not hold"
    except (SubmissionError, Stopped) as error:
        message = str(error)
    except Exception as error:
        message = f"what your answer gives does not fit: {type(error).__name__}: {error}"
    return {
        "name": name, "hidden": case.hidden, "passed": passed, "message": message[:500],
        "points": float(case.points) if passed else 0.0, "possible": float(case.points),
    }  # fmt: skip
