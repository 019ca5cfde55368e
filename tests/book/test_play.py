"""Every interactive figure of the built website: found by its tag, tried in a real browser."""

import hashlib
import re
from pathlib import Path

import pytest
from measured import toc_files
from test_site import SITE, browser, page, served, troubles  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "book" / "_static" / "vendor"
TAG = re.compile(r"tag_play-([\w-]+)")

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="the website is not built: run `make book`"
)


def figures():
    """Pages with the names of the figures that can be played with there."""
    if not (SITE / "index.html").exists():
        return [("the website is not built", "")]
    found = []
    for name in toc_files(ROOT):
        tags = [TAG.search(" ".join(cell["class"])) for cell in page(name).select("div.cell")]
        found += [(name, tag[1]) for tag in tags if tag]
        found += [(name, box["data-play"]) for box in page(name).select("[data-play]")]
    return found


FIGURES = figures()
each_figure = pytest.mark.parametrize(("name", "figure"), FIGURES, ids=[f for _, f in FIGURES])
STILL = "[data-play={0}] > :not(.vglab-panel), .tag_play-{0} .vglab-figure"

# Each control with the name that a screen reader says.
NAMES = """panel => [...panel.querySelectorAll("input, select, button")].map((control) => {
  const words = [...(control.labels ?? [])].map((label) => label.textContent).join(" ")
    || control.getAttribute("aria-label") || (control.matches("button") ? control.textContent : "");
  return [control.outerHTML, words.trim()];
})"""

# What sticks out of a panel to the left or right, boxes that scroll by themselves left aside.
OUTSIDE = """panel => {
  const frame = panel.getBoundingClientRect();
  const hidden = ".vglab-scroll, .vglab-numbers, .vglab-heard, .vglab-play-title";
  return [...panel.querySelectorAll("*")]
    .filter((element) => !element.closest(hidden) && element.checkVisibility())
    .filter((element) => !element.matches("svg *") || element.matches("text"))
    .filter((element) => {
      const { left, right, width } = element.getBoundingClientRect();
      return width && (left < frame.left - 1 || right > frame.right + 1);
    })
    .map((element) => element.outerHTML.slice(0, 120));
}"""

# Contrast of text against the panel, by WCAG 2.2's formula; the least of all words in it.
CONTRAST = """panel => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const light = (color) => {
    const [r, g, b] = numbers(color).map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let box = element; box; box = box.parentElement) {
      const color = getComputedStyle(box).backgroundColor;
      if ((numbers(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  return Math.min(...[...panel.querySelectorAll("p, label, output, legend, text")]
    .filter((element) => element.checkVisibility() && element.textContent.trim())
    .map((element) => {
      const style = getComputedStyle(element);
      const ink = light(element.matches("text") ? style.fill : style.color);
      const [dark, bright] = [ink, light(ground(element))].sort((a, b) => a - b);
      return (bright + 0.05) / (dark + 0.05);
    }));
}"""


class Opened:
    """A page in a tab, gone down to one of its figures."""

    def __init__(self, tab, figure):
        self.tab = tab
        self.bad = []
        self.figure = figure
        self.still = tab.locator(STILL.format(figure)).first
        self.panel = tab.locator(f".vglab-play-{figure}")

    def finding(self):
        return self.panel.locator(".vglab-finding").inner_text()


@pytest.fixture
def opened(browser, served):  # noqa: F811
    contexts = []

    def go(name, figure, *, width=1280, ready=True, **options):
        options = {"reduced_motion": "reduce", **options}
        context = browser.new_context(viewport={"width": width, "height": 844}, **options)
        contexts.append(context)
        tab = context.new_page()
        seen = Opened(tab, figure)
        seen.bad = troubles(tab, served)
        tab.goto(f"{served}{name}.html", wait_until="load")
        seen.still.scroll_into_view_if_needed()
        if ready:
            seen.panel.and_(tab.locator(".ready")).wait_for(timeout=20_000)
            tab.wait_for_function(
                "name => document.querySelector(`.vglab-play-${name} .vglab-finding`).innerText",
                arg=figure,
            )
        return seen

    yield go
    for context in contexts:
        context.close()


