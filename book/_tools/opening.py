"""A chapter in brief: the facts under its title, and its opening question for its neighbours."""

import functools
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from callouts import label
from docutils import nodes
from languages import original
from phrases import Phrases, phrases
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from teaching import Facts, facts, needed, slides_link

LIST = "book/teaching/for_instructors.md"  # says what each chapter needs
COSTS = "constraints/costs.json"
MEGABYTES = 1000  # in a GB


@functools.cache
def chapter_facts(root: Path) -> dict[str, Facts]:
    """Read every chapter's facts once."""
    return {one.name: one for one in facts(root)}


@functools.cache
def needs(root: Path) -> dict[str, list[str]]:
    """Return what each chapter needs, from the directive `{chapters}` on the instructors' page."""
    path = root / LIST
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.search(r"^```\{chapters\}\n(.*?)^```", text, re.M | re.S)
    return dict(needed(line) for line in found[1].splitlines() if line.strip()) if found else {}


@functools.cache
def costs(root: Path) -> dict[str, dict[str, float]]:
    """Return what each chapter was measured to cost in Colab's environment, where it was."""
    path = root / COSTS
    read = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {f"book/{name.removeprefix('book/')}": one for name, one in read.items()}


class FactsLine(SphinxPostTransform):
    """Put the facts under a chapter's title, in place of its line of times."""

    default_priority = 45
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Find the line before the chapter's first section, and replace it."""
        known = phrases(self.config.language)
        top = self.document.next_node(nodes.section)
        line = times_line(top, known) if top is not None else None
        if line is None:
            return
        root = original(self.app)
        found = chapter_facts(root)
        name = self.env.docname
        if name not in found:
            return
        told = [
            nodes.list_item("", nodes.paragraph("", "", *content), classes=[kind])
            for kind, content in self.told(found[name], root, known)
        ]
        line.parent.remove(line)
        top.insert(1, nodes.bullet_list("", *told, classes=["vglab-facts"]))

    def told(
        self, one: Facts, root: Path, known: Phrases
    ) -> Iterator[tuple[str, list[nodes.Node]]]:
        """Yield each fact: its kind and what is said."""
        yield "reading", [nodes.Text(known.reading.format(one.reading))]
        cost = costs(root).get(one.name)
        if cost:
            yield "running", [nodes.Text(known.costs.format(priced(cost, known)))]
        else:
            yield "running", [nodes.Text(known.running.format(one.running))]
        work = [
            words[number > 1].format(number)
            for number, words in (
                (one.exercises, known.exercise),
                (questions_in(self.document, known), known.question),
            )
            if number
        ]
        if work:
            yield "work", [nodes.Text(known.comma.join(work))]
        yield "slides", [slides_link(self.env, one.name, known.slides)]
        if earlier := [name for name in needs(root).get(one.name, []) if name in self.env.titles]:
            yield "needs", self.links(earlier, known)

    def links(self, names: list[str], known: Phrases) -> list[nodes.Node]:
        """Name the chapters that come first, each with its link."""
        content: list[nodes.Node] = [nodes.Text(known.needs)]
        for number, name in enumerate(names):
            page = self.env.app.builder.get_relative_uri(self.env.docname, name)
            short = self.env.titles[name].astext().split(":")[0]
            content += [nodes.Text(known.comma)] if number else []
            content.append(nodes.reference("", short, refuri=page, internal=True))
        return content


def priced(cost: dict[str, float], known: Phrases) -> str:
    """Write what running costs."""
    told = [f"{cost['seconds']:.0f} s"] if "seconds" in cost else []
    if "memory_mb" in cost:
        told.append(known.memory.format(f"{cost['memory_mb'] / MEGABYTES:.1f}"))
    return ", ".join(told)


def times_line(top: nodes.section, known: Phrases) -> nodes.paragraph | None:
    """Return a chapter's line of times, which stands before its first section."""
    for child in top.children:
        if isinstance(child, nodes.section):
            return None
        if isinstance(child, nodes.paragraph) and known.times.search(child.astext()):
            return child
    return None


def questions_in(document: nodes.document, known: Phrases) -> int:
    """Count the questions to check oneself: bold beginnings right before the first option."""
    return sum(
        bool(label(child))
        and isinstance(after, nodes.raw)
        and after.astext().lstrip().startswith("<details")
        for section in document.findall(nodes.section)
        if known.check.fullmatch(section[0].astext())
        for child, after in itertools.pairwise(section)
    )


def opening_question(env: BuildEnvironment, name: str) -> nodes.paragraph | None:
    """Return the first paragraph of a chapter, without links, for the pages beside it."""
    if not env.doc2path(name).endswith(".ipynb"):
        return None
    top = env.get_doctree(name).next_node(nodes.section)
    first = next((c for c in top.children[1:2] if isinstance(c, nodes.paragraph)), None)
    if first is None:
        return None
    copy = first.deepcopy()
    for link in list(copy.findall(lambda n: isinstance(n, nodes.reference) or is_pending(n))):
        link.replace_self(list(link.children))
    return copy


def is_pending(node: nodes.Node) -> bool:
    """Tell whether a node is a link that Sphinx has not resolved."""
    return type(node).__name__ == "pending_xref"
