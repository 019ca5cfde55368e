"""A page's language: the edition that it belongs to, its other edition, and foreign words on it."""

import html
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from address import address
from docutils import nodes
from edition import languages, translated_pages
from measured import toc_files
from segments import ChineseSearch
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from words import load_words

TAGS = {"en": "en", "zh": "zh-CN"}  # of HTML
NAMES = {"en": "English", "zh": "中文"}
ANCHOR = re.compile(r"\s*<!-- anchor: (\S+) -->\s*")
HAN = re.compile(r"[\u3400-\u9fff]+(?:[·\w]*[\u3400-\u9fff]+)*")
LATIN_WORDS = re.compile(r"[A-Za-z]{2,}\W+(?:\w+\W+)*?[A-Za-z]{2,}")
SWITCH = "language-switch.html"


def settings_of(config: Config) -> dict[str, Any]:
    """Return what `edition.py` says of the edition being built; nothing of the English book."""
    found: dict[str, Any] = config.vglab_edition
    return found


def language(config: Config, default: str = "en") -> str:
    """Return the language of the edition being built; the default is the English book's."""
    return str(settings_of(config).get("language", default))


def original(app: Sphinx) -> Path:
    """Return the root of the English book, which every edition is made from."""
    return Path(app.srcdir) / str(settings_of(app.config).get("root", ""))


class EnglishAnchors(SphinxTransform):
    """Give a translated heading the anchor of the English one, which stands in a comment before."""

    default_priority = 200

    def apply(self, **_: Any) -> None:
        """Walk the comments."""
        for comment in list(self.document.findall(nodes.raw)):
            match = ANCHOR.fullmatch(comment.astext())
            section = next(after(comment), None) if match else None
            if match and section is not None:
                self.rename(section, match[1])
                comment.parent.remove(comment)

    def rename(self, section: nodes.section, anchor: str) -> None:
        """Put one anchor in the place of a section's own."""
        old = set(section["ids"])
        section["ids"] = [anchor]
        self.document.ids = {
            name: node for name, node in self.document.ids.items() if name not in old
        } | {anchor: section}
        self.document.nameids = {
            name: anchor if one in old else one for name, one in self.document.nameids.items()
        }
        slugs = getattr(self.document, "myst_slugs", {})  # what links with a fragment may name
        for slug, (line, one, title) in list(slugs.items()):
            if one in old:
                slugs[slug] = slugs[anchor] = (line, anchor, title)


def after(node: nodes.Node) -> Iterator[nodes.section]:
    """Yield the sections that begin after a node."""
    document = node.document
    seen = False
    for one in document.findall() if document else ():
        if one is node:
            seen = True
        elif seen and isinstance(one, nodes.section):
            yield one


class ForeignWords(SphinxPostTransform):
    """Say which words are not of the page's language, so that they are read aloud rightly."""

    default_priority = 900
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Chinese on an English page; code, and titles of English works, on any other."""
        if language(self.config) == "en":
            for text in list(self.document.findall(nodes.Text)):
                if HAN.search(text) and not isinstance(text.parent, nodes.raw):
                    text.parent.replace(text, list(marked(str(text))))
            return
        for node in self.document.findall():
            if isinstance(node, nodes.literal_block) or english_title(node):
                node["classes"].append("language-en")


def english_title(node: nodes.Node) -> bool:
    """Tell whether a node is a link in English words on a page in another language."""
    if not isinstance(node, nodes.reference):
        return False
    return not HAN.search(node.astext()) and bool(LATIN_WORDS.search(node.astext()))


def marked(text: str) -> Iterator[nodes.Node]:
    """Yield a text whose Chinese is marked as such."""
    position = 0
    for match in HAN.finditer(text):
        if position < match.start():
            yield nodes.Text(text[position : match.start()])
        yield nodes.inline("", match[0], classes=[f"language-{TAGS['zh']}"])
        position = match.end()
    if position < len(text):
        yield nodes.Text(text[position:])


def page_editions(app: Sphinx, page: str) -> dict[str, str]:
    """Return the languages that a page has, each with its address from the website's root."""
    root = original(app)
    if page not in toc_files(root):
        return {}
    others = [one for one in languages(root) if page in translated_pages(root, one)]
    return {"en": f"{page}.html"} | {one: f"{one}/{page}.html" for one in others}


def add_languages(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _document: Any
) -> None:
    """Give a page its other editions, the words of its scripts, and its English neighbours."""
    here = language(app.config)
    found = page_editions(app, page)
    home = posixpath.dirname(found.get(here, ""))
    base = address(app.config).removesuffix(app.config.site_folder)
    context["vglab_languages"] = [
        {"tag": TAGS[one], "name": NAMES[one], "address": posixpath.relpath(place, home)}
        for one, place in found.items()
        if one != here
    ]
    heads = []
    if len(found) > 1:
        tags = [(TAGS[one], place) for one, place in found.items()]
        for tag, place in [*tags, ("x-default", found["en"])]:
            url = html.escape(f"{base}{place}" if base else posixpath.relpath(place, home))
            heads.append(f'<link rel="alternate" hreflang="{tag}" href="{url}">')
    if strings := settings_of(app.config).get("strings"):
        text = json.dumps(strings, ensure_ascii=False).replace("</", "<\\/")
        heads.append(f'<script type="application/json" id="vglab-strings">{text}</script>')
    context["metatags"] = "\n".join([context.get("metatags", ""), *heads])
    if settings_of(app.config) and found:
        add_neighbours(app, page, context)


def add_neighbours(app: Sphinx, page: str, context: dict[str, Any]) -> None:
    """Lead to the English page where the one before or after is not translated."""
    titles = settings_of(app.config)["titles"]
    order = list(titles)
    place = order.index(page)
    for side, names in (("prev", order[max(place - 1, 0) : place]), ("next", order[place + 1 :])):
        if names and names[0] not in app.env.found_docs:
            title = html.escape(titles[names[0]])
            context[side] = {"link": f"english://{names[0]}.html", "title": title}


def set_language(app: Sphinx, config: Config) -> None:
    """Put the switch between languages into the bar above each page; know the edition's words."""
    options = config.html_theme_options
    bar = options.get("article_header_end", ["article-header-buttons.html"])
    bar = bar.split(",") if isinstance(bar, str) else bar
    options["article_header_end"] = [SWITCH, *(part for part in bar if part != SWITCH)]
    config.templates_path.append(str(Path(__file__).parent / "templates"))
    config.html_search_options = config.html_search_options | {
        "words": settings_of(config).get("words", [])
    }


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the parts with Sphinx."""
    app.add_config_value("vglab_edition", {}, "env", types=[dict])
    app.connect("config-inited", set_language)
    app.connect("config-inited", load_words)
    app.connect("html-page-context", add_languages, priority=300)
    app.add_transform(EnglishAnchors)
    app.add_post_transform(ForeignWords)
    app.add_search_language(ChineseSearch)
    app.add_js_file("languages.js", type="module")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
