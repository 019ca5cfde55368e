"""What pages say to machines: descriptions, cards, addresses, redirects, the lost page."""

import functools
import json
import re
import struct
from pathlib import Path
from urllib.parse import urljoin
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup
from measured import toc_files

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
PAGES = toc_files(ROOT)
OWNER, NAME = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]["url"].split(
    "/"
)[-2:]
ADDRESS = f"https://{OWNER}.github.io/{NAME}/"

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="the website is not built: run `make book`"
)


@functools.cache
def read(name):
    return BeautifulSoup((SITE / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


def said(page, name):
    tag = page.find("meta", attrs={"name": name}) or page.find("meta", property=name)
    return tag["content"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_describes_itself(name):
    page = read(name)
    text = said(page, "description")
    assert 20 <= len(text) <= 200
    assert not re.search(r"[\\$`{}]", text)
    assert len(page.find_all("meta", attrs={"name": "description"})) == 1
    url = f"{ADDRESS}{name}.html"
    assert page.find("link", rel="canonical")["href"] == url == said(page, "og:url")
    assert said(page, "og:description") == text
    assert said(page, "twitter:card") == "summary_large_image"
    data = json.loads(page.find("script", type="application/ld+json").string)
    assert data["url"] == url and data["description"] == text
    assert data["@type"] == ("Course" if name == PAGES[0] else "LearningResource")


def test_each_description_and_each_card_is_a_pages_own():
    pages = [read(name) for name in PAGES]
    for what in ("description", "og:title", "og:image"):
        assert len({said(page, what) for page in pages}) == len(PAGES), what


@pytest.mark.parametrize("name", PAGES)
def test_a_card_is_a_picture_of_the_size_that_it_says(name):
    page = read(name)
    image = said(page, "og:image")
    assert image.startswith(f"{ADDRESS}_static/cards/")
    data = (SITE / image.removeprefix(ADDRESS)).read_bytes()
    size = [int(said(page, f"og:image:{side}")) for side in ("width", "height")]
    assert size == list(struct.unpack(">II", data[16:24])) == [1200, 630]


def test_the_site_map_lists_every_page_once():
    tree = ElementTree.parse(SITE / "sitemap.xml")
    found = [element.text for element in tree.iter() if element.tag.endswith("loc")]
    assert sorted(found) == sorted(f"{ADDRESS}{name}.html" for name in PAGES)
    assert f"Sitemap: {ADDRESS}sitemap.xml" in (SITE / "robots.txt").read_text("utf-8")


@pytest.mark.parametrize("source", ["index", *[name.removeprefix("book/") for name in PAGES[1:]]])
def test_a_short_address_leads_to_its_page(source):
    page = read(source)
    target = PAGES[0] if source == "index" else f"book/{source}"
    refresh = page.find("meta", attrs={"http-equiv": "refresh"})["content"].split("url=")[1]
    assert urljoin(f"{ADDRESS}{source}.html", refresh) == f"{ADDRESS}{target}.html"
    assert page.find("link", rel="canonical")["href"] == f"{ADDRESS}{target}.html"
    assert page.find("main").find("a")["href"] == refresh
    assert page.html["lang"] and page.title.get_text()


def test_the_lost_page_works_at_any_depth():
    page = read("404")
    links = [tag.get("href") or tag.get("src") for tag in page.select("[href], [src]")]
    links += [form["action"] for form in page.find_all("form")]
    ours = [link for link in links if not re.match(r"#|https:", link)]
    assert ours
    for link in ours:
        assert link.startswith(f"/{NAME}/"), link
        assert (SITE / link.removeprefix(f"/{NAME}/").split("?")[0]).exists(), link
    article = page.find("article")
    hrefs = {a["href"] for a in article.find_all("a")}
    assert {f"/{NAME}/{PAGES[0]}.html", f"/{NAME}/search.html"} <= hrefs
