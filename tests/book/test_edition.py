"""The book in another language: its source, its anchors, and the built pages beside the English."""

import functools
import re
import shutil
import subprocess
import sys

import edition
import languages
import pytest
import yaml
from babel.messages.pofile import read_po, write_po
from bs4 import BeautifulSoup
from docutils import nodes
from docutils.utils import new_document
from sphinx.locale import get_translation
from test_site import served  # noqa: F401 (fixtures)
from throwaway import NAME, ROOT, TWIN, notebooks, twins

import catalogues  # isort: skip
import translate  # isort: skip

SITE = ROOT / "_build" / "html"
PAGES = edition.translated_pages(ROOT, "zh")
CHAPTERS = [name for name in PAGES if (ROOT / f"{name}.ipynb").exists()]
built = pytest.mark.skipif(
    not (SITE / "zh" / "index.html").exists(), reason="the edition is not built: run `make book`"
)
TOC = """\
format: jb-book
root: book/index
parts:
  - caption: Gradients
    chapters:
      - file: book/part/chapter
      - file: book/other
"""
INDEX = """\
# Welcome

Read [a chapter](part/chapter.ipynb), [its measure](part/chapter.ipynb#how-it-falls), or
[another page](other.md#some-place).

::::{grid} 1 1 2 2
:::{grid-item-card} Another
:link: other
:link-type: doc
It is not translated.
:::
:::{grid-item-card} A chapter
:link: part/chapter
:link-type: doc
It is translated.
:::
::::
"""
PROSE = "\n## How it falls\n\nText with $x$."


def pseudo(text):
    """A text in no language, which has all that a translation must keep."""
    kept = re.split(r"(\]\([^)]*\)|`[^`]*`|\$[^$]*\$|<[^>]*>|\*+|\d+|[^\w\s]+)", text)
    return "".join(
        part if odd % 2 else re.sub(r"[A-Za-z]+", "译", part) for odd, part in enumerate(kept)
    )


@pytest.fixture(scope="session")
def book_with_prose(tmp_path_factory):
    """A book of three pages, two of them translated."""
    root = tmp_path_factory.mktemp("edition")
    shutil.copy(ROOT / "_config.yml", root)
    twins.write(root / "book" / "_source" / f"{NAME}.md", TWIN.replace("\nText with $x$.", PROSE))
    for name in ("_tools", "_static"):
        shutil.copytree(ROOT / "book" / name, root / "book" / name)
    (root / "book" / "_static" / "cover.svg").unlink()
    assert notebooks.build(root) == []
    (root / "_toc.yml").write_text(TOC)
    (root / "book" / "references.bib").touch()
    (root / "book" / "index.md").write_text(INDEX)
    (root / "book" / "other.md").write_text("# Another page\n\n## Some place\n\nHere.\n")
    twins.write(catalogues.path_of(root, "zh", "terms"), 'msgid "expected"\nmsgstr "预期"\n')
    translate.update(root, "zh", ["index", NAME, "site"])
    for page in ("index", NAME, "site"):
        path = catalogues.path_of(root, "zh", page)
        with path.open("rb") as file:
            catalogue = read_po(file)
        for message in catalogue:
            if message.id:
                message.string = message.string or pseudo(message.id)
        with path.open("wb") as file:
            write_po(file, catalogue)
    return root


def test_the_source_holds_what_is_translated_and_leads_elsewhere_for_the_rest(book_with_prose):
    home = edition.write_source(book_with_prose, "zh")
    index = (home / "book" / "index.md").read_text(encoding="utf-8")
    assert "](part/chapter.ipynb#how-it-falls)" in index
    assert "](english://book/other.html#some-place)" in index
    assert ":link: english://book/other.html\n:link-type: url\n" in index
    assert ":link: part/chapter\n:link-type: doc\n" in index
    assert "<!-- anchor: welcome -->" in index
    assert not (home / "book" / "other.md").exists()
    toc = yaml.safe_load((home / "_toc.yml").read_text(encoding="utf-8"))
    assert toc["parts"][0] == {
        "caption": "译",
        "chapters": [
            {"file": "book/part/chapter"},
            {"url": "english://book/other.html", "title": "译 译"},
        ],
    }
    config = yaml.safe_load((home / "_config.yml").read_text(encoding="utf-8"))
    assert config["title"] == "译 译 译"
    assert config["sphinx"]["config"]["language"] == "zh_CN"
    strings = config["sphinx"]["config"]["vglab_edition"]["strings"]
    assert strings["Choose an answer first."] == "译 译 译 译."
    assert "✓ yes" not in strings  # no script says it


