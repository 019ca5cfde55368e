"""A throw-away book becomes a website, or is refused."""

import json
import re
import shutil
import subprocess
import sys

import notebooks
import pytest
from figures import inline
from throwaway import NAME, ROOT

TOC = """\
format: jb-book
root: book/index
chapters:
  - file: book/part/chapter
  - file: book/measured
"""


def build(root):
    """Build a book as `make book` does."""
    shutil.copy(ROOT / "_config.yml", root)
    shutil.copytree(ROOT / "book" / "_tools", root / "book" / "_tools", dirs_exist_ok=True)
    ours = shutil.ignore_patterns("cover.svg")  # the book at hand has drawn its own
    static = root / "book" / "_static"
    shutil.copytree(ROOT / "book" / "_static", static, dirs_exist_ok=True, ignore=ours)
    (root / "_toc.yml").write_text(TOC)
    (root / "book" / "references.bib").touch()
    (root / "book" / "index.md").write_text("# Welcome\n")
    (root / "book" / "measured.md").write_text("# Measured\n\n```{measured}\n```\n")
    code = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "build", ".", "--all", "-W", "-n", "--keep-going"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture
def current(book):
    """A book whose notebook names this repository's address."""
    shutil.copy(ROOT / "_config.yml", book)
    assert notebooks.build(book) == []
    return book


def test_a_sound_book_is_built(current):
    done = build(current)
    assert done.returncode == 0, done.stdout + done.stderr
    html = current / "_build" / "html" / "book"
    chapter = (html / "part" / "chapter.html").read_text(encoding="utf-8")
    assert 'role="img" aria-label="A line that falls."' in chapter
    assert "google.colab" not in chapter  # the first cell is for Colab only
    assert "unpkg" not in chapter
    assert (html.parent / "slides" / "part" / "chapter.html").exists()
    assert (html.parent / "_static" / "reveal" / "reveal.js").exists()
    measured = (html / "measured.html").read_text(encoding="utf-8")
    assert "Findings that hold: 1 of 1. Chapters: 1." in measured
    assert re.search(r'href="part/chapter.html#claim-\w+"', measured)


def test_a_book_with_a_failed_cell_is_refused_every_time(current):
    path = current / "book" / f"{NAME}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    error = {"ename": "ValueError", "evalue": "no", "output_type": "error", "traceback": []}
    notebook["cells"][3]["outputs"] = [error]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    for _ in range(2):
        done = build(current)
        assert done.returncode != 0
        assert "cell 4: holds an error: ValueError: no" in done.stdout + done.stderr


SVG = """<?xml version="1.0"?>
<svg width="72pt" height="36pt" viewBox="0 0 72 36"><style>*{stroke: red}</style>
<path id="a" style="fill: #0072b2; stroke: #1A1A1A"/><use xlink:href="#a"/>
<g clip-path="url(#a)" style="fill: #123456"/>
<text style="fill: #ffffff">on data</text><text style="x: 1; fill: #1a1a1a">label</text></svg>"""


def test_a_figure_becomes_part_of_its_page():
    html = inline(SVG, 'bars < "dots"', "f1-")
    assert "<?xml" not in html and "<style>" not in html
    assert 'aria-label="bars &lt; &quot;dots&quot;"' in html
    assert 'viewBox="0 0 72 36"' in html and "--figure-width: 96px" in html
    assert 'id="f1-a"' in html and 'href="#f1-a"' in html and "url(#f1-a)" in html
    assert "fill: var(--figure-blue); stroke: var(--figure-ink)" in html
    assert "fill: #123456" in html
    assert '<text style="fill: #ffffff">' in html  # it lies on a dark cell in either theme
    assert '<text style="x: 1; fill: var(--figure-ink)">' in html


def test_places_in_a_figure_are_written_to_a_hundredth_of_a_point():
    svg = SVG.replace('id="a"', 'id="a" d="M 1.23456 -0.98765 L 7.1 2.3456e-05"')
    html = inline(svg.replace("<use", '<use transform="scale(0.00123)"'), "", "f1-")
    assert 'd="M 1.23 -0.98 L 7.1 2.34e-05"' in html
    assert "scale(0.00123)" in html  # a scale is no place


def test_a_figure_without_a_size_is_refused():
    with pytest.raises(ValueError, match="a width and a viewBox"):
        inline("<svg><g/></svg>", "", "f1-")