def test_there_are_figures_to_play_with():
    assert len(FIGURES) >= 1


@each_figure
def test_it_takes_the_stills_place_on_the_screen_and_leaves_it_in_print(opened, name, figure):
    seen = opened(name, figure)
    assert seen.panel.is_visible()
    assert not seen.still.is_visible()
    seen.tab.emulate_media(media="print")
    assert seen.still.is_visible()
    assert not seen.panel.is_visible()
    assert seen.bad == []


@each_figure
def test_without_javascript_the_still_is_shown(opened, name, figure):
    seen = opened(name, figure, ready=False, java_script_enabled=False)
    assert seen.still.is_visible()
    assert seen.panel.count() == 0


@each_figure
def test_a_figure_that_fails_leaves_the_still(browser, served, name, figure):  # noqa: F811
    tab = browser.new_page()
    tab.route(f"**/play/{figure}.js*", lambda route: route.fulfill(body="export const x = 1;"))
    failed = []
    tab.on("pageerror", lambda error: failed.append(str(error)))
    tab.goto(f"{served}{name}.html", wait_until="load")
    still = tab.locator(STILL.format(figure)).first
    still.scroll_into_view_if_needed()
    tab.wait_for_timeout(500)
    assert still.is_visible() and tab.locator(f".vglab-play-{figure}").count() == 0
    tab.close()


@each_figure
def test_every_control_has_a_name(opened, name, figure):
    controls = opened(name, figure).panel.evaluate(NAMES)
    assert controls
    assert [html for html, words in controls if not words] == []


@each_figure
def test_the_keyboard_reaches_and_moves_it(opened, name, figure):
    seen = opened(name, figure)
    assert seen.tab.evaluate("document.getAnimations().length") == 0  # motion was declined
    heard = seen.panel.locator("[role=status]").first
    first = seen.panel.locator("input:not(:disabled), select, button:not(:disabled)").first
    first.focus()
    before, changed = seen.finding(), False
    for _ in range(30):
        inside = seen.panel.evaluate("panel => panel.contains(document.activeElement)")
        if changed or not inside:
            break
        for key in ("ArrowRight", "ArrowDown", "Space"):
            seen.tab.keyboard.press(key)
        seen.tab.keyboard.press("Escape")  # of a menu that Space opened
        seen.tab.wait_for_timeout(60)
        changed = seen.finding() != before
        seen.tab.keyboard.press("Tab")
    assert changed, "no key changes what the figure finds"
    seen.tab.wait_for_function(
        "name => document.querySelector(`.vglab-play-${name} [role=status]`).textContent",
        arg=figure,
    )
    assert heard.inner_text() == seen.finding()
    assert seen.bad == []


@pytest.mark.parametrize("width", [320, 390])
@each_figure
def test_it_fits_a_phone(opened, name, figure, width):
    seen = opened(name, figure, width=width)
    assert seen.panel.evaluate(OUTSIDE) == []
    assert seen.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.bad == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@each_figure
def test_its_words_can_be_read_in_both_themes(opened, name, figure, theme):
    seen = opened(name, figure, color_scheme=theme)
    assert seen.tab.locator("html").get_attribute("data-theme") == theme
    assert seen.panel.evaluate(CONTRAST) >= 4.5
    assert seen.bad == []


def test_what_others_wrote_is_what_they_published():
    rows = re.findall(
        r"^\| ([\w.]+) \|.*`([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text("utf-8"), re.M
    )
    stated = dict(rows)
    scripts = {path.name for path in VENDOR.glob("*.js")}
    assert "d3.min.js" in scripts and scripts <= stated.keys()
    for name, digest in stated.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name
