"""Reading aids: what the built site holds, and what a browser makes of it."""

import itertools
import json
import re
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import sentences
import teaching
import twins
from babel.messages.pofile import read_po
from callouts import kind_of
from docutils import nodes
from finding import american
from opening import costs, priced
from phrases import CHINESE, ENGLISH, phrases
from terms import form, link_mentions, spoken
from test_site import (  # noqa: F401  (fixtures)
    CHAPTERS,
    CONFIG,
    PAGES,
    ROOT,
    asked,
    page,
    served,
    troubles,
)
from test_site import pytestmark as needs_site

BASE = CONFIG["repository"]["url"]
CHAPTER = "book/gradients/signal_propagation"


def markdown(name):
    cells = twins.load(ROOT / f"{name}.ipynb").cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def words(tag):
    return " ".join(tag.get_text().split())


# Without a site.


@pytest.mark.parametrize(
    ("term", "text", "said"),
    [
        ("gradient descent (梯度下降法)", "Gradient\ndescent is slow.", "Gradient\ndescent"),
        ("Jacobian", "all Jacobians", "Jacobians"),
        ("loss (损失函数)", "a loss of width", None),
        ("loss (损失函数)", "the loss itself", "loss"),
        ("baseline", "from the baseline", None),
        ("gate", "navigates to gate", None),
        ("ReLU", "relu and LeakyReLU, pre-ReLU", None),
        ("loss (损失函数)", "这个损失函数很小", "损失函数"),
        ("logistic regression (线性模型, a linear model)", "it is a linear model", None),
    ],
)
def test_a_term_is_found_in_the_words_that_stand_for_it_only(term, text, said):
    pattern = spoken(term, ENGLISH)
    match = pattern and pattern.search(text)
    assert (match[0] if match else None) == said


def test_a_sentence_gets_one_link_and_a_term_one_in_all():
    left = [(re.compile(form(word)), word) for word in ("logit", "loss", "slope")]
    paragraph = nodes.paragraph("", "A logit and a loss. A loss, a logit. The slope, ")
    paragraph += [nodes.reference("", "a link", refuri="#"), nodes.Text(" and the slope.")]
    link_mentions(paragraph, left, ENGLISH)
    links = [link["refuri"] for link in paragraph.findall(nodes.reference)]
    assert links == ["logit", "loss", "slope", "#"]
    assert (
        paragraph.astext()
        == "A logit and a loss. A loss, a logit. The slope, a link and the slope."
    )
    assert left == []


def test_the_chinese_table_knows_the_catalogues_words():
    headings = {
        "What this does not show": CHINESE.limits,
        "What you can do now": CHINESE.summary,
        "Check yourself": CHINESE.check,
        "Exercises": CHINESE.apart,
        "Sources": CHINESE.apart,
        "Solutions": CHINESE.apart,
    }
    seen = set()
    for path in (ROOT / "book" / "locale" / "zh").rglob("*.po"):
        for message in read_po(path.open("rb")):
            english, chinese = str(message.id), str(message.string)
            if not english or not chinese:
                continue
            if english in headings:
                assert headings[english].fullmatch(chinese), chinese
                seen.add(english)
            elif english.startswith("**Predict.**"):
                assert CHINESE.predict.fullmatch(chinese.split("**")[1]), chinese
            elif ENGLISH.times.search(english):
                assert CHINESE.times.search(chinese), chinese
    assert seen == set(headings)


@pytest.mark.parametrize(
    ("bold", "language", "kind"),
    [
        ("Predict.", "en", "predict"),
        ("Trap.", "en", "trap"),
        ("Note.", "en", ""),
        ("", "en", ""),
        ("预测。", "zh_CN", "predict"),
        ("陷阱。", "zh_CN", "trap"),
        ("Predict.", "zh_CN", ""),
    ],
)
def test_a_quotation_is_a_callout_by_its_bold_label(bold, language, kind):
    paragraph = nodes.paragraph("", "", nodes.Text(""), nodes.strong("", bold), nodes.Text(" …"))
    assert kind_of(nodes.block_quote("", paragraph), phrases(language)) == kind


