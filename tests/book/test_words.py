"""The glossary and the notation page say nothing that no chapter uses."""

import re

import pytest
import yaml
from measured import files
from throwaway import ROOT

BOOK = ROOT / "book"
LINK = re.compile(r"\]\((?P<chapter>[\w/]+)\.ipynb\)")


def twin(chapter):
    return (BOOK / "_source" / f"{chapter}.md").read_text(encoding="utf-8")


def entries(text):
    """Each term of the glossaries in a page, and the chapters that its definition links to."""
    for block in re.findall(r"```\{glossary\}\n(.*?)```", text, re.S):
        for entry in block.strip().split("\n\n"):
            term, definition = entry.split("\n", 1)
            yield term, LINK.findall(definition)


def uses(text, term):
    """Does a text use a term, or its plural, in any case and over the end of a line?"""
    words = re.escape(term).replace(r"\ ", r"\s+")
    return re.search(rf"(?<!\w){words}(s|es)?(?!\w)", text, re.I) is not None


GLOSSARY = dict(entries((BOOK / "glossary.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("term", GLOSSARY)
def test_a_term_is_used_by_the_chapter_that_it_links_to(term):
    (chapter,) = GLOSSARY[term]
    english = re.sub(r"\s*\(.*\)$", "", term)
    assert uses(twin(chapter), english), f"{chapter} does not say {english!r}"


def test_the_terms_of_each_part_are_in_the_order_of_the_alphabet():
    page = (BOOK / "glossary.md").read_text(encoding="utf-8")
    for part in page.split("\n## ")[1:]:
        names = [term.lower() for term, _ in entries(part)]
        assert names == sorted(names)


def test_what_counts_as_a_use():
    assert uses("Two Dead\nunits.", "dead unit") and uses("classes", "class")
    assert not uses("undead units", "dead unit") and not uses("a gatekeeper", "gate")


def formulas(text):
    """The TeX of a page, or of a twin without its code and its sources."""
    text = re.sub(r"```\{code-cell\}.*?```", "", text.split("\n## Sources")[0], flags=re.S)
    return [a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", text, re.S)]


def holds(formula, symbol):
    """Does a formula use a symbol by itself, not as a piece of another command or word?"""
    before = r"(?<![A-Za-z])" if symbol.startswith("\\") else r"(?<![\\A-Za-z{])"
    return re.search(rf"{before}{re.escape(symbol)}(?![A-Za-z])", formula) is not None


def rows(text):
    """Each symbol of a page's tables, and the chapter that its row links to."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| $"):
            assert len(cells) == 3, line
            yield from ((symbol, *LINK.findall(cells[2])) for symbol in formulas(cells[0]))


NOTATION = list(rows((BOOK / "notation.md").read_text(encoding="utf-8")))
ORDER = [
    name.removeprefix("book/")
    for name in files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
    if (BOOK / "_source" / f"{name.removeprefix('book/')}.md").exists()
]


@pytest.mark.parametrize(("symbol", "chapter"), NOTATION)
def test_a_symbol_is_used_by_the_chapter_that_it_links_to(symbol, chapter):
    assert any(holds(formula, symbol) for formula in formulas(twin(chapter)))


TWICE = re.findall(r"^- \$([^$]+)\$", (BOOK / "notation.md").read_text(encoding="utf-8"), re.M)
ONCE = [(s, c) for s, c in NOTATION if s not in TWICE and [t for t, _ in NOTATION].count(s) == 1]


@pytest.mark.parametrize(("symbol", "chapter"), ONCE)
def test_a_symbol_with_an_earlier_meaning_is_listed_as_such(symbol, chapter):
    first = next(c for c in ORDER if any(holds(f, symbol) for f in formulas(twin(c))))
    assert first == chapter


def test_what_counts_as_a_symbol():
    assert holds(r"\sigma_w^2/n", r"\sigma_w") and holds("W_l h_{l-1}", "W_l")
    assert not holds(r"\sigma_{wide}", r"\sigma_w") and not holds(r"\theta", "h")
    assert not holds(r"\max(0, x)", "m") and holds("h_l", "h_l")
