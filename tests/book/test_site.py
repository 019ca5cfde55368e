"""The built website: every page, link, figure and finding; then the same pages in a browser."""

import functools
import http.server
import json
import re
import shutil
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import twins
import yaml
from bs4 import BeautifulSoup
from measured import toc_files

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
PAGES = toc_files(ROOT)
CHAPTERS = [name for name in PAGES if (ROOT / f"{name}.ipynb").exists()]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="the website is not built: run `make book`"
)


@functools.cache
def read(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def page(name):
    return read(SITE / f"{name}.html")


def outputs(name):
    cells = twins.load(ROOT / f"{name}.ipynb").cells
    return [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_there_with_its_title(name):
    heading = page(name).find("h1").get_text().removesuffix("#").strip()
    assert heading
    assert heading in page(name).title.get_text()


@pytest.mark.parametrize("name", PAGES)
def test_ids_are_unique(name):
    ids = [tag["id"] for tag in page(name).find_all(id=True)]
    assert sorted({i for i in ids if ids.count(i) > 1}) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_says_what_it_shows(name):
    article = page(name).find("article")
    texts = [svg.get("aria-label", "") for svg in article.select(".vglab-figure svg[role=img]")]
    texts += [img.get("alt", "") for img in article.find_all("img")]
    for text in texts:
        assert len(text.split()) >= 3, f"{text!r} does not say what is to be seen"
    if name in CHAPTERS:
        assert len(texts) >= sum(any(m.startswith("image/") for m in d) for d in outputs(name))


@pytest.mark.parametrize("name", PAGES)
def test_the_colab_button_opens_this_chapter(name):
    links = [a["href"] for a in page(name).find_all("a", href=re.compile("colab.research"))]
    where = CONFIG["repository"]["url"].split("github.com/")[1]
    url = f"https://colab.research.google.com/github/{where}/blob/{CONFIG['repository']['branch']}/{name}.ipynb"
    assert set(links) == ({url} if name in CHAPTERS else set())


@pytest.mark.parametrize("name", [*PAGES, "genindex", "search"])
def test_nothing_is_loaded_from_another_host(name):
    loads = [tag.get("src") for tag in page(name).find_all(src=True)]
    loads += [tag["href"] for tag in page(name).find_all("link", href=True)]
    loads += [tag["data"] for tag in page(name).find_all("object", data=True)]
    assert [url for url in loads if urlsplit(url).netloc] == []
    inline = [tag.get_text() for tag in page(name).find_all(["script", "style"])]
    assert [text for text in inline if re.search(r"https?://[^\s\"']+\.(js|css|woff)", text)] == []


def test_style_sheets_load_nothing_from_another_host():
    for path in SITE.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", text), path.name


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_book_lead_somewhere(name):
    here = SITE / f"{name}.html"
    for link in page(name).find_all("a", href=True):
        url, fragment = urldefrag(link["href"])
        if urlsplit(url).scheme:
            continue
        target = (here.parent / unquote(url)).resolve() if url else here
        assert target.exists(), link["href"]
        if fragment and target.suffix == ".html":
            assert read(target).find(id=unquote(fragment)), link["href"]


def test_every_finding_is_on_the_measured_page():
    measured = "book/what_we_measured"
    rows = [a["href"] for a in page(measured).select("table.vglab-measured a")]
    expected = [
        f"{name.removeprefix('book/')}.html#{claim['anchor']}"
        for name in CHAPTERS
        for claim in twins.claims(twins.load(ROOT / f"{name}.ipynb"))
    ]
    assert rows == expected
    assert f"{len(rows)} of {len(rows)}" in page(measured).select_one(".vglab-count").get_text()


# In a browser.


@pytest.fixture(scope="module")
def served():
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
    found = next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as running:
        path = found or running.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("no Chromium is installed on this machine")
        opened = running.chromium.launch(executable_path=path)
        yield opened
        opened.close()


LOOK = """async () => {
  await window.MathJax?.startup?.promise;
  const formulas = [...document.querySelectorAll(".math")];
  return {
    "wider than the window": Math.max(0, document.documentElement.scrollWidth - innerWidth),
    "not typeset": formulas.filter(f => !f.querySelector("mjx-container")).map(f => f.outerHTML),
    "wrong formulas": [...document.querySelectorAll("mjx-merror")].map(e => e.outerHTML),
    "theme": document.documentElement.dataset.theme,
  };
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_in_a_browser(browser, served, width, theme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)
    tab = context.new_page()
    bad = []
    tab.on("console", lambda m: bad.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: bad.append(str(error)))
    aborted = "net::ERR_ABORTED"  # by going to the next page
    tab.on("requestfailed", lambda r: bad.append(r.url) if r.failure != aborted else None)
    tab.on("response", lambda r: bad.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    tab.on("request", lambda r: None if r.url.startswith((served, "data:")) else bad.append(r.url))
    for name in PAGES:
        tab.goto(f"{served}{name}.html", wait_until="networkidle")
        seen = tab.evaluate(LOOK)
        expected = {"wider than the window": 0, "not typeset": [], "wrong formulas": []}
        assert seen == {**expected, "theme": theme}, f"{name}: {json.dumps(seen, indent=1)}"
        assert bad == [], name
    context.close()