def test_costs_are_those_that_were_measured(tmp_path):
    (tmp_path / "constraints").mkdir()
    assert costs(tmp_path / "elsewhere") == {}
    one = {"seconds": 18.4, "memory_mb": 912}
    (tmp_path / "constraints" / "costs.json").write_text(json.dumps({"fixes/rmsprop": one}))
    assert costs(tmp_path) == {"book/fixes/rmsprop": one}
    assert priced(one, ENGLISH) == "18 s, 0.9 GB of memory"
    assert priced({"seconds": 7}, ENGLISH) == "7 s"


@pytest.mark.parametrize(
    ("british", "spelled"),
    [
        ("batch normalisation", "batch normalization"),
        ("optimisers", "optimizers"),
        ("neighbourhood", "neighborhood"),
        ("shape", "shape"),
    ],
)
def test_american_spellings(british, spelled):
    assert american(british) == spelled


def test_each_language_has_a_table():
    assert phrases("zh_CN") is phrases("zh") is CHINESE
    assert phrases("en") is phrases(None) is ENGLISH


# The built site.


@needs_site
@pytest.mark.parametrize("name", CHAPTERS)
def test_predictions_and_limits_are_callouts(name):
    quotes = [b for b in sentences.blocks(markdown(name)) if b.kind == "quote"]
    predicted = [b for b in quotes if b.text.startswith("**Predict.**")]
    boxes = page(name).select("div.vglab-callout.predict")
    assert [words(box.find("strong")) for box in boxes] == ["Predict."] * len(predicted)
    assert len(page(name).select("article blockquote")) == len(quotes) - len(predicted)
    limits = page(name).select("section.vglab-callout.limits > h2")
    assert len(limits) == markdown(name).count("\n## What this does not show")


@needs_site
def test_the_facts_are_those_of_the_sources():
    needed = dict(
        teaching.needed(line)
        for line in (ROOT / "book/teaching/for_instructors.md")
        .read_text(encoding="utf-8")
        .split("```{chapters}\n")[1]
        .split("\n```")[0]
        .splitlines()
    )
    for name in CHAPTERS:
        facts = page(name).select("h1 + ul.vglab-facts > li")
        said = {fact["class"][0]: fact for fact in facts}
        minutes = re.search(r"Reading time (\d+) minutes", markdown(name))[1]
        assert words(said["reading"]) == f"{minutes} minutes to read"
        exercises = markdown(name).count("\n### Exercise ")
        work = words(said["work"]) if "work" in said else "0 exercises, 0 questions"
        assert re.match(rf"{exercises} exercises?, {len(asked(name))} questions", work)
        assert len(needed[name]) == len(said["needs"].find_all("a") if "needs" in said else [])
        assert "Reading time" not in page(name).find("article").get_text()


@needs_site
@pytest.mark.parametrize("name", CHAPTERS)
def test_terms_are_linked_once_in_prose_and_have_their_definition(name):
    links = page(name).select("a.vglab-term")
    assert links
    anchors = [link["href"].split("#")[1] for link in links]
    assert len(set(anchors)) == len(anchors)
    boxes = page(name).select(".vglab-definition[role=tooltip][hidden]")
    assert [box["id"] for box in boxes] == [f"vglab-{anchor}" for anchor in anchors]
    glossary = page("book/glossary")
    for box in boxes:
        defined = glossary.find(id=box["id"].removeprefix("vglab-")).find_next("dd")
        assert words(box) and words(defined).startswith(words(box))
        assert not box.find("a")
    for link in links:
        assert not link.find_parent(["h1", "h2", "h3", "code", "pre", "details", "table"])
        assert not link.find_parent(id=["check-yourself", "exercises", "sources", "solutions"])


@needs_site
def test_neighbours_say_what_they_ask():
    for name, after in itertools.pairwise(CHAPTERS):
        told = page(name).select_one(".right-next .vglab-question-of")
        first = page(after).select_one("article section > p")
        assert words(told) == words(first)


@needs_site
@pytest.mark.parametrize("name", PAGES)
def test_each_page_can_be_mended(name):
    edit, report = page(name).select(".vglab-mend a")
    path = edit["href"].removeprefix(f"{BASE}/edit/{CONFIG['repository']['branch']}/")
    assert path.endswith(".md") and (ROOT / path).exists()
    assert path.startswith("book/_source/") == (name in CHAPTERS)
    asked_for = parse_qs(urlsplit(report["href"]).query)
    title = page(name).find("h1").get_text().removesuffix("#").strip()
    assert title in asked_for["title"][0] and name in asked_for["body"][0]
    menu = {words(a): a["href"] for a in page(name).select(".dropdown-source-buttons a")}
    assert menu["Edit this page"] == edit["href"]
    assert menu["Report an error"] == report["href"]
    assert "Open issue" not in menu and "Suggest edit" not in menu


