"""A real browser, and pages that hold one interactive figure each: no built book is needed."""

import contextlib
import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"
PAGE = """<!doctype html>
<html lang="en" data-theme="light">
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}</title>
<link rel="icon" href="/favicon.svg">
<link rel="stylesheet" href="/vglab.css"><link rel="stylesheet" href="/play.css">
<main><div data-play="{name}"><div>the still picture</div></div></main>
<script type="module" src="/play/play.js"></script></html>"""

# Changes a control as its reader would, found by the words of its label.
SET = """([words, value]) => {
  const named = [...document.querySelectorAll(".vglab-panel label")];
  const label = named.find((label) => label.textContent.startsWith(words));
  if (!label) throw Error(`no control named ${words}`);
  const control = document.getElementById(label.htmlFor) ?? label.querySelector("input");
  if (control.type === "checkbox" || control.type === "radio") {
    if (control.checked !== value) control.click();
    return;
  }
  control.value = value;
  const kind = control.type === "range" ? "input" : "change";
  control.dispatchEvent(new Event(kind, { bubbles: true }));
}"""
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
CELLS = """() => [...document.querySelectorAll(".vglab-folded tr")].map(
  (row) => [...row.cells].map((cell) => cell.textContent))"""


class Figure:
    """One interactive figure in a tab: set its controls by name, read what it says."""

    def __init__(self, tab):
        self.tab = tab

    def set(self, **controls):
        """Set controls by the first words of their labels, `_` for a space; wait until drawn."""
        for words, value in controls.items():
            self.tab.evaluate(SET, [words.replace("_", " "), value])
        self.drawn()

    def drawn(self):
        """Wait until the picture shows what the controls say."""
        self.tab.evaluate(DRAWN)

    def table(self):
        """Words of all cells of the folded table, row by row."""
        self.tab.evaluate("document.querySelector('.vglab-folded').open = true")
        self.drawn()
        return self.tab.evaluate(CELLS)

    @property
    def finding(self):
        """The finding in words."""
        return self.tab.locator(".vglab-finding").inner_text().replace("\u00a0", " ")


def value(words):
    """The number that a figure wrote: −1.2 × 10⁻⁶ is -1.2e-06, – is nan."""
    if words == "–":
        return float("nan")
    plain = words.replace("\u00a0", "").replace("−", "-").replace("∞", "inf")
    mantissa, _, power = plain.partition("×10")
    exponent = power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))
    return float(f"{mantissa}e{exponent or 0}")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_):
        pass


class Handler(Quiet):
    """Serves the book's scripts and styles, and at `/figure/NAME` a page with that figure."""

    def do_GET(self):
        if not self.path.startswith("/figure/"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.format(name=self.path.rpartition("/")[2]).encode())


@contextlib.contextmanager
def serving(folder, handler=Quiet):
    """Serve a folder, and give the address of its root."""
    handled = functools.partial(handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handled) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def figures():
    """Address below which every figure has a page of its own."""
    with serving(STATIC, Handler) as address:
        yield f"{address}figure/"


@pytest.fixture(scope="module")
def browser():
    """A browser; the tests that need one are skipped where none is installed."""
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


@pytest.fixture
def open_figure(browser, figures):
    """Opens a figure by its name; the test fails on any error or warning of the page."""
    tabs, troubles = [], []

    def opened(name, **context):
        tab = browser.new_page(viewport={"width": 900, "height": 900}, **context)
        tabs.append(tab)
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("console", lambda m: m.type in ("error", "warning") and troubles.append(m.text))
        tab.goto(figures + name)
        tab.wait_for_selector(".vglab-panel.ready")
        figure = Figure(tab)
        figure.drawn()
        return figure

    yield opened
    for tab in tabs:
        tab.close()
    assert troubles == []
