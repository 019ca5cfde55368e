"""Callouts: a blockquote that begins with a bold label, and a chapter's marked sections."""

from collections.abc import Iterator
from typing import Any

from docutils import nodes
from phrases import Phrases, phrases
from sphinx.transforms.post_transforms import SphinxPostTransform

# Shown only where scripts run; what is written stays in the browser.
GUESS = """<p class="vglab-guess"><label for="{id}">{label}</label>
<input id="{id}" type="text" maxlength="300" autocomplete="off" data-guess="{number}"></p>"""


class Callouts(SphinxPostTransform):
    """Mark predictions, traps, limits and the summary, so that the style sheet can tell them."""

    default_priority = 40
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Walk the page's quotations and sections."""
        known = phrases(self.config.language)
        number = 0
        for quote in list(self.document.findall(nodes.block_quote)):
            kind = kind_of(quote, known)
            if kind:
                box = nodes.container("", *quote.children, classes=["vglab-callout", kind])
                if kind == "predict":
                    number += 1
                    form = GUESS.format(id=f"guess-{number}", label=known.guess, number=number)
                    box += nodes.raw("", form, format="html")
                quote.replace_self(box)
        for section, classes in marked(self.document, known):
            section["classes"] += classes


def label(paragraph: nodes.Node | None) -> str:
    """Return the bold words that a paragraph begins with, if it does."""
    children = paragraph.children if isinstance(paragraph, nodes.paragraph) else ()
    first = next((child for child in children if child.astext()), None)
    return str(first.astext()) if isinstance(first, nodes.strong) else ""


def kind_of(quote: nodes.block_quote, known: Phrases) -> str:
    """Tell what kind of callout a quotation is; it is empty for any other."""
    words = label(quote.next_node(nodes.paragraph))
    for kind, pattern in (("predict", known.predict), ("trap", known.trap)):
        if words and pattern.fullmatch(words):
            return kind
    return ""


def marked(document: nodes.document, known: Phrases) -> Iterator[tuple[nodes.section, list[str]]]:
    """Yield the sections that the style sheet and the scripts know by their class."""
    for section in document.findall(nodes.section):
        heading = section[0].astext() if section.children else ""
        if known.limits.fullmatch(heading):
            yield section, ["vglab-callout", "limits"]
        elif known.summary.fullmatch(heading):
            yield section, ["vglab-summary"]
        elif known.check.fullmatch(heading):
            yield section, ["vglab-check-yourself"]
