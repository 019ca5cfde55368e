"""Make one PDF of the whole book from the built website, with Chromium and without LaTeX.

    python book/_tools/pdf.py [--site _build/html] [--to _build/vglab.pdf] [--publish] [page …]

The pages of `_toc.yml`, or those named, become one document (`pdf_pages.py`), which Chromium prints
twice: the first time to learn on which page everything stands, for the table of contents, the
second time with those numbers. It loads files of the site alone and reaches no host.
"""

import argparse
import io
import mimetypes
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

import pikepdf
from pdf_pages import Book, assemble, read_book
from pypdf import PdfReader, PdfWriter
from pypdf.generic import BooleanObject, DictionaryObject, NameObject, TextStringObject

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://book.invalid/"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
MINUTES = 60_000  # in Playwright's unit

LINK = re.compile(r'<p class="vglab-pdf.*?</p>')

READY = """async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  await Promise.all([...document.images].map((image) => image.decode()));
}"""

HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(
  (heading) => {
    const copy = heading.cloneNode(true);
    copy.querySelectorAll(".katex-html, annotation").forEach((twice) => twice.remove());
    return copy.textContent.replace(/\\s+/g, " ").trim();
  }
)"""

NUMBER = """(pages) => {
  for (const place of document.querySelectorAll("[data-page-of]")) {
    place.textContent = pages[place.dataset.pageOf] ?? "";
  }
}"""


class PdfError(Exception):
    """Something a person must mend; the message says what."""


def find_browser() -> str:
    """Return the path of an installed Chromium, Chrome or Edge."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise PdfError(f"a browser is needed to print: none of {', '.join(BROWSERS)} is installed")
    return found


def answer(route: "Route", site: Path, document: str) -> None:
    """Give the browser the document and files of the site; refuse everything else."""
    url = urlsplit(route.request.url)
    if route.request.url == ADDRESS:
        route.fulfill(body=document, content_type="text/html; charset=utf-8")
        return
    path = (site / unquote(url.path).lstrip("/")).resolve()
    known = route.request.url.startswith(ADDRESS) and path.is_relative_to(site.resolve())
    if not (known and path.is_file()):
        route.abort()
        return
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    route.fulfill(body=path.read_bytes(), content_type=kind)


def print_document(site: Path, document: str, minutes: float = 10) -> tuple[bytes, list[str]]:
    """Print a document twice, with page numbers the second time; also return its headings."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=find_browser())
        try:
            tab = browser.new_page(color_scheme="light")
            tab.set_default_timeout(minutes * MINUTES)
            tab.route("**/*", lambda route: answer(route, site, document))
            tab.goto(ADDRESS, wait_until="load")
            tab.emulate_media(media="print")
            headings = tab.evaluate(HEADINGS)  # before formulas in them are set
            tab.evaluate(READY)
            tab.evaluate(NUMBER, page_numbers(paper(tab)))
            return paper(tab), headings
        finally:
            browser.close()


def paper(tab: "Page") -> bytes:
    """Print what a tab shows: tagged for screen readers, its headings as bookmarks."""
    return tab.pdf(prefer_css_page_size=True, print_background=True, tagged=True, outline=True)


def page_numbers(pdf: bytes) -> dict[str, int]:
    """Page of every place that a link leads to, counted from 1."""
    reader = PdfReader(io.BytesIO(pdf))
    numbers = {}
    for name, destination in reader.named_destinations.items():
        page = reader.get_destination_page_number(destination)
        if page is not None:
            numbers[str(name).lstrip("/")] = page + 1
    return numbers


def name_bookmarks(writer: PdfWriter, headings: list[str]) -> None:
    """Give each bookmark its heading's words: Chromium joins lines, and doubles some."""
    outline = writer.root_object["/Outlines"].get_object()
    found: list[DictionaryObject] = []

    def walk(parent: DictionaryObject) -> None:
        child = parent.get("/First")
        while child is not None:
            item = cast(DictionaryObject, child.get_object())
            found.append(item)
            walk(item)
            child = item.get("/Next")

    walk(cast(DictionaryObject, outline))
    for item, words in zip(found, headings, strict=True):
        item[NameObject("/Title")] = TextStringObject(words)


def finish(pdf: bytes, book: Book, headings: list[str]) -> bytes:
    """Say in the file what it is, in a form that readers and libraries understand."""
    writer = PdfWriter(clone_from=io.BytesIO(pdf))
    writer.pdf_header = "%PDF-1.7"
    name_bookmarks(writer, headings)
    writer.add_metadata(
        {"/Title": book.title, "/Author": book.author, "/Subject": book.subject,
         "/Creator": "book/_tools/pdf.py"}
    )  # fmt: skip
    root = writer.root_object
    root[NameObject("/Lang")] = TextStringObject(book.language)
    root[NameObject("/ViewerPreferences")] = DictionaryObject(
        {NameObject("/DisplayDocTitle"): BooleanObject(True)}
    )
    root[NameObject("/PageMode")] = NameObject("/UseOutlines")
    done = io.BytesIO()
    writer.write(done)
    return pack(done)


def pack(file: io.BytesIO) -> bytes:
    """Compress the objects too: what a screen reader is told is two thirds of the file."""
    packed = io.BytesIO()
    with pikepdf.open(file) as opened:
        opened.save(packed, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    return packed.getvalue()


def make(root: Path, site: Path, pages: list[str] | None = None) -> bytes:
    """Return the PDF of a book whose website is in `site`."""
    if not (site / "index.html").exists():
        raise PdfError(f"{site} holds no website: run `make book`")
    book = read_book(root, pages)
    pdf, headings = print_document(site, assemble(book, site))
    return finish(pdf, book, headings)


def publish(pdf: bytes, site: Path, front: str) -> None:
    """Put the file on the website, and a link to it at the end of the front page."""
    target, page = site / "vglab.pdf", site / f"{front}.html"
    target.write_bytes(pdf)
    before, end, after = LINK.sub("", page.read_text(encoding="utf-8")).rpartition("</article>")
    if not end:
        raise PdfError(f"{page} has no article")
    size = f"{len(PdfReader(io.BytesIO(pdf)).pages)} pages, {len(pdf) / 1e6:.0f} MB"
    link = f'<a href="{"../" * front.count("/")}{target.name}">The whole book as a PDF</a>'
    line = f'<p class="vglab-pdf d-print-none">{link} ({size}).</p>'
    page.write_text(f"{before}{line}{end}{after}", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--to", type=Path, default=ROOT / "_build" / "vglab.pdf")
    parser.add_argument("--publish", action="store_true", help="also put it on the website")
    parser.add_argument("pages", nargs="*", help="only these pages, named as in _toc.yml")
    options = parser.parse_args(arguments)
    try:
        pdf = make(ROOT, options.site, options.pages)
    except PdfError as error:
        print(error, file=sys.stderr)
        return 1
    options.to.parent.mkdir(parents=True, exist_ok=True)
    options.to.write_bytes(pdf)
    if options.publish:
        publish(pdf, options.site, read_book(ROOT).pages[0])
    print(f"{options.to}: {len(PdfReader(options.to).pages)} pages, {len(pdf) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
