"""For the page on running: what chapters cost, and what they find with other images."""

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from measured import cell, title, toc_files
from sphinx.util.docutils import SphinxDirective
from twins import load

COSTS = Path("constraints", "costs.json")
OTHER = Path("benchmarks", "other_data.json")


class Running(SphinxDirective):
    """What both directives need: a stored measurement, links to chapters, a table."""

    def stored(self, path: Path) -> dict[str, Any]:
        """Read a measurement; the page is built anew when it changes."""
        file = Path(self.env.srcdir, path)
        self.env.note_dependency(str(file))
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Sort chapters as they are read; forget those that are no longer there."""
        known = set(names)
        return [name for name in toc_files(Path(self.env.srcdir)) if name in known]

    def link(self, name: str) -> nodes.reference:
        """Return a chapter's title, linked to its page."""
        page = self.env.app.builder.get_relative_uri(self.env.docname, name)
        text = title(load(Path(self.env.srcdir, f"{name}.ipynb")))
        return nodes.reference("", text, refuri=page, internal=True)

    def text(self, markdown: str) -> list[nodes.Node]:
        """Parse a line of Markdown, with its formulas."""
        parsed, _ = self.state.inline_text(markdown, self.lineno)
        return list(parsed)


class Costs(Running):
    """Show a table of every chapter's time and memory."""

    def run(self) -> list[nodes.Node]:
        """Return the table, and the sums."""
        costs = self.stored(COSTS)
        rows = [
            [[self.link(name)], [nodes.Text(str(cost["seconds"]))], [nodes.Text(gigabytes(cost))]]
            for name in self.in_order(costs)
            for cost in [costs[name]]
        ]
        most = max(cost["memory_mb"] for cost in costs.values()) / 1000
        together = sum(cost["seconds"] for cost in costs.values()) / 60
        sentence = (
            f"All chapters together: {together:.0f} minutes. The most memory that one takes: "
            f"{most:.1f} GB."
        )
        columns = {"Chapter": 60, "Time, seconds": 20, "Memory, GB": 20}
        return [table(columns, rows), nodes.paragraph(text=sentence)]


class OtherData(Running):
    """Show what came out when a line of a chapter loaded MNIST."""

    def run(self) -> list[nodes.Node]:
        """Return how it was measured, one row for each chapter, and the claims that fail."""
        stored = self.stored(OTHER)
        found = stored["chapters"]
        names = self.in_order(found)
        sentence = (
            f"Measured with {stored['train']:,} images of MNIST to train and {stored['test']:,} "
            f"to test: {sum(one['hold'] for one in found.values())} of "
            f"{sum(one['stated'] for one in found.values())} claims hold."
        )
        rows = [
            [
                [self.link(name)],
                [nodes.Text(pixels(one["becomes"]))],
                [nodes.Text(f"{one['hold']} of {one['claims']}")],
                [nodes.Text(f"{one['seconds']['mnist'] / one['seconds']['digits']:.1f}")],
            ]
            for name in names
            for one in [found[name]]
        ]
        columns = {"Chapter": 46, "Pixels": 18, "Claims that hold": 18, "Time, digits = 1": 18}
        listed = [self.failing(name, found[name]["fail"]) for name in names if found[name]["fail"]]
        return [nodes.paragraph(text=sentence), table(columns, rows), *itertools.chain(*listed)]

    def failing(self, name: str, claims: list[dict[str, str]]) -> list[nodes.Node]:
        """Return what no longer holds in a chapter, and what was measured instead."""
        head = nodes.paragraph("", "", self.link(name), nodes.Text(". With MNIST this fails:"))
        items = nodes.bullet_list(bullet="-")
        for claim in claims:
            line = f"{claim['statement']}: expected {claim['expected']}, measured {claim['mnist']}"
            known = claim["digits"] not in ("", "yes")
            line += f"; with the digits {claim['digits']}." if known else "."
            items += nodes.list_item("", nodes.paragraph("", "", *self.text(line)))
        return [head, items]


def pixels(line: str) -> str:
    """Return the size of the images that a line loads."""
    size = re.search(r"image_size=(\d+)", line)
    side = size[1] if size else "28"
    return f"{side} × {side}"


def gigabytes(cost: dict[str, int]) -> str:
    """Return a chapter's memory in the unit that Colab shows."""
    return f"{cost['memory_mb'] / 1000:.1f}"


def table(columns: dict[str, int], rows: Sequence[Sequence[list[nodes.Node]]]) -> nodes.table:
    """Return a table with a head, from the content of its cells."""
    group = nodes.tgroup(cols=len(columns))
    group += [nodes.colspec(colwidth=width) for width in columns.values()]
    head = nodes.row("", *(cell(nodes.Text(column)) for column in columns))
    group += nodes.thead("", head)
    group += nodes.tbody("", *(nodes.row("", *(cell(*one) for one in row)) for row in rows))
    return nodes.table("", group, classes=["vglab-running"])
