"""Every page against the rules of axe-core for levels A and AA, and its contrast in the dark."""

import re
from pathlib import Path

import axe_playwright_python
import pytest
from test_site import EDITIONS, PAGES, SITE, served  # noqa: F401

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
CONTRAST = ["color-contrast"]  # what another theme can change
LAID_OUT = "section { content-visibility: visible !important; }"  # axe measures what is drawn
RUN = """async (rules) => {
  const late = new Promise((_, fail) => setTimeout(() => fail(Error("axe never ended")), 60000));
  const { violations } = await Promise.race([axe.run(document, { runOnly: rules }), late]);
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary}`));
}"""
# Not 404: its style sheet lies at the published address, which this server does not have.
WHERE = [*PAGES, *EDITIONS, "search", "genindex"]

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="the website is not built: run `make book`"
)


@pytest.mark.parametrize(
    ("width", "theme", "rules"), [(390, "light", LEVELS), (1280, "dark", CONTRAST)]
)
def test_no_page_shuts_anybody_out(browser, served, width, theme, rules):  # noqa: F811
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=theme, reduced_motion="reduce"
    )
    tab = context.new_page()
    found = {}
    for name in WHERE:
        tab.goto(f"{served}{name}.html", wait_until="load")
        scroll_through(tab)
        tab.add_style_tag(content=LAID_OUT)
        tab.evaluate(AXE)
        if violations := tab.evaluate(RUN, rules):
            found[name] = [re.sub(r"\s+", " ", one)[:300] for one in violations]
    assert found == {}
    context.close()


def scroll_through(tab):
    """Go down the page and back, so that every figure that can be played with appears."""
    for still in tab.locator("[data-play], [class*=tag_play-]").all():
        still.scroll_into_view_if_needed()
        tab.wait_for_selector(".vglab-panel.ready", timeout=20_000)
    tab.evaluate("scrollTo(0, 0)")  # the bar above the page covers what is scrolled under it


def test_the_rules_find_what_is_wrong(browser):
    tab = browser.new_page()
    tab.set_content("<html><body><img src='data:,'><button></button></body></html>")
    tab.evaluate(AXE)
    found = {one.split(":")[0] for one in tab.evaluate(RUN, LEVELS)}
    assert {"image-alt", "button-name", "html-has-lang", "document-title"} <= found
    tab.close()
