"""Links from a chapter's prose to the glossary: a term, where it is first used.

Terms and their definitions come from the glossary as Sphinx read it. A term is linked only in the
words that stand for it: its name, with a plural, or what `SAID` lists for it.
"""

import posixpath
import re
from collections.abc import Iterator
from re import Pattern
from typing import Any

from docutils import nodes
from phrases import Phrases, phrases
from sphinx.addnodes import glossary
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

# Terms whose name has other uses, or whose other forms mean the same: what counts as a mention.
SAID = {
    "activation": ["activation function", "activation functions"],
    "Adam": ["Adam"],
    "background": ["background rows", "background of rows"],
    "baseline": [],
    "batch norm": ["batch norm", "batch normalisation"],
    "clipping": ["clipping", "gradient clipping"],
    "coalition": ["coalition", "coalitions"],
    "completeness": ["completeness"],
    "critical": ["critical weights", "critical size"],
    "dead unit": ["dead unit", "dead units"],
    "deletion": ["deletion area", "deletion and insertion"],
    "fidelity": ["fidelity"],
    "gate": ["forget gate", "gates"],
    "He's weights": ["He’s weights", "He's weights", "He weights"],
    "initialisation": [],
    "interaction": ["interaction", "interactions"],
    "layer norm": ["layer norm", "layer normalisation"],
    "loss": ["loss"],
    "Hessian": ["Hessian", "Hessians"],
    "LIME": ["LIME"],
    "LSTM": ["LSTM", "LSTMs"],
    "momentum": ["momentum"],
    "naive Bayes": ["naive Bayes"],
    "ReLU": ["ReLU", "ReLUs"],
    "saturated": ["saturated", "saturate", "saturates"],
    "SELU": ["SELU"],
    "SHAP": ["SHAP", "SHAP values"],
    "Xavier": ["Xavier", "Xavier’s weights"],
    "vanishing gradient": ["vanishing gradient", "vanishing gradients", "gradients vanish"],
    "exploding gradient": ["exploding gradient", "exploding gradients", "gradients explode"],
}
NOT_BEFORE = {"loss": "of"}  # "a loss of width"
CJK = re.compile(r"[\u3400-\u9fff][\u3400-\u9fff\w-]*")
Left = list[tuple[Pattern[str], str]]  # what is still to be linked, and to where
Link = tuple[int, int, str]  # from where to where in a text, to which address
APART = (nodes.title, nodes.caption, nodes.legend, nodes.table, nodes.literal_block)


def chosen_names(term: str) -> list[str]:
    """Return a term's names: what stands before the bracket, and any Chinese within it."""
    name, _, bracket = term.partition(" (")
    return [name, *CJK.findall(bracket)]


def spoken(term: str, known: Phrases) -> Pattern[str] | None:
    """Return the pattern of a term's mentions; None for one that is never linked."""
    first, *others = chosen_names(term)
    forms = [form(words) for words in SAID.get(first, ())]
    if first not in SAID:
        forms = [form(first) + known.endings]
    if first in NOT_BEFORE:
        forms = [rf"{one}(?!\s+{NOT_BEFORE[first]}\b)" for one in forms]
    return either(forms + [form(name) for name in others])


def form(words: str) -> str:
    """Return a regular expression for words that may be broken or begin a sentence."""
    start = f"[{words[0]}{words[0].upper()}]" if words[0].islower() else re.escape(words[0])
    return start + r"\s+".join(map(re.escape, words[1:].split(" ")))


def either(forms: list[str]) -> Pattern[str] | None:
    """Join alternatives, the longest first; Latin words must stand alone."""
    if not forms:
        return None
    joined = "|".join(sorted(forms, key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z0-9-])(?:{joined})(?![A-Za-z0-9-])")


def entries(env: BuildEnvironment) -> dict[str, str]:
    """Return the glossary's terms, each with the id of its entry."""
    return {
        term.astext(): term["ids"][0]
        for name in glossaries(env)
        for box in env.get_doctree(name).findall(glossary)
        for term in box.findall(nodes.term)
    }


def glossaries(env: BuildEnvironment) -> list[str]:
    """Return the pages that hold a glossary."""
    found = env.get_domain("std").get_objects()
    return sorted({name for _, _, kind, name, _, _ in found if kind == "term"})


