"""The built website: every page, link, figure and finding; then the same pages in a browser."""

import functools
import json
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import questions
import twins
import yaml
from bs4 import BeautifulSoup
from edition import languages, translated_pages
from in_browser import serving
from measured import toc_files

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
PAGES = toc_files(ROOT)
CHAPTERS = [name for name in PAGES if (ROOT / f"{name}.ipynb").exists()]
EDITIONS = [f"{one}/{name}" for one in languages(ROOT) for name in translated_pages(ROOT, one)]
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


@pytest.mark.parametrize("name", [*PAGES, *EDITIONS])
def test_every_page_is_there_with_its_title(name):
    heading = page(name).find("h1").get_text().removesuffix("#").strip()
    assert heading
    assert heading in page(name).title.get_text()


@pytest.mark.parametrize("name", [*PAGES, *EDITIONS])
def test_ids_are_unique(name):
    ids = [tag["id"] for tag in page(name).find_all(id=True)]
    assert sorted({i for i in ids if ids.count(i) > 1}) == []


@pytest.mark.parametrize("name", [*PAGES, *EDITIONS])
def test_every_figure_says_what_it_shows(name):
    article = page(name).find("article")
    texts = [svg.get("aria-label", "") for svg in article.select(".vglab-figure svg[role=img]")]
    texts += [img.get("alt", "") for img in article.find_all("img")]
    for text in texts:
        assert len(re.findall(r"[\u3400-\u9fff]|\w+", text)) >= 3, (
            f"{text!r} does not say what is to be seen"
        )
    if name in CHAPTERS:
        assert len(texts) >= sum(any(m.startswith("image/") for m in d) for d in outputs(name))


@pytest.mark.parametrize("name", PAGES)
def test_the_colab_button_opens_this_chapter(name):
    links = [a["href"] for a in page(name).find_all("a", href=re.compile("colab.research"))]
    where = CONFIG["repository"]["url"].split("github.com/")[1]
    url = f"https://colab.research.google.com/github/{where}/blob/{CONFIG['repository']['branch']}/{name}.ipynb"
    assert set(links) == ({url} if name in CHAPTERS else set())


@pytest.mark.parametrize("name", [*PAGES, *EDITIONS, "genindex", "search"])
def test_nothing_is_loaded_from_another_host(name):
    loads = [tag.get("src") for tag in page(name).find_all(src=True)]
    links = page(name).find_all("link", href=True)
    loads += [tag["href"] for tag in links if not {"canonical", "alternate"} & {*tag["rel"]}]
    loads += [tag["data"] for tag in page(name).find_all("object", data=True)]
    assert [url for url in loads if urlsplit(url).netloc] == []
    inline = [tag.get_text() for tag in page(name).find_all(["script", "style"])]
    assert [text for text in inline if re.search(r"https?://[^\s\"']+\.(js|css|woff)", text)] == []


def test_style_sheets_load_nothing_from_another_host():
    for path in SITE.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", text), path.name


@pytest.mark.parametrize("name", [*PAGES, *EDITIONS])
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
    with serving(SITE) as address:
        yield address


