"""The website's pages as one document for paper: parts, links, and at the end what was folded."""

import html
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

STYLE = Path(__file__).resolve().parent / "pdf.css"
LICENCE = "Text and figures: CC BY 4.0. Code: MIT."
FOLDED = "Hints and answers"
NOT_FOR_PAPER = (
    "script, noscript, button, .headerlink, .d-print-none, [role=tooltip], .vglab-panel, "
    ".vglab-finish"
)
REFERS = ("for", "aria-labelledby", "aria-describedby", "headers")


@dataclass(frozen=True)
class Book:
    """What the title page and the file's own description say, and the pages by part."""

    title: str
    author: str
    language: str
    address: str
    parts: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def subject(self) -> str:
        """Where the file comes from and under which licence."""
        return f"{self.address} — {LICENCE}"

    @property
    def pages(self) -> list[str]:
        """Every page, in order."""
        return [page for _, pages in self.parts for page in pages]


def read_book(root: Path, only: list[str] | None = None) -> Book:
    """Read `_config.yml` and `_toc.yml`; of the pages, keep `only` these if some are named."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    parts = [("", [toc["root"]])]
    for part in toc.get("parts", [toc]):
        parts.append((part.get("caption", ""), [entry["file"] for entry in part["chapters"]]))
    kept = [(name, tuple(p for p in pages if not only or p in only)) for name, pages in parts]
    if unknown := {*(only or [])} - {page for _, pages in kept for page in pages}:
        raise ValueError(f"not in _toc.yml: {', '.join(sorted(unknown))}")
    language = config.get("sphinx", {}).get("config", {}).get("language", "en")
    return Book(
        config["title"], config["author"], language, config["repository"]["url"],
        tuple((name, pages) for name, pages in kept if pages),
    )  # fmt: skip


def assemble(book: Book, site: Path) -> str:
    """Return the whole book as one HTML document, whose files are those of `site`."""
    numbers = {page: f"c{number:02}" for number, page in enumerate(book.pages, start=1)}
    heads: dict[str, None] = {}
    body, entries, answers, rules = [], [], [], []
    for caption, pages in book.parts:
        for page in pages:
            soup = BeautifulSoup((site / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
            heads.update(dict.fromkeys(head_parts(soup, page)))
            name = numbers[page]
            article, title = chapter(soup, page, numbers)
            folded = unfold(article, name)
            first = caption and page == pages[0]
            part = f'<h1 class="part" id="{name}-part">{caption}</h1>' if first else ""
            body.append(sheet(name, part + f'<div id="{name}">{article}</div>'))
            rules.append(running_head(name, title))
            if first:
                entries.append(entry(f"{name}-part", caption, "part"))
            entries.append(entry(name, title, "chapter"))
            if folded:
                answers.append(f'<h2 id="{name}-folded">{title}</h2>{"".join(folded)}')
    if answers:
        heading = f'<h1 class="part" id="folded">{FOLDED}</h1>'
        body.append(sheet("folded", heading + '<div class="bd-article">'
                          + "".join(answers) + "</div>"))  # fmt: skip
        rules.append(running_head("folded", FOLDED))
        entries.append(entry("folded", FOLDED, "part"))
    head = "".join(heads) + f"<style>{STYLE.read_text(encoding='utf-8')}{''.join(rules)}</style>"
    return (
        f'<!doctype html><html lang="{book.language}" data-theme="light" data-mode="light"><head>'
        f'<meta charset="utf-8"><title>{html.escape(book.title)}</title>{head}</head>'
        f'<body class="vglab-book">{front(book, entries)}{"".join(body)}</body></html>'
    )


def head_parts(soup: BeautifulSoup, page: str) -> Iterator[str]:
    """Yield a page's style sheets, and the scripts that set formulas if it has any."""
    for link in soup.select('link[rel~="stylesheet"][href]'):
        href = absolute(str(link["href"]), page)
        yield f'<link rel="stylesheet" href="{href}">'
    for script in soup.find_all("script"):
        source = str(script.get("src", ""))
        if "mathjax" in source:
            yield f'<script src="{absolute(source, page)}"></script>'
        elif "window.MathJax" in script.get_text():
            yield str(script)


def chapter(soup: BeautifulSoup, page: str, numbers: dict[str, str]) -> tuple[Tag, str]:
    """Return a page's article, made for this document, and its title as text."""
    article = soup.select_one("article.bd-article")
    if article is None:
        raise ValueError(f"{page} has no article")
    for tag in article.select(NOT_FOR_PAPER):
        tag.decompose()
    heading = article.find("h1")
    title = html.escape(words_of(heading) if isinstance(heading, Tag) else page)
    for tag in article.find_all(True):
        if re.fullmatch("h[1-5]", tag.name):
            tag.name = f"h{int(tag.name[1]) + 1}"
        own_names(tag, numbers[page])
        if tag.name == "img" and tag.get("src"):
            tag["src"] = absolute(str(tag["src"]), page)
        if tag.name == "image" and tag.get("xlink:href"):
            tag["xlink:href"] = absolute(str(tag["xlink:href"]), page)
        if tag.name == "a" and tag.get("href"):
            lead(tag, page, numbers)
    return article, title


def words_of(tag: Tag) -> str:
    """Return a heading's text, each formula in it once."""
    copy = BeautifulSoup(str(tag), "html.parser")
    for twice in copy.select(".katex-html, annotation"):
        twice.decompose()
    return " ".join(copy.get_text().split())


