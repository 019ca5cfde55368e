"""The book as one PDF: some pages of the built website, printed and read again."""

import io
import re
import shutil
import unicodedata
from pathlib import Path

import pdf
import pdf_pages
import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader, PdfWriter

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
CHAPTER, OTHER = "book/gradients/why_gradients_vanish", "book/notation"


def text_of(html):
    return " ".join(BeautifulSoup(html, "html.parser").get_text(" ").split())


# The document, from pages made for the test.

PAGE = """<html><head><link rel="stylesheet" href="../_static/a.css?v=1">
<script src="../_static/other.js"></script></head><body><nav>aside</nav>
<article class="bd-article"><section id="one">
<h1>One &amp; all<a class="headerlink" href="#one">#</a></h1><p id="p">See
<a href="two.html#there">there</a>, <a href="two.html">two</a>,
<a href="#p">here</a>, <a href="../slides/one.html">slides</a> and
<a href="https://example.org/">a site</a>. <img src="../_images/a.png" alt="A picture."></p>
<svg><defs><path id="m"></path></defs><use xlink:href="#m"></use><g style="clip-path: url(#m)"></g>
</svg><h2>Exercises</h2><h3>Exercise 1</h3><details><summary>Hint</summary><p>Look.</p></details>
<h2>Check yourself</h2><p><strong>Question 1.</strong> Which?</p>
<details><summary>3</summary><p>Right.</p></details>
<details><summary>4</summary><p>No.</p></details>
<h2>Solutions</h2><details class="hide above-input"><summary>Show</summary><pre>code</pre></details>
</section></article></body></html>"""
TWO = PAGE.replace("One &amp; all", "Two").replace("#p", "#there").split("<svg>")[0]
TWO += "</section></article></body></html>"
TWO = TWO.replace('id="p"', 'id="there"')


@pytest.fixture
def small(tmp_path):
    (tmp_path / "_config.yml").write_text(
        'title: "A \\"book\\""\nauthor: N. N.\nrepository: {url: https://example.org/x}\n'
    )
    (tmp_path / "_toc.yml").write_text(
        "root: book/index\nparts:\n  - caption: First\n    chapters:\n      - file: book/one\n"
        "      - file: book/two\n"
    )
    for name, page in {"index": TWO, "one": PAGE, "two": TWO}.items():
        (tmp_path / "book").mkdir(exist_ok=True)
        (tmp_path / "book" / f"{name}.html").write_text(page)
    return tmp_path


@pytest.fixture
def document(small):
    book = pdf_pages.read_book(small, ["book/one", "book/two"])
    return BeautifulSoup(pdf_pages.assemble(book, small), "html.parser")


def test_links_lead_within_the_document_or_out_of_it(document):
    first = document.find("p", id="c01-p")
    where = {a.get_text(): a.get("href") for a in first.find_all("a")}
    assert where == {"there": "#c02-there", "two": "#c02", "here": "#c01-p", "slides": None,
                     "a site": "https://example.org/"}  # fmt: skip
    ids = [tag["id"] for tag in document.find_all(id=True)]
    assert len(ids) == len(set(ids))
    inner = [a["href"][1:] for a in document.select('a[href^="#"]')]
    assert set(inner) <= {*ids}
    assert document.find("use")["xlink:href"] == "#c01-m"
    assert "url(#c01-m)" in document.find("g")["style"]
    assert document.find("img")["src"] == "/_images/a.png"


def test_a_document_has_its_pages_in_order_and_nothing_of_the_site_around_them(document):
    assert [h.get_text().split("#")[0].strip() for h in document.find_all(["h1", "h2"])][:5] == [
        'A "book"', "Contents", "First", "One & all", "Two",
    ]  # fmt: skip
    contents = [text_of(str(line)) for line in document.select("nav li")]
    assert contents == ["First 000", "One & all 000", "Two 000", "Hints and answers 000"]
    assert "aside" not in document.body.get_text()
    assert [link["href"] for link in document.find_all("link")] == ["/_static/a.css"]
    assert document.find_all("script") == []


def test_hints_and_answers_stand_at_the_end_and_solutions_where_they_were(document):
    assert document.find("details") is None
    end = document.find(id="folded").find_parent("section")
    hint, answers = end.select(".folded")
    assert text_of(str(hint)) == "Exercise 1 Hint Look."
    assert text_of(str(answers)) == "Question 1 3 Right. 4 No."
    places = [a["href"] for a in document.select(".stub a")]
    assert places == [f"#{hint['id']}", f"#{answers['id']}"]
    assert [li.get_text() for li in document.select(".options li")] == ["3", "4"]
    chapter = document.find(id="c01")
    assert "code" in chapter.get_text() and "Look." not in chapter.get_text()


def test_an_unknown_page_is_named(small):
    with pytest.raises(ValueError, match=r"not in _toc\.yml: book/three"):
        pdf_pages.read_book(small, ["book/three"])


