"""What must hold for every chapter: the pair agrees, and the stored outputs can be trusted."""

import re
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode
from questions import question_problems
from twins import (
    BookError,
    Chapter,
    chapters,
    claims,
    cover,
    digest,
    dump,
    load,
    normalise,
    parse,
    setup_source,
    unparse,
)

MAX_BYTES = 1_000_000
MAX_LINES = 15
UNSTABLE = {
    "a warning": re.compile(r"\b\w*Warning\b"),
    "an absolute path": re.compile(
        r"""(?:^|[\s"'(=])(?:/(?:[\w.-]+/)+[\w.-]+|[A-Za-z]:\\\w)""", re.M
    ),
    "a memory address": re.compile(r"\b0x[0-9a-f]{6,}\b"),
}


def problems(root: Path) -> list[str]:
    """List what is wrong with the book's notebooks; an empty list is a sound book."""
    found = []
    covers: list[str] = []
    for chapter in chapters(root):
        try:
            messages = list(chapter_problems(chapter, covers))
        except BookError as error:
            messages = [str(error)]
        found += [f"{chapter.name}: {message}" for message in messages]
    return found + list(cover_problems(root / "book" / "_static" / "cover.svg", covers))


def chapter_problems(chapter: Chapter, covers: list[str]) -> Iterator[str]:
    """Yield what is wrong with one chapter, and put its cover figure into `covers`."""
    if not chapter.notebook.exists():
        yield "the twin has no notebook: run `make notebooks`"
        return
    if not chapter.twin.exists():
        yield "the notebook has no twin: write one in book/_source, or delete the notebook"
        return
    notebook = load(chapter.notebook)
    yield from pair_problems(chapter, notebook)
    yield from output_problems(notebook)
    yield from question_problems(notebook)
    size = chapter.notebook.stat().st_size
    if size > MAX_BYTES:
        yield f"the notebook has {size:,} bytes; at most {MAX_BYTES:,} are allowed"
    figure = cover(notebook)
    if figure is not None:
        covers.append(figure)


def pair_problems(chapter: Chapter, notebook: NotebookNode) -> Iterator[str]:
    """Yield where a notebook is not what its twin gives."""
    twin = chapter.twin.read_text(encoding="utf-8")
    expected = parse(twin, setup_source(chapter.root))
    recorded = notebook.metadata.get("vglab", {}).get("twin", "")
    if recorded != digest(twin):
        yield "the twin changed since the notebook was made: run `make notebooks`"
    if [content(cell) for cell in notebook.cells] != [content(cell) for cell in expected.cells]:
        yield "the notebook's cells are not the twin's: edit the twin, then run `make notebooks`"
    if unparse(notebook) != twin:
        yield "the twin cannot be regenerated from the notebook: run `make notebooks`"
    if dump(normalise(notebook, recorded)) != chapter.notebook.read_text(encoding="utf-8"):
        yield "the notebook's metadata is not normalised: run `make notebooks`"


def content(cell: NotebookNode) -> tuple[str, str, NotebookNode]:
    """Return what a twin determines of a cell."""
    return cell.cell_type, cell.source, cell.metadata


def output_problems(notebook: NotebookNode) -> Iterator[str]:
    """Yield what is wrong inside a notebook's code cells."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code":
            for message in cell_problems(cell):
                yield f"cell {number}: {message}"
    for claim in claims(notebook):
        if not claim["holds"]:
            yield f"a claim did not hold: {claim['statement']}"
    anchors = [claim["anchor"] for claim in claims(notebook)]
    for anchor in sorted({a for a in anchors if anchors.count(a) > 1}):
        yield f"two claims share the anchor {anchor}: word one of them differently"


def cell_problems(cell: NotebookNode) -> Iterator[str]:
    """Yield what is wrong with one code cell."""
    lines = len(cell.source.splitlines())
    if lines > MAX_LINES:
        yield f"{lines} lines of code; at most {MAX_LINES} are allowed"
    if cell.execution_count is None:
        yield "never run"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"holds an error: {output.ename}: {output.evalue}"
        if output.get("name") == "stderr":
            yield f"wrote to stderr: {output.text.strip()[:80]!r}"
        texts = "\n".join(readable(output))
        for name, pattern in UNSTABLE.items():
            if match := pattern.search(texts):
                yield f"the output holds {name}: {match.group().strip()!r}"
        if any(mime.startswith("image/") for mime in output.get("data", {})):
            image = cell.metadata.get("mystnb", {}).get("image", {})
            if not str(image.get("alt", "")).strip():
                yield "the figure has no alternative text (mystnb: image: alt)"


def readable(output: NotebookNode) -> Iterator[str]:
    """Yield the texts in an output that a reader sees."""
    yield output.get("text", "")
    yield from (text for mime, text in output.get("data", {}).items() if mime.startswith("text/"))


def cover_problems(path: Path, covers: list[str]) -> Iterator[str]:
    """Yield where the picture on the README is not the figure of the cell tagged `cover`."""
    stored = path.read_text(encoding="utf-8") if path.exists() else None
    if len(covers) > 1:
        yield "more than one chapter has a cell tagged `cover`"
    elif stored != (covers[0] if covers else None):
        yield "book/_static/cover.svg is not the figure of the `cover` cell: run `make notebooks`"
