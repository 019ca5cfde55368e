"""What the search finds by name: each term's chapter, words for the same thing, American spellings.

Sphinx ranks an index entry by its name and all other matches about alike. So each term of the
glossary becomes an entry of the chapter that its definition links to; so do the synonyms here, and
every finding. They go into the search's index only, after Sphinx wrote it.
"""

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.search.en import SearchEnglish
from terms import chosen_names, glossaries
from twins import claims, load

SYNONYMS = {
    "gradients/gradient_descent": ["edge of stability", "SGD", "step size", "backtracking"],
    "gradients/backpropagation": ["chain rule", "autograd", "backward pass"],
    "gradients/why_gradients_vanish": ["sigmoid", "deep network"],
    "gradients/signal_propagation": [
        *("chi", "χ", "mean field", "criticality", "edge of chaos", "order and chaos"),
    ],
    "gradients/vanishing_through_time": ["RNN", "GRU", "forget gate", "sequence"],
    "fixes/activations": ["sigmoid", "tanh", "dying ReLU", "dead ReLU", "leaky ReLU", "GELU"],
    "fixes/initialisation": [
        *("He initialisation", "Kaiming initialisation", "Xavier initialisation"),
        *("Glorot initialisation", "LeCun initialisation"),
    ],
    "fixes/normalisation": ["batch normalisation", "layer normalisation", "RMS normalisation"],
    "fixes/rmsprop": ["optimiser", "adaptive learning rate", "AdamW"],
    "fixes/residual_paths": ["skip connection", "residual connection", "skip path", "ResNet"],
    "interpretability/what_it_means": ["linear model", "decision tree", "explainability"],
    "interpretability/gradient_attributions": ["heat map", "attribution", "saliency map", "CAM"],
    "interpretability/can_you_trust_it": [
        *("sanity check", "randomisation test", "insertion", "infidelity", "shortcut"),
    ],
    "interpretability/when_gradients_vanish": ["shattered gradient"],
}
AMERICAN = {
    re.compile(r"is(e|ed|es|er|ers|ing|ation|ations)$"): r"iz\1",
    re.compile(r"our(s|ed|ing|hood|hoods)?$"): r"or\1",
}
ENTRY = re.compile(r"Search\.setIndex\((.*)\)\s*;?\s*", re.S)


def complete_index(app: Any, error: Exception | None) -> None:
    """Add the entries and spellings to the index that Sphinx wrote."""
    path = Path(app.outdir) / "searchindex.js"
    if error is not None or app.builder.name != "html" or not path.exists():
        return
    written = ENTRY.fullmatch(path.read_text(encoding="utf-8"))
    if written is None:
        raise ValueError("searchindex.js is not in the form that Sphinx 7 writes")
    index = json.loads(written[1])
    number = {name: i for i, name in enumerate(index["docnames"])}
    for words, page in names(app):
        for form in forms(words):
            places = index["indexentries"].setdefault(form.lower(), [])
            if page in number and [number[page], "", True] not in places:
                places.append([number[page], "", True])
    for page, anchor, statement in findings(app):
        places = index["indexentries"].setdefault(statement.lower(), [])
        places.append([number[page], anchor, True])
    spell_both_ways(index, app)
    text = json.dumps(index, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    path.write_text(f"Search.setIndex({text})", encoding="utf-8")


def names(app: Any) -> Iterator[tuple[str, str]]:
    """Yield each name and the page that it should lead to."""
    for glossary in glossaries(app.env):
        document = app.env.get_and_resolve_doctree(glossary, app.builder)
        for item in document.findall(nodes.definition_list_item):
            links = [link["refuri"] for link in item.findall(nodes.reference)]
            for term in item.findall(nodes.term):
                for link in links:
                    page = posixpath.normpath(posixpath.join(posixpath.dirname(glossary), link))
                    for name in chosen_names(term.astext()):
                        yield name, page.removesuffix(".html")
    for suffix, synonyms in SYNONYMS.items():
        for page in app.env.titles:
            if page.endswith(f"/{suffix}"):
                yield from ((synonym, page) for synonym in synonyms)


def findings(app: Any) -> Iterator[tuple[str, str, str]]:
    """Yield every finding that a page states: the page, where on it, the words."""
    for page in sorted(app.env.found_docs):
        path = Path(app.env.doc2path(page))
        if path.suffix == ".ipynb":
            for claim in claims(load(path)):
                yield page, claim["anchor"], claim["statement"].replace("$", "")


def forms(words: str) -> Iterator[str]:
    """Yield the words, their plural, and both in American spelling."""
    for form in (words, f"{words}s"):
        yield form
        if (other := american(form)) != form:
            yield other


def american(words: str) -> str:
    """Return words in American spelling, as far as it follows a rule."""
    changed = []
    for word in words.split(" "):
        for pattern, spelling in AMERICAN.items():
            word = pattern.sub(spelling, word)
        changed.append(word)
    return " ".join(changed)


def spell_both_ways(index: dict[str, Any], app: Any) -> None:
    """Let an American spelling find what the British one does."""
    stem = SearchEnglish({}).stem
    used = set()
    for page in app.env.found_docs:
        text = Path(app.env.doc2path(page)).read_text(encoding="utf-8")
        used |= set(re.findall(r"[a-z]{5,}", text.lower()))
    for word in sorted(used):
        if (other := american(word)) != word:
            for table in (index["terms"], index["titleterms"]):
                if found := table.get(stem(word)):
                    table[stem(other)] = joined(found, table.get(stem(other), []))


def joined(one: int | list[int], other: int | list[int]) -> int | list[int]:
    """Join two lists of pages as the index has them: a single one stands alone."""
    pages = {*(one if isinstance(one, list) else [one])}
    pages |= {*(other if isinstance(other, list) else [other])}
    return sorted(pages) if len(pages) > 1 else pages.pop()
