"""Slides as HTML: one deck for each chapter, in the built website, shown by reveal.js."""

import html
import posixpath
import re
import shutil
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from figures import inline
from formulas import FormulaError, typeset
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from measured import toc_files
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from slides import Slide, derive
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from twins import load

REVEAL = ("dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js")
COLAB = "https://colab.research.google.com/github"
LONG = 100  # characters of TeX; formulas side by side then stand below each other
STOPPED = re.compile(r'<span class="math inline">[^<]{1,60}</span>[.,;:!?)’”]+')
PAGE = """\
<!DOCTYPE html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · slides · {book}</title>
<link rel="icon" href="{root}_static/favicon.svg">
<link rel="stylesheet" href="{root}_static/pygments.css">
<link rel="stylesheet" href="{root}_static/katex/katex.min.css">
<link rel="stylesheet" href="{root}_static/vglab.css">
<link rel="stylesheet" href="{root}_static/formulas.css">
<link rel="stylesheet" href="{root}_static/slides.css">
<script src="{root}_static/slides.js" data-root="{root}_static/"></script>
<script defer src="{root}_static/reveal/reveal.js"></script>
<script defer src="{root}_static/reveal/notes.js"></script>
</head>
<body>
<main class="reveal"><div class="slides">
{slides}
</div></main>
</body>
</html>
"""


def write_decks(app: Sphinx, failed: Exception | None) -> None:
    """Put the slides of every chapter, and what shows them, into the website just built."""
    if failed or app.builder.format != "html" or app.config.vglab_edition:
        return  # an edition's pages lead to the English slides
    root, site = Path(app.srcdir), Path(app.outdir)
    for name in REVEAL:
        target = site / "_static" / "reveal" / Path(name).name
        target.parent.mkdir(parents=True, exist_ok=True)
        carrier = package_files("sphinx_revealjs")  # a package of reveal.js for Python
        shutil.copyfile(str(carrier / "_static" / "revealjs" / name), target)
    address = app.config.html_theme_options.get("repository_url", "")
    branch = app.config.html_theme_options.get("repository_branch", "main")
    for name in toc_files(root):
        notebook = root / f"{name}.ipynb"
        if notebook.exists():
            where = address.partition("github.com/")[2]
            colab = f"{COLAB}/{where}/blob/{branch}/{name}.ipynb" if where else ""
            try:
                text = deck(name, derive(load(notebook)), app.config.html_title, colab)
            except FormulaError as error:
                raise ExtensionError(f"the slides of {name}: {error}") from None
            path = site / f"{deck_of(name)}.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def deck_of(name: str) -> str:
    """Return where the slides of a page of `_toc.yml` are, from the site's root."""
    return "slides/" + name.removeprefix("book/")


def deck(
    name: str,
    slides: list[Slide],
    book: str,
    colab: str = "",
) -> str:
    """Write the page that shows a chapter's slides."""
    here = posixpath.dirname(deck_of(name))
    draw = Draw(here, name, book, colab)
    stacks: list[list[str]] = []
    for slide in slides:
        if not (slide.detail and stacks):
            stacks.append([])
        stacks[-1].append(draw.slide(slide))
    body = "\n".join(
        stack[0] if len(stack) == 1 else "<section>\n" + "\n".join(stack) + "\n</section>"
        for stack in stacks
    )
    root = posixpath.relpath(".", here) + "/"
    title = html.escape(plain(slides[0].title))
    return PAGE.format(title=title, book=html.escape(book), root=root, slides=body)


