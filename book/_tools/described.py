"""What a page says of itself to machines: description, address, card, learning resource."""

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from address import address
from cards import card
from docutils import nodes
from formulas import render
from sentences import sentences
from sphinx.application import Sphinx
from sphinx.config import Config

LENGTH = 200  # characters of a description that search engines and chats still show
ENDS = "?？"


def name_the_address(app: Sphinx, config: Config) -> None:
    """Give every extension the one address of the site."""
    config.html_baseurl = config.ogp_site_url = address(config)
    config.ogp_site_name = config.html_title
    config.ogp_custom_meta_tags = ['<meta name="twitter:card" content="summary_large_image" />']


def describe(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    """Write a page's description, and what the cards of chats and feeds show."""
    site = address(app.config)
    if tree is None or not site:
        return
    title, text = plain(context["title"]), description(tree)
    folder, cache = Path(app.outdir) / "_static" / "cards", Path(app.doctreedir) / "cards"
    name = card(folder, cache, app.config.html_title, title, text)
    image = urljoin(site, f"_static/cards/{name}")
    context["meta"] = {
        **(context.get("meta") or {}),
        "og:description": html.escape(text),
        "og:type": "website" if page == app.config.root_doc else "article",
        "og:locale": (app.config.language or "en").replace("-", "_"),
        "og:image": image,
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": html.escape(f"{title}: {text}"),
    }
    said = resource(app, title, text, urljoin(site, app.builder.get_target_uri(page)), image)
    context["metatags"] += (
        f'<meta name="description" content="{html.escape(text)}" />\n'
        f'<script type="application/ld+json">{said}</script>\n'
    )


def resource(app: Sphinx, title: str, text: str, url: str, image: str) -> str:
    """Return what schema.org calls a course (the front page) or a learning resource of it."""
    config = app.config
    author = {"@type": "Organization", "name": config.author}
    front = urljoin(address(config), app.builder.get_target_uri(config.root_doc))
    course = {"@type": "Course", "name": config.html_title, "url": front, "provider": author}
    about = {"name": title, "description": text, "url": url, "image": image}
    about["inLanguage"] = config.language or "en"
    if url == front:
        whole = {"@context": "https://schema.org", **course, **about}
    else:
        part = {"@type": "LearningResource", "isPartOf": course, "author": author}
        whole = {"@context": "https://schema.org", **part, **about}
    return json.dumps(whole, ensure_ascii=False).replace("<", "\\u003c")


def description(tree: nodes.document) -> str:
    """Return a page's opening question and what fits beside it, or its first sentences."""
    opening = [text for node in first_paragraphs(tree) if (text := spoken(node))]
    asking = [text for text in opening if any(mark in text for mark in ENDS)]
    return fitted((asking or opening or [plain(str(tree.get("title", "")))])[0])


def first_paragraphs(tree: nodes.document) -> list[nodes.paragraph]:
    """Return the paragraphs between a page's title and its next heading."""
    section = next(iter(tree.findall(nodes.section)), tree)
    found = []
    for child in section.children:
        if isinstance(child, nodes.section):
            break
        if isinstance(child, nodes.paragraph):
            found.append(child)
    return found or list(section.findall(nodes.paragraph))[:1]


def spoken(node: nodes.Node) -> str:
    """Return a paragraph's text, its formulas as a reader sees them."""
    words = []
    for leaf in node.findall(lambda n: isinstance(n, nodes.Text | nodes.math)):
        if isinstance(leaf, nodes.math):
            words.append(seen(leaf.astext()))
        elif not isinstance(leaf.parent, nodes.math):
            words.append(leaf.astext())
    return " ".join("".join(words).split())


def seen(tex: str) -> str:
    """Return a formula's signs in a line, without marks."""
    spelled = re.sub(r"<annotation.*?</annotation>", "", render(tex, output="mathml"))
    return html.unescape(re.sub(r"<[^>]+>", "", spelled))


def fitted(text: str) -> str:
    """Shorten a text at a sentence's end, or else at a word's, keeping its question."""
    parts = sentences(text)
    asks = [n for n, part in enumerate(parts) if part.endswith(tuple(ENDS))]
    first = asks[0] if asks and len(" ".join(parts[: asks[0] + 1])) > LENGTH else 0
    whole = parts[first] if parts else ""
    for part in parts[first + 1 :]:
        if len(whole) + 1 + len(part) > LENGTH:
            break
        whole += f" {part}"
    return whole if len(whole) <= LENGTH else whole[: LENGTH - 1].rsplit(" ", 1)[0] + "…"


def plain(title: str) -> str:
    """Return a title without its markup."""
    return html.unescape(re.sub(r"<[^>]+>|[*`]", "", title)).strip()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what describes a page; it comes before the extension that writes the tags."""
    app.add_config_value("site_folder", "", "html", types=frozenset({str}))
    app.connect("config-inited", name_the_address, priority=600)
    app.connect("html-page-context", describe, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