def troubles(tab, served):
    """What goes wrong in a tab from now on: errors, and requests that fail or go elsewhere."""
    bad = []
    tab.on("console", lambda m: bad.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: bad.append(str(error)))
    aborted = "net::ERR_ABORTED"  # by going to the next page
    tab.on("requestfailed", lambda r: bad.append(r.url) if r.failure != aborted else None)
    tab.on("response", lambda r: bad.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    tab.on("request", lambda r: None if r.url.startswith((served, "data:")) else bad.append(r.url))
    return bad


LOOK = """() => {
  const formulas = [...document.querySelectorAll(".math")];
  const seen = f => f.closest("[hidden]") ||
    f.querySelector(".katex-html")?.getClientRects().length;
  const copy = document.querySelector("article").cloneNode(true);
  copy.querySelectorAll("pre, code, annotation").forEach(e => e.remove());
  const article = copy.textContent;
  return {
    "wider than the window": Math.max(0, document.documentElement.scrollWidth - innerWidth),
    "not typeset": formulas.filter(f => !seen(f)).map(f => f.outerHTML),
    "left as TeX": article.match(/\\\\[a-zA-Z(\\[]+/g) ?? [],
    "theme": document.documentElement.dataset.theme,
  };
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_in_a_browser(browser, served, width, theme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)
    tab = context.new_page()
    bad = troubles(tab, served)
    for name in [*PAGES, *EDITIONS]:
        tab.goto(f"{served}{name}.html", wait_until="networkidle")
        seen = tab.evaluate(LOOK)
        expected = {"wider than the window": 0, "not typeset": [], "left as TeX": []}
        assert seen == {**expected, "theme": theme}, f"{name}: {json.dumps(seen, indent=1)}"
        assert bad == [], name
    context.close()


# Questions to check oneself.


def asked(name):
    section = questions.sections(twins.load(ROOT / f"{name}.ipynb")).get(questions.SECTION, "")
    return questions.read(section)[0]


WITH_QUESTIONS = [name for name in CHAPTERS if asked(name)]
STATE = """form => ({
  legend: form.querySelector("legend").textContent.slice(0, 12),
  inputs: [...form.querySelectorAll("input")].map(i => [i.type, i.labels.length, i.checked]),
  verdict: form.querySelector("[aria-live=polite]").innerText.trim(),
  told: [...form.querySelectorAll(".vglab-feedback")].filter(f => f.checkVisibility()).length,
})"""


def test_the_questions_are_on_the_pages_without_javascript():
    assert WITH_QUESTIONS
    for name in WITH_QUESTIONS:
        boxes = page(name).select("#check-yourself > details")
        words = [box.find("strong").get_text() for box in boxes]
        assert words == [o.verdict for question in asked(name) for o in question.options], name


@pytest.mark.parametrize("name", WITH_QUESTIONS)
def test_a_question_is_answered_with_the_keyboard_alone(browser, served, name):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = context.new_page()
    bad = []
    tab.on("console", lambda m: bad.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: bad.append(str(error)))
    tab.goto(f"{served}{name}.html", wait_until="networkidle")
    forms = tab.locator("#check-yourself .vglab-question")
    assert forms.count() == len(asked(name))
    assert tab.locator("#check-yourself details").count() == 0
    for form, question in zip(forms.all(), asked(name), strict=True):
        several = sum(option.right for option in question.options) > 1
        state = form.evaluate(STATE)
        kind = "checkbox" if several else "radio"
        assert state["inputs"] == [[kind, 1, False]] * len(question.options)
        assert state["legend"].startswith(f"Question {question.number}.")
        assert state["verdict"] == "" and state["told"] == 0
        inputs = form.locator("input")
        inputs.first.focus()
        for number, option in enumerate(question.options):
            if several:
                inputs.nth(number).focus()
                tab.keyboard.press("Space")
            else:
                tab.keyboard.press("ArrowDown" if number else "Space")
            assert inputs.nth(number).is_checked()
            assert form.evaluate(STATE)["verdict"] == ""  # an answer is told when asked for
            tab.keyboard.press("Enter")
            state = form.evaluate(STATE)
            assert option.verdict in state["verdict"]
            assert state["told"] == (number + 1 if several else 1)
            if not several:
                assert [v for v in questions.VERDICTS if v in state["verdict"]] == [option.verdict]
                assert form.locator("[aria-live] .right").count() == option.right
                tab.keyboard.press("Tab")
                assert form.get_by_role("button").evaluate("b => b === document.activeElement")
                tab.keyboard.press("Shift+Tab")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.reload(wait_until="networkidle")
    assert tab.locator(".vglab-question input:checked").count() == 0  # nothing is remembered
    assert bad == []
    context.close()


@pytest.mark.parametrize("name", WITH_QUESTIONS[:1])
def test_without_javascript_the_options_unfold(browser, served, name):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{served}{name}.html")
    option = asked(name)[0].options[0]
    box = tab.locator("#check-yourself details").first
    verdict = box.locator("strong").first
    assert not verdict.is_visible()
    box.locator("summary").focus()
    tab.keyboard.press("Enter")
    assert verdict.is_visible() and verdict.inner_text() == option.verdict
    context.close()


SEVERAL = """<section id="check-yourself"><h2>Check yourself</h2>
<p><strong>Question 1.</strong> Which are odd?</p>
<details><summary>3</summary><p><strong>Right.</strong> Three is.</p></details>
<details><summary>4</summary><p><strong>No.</strong> Four is not.</p></details>
<details><summary><i>5</i></summary><p><strong>Right.</strong> Five is.</p></details>
</section>"""


def test_where_several_options_are_right_each_is_told_of(browser, served):
    tab = browser.new_page()
    tab.goto(f"{served}{PAGES[-1]}.html")
    tab.set_content(SEVERAL)
    tab.add_script_tag(url=f"{served}_static/quiz.js", type="module")
    tab.wait_for_selector("form")
    form = tab.locator("form")
    assert "Tick all that are right." in form.locator("legend").inner_text()
    check = form.get_by_role("button", name="Check")
    verdict = form.get_by_role("status")
    check.click()
    assert verdict.inner_text() == "Choose an answer first."
    form.get_by_label("4").check()
    form.get_by_label("5").check()
    assert verdict.inner_text() == ""
    check.click()
    assert verdict.inner_text().split("\n\n") == [
        "Right answers found: 1 of 2.",
        "4",
        "No. Four is not.",
        "5",
        "Right. Five is.",
    ]
    form.get_by_label("4").uncheck()
    form.get_by_label("3").check()
    check.click()
    assert "found: 2 of 2" in verdict.inner_text() and "Four" not in verdict.inner_text()
    tab.close()


# Slides.

DECKS = [name.removeprefix("book/") for name in CHAPTERS]
FRAMES = """() => {
  document.documentElement.classList.add("measuring");
  const wide = (box) => box.scrollWidth - box.clientWidth;
  const high = (box) => box.scrollHeight - box.clientHeight;
  const size = (text) => parseFloat(getComputedStyle(text).fontSize);
  const frames = [...document.querySelectorAll(".frame")].map((frame) => {
    const body = frame.querySelector(".body");
    const boxes = [frame, body, ...body.querySelectorAll(".formula, .highlight, table")];
    const texts = frame.querySelectorAll(".body :is(p, li, td, code), header :is(h1, h2)");
    return {
      id: frame.parentElement.id,
      over: Math.max(high(frame), high(body), ...boxes.map(wide)),
      least: Math.min(...[...texts].map(size)),
    };
  });
  document.documentElement.classList.remove("measuring");
  return frames;
}"""


def test_every_slide_fits_and_can_be_read_from_the_last_row(browser, served):
    context = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme="dark")
    tab = context.new_page()
    bad = troubles(tab, served)
    for name in DECKS:
        tab.goto(f"{served}slides/{name}.html")
        tab.wait_for_selector("html.ready")
        assert tab.locator("html").get_attribute("data-theme") == "dark"
        formulas = tab.locator("div.formula:not(.frame)")
        assert formulas.count() == formulas.locator("> .katex-display").count(), name
        frames = tab.evaluate(FRAMES)
        assert len(frames) == len(read(SITE / "slides" / f"{name}.html").select(".frame"))
        assert [f for f in frames if f["over"] > 1 or f["least"] < 24] == [], name
        assert bad == [], name
    context.close()


def test_slides_turn_by_the_keyboard_and_change_their_theme(browser, served):
    tab = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="light")
    tab.goto(f"{served}slides/{DECKS[1]}.html")
    tab.wait_for_selector("html.ready")
    tab.keyboard.press("Space")
    assert tab.locator("section.present h2").first.inner_text() == "After this chapter you can"
    tab.keyboard.press("t")
    assert tab.locator("html").get_attribute("data-theme") == "dark"
    tab.close()


@pytest.mark.parametrize("javascript", [True, False])
def test_on_a_phone_the_slides_are_a_page_to_scroll(browser, served, javascript):
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, java_script_enabled=javascript)
    tab = context.new_page()
    bad = troubles(tab, served)
    tab.goto(f"{served}slides/{DECKS[0]}.html", wait_until="networkidle")
    frames = tab.locator(".frame").all()
    assert len(frames) > 10 and all(frame.is_visible() for frame in frames)
    assert tab.locator("body").bounding_box()["width"] == 390
    if javascript:
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert bad == []
    context.close()
