"""The two forms of a chapter: the text twin, which people edit, and the notebook made from it."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

HEADER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""
PLACEHOLDER = "{{ setup }}"
SETUP_TAGS = ["setup", "remove-cell"]  # the site leaves the cell out; Colab shows it
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = ("cellView", "mystnb", "slideshow", "tags")


class BookError(Exception):
    """Something a person must mend; the message says what and where."""


@dataclass(frozen=True)
class Chapter:
    """One chapter of the book whose `_config.yml` is in `root`; `name` is such as "fixes/init"."""

    root: Path
    name: str

    @property
    def twin(self) -> Path:
        """The text that people edit."""
        return self.root / "book" / "_source" / f"{self.name}.md"

    @property
    def notebook(self) -> Path:
        """The notebook made from the twin."""
        return self.root / "book" / f"{self.name}.ipynb"


def chapters(root: Path) -> list[Chapter]:
    """List every chapter that has a twin, a notebook or both, by name."""
    book = root / "book"
    twins = {path.relative_to(book / "_source") for path in (book / "_source").rglob("*.md")}
    notebooks = {path.relative_to(book) for path in book.rglob("*.ipynb")}
    hidden = {path for path in notebooks if any(part[0] in "._" for part in path.parts)}
    names = {path.with_suffix("").as_posix() for path in twins | (notebooks - hidden)}
    return [Chapter(root, name) for name in sorted(names)]


def setup_source(root: Path) -> str:
    """Write the first code cell of every chapter; the address comes from `_config.yml`."""
    config: dict[str, Any] = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    address = config["repository"]["url"]
    return f"""\
# In Colab, install what it lacks; nothing that it has moves. Elsewhere, do nothing.
import importlib.util, sys

if "google.colab" in sys.modules and importlib.util.find_spec("vglab") is None:
    %pip install --quiet --no-deps "vglab @ git+{address}" lime captum palmerpenguins"""


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_setup(cell: NotebookNode) -> bool:
    """Tell whether a cell is the one that installs `vglab`."""
    return "setup" in cell.metadata.get("tags", [])


def parse(twin: str, setup: str) -> NotebookNode:
    """Make the notebook, not yet run, that a twin describes."""
    notebook = jupytext.reads(twin, fmt="md:myst")
    first = next((cell for cell in notebook.cells if cell.cell_type == "code"), None)
    if first is None or first.source != PLACEHOLDER:
        raise BookError(f"the first code cell must be the line {PLACEHOLDER}")
    first.source = setup
    first.metadata = NotebookNode(tags=list(SETUP_TAGS))
    return normalise(notebook, digest(twin))


def unparse(notebook: NotebookNode) -> str:
    """Write the twin that a notebook was made from."""
    plain = nbformat.v4.new_notebook(metadata=NOTEBOOK_METADATA)
    for cell in notebook.cells:
        source, metadata = (PLACEHOLDER, {}) if is_setup(cell) else (cell.source, cell.metadata)
        plain.cells.append(NotebookNode({**cell, "source": source, "metadata": metadata}))
    body = jupytext.writes(plain, fmt="md:myst").split("---\n", 2)[2]
    return HEADER + str(body)


def normalise(notebook: NotebookNode, twin_digest: str) -> NotebookNode:
    """Keep what a reader needs and nothing that differs from run to run."""
    clean: NotebookNode = nbformat.v4.new_notebook(metadata=NOTEBOOK_METADATA)
    clean.metadata["vglab"] = NotebookNode(twin=twin_digest)
    clean.nbformat_minor = 5
    for number, old in enumerate(notebook.cells, start=1):
        cell = NotebookNode({**old, "id": f"cell-{number}"})
        cell.metadata = NotebookNode(
            {k: old.metadata[k] for k in CELL_METADATA if k in old.metadata}
        )
        if "outputs" in cell:
            cell.outputs = joined_streams(cell.outputs)
        clean.cells.append(cell)
    return clean


def joined_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join pieces of one stream: how a kernel cuts its text is chance."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(NotebookNode(output))
    return joined


def dump(notebook: NotebookNode) -> str:
    """Return a notebook's file as text."""
    return str(nbformat.writes(notebook)) + "\n"


def load(path: Path) -> NotebookNode:
    """Read a notebook's file."""
    try:
        notebook: NotebookNode = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        return notebook
    except Exception as error:
        raise BookError(f"{path.name} is not a readable notebook: {error}") from error


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    unfinished.replace(path)


def figures(cell: NotebookNode) -> list[str]:
    """Return the SVG pictures among a cell's outputs."""
    data = [output.get("data", {}) for output in cell.get("outputs", [])]
    return [d["image/svg+xml"] for d in data if "image/svg+xml" in d]


def claims(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the findings that a notebook's outputs hold, in order."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    data = [output.get("data", {}) for output in outputs]
    mime = "application/vnd.vglab.claim+json"
    return [d[mime] for d in data if mime in d]


def cover(notebook: NotebookNode) -> str | None:
    """Return the figure of the cell tagged `cover`, if there is one."""
    tagged = (cell for cell in notebook.cells if "cover" in cell.metadata.get("tags", []))
    return next((figure for cell in tagged for figure in figures(cell)), None)


def error_text(traceback: str) -> str:
    """Remove a terminal's colours from a traceback."""
    return re.sub(r"\x1b\[[0-9;]*m", "", traceback)