def test_an_edition_needs_a_front_page(book_with_prose, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(book_with_prose, root, ignore=shutil.ignore_patterns("_build"))
    catalogues.path_of(root, "zh", "index").unlink()
    with pytest.raises(twins.BookError, match="the front page has no catalogue"):
        edition.write_source(root, "zh")
    assert edition.languages(tmp_path) == []


def test_a_throw_away_book_is_built_in_both_languages(book_with_prose):
    root = book_with_prose
    code = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "build", ".", "--all", "-W", "-n", "--keep-going"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert edition.build(root, "zh") == 0
    html = root / "_build" / "html"
    pages = {
        (tag, name): BeautifulSoup(
            (html / tag / "book" / f"{name}.html").read_text(), "html.parser"
        )
        for tag, name in (("", "index"), ("zh", "index"), ("", NAME), ("zh", NAME), ("", "other"))
    }
    for (tag, name), page in pages.items():
        assert page.html["lang"] == ("zh-CN" if tag else "en")
        switch = page.select(".vglab-language")
        assert [one["hreflang"] for one in switch] == (
            [] if name == "other" else ["en" if tag else "zh-CN"]
        )
        for link in page.find_all("a", href=True):
            address = link["href"].partition("#")[0]
            if address and "://" not in address and not address.startswith("mailto"):
                path = (html / tag / "book" / f"{name}.html").parent / address
                assert path.exists(), f"{tag} {name}: {address}"
    english, other = pages["", NAME], pages["zh", NAME]
    assert ids(other) == ids(english)
    assert "how-it-falls" in ids(other)
    assert other.select_one("#vglab-strings")
    assert not english.select_one("#vglab-strings")
    following = other.select_one("a.right-next")
    assert following["href"] == "../../../book/other.html" and following["hreflang"] == "en"
    sidebar = pages["zh", "index"].select_one('.bd-links a[hreflang="en"]')
    assert sidebar["href"] == "../../book/other.html" and sidebar.get_text(strip=True) == "译 译"
    card = pages["zh", "index"].select_one('.sd-card a[hreflang="en"]')
    assert card["href"] == "../../book/other.html"
    assert other.select_one(".vglab-claim-expected small").get_text() == "预期"


def ids(page):
    """The anchors of a page's sections and claims."""
    return [tag["id"] for tag in page.select("article section[id], article .vglab-claim[id]")]


def test_an_anchor_renames_the_section_that_follows_it():
    document = new_document("a page")
    outer = nodes.section(ids=["id1"], names=["一"])
    inner = nodes.section(ids=["id2"], names=["二"])
    document += outer
    outer += nodes.raw("", "<!-- anchor: two -->", format="html")
    outer += nodes.paragraph()
    outer += inner
    document.ids = {"id1": outer, "id2": inner}
    document.nameids = {"一": "id1", "二": "id2"}
    document.myst_slugs = {"二": (3, "id2", "二")}
    languages.EnglishAnchors(document).apply()
    assert (outer["ids"], inner["ids"]) == (["id1"], ["two"])
    assert document.ids == {"id1": outer, "two": inner}
    assert document.nameids == {"一": "id1", "二": "two"}
    assert document.myst_slugs == {"二": (3, "two", "二"), "two": (3, "two", "二")}
    assert not list(document.findall(nodes.raw))


def test_chinese_on_an_english_page_is_marked():
    parts = list(languages.marked("weight (权重) and 梯度"))
    assert [part.astext() for part in parts] == ["weight (", "权重", ") and ", "梯度"]
    assert [part["classes"] for part in parts[1::2]] == [["language-zh-CN"]] * 2


def test_every_word_of_the_theme_is_translated():
    ways = translate.ways_of(ROOT, "zh", "site")
    for english in map(str, edition.SAID_BY_THEME):
        assert edition.CHROME.search(f'<a title="{english}">')[2] == english
        assert ways[english] != english


def test_the_words_of_our_tools_are_english_without_a_catalogue():
    assert str(get_translation("vglab")("Finding")) == "Finding"


# The built edition, beside the English pages.


@functools.cache
def page(name, language=""):
    path = SITE / language / f"{name}.html"
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@built
@pytest.mark.parametrize("name", PAGES)
def test_an_edition_has_the_same_anchors_figures_code_and_questions(name):
    english, other = page(name), page(name, "zh")
    assert ids(other) == ids(english)
    for what in (".vglab-figure", "div.cell_input", "article table", "details", "[data-play]"):
        assert len(other.select(what)) == len(english.select(what)), what
    code = ".cell_input .highlight"
    assert [c.get_text() for c in other.select(code)] == [
        c.get_text() for c in english.select(code)
    ]
    for what in ("predict", "trap", "limits"):
        kind = f".vglab-callout.{what}"
        assert len(other.select(kind)) == len(english.select(kind)), what


NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@built
@pytest.mark.parametrize("name", CHAPTERS)
def test_an_edition_states_the_same_findings(name):
    def findings(language):
        for claim in page(name, language).select(".vglab-claim"):
            parts = [claim.select_one(f".vglab-claim-{part}") for part in ("expected", "measured")]
            told = [sorted(NUMBER.findall(part.get_text())) for part in parts]
            yield claim["id"], told, claim.select_one(".vglab-claim-mark").get_text(strip=True)

    assert list(findings("zh")) == list(findings(""))
    assert list(findings(""))


ENGLISH_SENTENCE = re.compile(r"(?:\b[a-z]{2,}\b[ ,]+){4,}")


@built
@pytest.mark.parametrize("name", PAGES)
def test_no_english_sentence_is_left(name):
    copy = BeautifulSoup(str(page(name, "zh")), "html.parser")
    for foreign in copy.select("[lang=en], pre, code, script, style, .math"):
        foreign.decompose()
    texts = [text for text in copy.stripped_strings if ENGLISH_SENTENCE.search(text)]
    texts += [
        tag[attribute]
        for attribute in ("alt", "title", "aria-label", "placeholder")
        for tag in copy.find_all(attrs={attribute: ENGLISH_SENTENCE})
    ]
    assert texts == []


@built
@pytest.mark.parametrize("name", PAGES)
def test_links_of_an_edition_lead_somewhere(name):
    home = (SITE / "zh" / f"{name}.html").parent
    for link in page(name, "zh").find_all("a", href=True):
        address, _, anchor = link["href"].partition("#")
        if re.match(r"[a-z]+:", address):
            assert "english:" not in address
            continue
        target = (home / address).resolve() if address else SITE / "zh" / f"{name}.html"
        assert target.is_relative_to(SITE) and target.exists(), link["href"]
        outside = address and not target.is_relative_to(SITE / "zh")
        assert (link.get("hreflang") == "en") == bool(outside), link["href"]
        if anchor and target.suffix == ".html":
            assert anchor in anchors(target), link["href"]


@functools.cache
def anchors(path):
    found = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").find_all(id=True)
    return {tag["id"] for tag in found}


@built
@pytest.mark.parametrize("name", PAGES)
def test_both_editions_name_each_other(name):
    for language, tag in (("", "en"), ("zh", "zh-CN")):
        here = page(name, language)
        assert here.html["lang"] == tag
        alternates = {one["hreflang"]: one["href"] for one in here.select("link[hreflang]")}
        assert sorted(alternates) == ["en", "x-default", "zh-CN"]
        switch = here.select_one(".vglab-language")
        assert switch["hreflang"] == switch["lang"] != tag
        assert switch.get_text() in ("English", "中文")


@built
def test_pages_in_one_language_have_no_switch():
    for name in set(edition.toc_files(ROOT)) - set(PAGES):
        assert not page(name).select(".vglab-language, link[hreflang]"), name


QUERIES = {
    "梯度消失": "book/glossary",
    "学习率": "book/gradients/gradient_descent",
    "反向传播": "book/gradients/backpropagation",
    "雅可比": "book/gradients/backpropagation",
    "自动微分": "book/gradients/backpropagation",
    "条件数": "book/gradients/gradient_descent",
    "SGD": "book/gradients/gradient_descent",
    "海森": "book/glossary",
    "动量": "book/gradients/gradient_descent",
    "交叉熵": "book/gradients/gradient_descent",
}
FOUND = """() => [...document.querySelectorAll("ul.search > li > a")].map(
  (link) => new URL(link.href).pathname.slice(1).replace(".html", ""))"""


@built
def test_search_finds_chinese_terms(browser, served):  # noqa: F811
    tab = browser.new_page()
    for query, name in QUERIES.items():
        tab.goto(f"{served}zh/search.html?q={query}", wait_until="networkidle")
        tab.wait_for_selector("ul.search > li > a")
        assert f"zh/{name}" in tab.evaluate(FOUND), query
    tab.close()


@built
def test_the_switch_keeps_the_place_on_the_page(browser, served):  # noqa: F811
    tab = browser.new_page()
    tab.goto(f"{served}zh/{CHAPTERS[0]}.html#check-yourself", wait_until="networkidle")
    tab.locator(".vglab-language").click()
    assert tab.url == f"{served}{CHAPTERS[0]}.html#check-yourself"
    tab.locator(".vglab-language").click()
    assert tab.url == f"{served}zh/{CHAPTERS[0]}.html#check-yourself"
    tab.close()


@built
def test_a_question_is_asked_in_chinese(browser, served):  # noqa: F811
    tab = browser.new_page()
    tab.goto(f"{served}zh/{CHAPTERS[0]}.html", wait_until="networkidle")
    form = tab.locator(".vglab-question").first
    form.get_by_role("button", name="检查").click()
    assert form.get_by_role("status").inner_text() == "请先选一个答案。"
    verdicts = []
    for option in form.locator("input").all():
        option.check()
        form.get_by_role("button", name="检查").click()
        right = form.locator("[aria-live] .right").count()
        told = form.get_by_role("status").inner_text()
        assert told.startswith("对。") == bool(right)
        verdicts.append(right)
    assert sum(verdicts) == 1
    tab.close()