# In a browser.


@pytest.fixture
def tab(browser, served):  # noqa: F811
    context = browser.new_context(viewport={"width": 1280, "height": 800}, base_url=served)
    tab = context.new_page()
    bad = troubles(tab, served)
    yield tab
    context.close()
    assert bad == []


def kept(tab):
    return json.loads(tab.evaluate("localStorage.getItem('vglab-progress')") or "{}")


@needs_site
def test_a_definition_comes_by_keyboard_and_goes_by_escape(tab):
    tab.goto(f"{CHAPTER}.html", wait_until="networkidle")
    link = tab.locator("a.vglab-term").nth(2)
    box = tab.locator(f"#{link.get_attribute('aria-describedby')}")
    assert box.get_attribute("role") == "tooltip" and not box.is_visible()
    link.scroll_into_view_if_needed()
    height = tab.evaluate("document.documentElement.scrollHeight")
    tab.evaluate("window.tab = document.querySelectorAll('a.vglab-term')[2]")
    tab.keyboard.press("Tab")
    link.focus()
    assert box.is_visible()
    assert box.locator("mjx-container, .katex, math").count() > 0  # its formula is set
    assert tab.evaluate("document.documentElement.scrollHeight") == height
    tab.keyboard.press("Escape")
    assert not box.is_visible()
    assert link.evaluate("link => link === document.activeElement")


@needs_site
def test_a_definition_stays_under_the_pointer_and_goes_when_it_leaves(tab):
    tab.goto(f"{CHAPTER}.html", wait_until="networkidle")
    link = tab.locator("a.vglab-term").nth(3)
    box = tab.locator(f"#{link.get_attribute('aria-describedby')}")
    link.hover()
    box.wait_for(state="visible")
    box.hover()
    tab.wait_for_timeout(500)  # longer than the grace
    assert box.is_visible()
    tab.mouse.move(5, 5)
    box.wait_for(state="hidden")


@needs_site
def test_a_first_tap_shows_the_definition_and_a_second_follows(browser, served):  # noqa: F811
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    tab = context.new_page()
    tab.goto(f"{served}{CHAPTER}.html", wait_until="networkidle")
    link = tab.locator("a.vglab-term").nth(4)
    box = tab.locator(f"#{link.get_attribute('aria-describedby')}")
    link.tap()
    assert box.is_visible() and "signal_propagation" in tab.url
    edges = box.bounding_box()
    assert edges["x"] >= 0 and edges["x"] + edges["width"] <= 390
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.touchscreen.tap(20, 20)
    assert not box.is_visible()
    link.tap()
    link.tap()
    tab.wait_for_url("**/glossary.html#term-*")
    context.close()


@needs_site
def test_progress_is_remembered_and_forgotten_on_demand(tab):
    tab.goto("book/index.html", wait_until="networkidle")
    box = tab.locator(".vglab-progress")
    assert box.locator(".next").inner_text() == "Start with Gradient descent"
    assert not box.locator(".forget").is_visible() and kept(tab) == {}

    tab.goto(f"{CHAPTER}.html", wait_until="networkidle")
    button = tab.get_by_role("button", name="Mark as read")
    assert button.get_attribute("aria-pressed") == "false"
    tab.locator("#how-deep-the-depth-scale, section section").nth(1).scroll_into_view_if_needed()
    tab.locator("h2", has_text="What this does not show").scroll_into_view_if_needed()
    form = tab.locator(".vglab-question").nth(1)
    right = [o.right for o in asked(CHAPTER)[1].options].index(True)
    form.locator("input").nth(right - 1).check()
    form.get_by_role("button", name="Check").click()
    assert form.locator(".vglab-solved").count() == 0
    form.locator("input").nth(right).check()
    form.get_by_role("button", name="Check").click()
    assert form.locator(".vglab-solved").inner_text() == "solved"
    guess = tab.get_by_label("Your guess").first
    guess.fill("ten layers")
    guess.press("Enter")
    guess.blur()
    tab.locator(".vglab-summary").scroll_into_view_if_needed()
    tab.locator("button[aria-pressed=true]", has_text="Mark as read").wait_for()

    tab.reload(wait_until="networkidle")
    assert button.get_attribute("aria-pressed") == "true"
    assert tab.get_by_label("Your guess").first.input_value() == "ten layers"
    assert tab.locator(".vglab-question.solved").count() == 1
    assert tab.locator(".bd-links a.vglab-read").inner_text().endswith("(read)")

    tab.goto("book/index.html", wait_until="networkidle")
    assert box.locator(".count").inner_text() == f"1 of {len(CHAPTERS)} chapters"
    assert box.locator(".next").inner_text() == "Continue with Vanishing through time"
    tab.once("dialog", lambda dialog: dialog.dismiss())
    box.get_by_role("button", name="Forget my progress").click()
    assert kept(tab)["chapters"][CHAPTER]["done"] is True
    tab.once("dialog", lambda dialog: dialog.accept())
    box.get_by_role("button", name="Forget my progress").click()
    assert kept(tab) == {}
    assert box.locator(".next").inner_text() == "Start with Gradient descent"
    assert tab.locator(".bd-links a.vglab-read").count() == 0


