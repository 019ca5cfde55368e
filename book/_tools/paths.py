"""Addresses that are no pages: redirects, the page for a wrong address, what robots may read."""

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from address import address
from measured import toc_files
from sphinx.application import Sphinx
from sphinx.config import Config

HERE = Path(__file__).parent
RELATIVE = re.compile(r'\b(href|src|action|data-content_root)="(?!/|#|[a-z]+:)(?:\./)?([^"]*)"')


def name_the_paths(app: Sphinx, config: Config) -> None:
    """List the redirects, and prepare the page for a wrong address, which works at any depth."""
    root = Path(app.srcdir)
    config.redirects = {**redirects(toc_files(root)), **config.redirects}
    config.redirect_html_template_file = str(HERE / "redirect.html")
    prefix = urlsplit(address(config)).path or "/"
    config.notfound_urls_prefix = prefix
    front = f"{toc_files(root)[0]}.html"
    body = config.notfound_context["body"]
    body = body.replace("{root}", html.escape(prefix)).replace("{front}", front)
    config.notfound_context = {**config.notfound_context, "body": body}


def redirects(pages: list[str]) -> dict[str, str]:
    """Lead the site's root to the first page, and each page's address without `book/` to it."""
    found = {"index": f"{pages[0]}.html"}
    for page in pages:
        short = page.removeprefix("book/")
        if short not in ("index", page):
            found[short] = "../" * short.count("/") + f"{page}.html"
    return found


def finish(app: Sphinx, failed: Exception | None) -> None:
    """Write what the extensions leave open: canonical addresses, links from the root, robots."""
    if failed or app.builder.format != "html":
        return
    site, base = Path(app.outdir), address(app.config)
    for source, target in app.config.redirects.items():
        path = site / f"{source}.html"
        text = path.read_text(encoding="utf-8")
        whole = html.escape(urljoin(f"{base}{source}", target))
        language = app.config.language or "en"
        text = text.replace("$canonical", whole).replace("$language", language)
        path.write_text(text.replace("$book", html.escape(app.config.html_title)), "utf-8")
    lost = site / "404.html"
    if lost.exists():
        prefix = app.config.notfound_urls_prefix
        text = lost.read_text(encoding="utf-8")
        lost.write_text(RELATIVE.sub(rf'\1="{prefix}\2"', text), encoding="utf-8")
    if base:
        robots = f"User-agent: *\nAllow: /\n\nSitemap: {base}sitemap.xml\n"
        (site / "robots.txt").write_text(robots, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the paths."""
    app.connect("config-inited", name_the_paths, priority=700)
    app.connect("build-finished", finish, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