class Draw:
    """Write the slides of one deck; it keeps the ids apart."""

    def __init__(self, here: str, name: str, book: str, colab: str) -> None:
        self.here, self.name, self.book, self.colab = here, name, book, colab
        self.ids: dict[str, int] = {}
        self.figures = 0
        self.read = MarkdownIt("commonmark", {"typographer": True})
        self.read.enable(["table", "smartquotes"]).use(dollarmath_plugin, renderer=formula)

    def slide(self, slide: Slide) -> str:
        """Write one slide."""
        name = self.id(slide)
        level = "h1" if slide.kind == "title" else "h2"
        part = f'<p class="part">{typeset(self.line(slide.part))}</p>' if slide.part else ""
        label = {"predict": "Predict", "findings": "Measured", "code": "In code"}.get(slide.kind)
        heading = f"<{level}>{typeset(self.line(slide.title))}</{level}>"
        if label:
            heading = f'<p class="label">{label}</p>{heading}'
        kind = slide.kind if slide.body else f"{slide.kind} divider"
        body = typeset("\n".join(self.part(kind, content) for kind, content in slide.body))
        foot = self.links() if slide.kind == "title" else ""
        said = "\n".join(self.linked(self.read.render(text)) for text in slide.notes)
        notes = typeset(said, "mathml")  # the speaker's window has no style sheet for more
        aside = f'<aside class="notes">{notes}</aside>' if notes else ""
        return (
            f'<section id="{name}"><div class="frame {kind}">\n<header>{part}{heading}</header>'
            f'\n<div class="body">{body}</div>{foot}\n</div>{aside}</section>'
        )

    def id(self, slide: Slide) -> str:
        """Return a name for a slide that no other slide has and that a link can carry."""
        words = re.sub(r"[^a-z0-9]+", "-", plain(slide.title).lower()).strip("-") or "slide"
        self.ids[words] = number = self.ids.get(words, 0) + 1
        return words if number == 1 else f"{words}-{number}"

    def part(self, kind: str, content: Any) -> str:
        """Write one part of a slide's body."""
        match kind:
            case "formula":
                long = len(content) > LONG and "\\begin" not in content
                parts = content.split("\\qquad") if long else [content]
                return "".join(f'<div class="formula">\\[{html.escape(p)}\\]</div>' for p in parts)
            case "figure":
                self.figures += 1
                svg, alt = content
                picture = inline(svg, alt, f"figure{self.figures}-")
                return picture.replace(' tabindex="0"', "")
            case "findings":
                return self.findings(content)
            case "code":
                shown = highlight(content, PythonLexer(), HtmlFormatter(nowrap=True))
                longest = max(map(len, content.splitlines()))
                columns = f'style="--columns: {longest}"'
                return f'<div class="highlight" {columns}><pre><code>{shown}</code></pre></div>'
            case "list":
                points = "".join(f"<li>{self.line(point)}</li>" for point in content)
                return f"<ol>{points}</ol>" if numbered(content) else f"<ul>{points}</ul>"
            case "table":
                return str(self.linked(self.read.render(content)))
            case "options":
                lines = (f"{option.text}{RIGHT if option.right else ''}" for option in content)
                return f'<ol type="A">{"".join(f"<li>{line}</li>" for line in lines)}</ol>'
            case "answer":
                return f'<p class="lead fragment">{self.line(content)}</p>'
            case _:
                return f'<p class="{kind}">{self.line(content)}</p>'

    def findings(self, rows: list[dict[str, Any]]) -> str:
        """Write a table of what was expected and what was measured."""
        head = "<th scope='col'>Finding</th><th scope='col'>Expected</th>"
        head += "<th scope='col'>Measured</th><th scope='col' aria-label='Holds'></th>"
        lines = []
        for row in rows:
            texts = [row[column] for column in ("statement", "expected", "measured")]
            cells = [self.line(text.replace("n = ", "n\u00a0=\u00a0")) for text in texts]
            mark = ("✓", "holds") if row["holds"] else ("✗", "does not hold")
            cells.append(f'<span role="img" aria-label="{mark[1]}">{mark[0]}</span>')
            lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        few = " few" if len(rows) <= 2 else ""
        body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
        return f"<table class='findings{few}'>{body}</table>"

    def links(self) -> str:
        """Write the title slide's way to the chapter."""
        chapter = posixpath.relpath(f"{self.name}.html", self.here)
        links = [f'<a href="{chapter}">Chapter</a>']
        if self.colab:
            links.append(f'<a href="{self.colab}">Notebook in Colab</a>')
        return f"<footer>{html.escape(self.book)} · {' · '.join(links)}</footer>"

    def line(self, text: str) -> str:
        """Write a line of Markdown, where no full stop after a formula begins a line."""
        written = self.linked(self.read.renderInline(text))
        return STOPPED.sub(r'<span class="nowrap">\g<0></span>', written)

    def linked(self, text: str) -> str:
        """Lead links between notebooks to the website's pages."""

        def page(match: re.Match[str]) -> str:
            if "://" in match[1]:
                return match[0]
            target = posixpath.normpath(posixpath.join(posixpath.dirname(self.name), match[1]))
            return f'href="{posixpath.relpath(target, self.here)}.html'

        return re.sub(r'href="([^"#]+)\.ipynb', page, text)


RIGHT = ' <span class="right fragment" role="img" aria-label="right">✓</span>'


def formula(tex: str, options: dict[str, Any]) -> str:
    """Mark a formula, to be set when its slide is written."""
    marks = ("\\[", "\\]") if options["display_mode"] else ("\\(", "\\)")
    return f"{marks[0]}{html.escape(tex)}{marks[1]}"


def numbered(points: list[str]) -> bool:
    """Tell whether a list counts: the three abilities do, each with a verb in bold."""
    return all(point.startswith("**") for point in points)


def plain(text: str) -> str:
    """Return a title without its marks."""
    return re.sub(r"[*`$\\]", "", text)