@needs_site
def test_the_front_page_leads_to_where_one_stopped(tab):
    tab.goto(f"{CHAPTER}.html", wait_until="networkidle")
    heading = tab.locator("section#the-idea-a-wide-layer-forgets-everything-but-a-size > h2")
    heading.evaluate("h => h.scrollIntoView()")
    tab.wait_for_function("localStorage.getItem('vglab-progress')?.includes('the-idea')")
    tab.goto("book/index.html", wait_until="networkidle")
    link = tab.locator(".vglab-progress .next a")
    assert "The idea: a wide layer forgets everything but a size" in link.inner_text()
    link.click()
    tab.wait_for_url("**/signal_propagation.html#the-idea-*")


@needs_site
def test_without_storage_or_scripts_the_pages_read_as_well(browser, served):  # noqa: F811
    for blocked in (True, False):
        context = browser.new_context(java_script_enabled=blocked)
        if blocked:
            context.add_init_script(
                "for (const name of ['getItem', 'setItem', 'removeItem']) {"
                "  const plain = Storage.prototype[name];"
                "  Storage.prototype[name] = function (key, ...rest) {"
                "    if (key === 'vglab-progress') throw new DOMException('blocked');"
                "    return plain.call(this, key, ...rest); }; }"
            )
        tab = context.new_page()
        bad = []
        tab.on("pageerror", lambda error, bad=bad: bad.append(str(error)))
        tab.goto(f"{served}{CHAPTER}.html")
        tab.locator(".vglab-callout.predict").first.scroll_into_view_if_needed()
        assert tab.locator(".vglab-callout.predict").first.is_visible()
        assert tab.locator(".vglab-guess").first.is_visible() == blocked
        assert tab.locator(".vglab-finish").is_visible() == blocked
        if blocked:
            tab.locator(".vglab-finish button").scroll_into_view_if_needed()
            tab.locator(".vglab-finish button[aria-pressed=true]").wait_for()
        assert bad == []
        context.close()


SHIFT = """() => new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => {
    for (const e of list.getEntries()) sum += e.value;
  }).observe({type: "layout-shift", buffered: true});
  setTimeout(() => done(sum), 300);
})"""


@needs_site
@pytest.mark.parametrize("name", ["book/index", CHAPTER])
def test_nothing_moves_when_what_is_remembered_comes(browser, served, name):  # noqa: F811
    for width in (390, 1280):
        context = browser.new_context(viewport={"width": width, "height": 844})
        tab = context.new_page()
        tab.goto(f"{served}{name}.html", wait_until="networkidle")
        top = "document.querySelector('article p').getBoundingClientRect().top"
        before, fresh = tab.evaluate(SHIFT), tab.evaluate(top)
        memory = {"chapters": {n: {"done": True, "solved": [1]} for n in CHAPTERS[:4]}}
        memory |= {"last": CHAPTERS[3], "guesses": {CHAPTER: {"1": "a guess"}}}
        tab.evaluate("m => localStorage.setItem('vglab-progress', m)", json.dumps(memory))
        tab.reload(wait_until="networkidle")
        assert tab.evaluate(top) == fresh
        assert tab.evaluate(SHIFT) <= before + 0.01
        context.close()


