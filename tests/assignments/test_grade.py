"""The whole path, from a release to grades, and what hostile submissions get: nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from cheats import CHEATS
from small import SMALL, clone
from submitted import answered, plain, right, thirty

from vglab.__main__ import main
from vglab.assignments import grade, gradescope, release, sandbox, submissions
from vglab.assignments.marking import Release
from vglab.assignments.session import Limits

pytestmark = pytest.mark.skipif(
    sandbox.available() is None, reason="no sandbox works on this machine"
)
LIMITS = Limits(
    cpu_seconds=20, memory_bytes=400 * 2**20, processes=32, file_bytes=2**20, disk_bytes=2**23
)
SECRET = {"VGLAB_SECRET": "VGLAB_SECRET"}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small assignment, released, that allows its cells six seconds."""
    folder = tmp_path_factory.mktemp("course")
    text = SMALL.replace("minutes: 5", "minutes: 5, seconds: 6")
    return release.release(clone(folder, text), folder / "fall", seed=1)


@pytest.fixture(scope="module")
def student(released: Path) -> dict[str, Any]:
    return json.loads((released / "student/small.ipynb").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def factor(student: dict[str, Any]) -> int:
    text = str(student).partition("Return `x` times ")[2]
    return int(text.partition(".")[0])


def earned(record: dict[str, Any]) -> float:
    return sum(q["points"] for q in record["questions"] if not q["manual"])


@pytest.fixture(scope="module")
def graded(
    released: Path, student: dict[str, Any], factor: int, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Records of the thirty, in Canvas's layout, by name."""
    folder = tmp_path_factory.mktemp("canvas")
    names = {}
    for number, (name, (file, content, _)) in enumerate(thirty(student, factor).items()):
        names[str(1000 + number)] = name
        one = folder / f"{name.replace('_', '')}_{1000 + number}_{5000 + number}_{file}"
        one.write_bytes(content)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    records = grade.grade(released, folder, folder.parent / "graded", jobs=2, limits=LIMITS)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    return {names[record["student_id"]]: record for record in records}


NOTHING = {"cells": [nbformat.v4.new_code_cell("def multiplied")], "metadata": {}}
EXPECTED = {name: points for name, (_, _, points) in thirty(NOTHING, 1).items()}


@pytest.mark.parametrize("name", EXPECTED)
def test_thirty_submissions(graded: dict[str, dict[str, Any]], name: str) -> None:
    assert len(graded) == 30
    assert earned(graded[name]) == EXPECTED[name], graded[name]


def test_what_went_wrong_is_told(graded: dict[str, dict[str, Any]]) -> None:
    assert graded["not_a_notebook"]["status"] == graded["truncated"]["status"] == "unreadable"
    assert "ends in the middle" in graded["truncated"]["message"]
    assert "ZeroDivisionError" in str(graded["right_after_an_error"]["errors"])
    assert "SyntaxError" in str(graded["right_after_bad_syntax"]["errors"])
    loop = graded["right_after_a_loop"]
    assert loop["status"] == "graded" and "no answer within 6 s" in loop["errors"][0]["message"]
    public, hidden = graded["partly_constant"]["questions"][0]["tests"]
    assert (public["passed"], hidden["passed"], hidden["hidden"]) == (True, False, True)


@pytest.fixture(scope="module")
def cheated(
    released: Path, student: dict[str, Any], factor: int, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Records of the cheats, graded two at a time with two honest submissions among them."""
    folder = tmp_path_factory.mktemp("cheats")
    for name, cells in CHEATS.items():
        (folder / f"{name}.ipynb").write_bytes(plain(answered(student, *cells)))
    for name in ("a_honest", "z_honest"):
        (folder / f"{name}.ipynb").write_bytes(plain(answered(student, right(factor))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGLAB_SECRET", SECRET["VGLAB_SECRET"])
        records = grade.grade(released, folder, folder.parent / "cheated", jobs=2, limits=LIMITS)
    return {Path(record["file"]).stem: record for record in records}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_earns_nothing(cheated: dict[str, dict[str, Any]], name: str) -> None:
    record = cheated[name]
    assert earned(record) == 0
    assert record["seconds"] < 60


def test_the_grader_is_unharmed(cheated: dict[str, dict[str, Any]]) -> None:
    assert earned(cheated["a_honest"]) == earned(cheated["z_honest"]) == 3
    assert not list(Path("/tmp").glob("vglab-cheated")) and not Path("/vglab-cheated").exists()
    tests = "".join(str(cheated[name]["questions"]) for name in ("reads", "network", "writes"))
    assert "/" not in tests.replace("answer gives", ""), "something was found and told"


@pytest.mark.parametrize("name", ["reads", "network", "writes"])
def test_a_cheat_finds_nothing(
    released: Path, student: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vglab.assignments.session import Session

    monkeypatch.setenv("VGLAB_SECRET", SECRET["VGLAB_SECRET"])
    with Session([(1, CHEATS[name][0])], limits=LIMITS) as session:
        assert session.errors == []
        assert session.get("found") == []
        if name == "reads":
            assert session.get("looked") > 0


def test_public_tests_come_first(released: Path) -> None:
    hidden = [bool(case.hidden) for _, _, case in Release.load(released).cases()]
    assert hidden == sorted(hidden) and set(hidden) == {True, False}


def test_an_answer_that_stalls_or_fills_its_grader_harms_nobody_else(
    released: Path, student: dict[str, Any], factor: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path / "release"
    shutil.copytree(released, folder)
    tests = folder / "instructor" / "tests" / "q1.py"
    stalls = "multiplied(1) == 13 and __import__('time').sleep(1000)"
    fills = "multiplied(1) == 14 and [0] * 2**31"
    text = tests.read_text(encoding="utf-8").replace(
        "    assert multiplied(1)", f"    {stalls}\n    {fills}\n    assert multiplied(1)"
    )
    tests.write_text(text, encoding="utf-8")
    handed = tmp_path / "handed in"
    handed.mkdir()
    answers = {"a": right(factor), "stalls": "def multiplied(x): return 13", "z": right(factor),
               "fills": "def multiplied(x): return 14"}  # fmt: skip
    for name, source in answers.items():
        (handed / f"{name}.ipynb").write_bytes(plain(answered(student, source)))
    monkeypatch.setattr(grade, "BUDGET", 1)
    monkeypatch.setattr(grade, "SPARE_SECONDS", 6)
    records = grade.grade(folder, handed, tmp_path / "out", jobs=2, limits=LIMITS)
    points = {record["key"]: earned(record) for record in records}
    assert points == {"a": 3, "z": 3, "stalls": 0, "fills": 0}
    status = {record["key"]: record["status"] for record in records}
    assert status == {"a": "graded", "z": "graded", "fills": "graded", "stalls": "stopped"}


def test_from_the_command_line(
    released: Path, student: dict[str, Any], factor: int, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, out = tmp_path / "handed in", tmp_path / "out"
    folder.mkdir()
    cells = json.loads(plain(answered(student, right(factor))))
    why = next(c for c in cells["cells"] if "Type your answer" in "".join(c["source"]))
    why["source"] = "Because <b>multiplying</b> is adding."
    (folder / "Ada.ipynb").write_bytes(plain(cells))
    (folder / "Bo.ipynb").write_bytes(b"%PDF")
    arguments = ["assignments", "grade", str(released), str(folder), "--out", str(out)]
    assert main(arguments) == 0
    assert "1 graded, 1 unreadable" in capsys.readouterr().out
    table = pd.read_csv(out / "grades.csv").set_index("student")
    assert table.loc["Ada", "q1"] == 3 and table.loc["Bo", "q1"] == 0
    page = (out / "feedback" / "Ada.html").read_text(encoding="utf-8")
    assert "fresh" not in page and "&lt;b&gt;multiplying" in page
    assert "one reason" not in page.lower() and "fresh_inputs" not in page
    side = (out / "written" / "q2.html").read_text(encoding="utf-8")
    assert "One point for each reason" in side and "&lt;b&gt;multiplying" in side

    written = pd.read_csv(out / "written.csv")
    written.loc[written.key == "Ada", "points"] = 1.5
    written.to_csv(tmp_path / "filled.csv", index=False)
    assert main([*arguments, "--written", str(tmp_path / "filled.csv")]) == 0
    assert pd.read_csv(out / "grades.csv").set_index("student").loc["Ada", "total"] == 4.5
    assert main(arguments) == 0  # the points are in the folder now, and stay
    assert pd.read_csv(out / "grades.csv").set_index("student").loc["Ada", "total"] == 4.5

    tests = released / "instructor" / "tests" / "q1.py"
    before = tests.read_text(encoding="utf-8")
    try:  # a test that was mended is run on all
        tests.write_text(before.replace("drawn *", "0 * drawn *"), encoding="utf-8")
        assert main(arguments) == 0
        table = pd.read_csv(out / "grades.csv").set_index("student")
        assert table.loc["Ada", "q1"] == 1 and table.loc["Ada", "total"] == 2.5
    finally:
        tests.write_text(before, encoding="utf-8")


@pytest.mark.parametrize(("answer", "earned"), [("right", 3.0), ("constant", 1.0), (None, None)])
def test_in_gradescopes_folders(
    released: Path, student: dict[str, Any], factor: int, tmp_path: Path,
    answer: str | None, earned: float | None,
) -> None:  # fmt: skip
    shutil.copytree(released, tmp_path / "source" / "release")
    (tmp_path / "submission").mkdir()
    source = right(factor) if answer == "right" else f"def multiplied(x):\n    return {factor}"
    if answer:
        (tmp_path / "submission" / "my.ipynb").write_bytes(plain(answered(student, source)))
    gradescope.run(tmp_path)
    results = json.loads((tmp_path / "results/results.json").read_text(encoding="utf-8"))
    if earned is None:
        assert results == {"score": 0, "output": "No file was handed in."}
        return
    public, hidden = results["tests"]
    assert public["score"] + hidden["score"] == earned
    assert public["max_score"] + hidden["max_score"] == 3
    assert (public["visibility"], hidden["visibility"]) == ("visible", "after_published")
    assert "fresh" not in str(results) and hidden["output"] == ""


def test_killed_and_resumed(
    released: Path, student: dict[str, Any], factor: int, tmp_path: Path
) -> None:
    folder, out = tmp_path / "handed in", tmp_path / "out"
    folder.mkdir()
    for number in range(6):
        source = right(factor) if number % 2 else "def multiplied(x):\n    return x"
        (folder / f"s{number}.ipynb").write_bytes(plain(answered(student, source)))
    command = [sys.executable, "-m", "vglab", "assignments", "grade", str(released), str(folder),
               "--out", str(out), "--jobs", "1"]  # fmt: skip
    first = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    results = out / "results"
    while len(list(results.glob("*.json"))) < 2:
        assert first.poll() is None
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    kept = {path: path.stat().st_mtime_ns for path in results.glob("*.json")}
    assert 2 <= len(kept) < 6
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    points = pd.read_csv(out / "grades.csv").set_index("student")["q1"].to_dict()
    assert points == {f"s{number}": 3.0 * (number % 2) for number in range(6)}

    (folder / "s0.ipynb").write_bytes(plain(answered(student, right(factor))))  # handed in again
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert pd.read_csv(out / "grades.csv").set_index("student").loc["s0", "q1"] == 3
    assert {p: p.stat().st_mtime_ns for p in kept if p.stem != "s0"} == {
        p: time for p, time in kept.items() if p.stem != "s0"
    }


def test_without_a_sandbox_it_refuses_and_says_why(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sandbox, "available", lambda: None)
    (tmp_path / "Ada.ipynb").write_bytes(b"%PDF")
    arguments = ["assignments", "grade", str(released), str(tmp_path), "--out", str(tmp_path / "o")]
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert "--trusted" in told and "bubblewrap" in told
    assert main([*arguments, "--trusted"]) == 0


def test_a_process_that_does_not_start_is_nobodys_fault(
    released: Path, student: dict[str, Any], factor: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from vglab.assignments import session

    missing = [*session.COMMAND[:-1], "import no_such_module"]
    monkeypatch.setattr(session, "COMMAND", missing)
    (tmp_path / "Ada.ipynb").write_bytes(plain(answered(student, right(factor))))
    (found,) = submissions.find(tmp_path / "Ada.ipynb")
    with pytest.raises(session.NotStarted, match="no_such_module"):
        grade.grade_one(released, found, limits=LIMITS)


def test_what_is_no_release_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assignments", "grade", str(tmp_path), str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "is not a released assignment" in capsys.readouterr().err
