"""The `{measured}` directive: every finding of the chapters, from their stored outputs."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from formulas import FormulaError, render
from nbformat import NotebookNode
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from twins import claims, load
from words import t

COLUMNS = {"Finding": 40, "Expected": 18, "Measured": 18, "Source": 20, "Holds": 4}


class Measured(SphinxDirective):
    """Show one table for each chapter that states findings, and how many there are."""

    def run(self) -> list[nodes.Node]:
        """Return the count and one section for each chapter."""
        root = Path(self.env.srcdir)
        sections: list[nodes.Node] = []
        held = total = 0
        for name in toc_files(root):
            path = root / f"{name}.ipynb"
            if not path.exists():
                continue
            self.env.note_dependency(str(path))
            notebook = load(path)
            found = claims(notebook)
            held += sum(claim["holds"] for claim in found)
            total += len(found)
            if found:
                sections.append(self.section(name, notebook, found))
        sentence = t("Findings that hold: {held} of {total}. Chapters: {chapters}.").format(
            held=held, total=total, chapters=len(sections)
        )
        return [nodes.paragraph(text=sentence, classes=["vglab-count"]), *sections]

    def section(self, name: str, notebook: NotebookNode, found: list[NotebookNode]) -> nodes.Node:
        """Return a chapter's title and its table."""
        section = nodes.section(ids=[nodes.make_id(name)], names=[name])
        section += nodes.title(text=title(notebook))
        page = self.env.app.builder.get_relative_uri(self.env.docname, name)
        head = nodes.row("", *(cell(nodes.Text(t(column))) for column in COLUMNS))
        group = nodes.tgroup(cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=width) for width in COLUMNS.values()]
        group += nodes.thead("", head)
        group += nodes.tbody("", *(self.row(page, claim) for claim in found))
        section += nodes.table("", group, classes=["vglab-measured"])
        return section

    def row(self, page: str, claim: dict[str, Any]) -> nodes.row:
        """Return one finding, linked to the cell that measured it."""
        link = nodes.reference(refuri=f"{page}#{claim['anchor']}", internal=True)
        link += self.text(claim["statement"])
        expected, relation = claim["expected"], claim["relation"]
        if relation not in expected:
            expected = f"{relation} {expected}"
        mark = t("✓ yes") if claim["holds"] else t("✗ no")
        return nodes.row(
            "",
            cell(link),
            cell(*self.text(expected)),
            cell(*self.text(claim["measured"])),
            cell(*self.text(claim["source"] or "")),
            cell(nodes.Text(mark)),
        )

    def text(self, markdown: str) -> list[nodes.Node]:
        """Parse a line of Markdown, with its formulas."""
        parsed, _ = self.state.inline_text(markdown, self.lineno)
        return list(parsed)


class ClaimFormulas(SphinxPostTransform):
    """Set the `$…$` in a chapter's claims, which reach the page as finished HTML."""

    default_priority = 100
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Walk the page's claims."""
        for raw in self.document.findall(nodes.raw):
            if 'class="vglab-claim"' in raw.astext():
                raw.children = [nodes.Text(re.sub(r"\$([^$]+)\$", self.formula, raw.astext()))]

    def formula(self, match: re.Match[str]) -> str:
        """Set one formula, or say which page it is on."""
        try:
            written = render(html.unescape(match[1]).strip())
        except FormulaError as error:
            raise ExtensionError(f"{self.env.docname}: {error}") from None
        return f'<span class="math notranslate nohighlight">{written}</span>'


def cell(*content: nodes.Node) -> nodes.entry:
    """Wrap content as one cell of a table."""
    return nodes.entry("", nodes.paragraph("", "", *content))


def title(notebook: NotebookNode) -> str:
    """Return a notebook's first heading."""
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    lines = text.splitlines()
    return next(line.removeprefix("# ").strip() for line in lines if line.startswith("# "))


def toc_files(root: Path) -> list[str]:
    """List the pages of `_toc.yml` in the order of reading."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *files(toc)]


def files(entry: Any) -> Iterator[str]:
    """Yield every `file:` at or below an entry of the table of contents."""
    children = entry if isinstance(entry, list) else list(entry.values())
    if isinstance(entry, dict) and "file" in entry:
        yield entry["file"]
    for child in children:
        if isinstance(child, dict | list):
            yield from files(child)