def own_names(tag: Tag, prefix: str) -> None:
    """Make a tag's id, and what it says of others' ids, different from those of other pages."""
    for key, value in list(tag.attrs.items()):
        if key == "id":
            tag["id"] = f"{prefix}-{value}"
        elif key in REFERS:
            words = value if isinstance(value, list) else str(value).split()
            tag[key] = " ".join(f"{prefix}-{word}" for word in words)
        elif key == "xlink:href" and str(value).startswith("#"):
            tag[key] = f"#{prefix}-{str(value)[1:]}"
        elif "url(#" in str(value):
            tag[key] = str(value).replace("url(#", f"url(#{prefix}-")


def lead(link: Tag, page: str, numbers: dict[str, str]) -> None:
    """Let a link lead to its place in this document, or to another site, or nowhere."""
    href = str(link["href"])
    if urlsplit(href).scheme:
        return
    path, fragment = urldefrag(href)
    target = absolute(path, page).strip("/").removesuffix(".html") if path else page
    if target in numbers:
        prefix = numbers[target]
        link["href"] = f"#{prefix}-{unquote(fragment)}" if fragment else f"#{prefix}"
    else:  # slides, say, or the index
        del link["href"]


def absolute(href: str, page: str) -> str:
    """Return an address within the site, given as it is on a page, from the site's root."""
    if urlsplit(href).scheme:
        return href
    path = unquote(urlsplit(href).path)
    return "/" + posixpath.normpath(posixpath.join(posixpath.dirname(page), path)).lstrip("/")


def unfold(article: Tag, name: str) -> list[str]:
    """Take hints and answers out of an article, and return them for the end of the book.

    In their place stands what was to be seen of them, and the page where the rest is. The code of a
    solution, which stands at the end of its chapter, is unfolded there.
    """
    for box in article.select("details.hide, details.toggle-details"):
        if isinstance(summary := box.find("summary"), Tag):
            summary.decompose()
        box.unwrap()
    taken = []
    boxes = [box for box in article.find_all("details") if not box.find_parent("details")]
    for number, group in enumerate(neighbours(boxes), start=1):
        place = f"{name}-folded-{number}"
        words = [summary_of(box) for box in group]
        seen = "".join(f"<li>{word}</li>" for word in words)
        if len(group) > 1:
            stub = f'<ul class="options">{seen}</ul>{stub_line("Answers", place)}'
        else:
            stub = stub_line(words[0], place)
        contents = "".join(
            f'<p class="of">{word}</p><div class="content">{box.decode_contents()}</div>'
            for word, box in zip(words, group, strict=True)
        )
        context = html.escape(context_of(group[0]))
        taken.append(
            f'<div class="folded" id="{place}"><p class="context"><strong>{context}</strong></p>'
            f"{contents}</div>"
        )
        group[0].replace_with(BeautifulSoup(stub, "html.parser"))
        for box in group[1:]:
            box.decompose()
    return taken


def neighbours(boxes: list[Tag]) -> Iterator[list[Tag]]:
    """Group boxes that follow each other with nothing between: the options of one question."""
    group: list[Tag] = []
    for box in boxes:
        if group and box.find_previous_sibling() is not group[-1]:
            yield group
            group = []
        group.append(box)
    if group:
        yield group


def summary_of(box: Tag) -> str:
    """Take the words that a folded box shows out of it."""
    summary = box.find("summary")
    words = summary.decode_contents() if isinstance(summary, Tag) else ""
    if isinstance(summary, Tag):
        summary.decompose()
    return words


def context_of(box: Tag) -> str:
    """Return which question or exercise a box belongs to."""
    above = box.find_previous_sibling("p")
    bold = above.find("strong") if isinstance(above, Tag) else None
    if isinstance(bold, Tag) and bold.get_text().startswith("Question"):
        return bold.get_text().rstrip(".")
    heading = box.find_previous(["h3", "h4", "h5"])
    return words_of(heading) if isinstance(heading, Tag) else ""


def stub_line(words: str, place: str) -> str:
    """Return a line that says on which page the rest is."""
    return f'<p class="stub">{words}: <a href="#{place}">page {page_of(place)}</a></p>'


def sheet(name: str, content: str) -> str:
    """Return a chapter as pages of its own kind, so that they bear its title."""
    return f'<section class="sheet" style="page: {name}">{content}</section>'


def running_head(name: str, title: str) -> str:
    """Return the rule that writes a chapter's title above its pages."""
    words = html.unescape(title).replace("\\", "\\\\").replace('"', '\\"')
    return f'@page {name} {{ @top-left {{ content: "{words}"; }} }}\n'


def page_of(place: str) -> str:
    """Return where the page number of a place will stand."""
    return f'<span data-page-of="{place}">000</span>'


def entry(place: str, title: str, kind: str) -> str:
    """Return one line of the table of contents."""
    return f'<li class="{kind}"><a href="#{place}"><span>{title}</span> {page_of(place)}</a></li>'


def front(book: Book, entries: list[str]) -> str:
    """Return the title page and the table of contents."""
    address = f'<a href="{book.address}">{book.address}</a>'
    return (
        f'<section class="title"><h1>{html.escape(book.title)}</h1>'
        f"<p>{html.escape(book.author)}</p><p>{address}</p><p>{LICENCE}</p></section>"
        f'<nav class="book-contents"><h1>Contents</h1><ol>{"".join(entries)}</ol></nav>'
    )