@needs_site
def test_a_report_quotes_what_is_selected(tab):
    tab.goto(f"{CHAPTER}.html", wait_until="networkidle")
    tab.context.route(re.compile(r"^https://"), lambda route: route.abort())
    tab.evaluate(
        "() => { const p = document.querySelector('article section > p');"
        "getSelection().selectAllChildren(p); }"
    )
    link = tab.locator(".vglab-mend .report")
    plain = link.get_attribute("href")
    link.evaluate("a => { a.addEventListener('click', e => e.preventDefault()); a.focus(); }")
    tab.keyboard.press("Enter")
    told = parse_qs(urlsplit(link.get_attribute("href")).query)
    assert told["title"] == parse_qs(urlsplit(plain).query)["title"]
    assert f"Address: {tab.url}" in told["body"][0]
    assert "> You choose two numbers before you have seen any data" in told["body"][0]
    assert link.get_attribute("href").startswith(f"{BASE}/issues/new?")


@needs_site
@pytest.mark.parametrize("keys", ["Control+k", "/"])
def test_a_key_opens_the_search(tab, keys):
    tab.goto(f"{CHAPTER}.html", wait_until="networkidle")
    tab.wait_for_function("document.readyState === 'complete'")
    tab.keyboard.press(keys)
    tab.locator("input[name=q]:focus").wait_for()
    tab.keyboard.type("saliency")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/search.html?q=saliency")


# Search: what a reader types, and the page that should be among the first three.
QUERIES = {
    "vanishing gradient": "gradients/why_gradients_vanish",
    "vanishing gradients": "gradients/why_gradients_vanish",
    "exploding gradients": "gradients/why_gradients_vanish",
    "sigmoid": "gradients/why_gradients_vanish",
    "chi": "gradients/signal_propagation",
    "χ": "gradients/signal_propagation",
    "depth scale": "gradients/signal_propagation",
    "trainability map": "gradients/signal_propagation",
    "edge of stability": "gradients/gradient_descent",
    "learning rate too large": "gradients/gradient_descent",
    "chain rule": "gradients/backpropagation",
    "lstm": "gradients/vanishing_through_time",
    "gradient clipping": "gradients/vanishing_through_time",
    "dead relu": "fixes/activations",
    "He initialisation": "fixes/initialisation",
    "He initialization": "fixes/initialisation",
    "initialization": "fixes/initialisation",
    "batch norm": "fixes/normalisation",
    "batch normalization": "fixes/normalisation",
    "RMSprop": "fixes/rmsprop",
    "optimizer": "fixes/rmsprop",
    "skip connection": "fixes/residual_paths",
    "residual connection": "fixes/residual_paths",
    "SHAP": "interpretability/shap",
    "shapley": "interpretability/shap",
    "saliency": "interpretability/gradient_attributions",
    "Grad-CAM": "interpretability/gradient_attributions",
    "superpixel": "interpretability/lime",
    "sanity check": "interpretability/can_you_trust_it",
    "shattered gradients": "interpretability/when_gradients_vanish",
    "naive Bayes": "interpretability/what_it_means",
    "梯度消失": "gradients/why_gradients_vanish",
}


def search(tab, query):
    tab.goto(f"search.html?q={quote(query)}")
    tab.wait_for_function(
        "/finished|match/.test(document.querySelector('.search-summary')?.innerText)"
    )
    return tab.eval_on_selector_all("ul.search > li > a", "a => a.map(x => x.getAttribute('href'))")


@needs_site
def test_the_search_finds_what_a_reader_types(tab):
    missed = {}
    for query, name in QUERIES.items():
        found = search(tab, query)[:3]
        if not any(url.startswith(f"book/{name}.html") for url in found):
            missed[query] = found
    assert missed == {}


@needs_site
def test_the_search_finds_a_claim(tab):
    for name in CHAPTERS[::4]:
        statement = twins.claims(twins.load(ROOT / f"{name}.ipynb"))[0]["statement"]
        pages = [url.split(".html")[0] for url in search(tab, statement)[:3]]
        assert {name, "book/what_we_measured"} & set(pages), (statement, pages)


@needs_site
def test_excerpts_are_prose(tab):
    search(tab, "skip connection")
    excerpts = tab.locator("ul.search p.context")
    tab.wait_for_function("document.querySelectorAll('ul.search > li > p').length > 1")
    for text in excerpts.all_inner_texts():
        assert len(text) > 100
        assert not re.search(r"\\[(a-z]|import |torch\.|\bdef ", text), text