def test_without_a_site_it_says_what_to_do(small):
    with pytest.raises(pdf.PdfError, match="make book"):
        pdf.make(small, small / "nowhere")


def test_a_published_file_is_linked_from_the_front_page_once(small):
    blank = PdfWriter()
    blank.add_blank_page(10, 10)
    blank.write(content := io.BytesIO())
    for _ in range(2):
        pdf.publish(content.getvalue(), small, "book/index")
    page = BeautifulSoup((small / "book" / "index.html").read_text("utf-8"), "html.parser")
    (link,) = page.select("article .vglab-pdf a")
    assert (small / "book" / link["href"]).resolve().read_bytes() == content.getvalue()
    assert "1 pages" in link.parent.get_text()


# The file, from the built website.


@pytest.fixture(scope="module")
def printed():
    pytest.importorskip("playwright.sync_api")
    if not (SITE / "index.html").exists():
        pytest.skip("the website is not built: run `make book`")
    if not any(map(shutil.which, pdf.BROWSERS)):
        pytest.skip("no Chromium is installed on this machine")
    return pdf.make(ROOT, SITE, [CHAPTER, OTHER])


@pytest.fixture(scope="module")
def reader(printed):
    return PdfReader(io.BytesIO(printed))


@pytest.fixture(scope="module")
def texts(reader):
    return [" ".join(page.extract_text().split()) for page in reader.pages]


def bookmarks(reader, items=None, depth=0):
    for item in reader.outline if items is None else items:
        if isinstance(item, list):
            yield from bookmarks(reader, item, depth + 1)
        else:
            yield depth, item.title, reader.get_destination_page_number(item)


def letters(text):
    """Without spaces and marks, and with ligatures taken apart."""
    return re.sub(r"\W", "", unicodedata.normalize("NFKC", text))


def test_the_text_can_be_read_and_searched(texts):
    article = BeautifulSoup((SITE / f"{CHAPTER}.html").read_text("utf-8"), "html.parser").article
    words = letters(" ".join(texts))
    paragraphs = [
        p.get_text() for p in article.select("section > p") if not p.select(".math, a, button")
    ]
    assert len(paragraphs) > 10
    missing = [p for p in paragraphs if letters(p) not in words]
    # A page may end within a paragraph, and then its running lines stand between.
    assert len(missing) < 0.15 * len(paragraphs)


def test_bookmarks_are_the_headings_of_parts_chapters_and_sections(reader, texts):
    found = list(bookmarks(reader))
    titles = [title for _, title, _ in found]
    article = BeautifulSoup((SITE / f"{CHAPTER}.html").read_text("utf-8"), "html.parser").article
    for link in article.select("a.headerlink"):
        link.decompose()
    sections = [pdf_pages.words_of(h) for h in article.find_all(["h1", "h2", "h3"])]
    first = titles.index(sections[0])
    assert titles[:first] == ["Vanishing Gradients Lab", "Contents", "Gradients"]
    assert titles[first : first + len(sections)] == sections
    depths = {title: depth for depth, title, _ in found}
    assert depths["Gradients"] == 0 and depths[sections[0]] == 1 and depths[sections[1]] == 2
    for _, title, page in found:
        assert letters(title)[:25] in letters(texts[page] + texts[min(page + 1, len(texts) - 1)])


def test_the_contents_name_the_pages(reader, texts):
    pages = {title: page + 1 for _, title, page in reversed([*bookmarks(reader)])}  # the first
    for title in ("Why gradients vanish", "Notation", "Hints and answers"):
        assert re.search(rf"{title} {pages[title]}\b", texts[1])
        lines = rf"{title} Vanishing Gradients Lab {pages[title]} "  # above and below the page
        assert texts[pages[title] - 1].startswith(lines)


def test_links_work_within_the_file_and_out_of_it(reader):
    inner, outer = set(), set()
    names = reader.named_destinations
    for page in reader.pages:
        for annotation in page.get("/Annots", []):
            link = annotation.get_object()
            if "/A" in link and "/URI" in link["/A"]:
                outer.add(link["/A"]["/URI"])
            elif "/Dest" in link:
                inner.add(link["/Dest"])
    assert len(inner) > 10 and all(name in names for name in inner)
    assert all(url.startswith("https://") for url in outer) and len(outer) > 3


def test_every_font_is_in_the_file(reader):
    fonts = {}
    for page in reader.pages:
        for font in page["/Resources"].get("/Font", {}).values():
            font = font.get_object()
            if font["/Subtype"] != "/Type3":  # those are drawn by the file itself
                below = font["/DescendantFonts"][0].get_object()
                fonts[font["/BaseFont"]] = below["/FontDescriptor"].get_object()
    assert fonts
    for name, description in fonts.items():
        assert {"/FontFile", "/FontFile2", "/FontFile3"} & {*description}, name


