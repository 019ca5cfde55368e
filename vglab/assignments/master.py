"""The master of an assignment: otter-grader's format, written as text, with a class's own variant.

A master `assignments/<name>.md` is a notebook in jupytext's MyST Markdown with otter's blocks
fenced as ```` ```otter ````. Beyond otter it has three things of ours: placeholders ``{{ … }}``
(jinja2) that a ``# VARIANT`` cell fills from the class's seed, ``# MUTANT`` cells with wrong
solutions that the tests must reject, and in its header the chapter, minutes and seconds.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import jinja2
import jupytext
import nbformat
from nbformat import NotebookNode

IGNORE = "## Ignore ##"  # the first line of cells that otter leaves out
OTTER = """\
# ASSIGNMENT CONFIG
name: {name}
init_cell: false
export_cell: false
generate: false
show_question_points: true
tests:
  files: true
  ok_format: false"""
FENCE = re.compile(r"^```otter\n(.*?)\n```$", re.M | re.S)
MARKER = re.compile(r"^(?=# (?:BEGIN|END))", re.M)
HEADING = r"^##+ (?:Question \d+: )?(.*\S)"  # in linear time, on whatever students write
NAMES = re.compile(r"[a-z][a-z0-9_]*")


class MasterError(ValueError):
    """Something in a master that its author must mend; the message says what and where."""


@dataclass(frozen=True)
class Mutant:
    """A wrong solution, ``why`` it is wrong, and the points that it may keep."""

    why: str
    source: str
    keeps: float


@dataclass(frozen=True)
class Question:
    """One question: its title, its solution's code (or sample answer and rubric), its mutants."""

    name: str
    title: str
    manual: bool
    possible: float
    solution: tuple[str, ...]
    mutants: tuple[Mutant, ...]
    cells: tuple[NotebookNode, ...]


@dataclass(frozen=True)
class Master:
    """A master rendered for one class: an otter notebook, and what is ours in it."""

    name: str
    title: str
    chapter: str
    minutes: int
    seconds: int
    seed: int
    key: str
    variant: dict[str, Any]
    notebook: NotebookNode
    questions: tuple[Question, ...]


def names(folder: Path) -> list[str]:
    """List the assignments that a folder holds."""
    return sorted(path.stem for path in folder.glob("*.md") if NAMES.fullmatch(path.stem))


def read(path: Path, *, seed: int, key: str = "") -> Master:
    """Render a master for a class.

    Parameters
    ----------
    path
        `assignments/<name>.md`, in a clone of the course (its chapter gives the setup cell).
    seed
        The class's: chooses its numbers, its part of the data and its planted faults.
    key
        What only the instructor knows: chooses the inputs of the hidden tests.

    Raises
    ------
    MasterError
        The file is missing or not well formed.
    """
    if not path.is_file():
        known = ", ".join(names(path.parent)) or "none"
        raise MasterError(f"no assignment {path.stem!r} in {path.parent}; there are: {known}")
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="md:myst")
    header = _header(path, notebook)
    variant = _variant(path, notebook, seed)
    fresh = Random(f"{key}/{seed}/{path.stem}")
    context = {
        **variant, "seed": seed, "setup": _setup(path, header["chapter"]),
        "fresh": lambda: fresh.randrange(2**31),
    }  # fmt: skip
    rendered = [_render(path, cell, context) for cell in notebook.cells if not _is(cell, "VARIANT")]
    cells = [part for cell in rendered for part in _unfence(cell)]
    questions = tuple(_questions(path, cells))
    config = nbformat.v4.new_raw_cell(OTTER.format(name=path.stem))
    plain = nbformat.v4.new_notebook(
        cells=[config, *(cell for cell in cells if not _is(cell, "MUTANT"))],
        metadata={k: notebook.metadata[k] for k in ("kernelspec",) if k in notebook.metadata},
    )
    title = re.search(r"^# (.+)$", "\n".join(c.source for c in cells if c.cell_type == "markdown"),
                      re.M)  # fmt: skip
    if title is None:
        raise MasterError(f"{path.name}: expected a title, a line that begins with '# '")
    return Master(
        path.stem, title[1], header["chapter"], header["minutes"], header.get("seconds", 120),
        seed, key, variant, plain, questions,
    )  # fmt: skip


def _header(path: Path, notebook: NotebookNode) -> dict[str, Any]:
    header = notebook.metadata.get("vglab", {})
    for key, kind in {"chapter": str, "minutes": int}.items():
        if not isinstance(header.get(key), kind):
            raise MasterError(
                f"{path.name}: the header needs vglab: {key}: ({kind.__name__}), "
                f"got {header.get(key)!r}"
            )
    return dict(header)


def _setup(path: Path, chapter: str) -> str:
    """Take the setup cell from the chapter's notebook: it stands in one place."""
    notebook = path.parent.parent / "book" / f"{chapter}.ipynb"
    if not notebook.exists():
        raise MasterError(f"{path.name}: there is no chapter {chapter!r} in the book")
    cells = nbformat.read(notebook, as_version=4).cells
    return str(next(cell.source for cell in cells if cell.cell_type == "code"))


