"""How a chapter that ran as in Colab is compared with what is stored, and what it cost."""

import json
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval.plugin import get_sanitize_patterns

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "constraints"))

import chapters  # noqa: E402
import costs  # noqa: E402

STORED = sorted(ROOT.glob("book/**/*.ipynb"))
FIGURE = '<?xml version="1.0"?>\n<svg>{}</svg>\n'


def cell(*outputs):
    return new_code_cell("", outputs=list(outputs))


def said(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def shown(**data):
    return new_output("display_data", data={key.replace("_", "/"): data[key] for key in data})


def claimed(**changes):
    fields = {"statement": "one is one", "expected": "= 1", "measured": "1", "holds": True}
    return new_output("display_data", data={chapters.CLAIM: fields | changes, "text/plain": "…"})


def test_patterns_are_nbvals():
    text = chapters.SANITIZE.read_text(encoding="utf-8")
    assert chapters.patterns() == list(get_sanitize_patterns(text))
    assert chapters.patterns()


@pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])
def test_a_chapter_equals_itself(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert chapters.differences(cells, nbformat.read(path, as_version=4).cells) == []


SAME = {
    "pieces of a stream": ([said("a"), said("b")], [said("ab")]),
    "another picture": ([shown(image_svg=FIGURE.format(1))], [shown(image_svg=FIGURE.format(2))]),
    "lines of text": ([said("a\nb")], [{**said(""), "text": ["a\n", "b"]}]),
}


@pytest.mark.parametrize(("before", "after"), SAME.values(), ids=SAME)
def test_what_counts_as_the_same(before, after):
    assert chapters.differences([cell(*before)], [cell(*after)]) == []


def test_pixels_are_as_good_as_lines():
    lines = new_output("display_data", data={"image/svg+xml": FIGURE.format(1)})
    pixels = new_output("display_data", data={"image/png": "iVBORw0KGgo="})
    assert chapters.differences([cell(lines)], [cell(pixels)]) == []
    assert chapters.differences([cell(lines)], [cell(said("<Figure>"))]) != []


DIFFERENT = {
    "text": ([said("1.0")], [said("1.1")], "stdout: '1.0' → '1.1'"),
    "a warning": ([said("1")], [said("1"), said("old", "stderr")], "came [stdout, stderr]"),
    "no output": ([said("1")], [], "stored outputs [stdout], came []"),
    "an error": ([], [new_output("error", ename="E", evalue="no", traceback=[])], "came [error]"),
    "measured": ([claimed()], [claimed(measured="2")], "“one is one”: measured '1' → '2'"),
    "no longer holds": ([claimed()], [claimed(holds=False)], "holds True → False"),
    "statement": ([claimed()], [claimed(statement="two")], "statement 'one is one' → 'two'"),
}


@pytest.mark.parametrize(("before", "after", "told"), DIFFERENT.values(), ids=DIFFERENT)
def test_differences_are_told(before, after, told):
    cells = [[new_markdown_cell("#"), cell(*outputs)] for outputs in (before, after)]
    (line,) = chapters.differences(*cells)
    assert line.startswith("cell 2: ") and told in line


WORK = "import time\nend = time.process_time() + 1.5\nwhile time.process_time() < end: pass"


def test_a_chapter_runs_by_itself(tmp_path):
    cells = [new_code_cell("print('installed')"),
             new_code_cell("import os; print(len(os.listdir()))"), new_code_cell(WORK),
             new_code_cell("block = b'1' * 300_000_000"), new_code_cell("1 / 0"),
             new_code_cell("print(known)")]  # fmt: skip
    cells[1].outputs = [said("0\n")]
    cells[5].outputs = [said("7\n")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "chapter.ipynb")
    began = time.monotonic()
    result = chapters.run(tmp_path / "chapter.ipynb", prelude="known = 7")
    took = time.monotonic() - began
    assert result["differences"] == ["cell 5: stored outputs [], came [error]"]
    assert 1.5 <= result["cpu_seconds"] <= result["wall_seconds"] + 1 <= took + 1
    assert 1.5 <= result["seconds"] <= result["cpu_seconds"]
    assert 300 < result["memory_mb"] < 600
    with pytest.raises(SystemExit, match="before the first cell: NameError"):
        chapters.run(tmp_path / "chapter.ipynb", prelude="unknown")


def test_a_clean_state_has_no_vglab(tmp_path):
    nbformat.write(new_notebook(cells=[cell()]), tmp_path / "chapter.ipynb")
    with pytest.raises(SystemExit, match="no clean state"):
        chapters.run(tmp_path / "chapter.ipynb", clean=True)


def test_costs_are_rounded_up():
    measured = {"seconds": 20.1, "cpu_seconds": 0.2, "memory_mb": 1000, "wall_seconds": 99}
    assert costs.cost(measured) == {"seconds": 25, "cpu_seconds": 5, "memory_mb": 1000}


def test_costs_stay_until_they_change(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "COSTS", tmp_path / "costs.json")
    (tmp_path / "new.ipynb").touch()
    (tmp_path / "kept.ipynb").touch()
    row = {"seconds": 20, "cpu_seconds": 20, "memory_mb": 900}
    costs.write_costs({"kept": row, "gone": row}, tmp_path)
    costs.write_costs({"new": row}, tmp_path)
    moved = {"seconds": 25, "cpu_seconds": 35, "memory_mb": 1100}
    costs.write_costs({"kept": moved}, tmp_path)
    stored = json.loads(costs.COSTS.read_text())
    assert stored == {"kept": {"seconds": 20, "cpu_seconds": 35, "memory_mb": 1100}, "new": row}


def test_stored_costs_are_of_chapters():
    stored = json.loads(costs.COSTS.read_text(encoding="utf-8"))
    names = {path.relative_to(ROOT).with_suffix("").as_posix() for path in STORED}
    assert stored and stored.keys() <= names
    for cost in stored.values():
        assert cost.keys() == costs.STEPS.keys()
        assert all(cost[key] % step == 0 < cost[key] for key, step in costs.STEPS.items())
