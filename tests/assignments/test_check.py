"""`check` finds what is wrong with an assignment, and passes one that is right."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small import SMALL, clone

from vglab.__main__ import main
from vglab.assignments import check, worker


def test_a_right_master(tmp_path: Path) -> None:
    rows, problems = check.check(clone(tmp_path))
    assert problems == []
    first, second = rows
    assert (first.possible, first.solution, first.mutants, first.caught) == (3, 3, 1, 1)
    assert first.others == 0 and second.manual


@pytest.mark.parametrize(("before", "after", "told"), [
    ("private = x * {{ factor }}", "private = x + {{ factor }}", "the solution fails test_one"),
    (" (keeps 1): leaves it as it is\ndef multiplied(x):\n    return 1 * x",
     ": multiplies from the other side\ndef multiplied(x):\n    return {{ factor }} * x",
     "from the other side) keeps 3 of 3 points, may keep 0"),
    ("random.randrange(2, 10**6)", "2", "other classes' solutions keep 3 of 3 points"),
    ("assert multiplied(1) == {{ factor }}", "assert True", "an untouched notebook earns 1 points"),
    ("from vglab import exercises", "from vglab import exercises\n\n1 / 0", "untouched, cell"),
])  # fmt: skip
def test_what_is_wrong_is_found(tmp_path: Path, before: str, after: str, told: str) -> None:
    assert SMALL.count(before) == 1
    _, problems = check.check(clone(tmp_path, SMALL.replace(before, after)))
    assert any(told in problem for problem in problems), problems


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masters = ["assignments", "--masters", str(clone(tmp_path).parent)]
    assert main([*masters, "list"]) == 0
    assert "small" in capsys.readouterr().out
    assert main([*masters, "release", "all", "--seed", "1", "--out", str(tmp_path / "fall")]) == 0
    assert "hand out" in capsys.readouterr().out
    assert main([*masters, "release", "small", "--seed", "1", "--out", str(tmp_path / "fall")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*masters, "release", "large", "--seed", "1", "--out", str(tmp_path)]) == 2
    assert "there are: small" in capsys.readouterr().err
    assert main(["assignments", "--masters", str(tmp_path), "list"]) == 2
    assert "no masters" in capsys.readouterr().err
    assert main([*masters, "check", "--jobs", "1"]) == 0
    assert "1 of 1" in capsys.readouterr().out


class Odd(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError


def odd() -> None:
    raise Odd


def leave() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(("request_", "expected"), [
    (["value", "number"], ["value", 3]),
    (["value", "double"], ["function", "double"]),
    (["value", "layer"], ["value", "the layer"]),
    (["value", "nothing"], ["error", "KeyError: 'nothing'"]),
    (["call", "double", [4], {}], ["value", 8]),
    (["call", "double", [], {"x": 5}], ["value", 10]),
    (["call", "odd", [], {}], ["error", "Odd"]),
    (["call", "leave", [], {}], ["error", "SystemExit: 3"]),
    (["call", "long", [], {}], ["error", "ValueError: " + "x" * 487 + "…"]),
    (["run", "fine"], ["value", ""]),
    (["run", "1 / 0"], ["value", "ZeroDivisionError: division by zero"]),
])  # fmt: skip
def test_what_a_submission_answers(request_: list[Any], expected: list[Any]) -> None:
    def double(x: int) -> int:
        return 2 * x

    def long() -> None:
        raise ValueError("x" * 10_000)

    def run_cell(source: str, store_history: bool) -> SimpleNamespace:
        error = ZeroDivisionError("division by zero") if "/" in source else None
        return SimpleNamespace(error_before_exec=None, error_in_exec=error)

    layer = torch.nn.Linear(2, 2)
    names = {"number": 3, "double": double, "layer": layer, "odd": odd, "leave": leave,
             "long": long}  # fmt: skip
    shell = SimpleNamespace(user_ns=names, run_cell=run_cell)
    got = worker.answer(shell, request_)
    assert [("the layer" if one is layer else one) for one in got] == expected