def test_the_file_says_what_it_is_and_is_tagged(reader, printed):
    root = reader.root_object
    assert reader.metadata.title == "Vanishing Gradients Lab"
    assert reader.metadata.author == "The Vanishing Gradients Lab authors"
    assert root["/Lang"] == "en" and root["/MarkInfo"]["/Marked"]
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    kinds, alternatives = set(), []

    def walk(node, depth=0):
        node = node.get_object() if hasattr(node, "get_object") else node
        for child in node if isinstance(node, list) else []:
            walk(child, depth + 1)
        if isinstance(node, dict):
            kinds.add(node.get("/S"))
            alternatives.append(node.get("/Alt"))
            if "/K" in node:
                walk(node["/K"], depth + 1)

    walk(root["/StructTreeRoot"])
    assert {"/H1", "/H2", "/P", "/Table", "/Link", "/Figure"} <= kinds
    article = BeautifulSoup((SITE / f"{CHAPTER}.html").read_text("utf-8"), "html.parser").article
    for picture in article.select(".vglab-figure svg"):
        assert picture["aria-label"] in alternatives
    assert printed[:8] == b"%PDF-1.7" and len(printed) < 5_000_000


GEOMETRY = """() => {
  const sheet = document.querySelector(".bd-article").getBoundingClientRect();
  const boxes = [...document.querySelectorAll(
    ".vglab-figure > svg, .bd-article :is(pre, table), .math, mjx-container, .katex-display"
  )];
  return {
    formulas: document.querySelectorAll(".math").length,
    unset: [...document.querySelectorAll(".math")]
      .filter((f) => !f.querySelector(".katex, mjx-container")).map((f) => f.outerHTML),
    figures: document.querySelectorAll(".vglab-figure > svg").length,
    high: Math.max(...boxes.filter((b) => b.tagName === "svg")
      .map((b) => b.getBoundingClientRect().height)),
    wide: boxes.filter((b) => b.getBoundingClientRect().right > sheet.right + 1)
      .map((b) => b.outerHTML.slice(0, 120)),
    theme: document.documentElement.dataset.theme,
  };
}"""


def test_figures_and_formulas_are_whole(printed):
    """In the browser, at the width of the paper: nothing reaches beyond it, nothing is unset."""
    from playwright.sync_api import sync_playwright

    document = pdf_pages.assemble(pdf_pages.read_book(ROOT, [CHAPTER, OTHER]), SITE)
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=pdf.find_browser())
        width = round((210 - 40) / 25.4 * 96)  # A4 without its margins, in CSS's pixels
        tab = browser.new_page(viewport={"width": width, "height": 950})
        tab.emulate_media(media="print")
        tab.route("**/*", lambda route: pdf.answer(route, SITE, document))
        tab.goto(pdf.ADDRESS)
        tab.evaluate(pdf.READY)
        seen = tab.evaluate(GEOMETRY)
        browser.close()
    assert seen["formulas"] > 20 and seen["figures"] >= 3
    assert (seen["unset"], seen["wide"], seen["theme"]) == ([], [], "light")
    assert seen["high"] < (297 - 44) / 25.4 * 96  # a figure fits on a page, and is not broken


def test_a_page_prints_from_the_browser_without_the_site_around_it_and_in_light_colours(printed):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=pdf.find_browser())
        tab = browser.new_page(color_scheme="dark")
        tab.route("**/*", lambda route: pdf.answer(route, SITE, ""))
        tab.goto(f"{pdf.ADDRESS}{CHAPTER}.html", wait_until="load")
        tab.evaluate(pdf.READY)
        tab.evaluate("""() => addEventListener("beforeprint", () => {
          window.printed = document.documentElement.dataset.theme;
        })""")
        assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
        reader = PdfReader(io.BytesIO(tab.pdf()))
        assert tab.evaluate("window.printed") == "light"
        assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
        around = tab.evaluate("""() => [...document.querySelectorAll(
          ".bd-sidebar-primary .nav-link, .bd-sidebar-primary a, .prev-next-area a"
        )].map((link) => link.textContent.trim())""")
        browser.close()
    pages = [" ".join(page.extract_text().split()) for page in reader.pages]
    assert "Capstone" in around and not any("Capstone" in page for page in pages)
    assert [page.split()[0] for page in pages] == [str(n) for n in range(1, len(pages) + 1)]
    page = BeautifulSoup((SITE / f"{CHAPTER}.html").read_text("utf-8"), "html.parser")
    sources = [a["href"] for a in page.select("#sources a.external")]
    words = "".join(pages).replace(" ", "")
    assert sources and all(f"({url})" in words for url in sources)
    elsewhere = [a["href"] for a in page.select("section:not(#sources) > p a.external")]
    assert not any(f"({url})" in words for url in {*elsewhere} - {*sources})
