"""Reading aids of the website: a Sphinx extension that joins their parts.

Chapters stay plain Markdown. Callouts, the line of facts, links to terms, what the neighbours ask,
the places that remember progress, and the ways to mend a page are added as the site is built.
"""

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from callouts import Callouts
from docutils import nodes
from finding import complete_index
from languages import language
from opening import FactsLine, chapter_facts, opening_question
from phrases import Phrases, phrases
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from terms import Terms, anchors_on, definitions

START = """<div class="vglab-progress" data-chapters="{chapters}">
<p class="next">{start} <a href="{href}">{title}</a></p>
<p class="done"><progress max="{total}" value="0" aria-label="{progress}"></progress>
<span class="count">0 / {total}</span> <button type="button" class="forget">{forget}</button></p>
</div>"""
FINISH = """<p class="vglab-finish"><button type="button" aria-pressed="false"
data-chapter="{name}">{mark}</button></p>"""
MEND = """<p class="vglab-mend d-print-none"><a class="edit" href="{edit}">{edit_text}</a>
<a class="report" href="{issue}">{report_text}</a></p>"""


class Remembered(SphinxPostTransform):
    """Place what the browser fills from memory: a chapter's button, the front page's progress."""

    default_priority = 70
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Add to the chapter's summary, or before the front page's first section."""
        known = phrases(self.config.language)
        name = self.env.docname
        chapters = chapter_pages(self.app)
        sections = list(self.document.findall(nodes.section))
        if name == self.config.root_doc and chapters and len(sections) > 1:
            text = START.format(
                total=len(chapters),
                chapters=html.escape(
                    json.dumps([[one, title_of(self.app, one)] for one in chapters])
                ),
                progress=known.progress,
                start=known.start,
                forget=known.forget,
                href=self.app.builder.get_relative_uri(name, chapters[0]),
                title=html.escape(title_of(self.app, chapters[0])),
            )
            place = sections[1]
            place.parent.insert(place.parent.index(place), nodes.raw("", text, format="html"))
        for section in sections if name in chapters else ():
            if "vglab-summary" in section["classes"]:
                button = FINISH.format(name=name, mark=known.mark)
                section += nodes.raw("", button, format="html")


def chapter_pages(app: Sphinx) -> list[str]:
    """List the chapters in the order of reading."""
    order = [app.config.root_doc, *app.env.toctree_includes.get(app.config.root_doc, [])]
    return [name for name in order if app.env.doc2path(name).endswith(".ipynb")]


def title_of(app: Sphinx, page: str) -> str:
    """Return a page's title as text."""
    return str(app.env.titles[page].astext())


def add_to_page(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], document: Any
) -> None:
    """Add definitions and ways to mend the page to its end, and questions to its neighbours."""
    if page == "search":
        app.add_js_file("reading/search.js", type="module")
    if document is None:
        return
    known = phrases(app.config.language)
    told = "".join(
        f'<div class="vglab-definition" role="tooltip" id="vglab-{anchor}" hidden>{meaning}</div>\n'
        for anchor, meaning in definitions(app, anchors_on(document))
    )
    edit, issue = addresses(app, page, known)
    mend = MEND.format(
        edit=html.escape(edit),
        issue=html.escape(issue),
        edit_text=known.edit,
        report_text=known.report,
    )
    context["body"] = f"{context.get('body', '')}{mend}\n{told}"
    for side in ("prev", "next"):
        if context.get(side):
            context[f"{side}_title"] = with_question(app, page, context[side])


def with_question(app: Any, page: str, neighbour: dict[str, str]) -> str:
    """Return a neighbour's title, and below it the question that opens it, as HTML."""
    title = f'<span class="vglab-neighbour">{neighbour["title"]}</span>'
    for name in app.env.titles:
        if app.builder.get_relative_uri(page, name) == neighbour["link"]:
            question = opening_question(app.env, name)
            if question is not None:
                text = app.builder.render_partial(question)["fragment"]
                text = re.sub(r"</?p>", "", text).strip()
                return f'{title} <span class="vglab-question-of">{text}</span>'
    return title


def addresses(app: Sphinx, page: str, known: Phrases) -> tuple[str, str]:
    """Return where the page's source is edited, and where a new issue about it is written."""
    repository = app.config.html_theme_options.get("repository_url", "").rstrip("/")
    branch = app.config.html_theme_options.get("repository_branch", "main")
    edit = f"{repository}/edit/{branch}/{source(app, page)}"
    title = title_of(app, page)
    told = urlencode(
        {"title": known.issue.format(title), "body": known.issue_body.format(title, page)}
    )
    return edit, f"{repository}/issues/new?{told}"


def source(app: Sphinx, page: str) -> str:
    """Return the file to edit: a chapter's twin, a translation's catalogue, or the page itself."""
    if name := language(app.config, default=""):
        return f"book/locale/{name}/{page.removeprefix('book/')}.po"
    root = Path(app.srcdir)
    twin = root / "book" / "_source" / f"{page.removeprefix('book/')}.md"
    path = twin if twin.exists() else Path(app.env.doc2path(page))
    return path.relative_to(root).as_posix()


def mend_buttons(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], document: Any
) -> None:
    """In the header's menu, put our two links in place of the theme's."""
    if document is None:
        return
    known = phrases(app.config.language)
    for group in context.get("header_buttons", []):
        if group.get("label") == "source-buttons":
            kept = [b for b in group["buttons"] if b["label"] == "source-repository-button"]
            edit, issue = addresses(app, page, known)
            group["buttons"] = [
                *kept,
                menu_entry(edit, known.edit, "fas fa-pencil-alt", "source-edit-button"),
                menu_entry(issue, known.report, "fas fa-lightbulb", "source-issues-button"),
            ]


def menu_entry(url: str, text: str, icon: str, label: str) -> dict[str, str]:
    """Return an entry as the theme describes it."""
    return {"type": "link", "url": url, "tooltip": text, "text": text, "icon": icon, "label": label}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the parts with Sphinx."""
    for part in (Callouts, FactsLine, Terms, Remembered):
        app.add_post_transform(part)
    app.connect("builder-inited", lambda _: chapter_facts.cache_clear())
    app.connect("html-page-context", add_to_page, priority=400)
    app.connect("html-page-context", mend_buttons, priority=600)
    app.connect("build-finished", complete_index)
    app.add_css_file("reading.css")
    app.add_js_file("reading.js", type="module", priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
