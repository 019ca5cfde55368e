"""Every interactive figure of the built website: found by its tag, tried in a real browser."""

import hashlib
import re
from pathlib import Path

import pytest
from measured import toc_files
from test_site import SITE, page, served, troubles  # noqa: F401

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
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
PLACE = "[data-play={0}], .tag_play-{0} .cell_output"
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

# Words whose contrast against what lies behind them is below 4.5 (WCAG 2.2, 1.4.3).
FAINT = """panel => {
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
  return [...panel.querySelectorAll("p, label, output, legend, text")]
    .filter((element) => element.checkVisibility() && element.textContent.trim())
    .filter((element) => {
      const style = getComputedStyle(element);
      const ink = light(element.matches("text") ? style.fill : style.color);
      const [dark, bright] = [ink, light(ground(element))].sort((a, b) => a - b);
      return bright + 0.05 < 4.5 * (dark + 0.05);
    })
    .map((element) => element.outerHTML.slice(0, 160));
}"""


class Opened:
    """A page in a tab, gone down to one of its figures."""

    def __init__(self, opener, address, name, figure):
        self.tab = opener.new_page(
            viewport={"width": 1280, "height": 844}, reduced_motion="reduce", color_scheme="light"
        )
        self.bad = troubles(self.tab, address)
        self.tab.goto(f"{address}{name}.html", wait_until="load")
        self.figure = figure
        self.still = self.tab.locator(STILL.format(figure)).first
        self.tab.locator(PLACE.format(figure)).first.scroll_into_view_if_needed()
        self.panel = self.tab.locator(f".vglab-play-{figure}")
        self.panel.and_(self.tab.locator(".ready")).wait_for(timeout=60_000)
        self.when("panel.querySelector('.vglab-finding').innerText")

    def when(self, condition):
        """Wait until a condition on the panel holds."""
        script = f"name => {{ const panel = document.querySelector(name); return {condition}; }}"
        self.tab.wait_for_function(script, arg=f".vglab-play-{self.figure}")

    def drawn(self):
        """Wait until the picture shows what the controls say."""
        self.tab.evaluate(DRAWN)

    def finding(self):
        return self.panel.locator(".vglab-finding").inner_text()


@pytest.fixture(scope="module", params=FIGURES, ids=[figure for _, figure in FIGURES])
def seen(request, browser, served):  # noqa: F811
    opened = Opened(browser, served, *request.param)
    yield opened
    opened.tab.close()


def test_it_takes_the_stills_place_on_the_screen_and_leaves_it_in_print(seen):
    assert seen.panel.is_visible()
    assert not seen.still.is_visible()
    seen.tab.emulate_media(media="print")
    assert seen.still.is_visible()
    assert not seen.panel.is_visible()
    seen.tab.emulate_media(media="screen")
    assert seen.bad == []


def test_every_control_has_a_name(seen):
    controls = seen.panel.evaluate(NAMES)
    assert controls
    assert [html for html, words in controls if not words] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_its_words_can_be_read_in_both_themes(seen, theme):
    seen.tab.emulate_media(color_scheme=theme)
    seen.tab.wait_for_function(
        "theme => document.documentElement.dataset.theme === theme", arg=theme
    )
    seen.drawn()
    assert seen.panel.evaluate(FAINT) == []
    assert seen.bad == []


def test_the_keyboard_reaches_and_moves_it(seen):
    assert seen.panel.evaluate("panel => panel.getAnimations({ subtree: true }).length") == 0
    seen.panel.locator("input:not(:disabled), select, button:not(:disabled)").first.focus()
    before, changed = seen.finding(), False
    while not changed and seen.panel.evaluate("panel => panel.contains(document.activeElement)"):
        for key in ("ArrowRight", "ArrowDown", "Space", "Escape"):  # Space may open a menu
            seen.tab.keyboard.press(key)
            seen.drawn()
            changed = changed or seen.finding() != before
        seen.tab.keyboard.press("Tab")
    assert changed, "no key changes what the figure finds"
    seen.when("panel.querySelector('[role=status]').textContent.trim()")
    assert seen.bad == []


@pytest.mark.parametrize("width", [390, 320])
def test_it_fits_a_phone(seen, width):
    seen.tab.set_viewport_size({"width": width, "height": 844})
    seen.drawn()
    seen.drawn()
    assert seen.panel.evaluate(OUTSIDE) == []
    assert seen.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.bad == []


@pytest.mark.parametrize(("name", "figure"), FIGURES, ids=[figure for _, figure in FIGURES])
def test_without_javascript_the_still_is_shown(browser, served, name, figure):  # noqa: F811
    tab = browser.new_page(java_script_enabled=False)
    tab.goto(f"{served}{name}.html", wait_until="load")
    tab.locator(PLACE.format(figure)).first.scroll_into_view_if_needed()
    assert tab.locator(STILL.format(figure)).first.is_visible()
    assert tab.locator(".vglab-panel").count() == 0
    tab.close()


def test_a_figure_that_fails_leaves_the_still(browser, served):  # noqa: F811
    name, figure = FIGURES[0]
    tab = browser.new_page()
    broken = "export const build = () => { throw Error('broken'); };"
    headers = {"content-type": "text/javascript"}
    tab.route(f"**/play/{figure}.js*", lambda route: route.fulfill(body=broken, headers=headers))
    tab.goto(f"{served}{name}.html", wait_until="load")
    with tab.expect_event("pageerror", timeout=60_000) as failed:
        tab.locator(PLACE.format(figure)).first.scroll_into_view_if_needed()
    assert "broken" in str(failed.value)
    assert tab.locator(STILL.format(figure)).first.is_visible()
    assert tab.locator(".vglab-panel").count() == 0
    tab.close()


def test_what_others_wrote_is_what_they_published():
    rows = re.findall(
        r"^\| ([\w.]+) \|.*`([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text("utf-8"), re.M
    )
    stated = dict(rows)
    scripts = {path.name for path in VENDOR.glob("*.js")}
    assert "d3.min.js" in scripts and scripts <= stated.keys()
    for name, digest in stated.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name
