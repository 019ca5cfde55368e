"""Every way in which a chapter's two forms can disagree is provoked here, and seen."""

import json
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import notebooks
import pytest
import twins
import yaml
from checks import problems
from IPython.core.interactiveshell import InteractiveShell
from throwaway import ADDRESS, NAME, ROOT, TWIN
from traitlets.config import Config


@pytest.fixture
def chapter(book):
    return twins.Chapter(book, NAME)


def edit(chapter, change):
    """Change a stored notebook as a person or a careless tool would."""
    notebook = json.loads(chapter.notebook.read_text(encoding="utf-8"))
    change(notebook)
    chapter.notebook.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def edit_cell(number, change):
    return lambda chapter: edit(chapter, lambda notebook: change(notebook["cells"][number - 1]))


def test_a_built_book_is_sound(book, chapter):
    assert problems(book) == []
    notebook = twins.load(chapter.notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info", "vglab"}
    assert [cell.id for cell in notebook.cells] == [f"cell-{n}" for n in range(1, 7)]
    assert all(cell.metadata.get("execution") is None for cell in notebook.cells)
    assert ADDRESS in notebook.cells[1].source


def test_a_second_run_gives_the_same_bytes(book, chapter):
    before = chapter.notebook.read_bytes()
    assert notebooks.build(book, everything=True) == []
    assert chapter.notebook.read_bytes() == before
    assert "<svg" in (book / "book" / "_static" / "cover.svg").read_text()


def text_output(text):
    def change(cell):
        cell["outputs"][0]["text"] = [text]

    return edit_cell(4, change)


def change_twin(old, new):
    def change(chapter):
        twins.write(chapter.twin, chapter.twin.read_text(encoding="utf-8").replace(old, new))

    return change


def outgrow(chapter):
    text_output("x" * 1_000_001)(chapter)


def change_claim(key, value):
    def change(cell):
        cell["outputs"][0]["data"]["application/vnd.vglab.claim+json"][key] = value

    return edit_cell(6, change)


def repeat_claim(cell):
    cell["outputs"] *= 2


def raise_error(cell):
    error = {"ename": "ValueError", "evalue": "no", "output_type": "error", "traceback": []}
    cell["outputs"] = [error]


DAMAGE = {
    "no notebook": (lambda c: c.notebook.unlink(), "the twin has no notebook"),
    "no twin": (lambda c: c.twin.unlink(), "the notebook has no twin"),
    "not JSON": (lambda c: c.notebook.write_text("{"), "not a readable notebook"),
    "cell edited": (edit_cell(4, lambda c: c.update(source="1")), "cells are not the twin's"),
    "setup edited": (edit_cell(2, lambda c: c.update(source="1")), "cells are not the twin's"),
    "twin edited": (change_twin("number", "digit"), "the twin changed since"),
    "twin loose": (change_twin("\n\nText", "\n\n\n\nText"), "cannot be regenerated"),
    "no placeholder": (change_twin("{{ setup }}", "import vglab"), "must be the line {{ setup }}"),
    "metadata": (lambda c: edit(c, lambda n: n["metadata"].update(x=1)), "not normalised"),
    "timing": (edit_cell(4, lambda c: c["metadata"].update(execution={})), "not normalised"),
    "never run": (edit_cell(4, lambda c: c.update(execution_count=None)), "cell 4: never run"),
    "error": (edit_cell(4, raise_error), "cell 4: holds an error: ValueError: no"),
    "stderr": (edit_cell(4, lambda c: c["outputs"][0].update(name="stderr")), "wrote to stderr"),
    "warning": (text_output("UserWarning: old"), "holds a warning"),
    "path": (text_output("saved '/home/me/data.csv'"), "holds an absolute path"),
    "windows path": (text_output(r"saved C:\me"), "holds an absolute path"),
    "address": (text_output("<function f at 0x7f3a2b1c>"), "holds a memory address"),
    "size": (outgrow, "at most 1,000,000 are allowed"),
    "long cell": (edit_cell(4, lambda c: c.update(source="1\n" * 16)), "16 lines of code"),
    "no alt": (edit_cell(5, lambda c: c["metadata"].pop("mystnb")), "no alternative text"),
    "claim": (change_claim("holds", False), "a claim did not hold: one is one"),
    "anchor": (edit_cell(6, repeat_claim), "two claims share the anchor"),
    "questions": (
        edit_cell(3, lambda c: c.update(source="## Check yourself")),
        "`## Check yourself` must stand between",
    ),
    "cover": (edit_cell(5, lambda c: c.update(outputs=[])), "cover.svg is not the figure"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_check_sees(book, chapter, damage, message):
    damage(chapter)
    found = problems(book)
    assert any(message in problem for problem in found), found


def test_what_did_not_change_is_not_run_again(book, chapter, monkeypatch):
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("ran again"))
    assert notebooks.build(book) == []


def test_a_new_address_reaches_the_notebooks(book, chapter):
    (book / "_config.yml").write_text("repository: {url: https://example.org/new}\n")
    assert any("cells are not the twin's" in problem for problem in problems(book))
    assert notebooks.build(book) == []
    assert problems(book) == []
    assert "example.org/new" in chapter.notebook.read_text(encoding="utf-8")


def test_a_loose_twin_is_put_in_its_normal_form(book, chapter):
    change_twin("\n\nText", "\n\n\n\nText")(chapter)
    assert notebooks.build(book) == []
    assert chapter.twin.read_text(encoding="utf-8") == TWIN
    assert problems(book) == []


@pytest.mark.parametrize(
    ("code", "told"), [("1 / 0", "ZeroDivisionError"), ("while True: pass", "")]
)
def test_a_failing_cell_is_named_and_the_stored_notebook_stays(
    book, chapter, monkeypatch, code, told
):
    monkeypatch.setattr(notebooks, "CELL_SECONDS", 10 if told else 3)
    before = chapter.notebook.read_bytes()
    change_twin('print("a number: 3")', code)(chapter)
    (failure,) = notebooks.build(book)
    assert failure.startswith("part/chapter: cell 4 failed")
    assert told in failure
    assert chapter.notebook.read_bytes() == before


@pytest.mark.parametrize("twin_too", [False, True])
def test_a_notebook_edited_by_hand_is_not_overwritten(book, chapter, twin_too):
    edit_cell(4, lambda cell: cell.update(source="print(4)"))(chapter)
    if twin_too:
        change_twin("number", "digit")(chapter)
    before = chapter.notebook.read_bytes()
    (failure,) = notebooks.build(book, everything=True)
    assert "edited by hand" in failure
    assert chapter.notebook.read_bytes() == before


def test_unknown_chapters_are_named(book):
    assert notebooks.build(book, ["nowhere"]) == [
        "no such chapter: nowhere; known are part/chapter"
    ]


@pytest.mark.parametrize(("colab", "missing"), [(True, True), (True, False), (False, True)])
def test_the_first_cell_installs_once_and_only_where_it_must(monkeypatch, colab, missing):
    installed, here = [], not missing
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))

    def pip(line):
        nonlocal here
        installed.append(line)
        here = True

    shell.register_magic_function(pip)
    if colab:
        monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    spec = ModuleSpec("vglab", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec if here else None)
    for _ in range(2):
        shell.run_cell(twins.setup_source(ROOT)).raise_error()
    assert len(installed) == (1 if colab and missing else 0)
    for line in installed:
        assert "--no-deps" in line and f'"vglab @ git+{address()}"' in line


def address():
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]


def test_the_address_stands_in_one_place():
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: the list of the project's files is not known")
    name = address().split("://")[1].encode()
    paths = [ROOT / path for path in listed.stdout.decode().split("\0") if path]
    holders = {p for p in paths if p.is_file() and name in p.read_bytes()}
    generated = {chapter.notebook for chapter in twins.chapters(ROOT)}
    assert holders - generated == {ROOT / "_config.yml"}
