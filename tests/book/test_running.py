"""The page on running: its measurements are of the chapters as they are."""

import json
from pathlib import Path

import pytest
import running
import twins

ROOT = Path(__file__).resolve().parents[2]
OTHER = json.loads((ROOT / running.OTHER).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", OTHER["chapters"])
def test_the_line_that_was_changed_is_in_its_chapter(name):
    measured = OTHER["chapters"][name]
    notebook = twins.load(ROOT / f"{name}.ipynb")
    lines = [line.strip() for cell in notebook.cells for line in cell.source.splitlines()]
    assert measured["line"] in lines
    assert "mnist" in measured["becomes"]
    known = {claim["statement"] for claim in twins.claims(notebook)}
    assert {claim["statement"] for claim in measured["fail"]} <= known
    assert measured["claims"] == len(known)


@pytest.mark.parametrize("name", OTHER["chapters"])
def test_every_claim_was_reached_and_counted_once(name):
    measured = OTHER["chapters"][name]
    assert measured["errors"] == []
    assert measured["stated"] == measured["claims"]
    assert measured["hold"] + len(measured["fail"]) == measured["stated"]


def test_sizes_of_images():
    assert running.pixels('data.load("mnist", image_size=8, flatten=True)') == "8 × 8"
    assert running.pixels('data.load("mnist", flatten=True)') == "28 × 28"


def test_memory_is_in_gigabytes():
    assert running.gigabytes({"memory_mb": 1200}) == "1.2"


def test_a_table_has_a_head_and_its_rows():
    made = running.table({"a": 60, "b": 40}, [[[running.nodes.Text("1")], []], [[], []]])
    (head,), (body,) = made.findall(running.nodes.thead), made.findall(running.nodes.tbody)
    assert head.astext().split() == ["a", "b"]
    assert len(body) == 2 and body[0].astext().strip() == "1"
