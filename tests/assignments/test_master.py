"""Masters, their variants, and what a release gives to whom."""

import json
import re
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
from small import ROOT, SMALL, clone

from vglab.assignments import gradescope, master, release
from vglab.assignments.master import Master, MasterError

MASTERS = sorted((ROOT / "assignments").glob("[a-z]*.md"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return clone(tmp_path)


def everything(path: Path) -> str:
    """All the text of a file, as it lies there."""
    return path.read_text(encoding="utf-8")


def test_a_class_has_its_own_variant(small: Path) -> None:
    one, same, other = (master.read(small, seed=seed) for seed in (1, 1, 2))
    assert one.variant == same.variant != other.variant
    assert one.notebook == same.notebook or [c.source for c in one.notebook.cells] == [
        c.source for c in same.notebook.cells
    ]
    assert f"times {one.variant['factor']}." in str(one.notebook)


def test_only_the_key_moves_the_hidden_inputs(small: Path) -> None:
    def drawn(one: Master) -> str:
        return "".join(re.findall(r"Random\(\d+\)", str(one.notebook)))

    one, other = (master.read(small, seed=1, key=key) for key in "ab")
    assert one.variant == other.variant and drawn(one) != drawn(other)


def test_questions(small: Path) -> None:
    first, second = master.read(small, seed=1).questions
    assert (first.title, first.possible, first.manual) == ("multiply", 3.0, False)
    assert (second.possible, second.manual, second.mutants) == (2.0, True, ())
    (mutant,) = first.mutants
    assert (mutant.keeps, mutant.why) == (1.0, "leaves it as it is")


@pytest.mark.parametrize(("before", "after", "told"), [
    ("minutes: 5", "minutes: many", "minutes: (int)"),
    ("gradients/backpropagation, minutes", "gradients/nowhere, minutes", "no chapter"),
    ("{{ factor }}.", "{{ faktor }}.", "'faktor' is undefined"),
    ("# VARIANT\n", "# VARIATION\n", "one cell"),
    ("points: [1, 2]", "points: many", "points: a number"),
    ("## Question 1: multiply", "Multiply", "must have a heading"),
    ("# MUTANT (keeps 1): leaves", "# MUTANT leaves", "why it is wrong"),
    ("# Assignment: doubling", "Doubling", "expected a title"),
    ("name: q2", "name: q1", "two questions are called q1"),
])  # fmt: skip
def test_what_is_wrong_with_a_master_is_told(
    small: Path, before: str, after: str, told: str
) -> None:
    assert SMALL.count(before) == 1
    small.write_text(SMALL.replace(before, after), encoding="utf-8")
    with pytest.raises(MasterError, match=re.escape(told)):
        master.read(small, seed=1)


def test_an_unknown_name_lists_the_known(small: Path) -> None:
    with pytest.raises(MasterError, match="there are: small"):
        master.read(small.with_name("nothing.md"), seed=1)


def test_release(small: Path, tmp_path: Path) -> None:
    folder = release.release(small, tmp_path / "fall", seed=1, key="k")
    assert sorted(p.name for p in (tmp_path / "fall").iterdir()) == ["small"]
    student = everything(folder / "student/small.ipynb")
    for private in ("private", "Random(", "fresh_inputs", "Rubric", "otter", "MUTANT", "1 * x"):
        assert private not in student
    cells = nbformat.reads(student, as_version=4).cells
    nbformat.validate(nbformat.reads(student, as_version=4))
    stub = next(cell.source for cell in cells if cell.source.startswith("def multiplied"))
    assert stub == "def multiplied(x):\n    raise NotImplementedError"
    public = next(cell.source for cell in cells if "run_tests" in cell.source)
    assert "def test_one(multiplied):" in public
    assert public.endswith("exercises.run_tests(globals(), test_one)")
    about = json.loads(everything(folder / "instructor/assignment.json"))
    assert (about["seed"], about["key"]) == (1, "k")
    assert [question["possible"] for question in about["questions"]] == [3.0, 2.0]
    assert "One point for each reason" in everything(folder / "instructor/rubric.md")


def test_a_release_is_never_overwritten(small: Path, tmp_path: Path) -> None:
    folder = release.release(small, tmp_path / "fall", seed=1)
    before = everything(folder / "instructor/assignment.json")
    with pytest.raises(FileExistsError, match="graded with"):
        release.release(small, tmp_path / "fall", seed=2)
    assert everything(folder / "instructor/assignment.json") == before


def test_the_scan_finds_what_was_put_into_a_notebook(small: Path, tmp_path: Path) -> None:
    made = master.read(small, seed=1, key="k")
    folder = release.release(small, tmp_path / "fall", seed=1, key="k")
    clean = nbformat.read(folder / "student/small.ipynb", as_version=4)
    assert release.leaks(clean, made) == []
    secrets = ["private = x * " + str(made.variant["factor"]), "def test_fresh_inputs(multiplied):",
               "One point for each reason", "return 1 * x"]  # fmt: skip
    for secret in secrets:
        for place in ("cell", "metadata", "output", "attachment"):
            notebook = nbformat.read(folder / "student/small.ipynb", as_version=4)
            cell = notebook.cells[2]
            if place == "cell":
                cell.source += f"\n    {secret}"
            elif place == "metadata":
                notebook.metadata["otter"] = {"tests": {"q1": [f"x\n{secret}\n"]}}
            elif place == "output":
                cell.outputs = [nbformat.v4.new_output("stream", text=f"{secret}\n")]
            else:
                cell["attachments"] = {"a": {"text/plain": secret}}
            assert release.leaks(notebook, made), (secret, place)


def test_no_release_where_something_private_would_leave(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved = master.read(small, seed=1).notebook  # as if otter had taken nothing out
    monkeypatch.setattr(release, "_student", lambda notebook, tests: solved)
    with pytest.raises(MasterError, match="would hold a line of q1's solution: private = "):
        release.release(small, tmp_path / "fall", seed=1)
    assert not list((tmp_path / "fall").iterdir())


def test_gradescope_zip(small: Path, tmp_path: Path) -> None:
    folder = release.release(small, tmp_path / "fall", seed=1)
    with zipfile.ZipFile(gradescope.write_zip(folder)) as archive:
        names = set(archive.namelist())
        modes = {name: archive.getinfo(name).external_attr >> 16 for name in names}
    assert {"setup.sh", "run_autograder", "course/pyproject.toml", "course/vglab/__init__.py",
            "course/vglab/assignments/grade.py", "release/instructor/assignment.json",
            "release/instructor/tests/q1.py", "release/student/small.ipynb"} <= names  # fmt: skip
    assert modes["setup.sh"] == modes["run_autograder"] == 0o755
    assert not any("assignments/small.md" in name or "zip" in name for name in names)


@pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.stem)
def test_every_master_is_released_for_every_class(path: Path, tmp_path: Path) -> None:
    for seed in (2025, 2026):
        made = master.read(path, seed=seed, key="k")
        release.make(made, tmp_path / str(seed) / path.stem)  # the leak scan is in it
        assert 4 <= len(made.questions) <= 8
        assert any(question.manual for question in made.questions)
        opening = next(c.source for c in made.notebook.cells if c.cell_type == "markdown")
        told = re.search(r"(\d+)\s+points", opening)
        assert told and int(told[1]) == sum(question.possible for question in made.questions)
        text = everything(tmp_path / str(seed) / path.stem / "student" / f"{path.stem}.ipynb")
        assert "{{" not in text and "{%" not in text


def test_every_chapter_has_its_master() -> None:
    chapters = {path.stem for path in (ROOT / "book/_source").rglob("*.md")}
    assert {path.stem for path in MASTERS} == chapters - {"questions_and_answers"}


def test_a_heading_is_found_in_linear_time() -> None:
    heading = "## Question 2: say why  "
    assert re.findall(master.HEADING, f"a\n{heading}\nb", re.M) == ["say why"]
    began = time.process_time()
    assert re.findall(master.HEADING, "## x" + " " * 200_000 + "y", re.M)
    assert time.process_time() - began < 2