def prose(document: nodes.document, known: Phrases) -> Iterator[nodes.paragraph]:
    """Yield the paragraphs that a page says itself: no headings, options, sources or solutions."""
    for paragraph in document.findall(nodes.paragraph):
        above = list(ancestors(paragraph))
        headings = [box[0].astext() for box in above if isinstance(box, nodes.section)]
        within = any(isinstance(box, APART) for box in above)
        if not within and not any(known.apart.fullmatch(heading) for heading in headings):
            yield paragraph


def ancestors(node: nodes.Node) -> Iterator[nodes.Element]:
    """Yield what a node stands in, from the inside."""
    while node.parent is not None:
        node = node.parent
        yield node


class Terms(SphinxPostTransform):
    """Link each term's first mention in a chapter, at most one in a sentence."""

    default_priority = 60
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Walk the page's prose."""
        if not self.env.doc2path(self.env.docname).endswith(".ipynb"):
            return
        known = phrases(self.config.language)
        pages = glossaries(self.env)
        if not pages:
            return
        to = self.env.app.builder.get_relative_uri(self.env.docname, pages[0])
        left = [
            (pattern, f"{to}#{anchor}")
            for term, anchor in entries(self.env).items()
            if (pattern := spoken(term, known))
        ]
        for paragraph in prose(self.document, known):
            link_mentions(paragraph, left, known)


def link_mentions(paragraph: nodes.paragraph, left: Left, known: Phrases) -> None:
    """Link what a paragraph mentions of the terms that are left, and take those from the list."""
    text = paragraph.astext()
    ends = [match.end() for match in known.sentence.finditer(text)]
    taken: set[int] = set()  # sentences that hold a link
    position = 0
    for child in list(paragraph.children):
        length = len(child.astext())
        if isinstance(child, nodes.reference):
            taken.add(sum(end <= position for end in ends))
        elif isinstance(child, nodes.Text):
            link_in_text(child, position, ends, taken, left)
        position += length


def link_in_text(
    child: nodes.Text, position: int, ends: list[int], taken: set[int], left: Left
) -> None:
    """Link what a text mentions first of each term, in a sentence that has no link yet."""
    found = sorted(
        (match.start(), -match.end(), number)
        for number, (pattern, _) in enumerate(left)
        for match in pattern.finditer(child)
    )
    links: list[Link] = []
    used: set[int] = set()
    for start, minus_end, number in found:
        sentence = sum(end <= position + start for end in ends)
        if sentence not in taken and number not in used:
            taken.add(sentence)
            used.add(number)
            links.append((start, -minus_end, left[number][1]))
    replace(child, links)
    for number in sorted(used, reverse=True):
        del left[number]


def replace(child: nodes.Text, links: list[Link]) -> None:
    """Replace a text by itself with links."""
    text, cut = child.astext(), 0
    parts: list[nodes.Node] = []
    for start, end, address in links:
        link = nodes.reference("", text[start:end], refuri=address, internal=True)
        link["classes"].append("vglab-term")
        parts += [nodes.Text(text[cut:start]), link]
        cut = end
    if parts:
        child.parent.replace(child, [*parts, nodes.Text(text[cut:])])


def definitions(app: Any, used: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the anchors that a page links to, each with its definition as HTML, without links."""
    cached = getattr(app, "vglab_definitions", None)
    if cached is None:
        cached = app.vglab_definitions = dict(rendered(app))
    return ((anchor, cached[anchor]) for anchor in used if anchor in cached)


def rendered(app: Any) -> Iterator[tuple[str, str]]:
    """Yield each entry of the glossary: its anchor, and name and definition as HTML."""
    for name in glossaries(app.env):
        document = app.env.get_and_resolve_doctree(name, app.builder)
        for item in document.findall(nodes.definition_list_item):
            term = item.next_node(nodes.term)
            meaning = item.next_node(nodes.definition)
            if term is None or meaning is None or not term["ids"]:
                continue
            body = meaning.next_node(nodes.paragraph).deepcopy()
            for link in list(body.findall(nodes.reference)):
                link.parent.remove(link)
            html = app.builder.render_partial(body)["fragment"].strip()
            yield term["ids"][0], re.sub(r"^<p>|\s*</p>$", "", html)


def anchors_on(document: nodes.document | None) -> list[str]:
    """Return the anchors of the terms that a page links to."""
    links = document.findall(nodes.reference) if document is not None else ()
    return [
        posixpath.basename(link["refuri"]).split("#")[1]
        for link in links
        if "vglab-term" in link["classes"]
    ]
