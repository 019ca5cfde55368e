"""What a reader's browser has to load before it can show a page, and what jumps while it does."""

import functools
import gzip
import re
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import pytest
from bs4 import BeautifulSoup
from measured import toc_files

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
PAGES = toc_files(ROOT)
KIB = 1024
MOST = 1000 * KIB  # of a page and all it loads at once, compressed
MOST_STYLE = 60 * KIB
TINY = 1500  # characters of a script in the page

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="the website is not built: run `make book`"
)


@functools.cache
def read(name):
    return BeautifulSoup((SITE / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


def compressed(path):
    data = path.read_bytes()
    return len(data) if path.suffix in (".png", ".woff2", ".woff") else len(gzip.compress(data, 6))


def local(name, address):
    path = urlsplit(urldefrag(address)[0]).path
    return ((SITE / f"{name}.html").parent / path).resolve()


def loads(name, page):
    """The files that a page asks for, and the fonts that its style sheet may ask for."""
    addresses = [tag["src"] for tag in page.select("script[src], img[src]")]
    addresses += [
        tag["href"] for tag in page.select("link[href]:is([rel~=stylesheet], [rel~=icon])")
    ]
    files = {local(name, address) for address in addresses if not address.startswith("data:")}
    for sheet in [file for file in files if file.suffix == ".css"]:
        fonts = re.findall(r'url\("([^":]+\.woff2)"\)', sheet.read_text(encoding="utf-8"))
        files |= {(sheet.parent / font).resolve() for font in fonts}
    return files


@pytest.mark.parametrize("name", PAGES)
def test_a_page_weighs_less_than_a_megabyte(name):
    page = read(name)
    files = loads(name, page)
    weights = {file.name: compressed(file) for file in files}
    weights["the page"] = compressed(SITE / f"{name}.html")
    assert sum(weights.values()) < MOST, weights
    assert len(files) < 40


@pytest.mark.parametrize("name", [*PAGES, "search", "genindex", "404"])
def test_one_style_sheet_and_no_script_keeps_a_page_waiting(name):
    page = read(name)
    sheets = page.select("link[rel=stylesheet]")
    assert [re.fullmatch(r".*_static/bundle\.\w{12}\.css", s["href"]) is None for s in sheets] == [
        False
    ]
    path = SITE / "_static" / sheets[0]["href"].rsplit("/", 1)[1]
    assert compressed(path) < MOST_STYLE
    for script in page.find_all("script"):
        kind = script.get("type", "")
        if script.get("src"):
            assert script.has_attr("defer") or kind == "module" or script.has_attr("async"), script
        elif kind in ("", "text/javascript"):
            assert len(script.get_text()) < TINY, script.get_text()[:80]


@pytest.mark.parametrize("name", PAGES)
def test_every_image_has_its_size(name):
    page = read(name)
    assert [
        img for img in page.find_all("img") if not (img.get("width") and img.get("height"))
    ] == []
    figures = page.select(".vglab-figure > svg")
    assert [svg["aria-label"] for svg in figures if not svg.get("viewbox")] == []


def test_nothing_of_mathjax_thebe_or_font_awesomes_script_is_left():
    served = [
        path for path in SITE.rglob("*") if re.search("mathjax|fontawesome", path.name.lower())
    ]
    assert served == []
    for name in PAGES:
        assert not re.search(
            "thebe|window.MathJax|tex-chtml", (SITE / f"{name}.html").read_text("utf-8")
        )
