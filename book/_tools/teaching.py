"""For the instructor's pages: the `{chapters}` table and the `{slides}` role, from the sources."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decks import deck_of
from docutils import nodes
from docutils.parsers.rst.states import Inliner
from measured import cell, title, toc_files
from slides import derive
from sphinx.util.docutils import SphinxDirective
from twins import load

COLUMNS = {"Chapter": 40, "Self-study": 22, "Assignment": 20, "Slides": 18}
MOST_NAMED = 6  # chapters in one line; a page that looks back to all of them names none
UNITS = {"minute": 60, "second": 1}
TIMES = re.compile(r"Reading time (\d+) minutes,\s+running time about (a|\d+) (minute|second)")
LINK = re.compile(r"\]\(([^)]+)\.ipynb\)")


@dataclass(frozen=True)
class Facts:
    """What a chapter needs and takes; minutes and points of its assignment, if it has one."""

    name: str
    title: str
    looks_back: tuple[str, ...]  # chapters that it links to before its exercises
    reading: int
    running: int
    exercises: int
    slides: int
    assignment: tuple[str, int, float] | None


def facts(root: Path) -> Iterator[Facts]:
    """Read every chapter of `_toc.yml`, in order: minutes of reading, seconds of running."""
    assigned = assignments(root)
    before: list[str] = []
    for name in toc_files(root):
        path = root / f"{name}.ipynb"
        if not path.exists():
            continue
        notebook = load(path)
        text = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        times = TIMES.search(text)
        if times is None:
            raise ValueError(f"{name}: no line 'Reading time … minutes, running time about …'")
        amount = 1 if times[2] == "a" else int(times[2])
        taught = text.split("\n## Exercises")[0]
        linked = {
            posixpath.normpath(f"{posixpath.dirname(name)}/{to}") for to in LINK.findall(taught)
        }
        yield Facts(
            name,
            title(notebook),
            tuple(earlier for earlier in before if earlier in linked),
            int(times[1]),
            amount * UNITS[times[3]],
            len(re.findall(r"^### Exercise \d", text, re.M)),
            sum(not slide.detail for slide in derive(notebook)),
            assigned.get(name),
        )
        before.append(name)


def assignments(root: Path) -> dict[str, tuple[str, int, float]]:
    """Return each chapter's assignment: its name, minutes and points."""
    folder = root / "assignments"
    if not folder.is_dir():
        return {}
    from vglab.assignments import master

    found = {}
    for name in master.names(folder):
        one = master.read(folder / f"{name}.md", seed=0)
        points = sum(question.possible for question in one.questions)
        found[f"book/{one.chapter}"] = (name, one.minutes, points)
    return found


class Chapters(SphinxDirective):
    """Show a row for each chapter, and one for all; the body says what each needs, as `b: a`."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        root = Path(self.env.srcdir)
        for path in [*root.glob("book/**/*.ipynb"), *root.glob("assignments/*.md")]:
            self.env.note_dependency(str(path))
        rows = list(facts(root))
        needs = dict(map(needed, self.content))
        for message in need_problems(needs, [row.name for row in rows]):
            raise self.error(message)
        self.titles = {row.name: row.title for row in rows}
        head = nodes.row("", *(cell(nodes.Text(column)) for column in COLUMNS))
        group = nodes.tgroup(cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=width) for width in COLUMNS.values()]
        group += nodes.thead("", head)
        group += nodes.tbody("", *(self.row(row, needs[row.name]) for row in rows), total(rows))
        return [nodes.table("", group, classes=["vglab-chapters"])]

    def row(self, one: Facts, needs: list[str]) -> nodes.row:
        """Return a chapter's row."""
        first = cell(self.link(one.name, one.title))
        others = [name for name in one.looks_back if name not in needs]
        told = nodes.paragraph("", "", classes=["quiet"])
        for label, names in (("needs ", needs), ("looks back to ", others)):
            if 0 < len(names) <= MOST_NAMED:
                told += nodes.Text(f"; {label}" if told.children else label)
                for number, name in enumerate(names):
                    told += nodes.Text(", " if number else "")
                    told += self.link(name, self.titles[name].split(":")[0])
        first += told
        reading = f"{one.reading} min, runs {one.running} s, {count(one.exercises, 'exercise')}"
        work = "none"
        if one.assignment:
            name, minutes, points = one.assignment
            work = f"{name}: {minutes} min, {points:g} points"
        shown = slides_link(self.env, one.name, count(one.slides, "slide"))
        return nodes.row("", first, cell(nodes.Text(reading)), cell(nodes.Text(work)), cell(shown))

    def link(self, name: str, text: str) -> nodes.reference:
        """Return a link to a chapter's page."""
        page = self.env.app.builder.get_relative_uri(self.env.docname, name)
        return nodes.reference("", text, refuri=page, internal=True)


def needed(line: str) -> tuple[str, list[str]]:
    """Read a line `b: a, c`: the chapters that chapter b cannot do without."""
    name, _, others = line.partition(":")
    listed = [f"book/{other.strip()}" for other in others.split(",") if other.strip()]
    return f"book/{name.strip()}", listed


def need_problems(needs: dict[str, list[str]], order: list[str]) -> Iterator[str]:
    """Yield where the needs are not the book's: a chapter unknown, left out, or needed too late."""
    for name in sorted(set(order) ^ set(needs)):
        yield f"{name}: no such chapter" if name in needs else f"{name}: say what it needs"
    for name, others in needs.items():
        for other in others:
            if name in order and other not in order[: order.index(name)]:
                yield f"{name} cannot need {other}, which does not come before it"


def total(rows: list[Facts]) -> nodes.row:
    """Return the row of sums."""
    due = [row.assignment for row in rows if row.assignment]
    texts = (
        f"All {len(rows)}",
        f"{sum(row.reading for row in rows) / 60:.1f} h, "
        f"runs {sum(row.running for row in rows) / 60:.0f} min, "
        f"{count(sum(row.exercises for row in rows), 'exercise')}",
        f"{sum(minutes for _, minutes, _ in due) / 60:.1f} h, {sum(p for *_, p in due):g} points",
        count(sum(row.slides for row in rows), "slide"),
    )
    return nodes.row("", *(cell(nodes.strong("", text)) for text in texts))


def count(number: int, what: str) -> str:
    """Write a number of things."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def slides_link(env: Any, name: str, text: str) -> nodes.reference:
    """Return a link to a chapter's slides, which are built after all pages."""
    here = posixpath.dirname(env.docname) or "."
    target = posixpath.relpath(f"{deck_of(name)}.html", here)
    if env.config.vglab_edition:
        target = f"english://{deck_of(name)}.html"
    return nodes.reference("", text, refuri=target, internal=True)


def slides_role(
    _role: str,
    raw: str,
    text: str,
    line: int,
    inliner: Inliner,
    _options: Any = None,
    _content: Any = (),
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Link to a chapter's slides: {slides}`fixes/activations`."""
    env = inliner.document.settings.env
    if not (Path(env.srcdir) / "book" / f"{text}.ipynb").exists():
        message = inliner.reporter.error(f"no chapter {text!r} has slides", line=line)
        return [inliner.problematic(raw, raw, message)], [message]
    return [slides_link(env, f"book/{text}", "slides")], []