def _is(cell: NotebookNode, what: str) -> bool:
    """Tell whether a cell is one of ours: ignored by otter, and of this kind."""
    lines = cell.source.splitlines()
    marked = cell.cell_type == "code" and len(lines) > 1 and lines[0] == IGNORE
    return marked and lines[1].startswith(f"# {what}")


def _variant(path: Path, notebook: NotebookNode, seed: int) -> dict[str, Any]:
    """Run the VARIANT cell; what it defines are the placeholders."""
    cells = [cell for cell in notebook.cells if _is(cell, "VARIANT")]
    if len(cells) != 1:
        raise MasterError(f"{path.name}: expected one cell '# VARIANT', got {len(cells)}")
    names: dict[str, Any] = {"random": Random(f"{seed}/{path.stem}")}
    exec(compile(cells[0].source, f"{path.name}, VARIANT", "exec"), names)
    left_out = ("random", "__builtins__")
    return {name: value for name, value in names.items() if name not in left_out}


def _render(path: Path, cell: NotebookNode, context: dict[str, Any]) -> NotebookNode:
    try:
        template = jinja2.Template(cell.source, undefined=jinja2.StrictUndefined)
        source = template.render(context)
    except jinja2.TemplateError as error:
        raise MasterError(f"{path.name}: {error} in the cell\n{cell.source}") from error
    factory = getattr(nbformat.v4, f"new_{cell.cell_type}_cell")
    new: NotebookNode = factory(source)
    return new


def _unfence(cell: NotebookNode) -> list[NotebookNode]:
    """Cut a Markdown cell at its otter fences; each marker in a fence becomes a raw cell."""
    if cell.cell_type != "markdown":
        return [cell]
    found = []
    for number, text in enumerate(FENCE.split(cell.source)):
        new: Any = nbformat.v4.new_raw_cell if number % 2 else nbformat.v4.new_markdown_cell
        parts = MARKER.split(text) if number % 2 else [text]
        found += [new(part.strip()) for part in parts if part.strip()]
    return found


def _questions(path: Path, cells: list[NotebookNode]) -> list[Question]:
    """Find the questions by otter's own reading of its blocks."""
    from otter.assign import blocks

    found: list[Question] = []
    inside: list[NotebookNode] = []
    config: dict[str, Any] | None = None
    for cell in cells:
        if blocks.is_block_boundary_cell(cell, blocks.BlockType.QUESTION):
            config, inside = blocks.get_cell_config(cell), []
        elif blocks.is_block_boundary_cell(cell, blocks.BlockType.QUESTION, end=True):
            if config is None:
                raise MasterError(f"{path.name}: END QUESTION without BEGIN QUESTION")
            found.append(_question(path, config, inside))
            config = None
        elif config is not None:
            inside.append(cell)
    if not found:
        raise MasterError(f"{path.name}: no '# BEGIN QUESTION' in an otter block")
    twice = {q.name for q in found if [other.name for other in found].count(q.name) > 1}
    if twice:
        raise MasterError(f"{path.name}: two questions are called {', '.join(sorted(twice))}")
    return found


def _question(path: Path, config: dict[str, Any], cells: list[NotebookNode]) -> Question:
    from otter.assign import blocks

    name, manual = str(config.get("name")), bool(config.get("manual"))
    where = f"{path.name}, question {name}"
    title = re.search(HEADING, cells[0].source if cells else "", re.M)
    if title is None:
        raise MasterError(f"{where}: its first cell must have a heading, '## Question 1: …'")
    points = config.get("points")
    each: list[Any] = points if isinstance(points, list) else [points]
    if not each or not all(type(one) in (int, float) and one >= 0 for one in each):
        raise MasterError(f"{where}: needs points: a number, or one for each test; got {points!r}")
    solution, block = [], None
    for cell in cells:
        for kind in (blocks.BlockType.SOLUTION, blocks.BlockType.TESTS):
            if blocks.is_block_boundary_cell(cell, kind):
                block = kind
            elif blocks.is_block_boundary_cell(cell, kind, end=True):
                block = None
        if block is blocks.BlockType.SOLUTION and cell.cell_type != "raw":
            solution.append(cell.source)
    if not solution:
        raise MasterError(f"{where}: has no solution")
    mutants = tuple(_mutant(where, cell) for cell in cells if _is(cell, "MUTANT"))
    if not manual and not mutants:
        raise MasterError(f"{where}: needs at least one '# MUTANT' cell, a wrong solution")
    return Question(
        name, title[1], manual, float(sum(each)), tuple(solution), mutants, tuple(cells)
    )


def _mutant(where: str, cell: NotebookNode) -> Mutant:
    _, told, source = cell.source.split("\n", 2)
    match = re.fullmatch(r"# MUTANT(?: \(keeps ([\d.]+)\))?: (.+)", told)
    if match is None:
        raise MasterError(f"{where}: expected '# MUTANT: why it is wrong', got {told!r}")
    return Mutant(match[2], source, float(match[1] or 0))
