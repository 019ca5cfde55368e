"""The instructor's pages agree with the chapters, and their example of an assignment is sound."""

import argparse
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import twins
import yaml
from bs4 import BeautifulSoup
from measured import files, toc_files
from teaching import assignments, facts, need_problems, needed
from throwaway import ROOT

from vglab.assignments import command
from vglab.assignments.sandbox import Limits

PAGES = ROOT / "book" / "teaching"
EXAMPLE = PAGES / "step_size.md"
FACTS = {one.name: one for one in facts(ROOT)}


@pytest.mark.parametrize("name", FACTS)
def test_the_facts_of_a_chapter(name):
    one = FACTS[name]
    text = (ROOT / "book" / "_source" / f"{name.removeprefix('book/')}.md").read_text("utf-8")
    said = " ".join(text.split())
    assert f"Reading time {one.reading} minutes" in said
    assert f"about {one.running} seconds" in said or (one.running == 60 and "a minute" in said)
    assert one.title == text.split("\n# ")[1].splitlines()[0]
    assert one.exercises == sum(f"### Exercise {n}:" in text for n in range(1, 10))
    assert one.slides > 10


def test_what_a_chapter_needs_is_checked():
    assert needed("part/b: part/a, c") == ("book/part/b", ["book/part/a", "book/c"])
    assert needed("a:") == ("book/a", [])
    order = ["book/a", "book/b"]
    assert list(need_problems({"book/a": [], "book/b": ["book/a"]}, order)) == []
    assert list(need_problems({"book/a": []}, order)) == ["book/b: say what it needs"]
    wrong = {"book/a": ["book/b"], "book/b": [], "book/c": []}
    assert len(list(need_problems(wrong, order))) == 2


def test_the_pages_name_only_what_there_is():
    known = {name for name, *_ in assignments(ROOT).values()}
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for chapter in re.findall(r"\{slides\}`([^`]+)`", text):
            assert f"book/{chapter}" in FACTS, f"{path.name}: {chapter}"
        if path.name == "syllabi.md":
            rows = [line for line in text.splitlines() if line.startswith("| ")]
            handed = {
                name for row in rows for name in re.findall(r"`(\w+)`", row.rsplit("|", 2)[1])
            }
            assert handed and handed <= known


def test_a_syllabus_covers_what_it_says():
    text = (PAGES / "syllabi.md").read_text(encoding="utf-8")
    long = text.split("## Ten weeks")[1]
    linked = {f"book/{chapter}" for chapter in re.findall(r"\]\(\.\./([\w/]+)\.ipynb\)", long)}
    assert linked == set(FACTS) - {"book/questions_and_answers"}


def commands():
    """Every command line that the pages show, by page."""
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        lines += re.findall(r"`(python -m vglab [^`]+)`", text)
        yield from ((path.name, line) for line in lines if line.startswith("python"))


@pytest.mark.parametrize(("page", "line"), [*commands()])
def test_a_command_on_a_page_is_one(page, line):
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add(parser.add_subparsers(required=True))
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "vglab"]
    given = parser.parse_args(words[3:])
    assert given.action in ("list", "release", "grade", "check")


def test_the_limits_on_the_page_are_the_sandbox_s():
    text = " ".join((PAGES / "grading.md").read_text(encoding="utf-8").split())
    limits = Limits()
    assert f"{limits.wall_seconds / 60:g} minutes, {limits.memory_bytes / 2**30:g} GB" in text
    assert f"{limits.disk_bytes / 2**20:g} MB of files, {limits.processes} processes" in text


def test_every_page_of_the_part_is_in_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    there = {f"book/teaching/{path.stem}" for path in PAGES.glob("*.md")} - {
        "book/teaching/step_size"
    }
    assert there <= set(files(toc))
    assert set(toc_files(ROOT)) >= there


@pytest.fixture
def clone(tmp_path):
    """What a master needs of a clone: its chapter, and itself."""
    chapter = twins.Chapter(ROOT, "gradients/gradient_descent").notebook
    (tmp_path / "book" / "gradients").mkdir(parents=True)
    shutil.copy(chapter, tmp_path / "book" / "gradients")
    (tmp_path / "assignments").mkdir()
    return Path(shutil.copy(EXAMPLE, tmp_path / "assignments"))


def test_the_example_assignment_is_graded_as_its_page_says(clone, tmp_path):
    from vglab.assignments import grade, master, release, sandbox

    if sandbox.available() is None:
        pytest.skip("no sandbox works on this machine")
    folder = release.release(clone, tmp_path / "fall", seed=2026)
    student = json.loads((folder / "student" / "step_size.ipynb").read_text(encoding="utf-8"))
    this, other = (master.read(clone, seed=seed).questions[0] for seed in (2026, 2027))
    answers = {
        "right": (this.solution[-1], 3),
        **{f"wrong{n}": (wrong.source, wrong.keeps) for n, wrong in enumerate(this.mutants)},
        "last_year": (other.solution[-1], 1),
        "nothing": (None, 0),
    }
    assert other.solution != this.solution
    for name, (source, _) in answers.items():
        notebook = json.loads(json.dumps(student))
        for cell in notebook["cells"]:
            if source and "def largest_rate" in "".join(cell["source"]):
                cell["source"] = source
        path = tmp_path / "submissions" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(notebook), encoding="utf-8")
    records = grade.grade(folder, tmp_path / "submissions", tmp_path / "grades")
    got = {record["key"]: record["questions"][0]["points"] for record in records}
    assert got == {name: points for name, (_, points) in answers.items()}
    written = records[0]["questions"][1]
    assert written["manual"] and written["possible"] == 2


def test_the_page_shows_the_example_and_only_that():
    page = (PAGES / "own_assignments.md").read_text(encoding="utf-8")
    assert "literalinclude} step_size.md" in page
    site = ROOT / "_build" / "html" / "book" / "teaching" / "own_assignments.html"
    if site.exists():
        shown = BeautifulSoup(site.read_text(encoding="utf-8"), "html.parser")
        assert "BEGIN QUESTION" in shown.get_text()
