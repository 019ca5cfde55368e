"""A chapter's slides: derived by rule, nothing lost that the rule names, nothing from elsewhere."""

import json
import re

import nbformat
import pytest
import twins
from bs4 import BeautifulSoup
from decks import deck
from measured import toc_files
from sentences import blocks, items, sentences, shortened, words
from slides import CLAIM, Slide, derive, lesson
from throwaway import NAME, ROOT

SVG = (
    '<svg width="72pt" height="36pt" viewBox="0 0 72 36"><path id="a" style="fill: #0072b2"/></svg>'
)


def row(statement, measured="1"):
    return {
        "statement": statement,
        "expected": "< 2",
        "measured": measured,
        "relation": "<",
        "tolerance": None,
        "source": "Someone 2020",
        "holds": True,
        "anchor": "claim-0",
    }


def code(source, *outputs, **metadata):
    shown = [nbformat.v4.new_output("display_data", data=data) for data in outputs]
    return nbformat.v4.new_code_cell(source, outputs=shown, metadata=metadata)


def notebook(*cells):
    made = [nbformat.v4.new_markdown_cell(c) if isinstance(c, str) else c for c in cells]
    return nbformat.v4.new_notebook(cells=made)


def shapes(slides):
    return [(slide.kind, slide.detail) for slide in slides]


FRONT = """# A title with $x$

A fact. What follows from it?

After this chapter you can

1. **say** what a slide is;
2. **make** one.

Reading time 3 minutes, running time about 4 seconds on two cores.
"""


def test_the_front_becomes_the_title_and_the_abilities():
    title, abilities = derive(notebook(FRONT))
    assert (title.kind, title.title) == ("title", "A title with $x$")
    assert title.body[0] == ("lead", "A fact. What follows from it?")
    assert title.body[1][0] == "small"
    assert abilities.body == [("list", ["**say** what a slide is;", "**make** one."])]


SECTION = """## Half of it

First it is halved. Then other things are said at length.
So half is left, as follows:

$$h = \\frac{1}{2} .$$

Here $h$ is the half.

> **Predict.** How much is left?
"""


def test_a_section_becomes_its_sentence_formula_prediction_figure_and_findings():
    figure = {"mystnb": {"image": {"alt": "A line that\n falls."}}}
    cells = [
        code("def half(x):\n    return x / 2\n\n\nprint(half(3))"),
        code("plot()", {"image/svg+xml": SVG}, **figure),
        code("claim()", {CLAIM: row("it is a half", "0.5")}),
    ]
    slides = derive(notebook(FRONT, SECTION, *cells))[2:]
    assert shapes(slides) == [
        ("idea", False),
        ("predict", False),
        ("code", True),  # below what it belongs to
        ("figure", False),
        ("findings", False),
    ]
    idea, predict, lesson_, picture, found = slides
    assert idea.body == [
        ("lead", "First it is halved."),
        ("lead", "So half is left, as follows:"),
        ("formula", "h = \\frac{1}{2} ."),
    ]
    assert "at length" in " ".join(idea.notes) and "is the half" in " ".join(idea.notes)
    assert predict.body == [("lead", "How much is left?")]
    assert lesson_.body == [("code", "def half(x):\n    return x / 2")]
    assert picture.body == [("figure", (SVG, "A line that falls."))]
    assert [r["statement"] for r in found.body[0][1]] == ["it is a half"]


def test_findings_that_show_no_number_hang_below_unless_a_vote_waits_for_them():
    dull = code("claim()", {CLAIM: row("it holds", "yes")})
    text = "## Part\n\nA sentence."
    assert shapes(derive(notebook(FRONT, text, dull)))[-1] == ("findings", True)
    vote = f"{text}\n\n> **Predict.** Does it?"
    assert shapes(derive(notebook(FRONT, vote, dull)))[-1] == ("findings", False)


def test_no_finding_is_lost_where_there_are_many():
    many = [{CLAIM: row(f"finding {n}", "yes" if n < 6 else "1")} for n in range(20)]
    slides = derive(notebook(FRONT, "## Part\n\nA sentence.", code("claim()", *many)))
    tables = [slide for slide in slides if slide.kind == "findings"]
    shown = [r["statement"] for slide in tables for r in slide.body[0][1]]
    assert sorted(shown) == sorted(f"finding {n}" for n in range(20))
    assert shown[:2] == ["finding 6", "finding 7"]  # numbers first
    assert [slide.detail for slide in tables] == [False] + [True] * (len(tables) - 1)
    assert all(len(slide.body[0][1]) <= 5 for slide in tables)


def test_a_cell_can_ask_for_another_rule():
    skip = {"slideshow": {"slide_type": "skip"}}
    cell = code("claim()", {CLAIM: row("hidden")}, **skip)
    assert "findings" not in [s.kind for s in derive(notebook(FRONT, "## Part\n\nText.", cell))]
    text = nbformat.v4.new_markdown_cell("## Left out", metadata=skip)
    assert len(derive(notebook(FRONT, text))) == 2
    shown = code("print(1)", slideshow={"slide_type": "slide"})
    assert shapes(derive(notebook(FRONT, "## Part\n\nText.", shown)))[-1] == ("code", False)


def test_the_mark_that_asks_survives_the_twin():
    twin = (ROOT / "book" / "_source" / "gradients" / "gradient_descent.md").read_text("utf-8")
    made = twins.parse(twin, "setup")
    made.cells[-1].metadata["slideshow"] = {"slide_type": "skip"}
    again = twins.parse(twins.unparse(twins.normalise(made, "")), "setup")
    assert again.cells[-1].metadata["slideshow"] == {"slide_type": "skip"}


def test_exercises_show_the_task_and_not_the_hint_or_the_solution():
    text = """## Exercises

### Exercise 1: halve

Return the half.

<details><summary>Hint</summary>

Divide by two.

</details>
"""
    end = "## Solutions\n\n### Solution 1"
    last = derive(notebook(FRONT, text, code("def half(x): ..."), end, code("def half(x): x/2")))[
        -1
    ]
    assert (last.kind, last.title) == ("exercise", "Exercise 1: halve")
    assert last.body == [("text", "Return the half.")]
    assert "Divide" not in " ".join(last.notes)


def test_questions_show_their_options_and_reasons_stay_with_the_speaker():
    text = """## Check yourself

**Question 1.** Is it?

<details><summary>It is.</summary>

**Right.** Because of this and that.

</details>

<details><summary>It is not.</summary>

**No.** It is, and you saw it happen.

</details>
"""
    end = "## What you can do now\n\n1. **Say**: so."
    nb = notebook(FRONT, f"## Exercises\n\n{text}\n{end}")  # one cell, as jupytext makes it
    quiz, close = derive(nb)[-2:]
    assert (quiz.kind, close.kind) == ("quiz", "close")
    html = BeautifulSoup(deck("book/a", derive(nb), "Book"), "html.parser")
    options = html.select(".quiz ol[type=A] li")
    assert ["fragment" in str(option) for option in options] == [True, False]
    assert "Because of this" not in html.select_one(".quiz").get_text()
    assert "Because of this" in html.select(".quiz ~ aside.notes")[0].get_text()


def test_the_lesson_of_a_cell_is_what_it_defines():
    assert lesson("@cache\ndef f():\n    return 1\n\n\nx = f()") == [
        "@cache\ndef f():\n    return 1"
    ]
    assert lesson("x = 1") == lesson("%pip install x") == []
    assert lesson("def f():\n    return '" + "x" * 80 + "'") == []
    long = "def f():\n" + "    x = 1\n" * 9
    assert lesson(long + "\n\n" + long) == [long.strip(), long.strip()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three!", ["One.", "Two?", "Three!"]),
        (
            "As Glorot et al. 2010 say, 0.5 is it. So.",
            ["As Glorot et al. 2010 say, 0.5 is it.", "So."],
        ),
        ("A row $g. X$ ends. $W$ follows.", ["A row $g. X$ ends.", "$W$ follows."]),
        ("**No. It is not.** It is.", ["**No. It is not.**", "It is."]),
        ("See [one. Two](a.b. C) there.", ["See [one. Two](a.b. C) there."]),
        ("(It is so.) Then.", ["(It is so.)", "Then."]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_no_full_stop_leaves_its_formula():
    html = deck("book/a", [Slide("title", "T", body=[("lead", "With $x$ and $y$.")])], "Book")
    stopped = BeautifulSoup(html, "html.parser").select_one(".nowrap")
    assert stopped.select_one(".math.inline .katex-mathml annotation").get_text() == "y"
    assert stopped.get_text().endswith("y.")


def test_a_slide_shows_its_formulas_and_its_notes_say_them():
    body = [("lead", r"With $x_1 < 2$."), ("formula", r"\frac{a}{b}")]
    html = deck("book/a", [Slide("title", "T", body=body, notes=["As $y$ is."])], "Book")
    page = BeautifulSoup(html, "html.parser")
    assert len(page.select(".frame .katex-html")) == 2
    assert page.select_one(".formula > .katex-display mfrac")
    assert page.select_one(".notes math") and not page.select(".notes .katex-html")
    assert "\\(" not in html and "\\[" not in html


def test_lists_and_words():
    assert items("1. one\n   and on\n2. two") == ["one and on", "two"]
    assert words("a $x + y = z$ b") == 3
    assert shortened("One two three. Four five. Six.", 5) == "One two three. Four five."
    kinds = [block.kind for block in blocks("# A\n\ntext\n\n$$x$$\n\n> quote\n\n- item")]
    assert kinds == ["heading", "paragraph", "formula", "quote", "list"]


def test_a_deck_of_an_executed_notebook(book):
    slides = derive(twins.load(book / "book" / f"{NAME}.ipynb"))
    html = BeautifulSoup(deck(f"book/{NAME}", slides, "Book"), "html.parser")
    assert html.find("h1").get_text() == "A chapter"
    assert html.find("script", src="../../_static/reveal/reveal.js")
    assert html.select_one("footer a")["href"] == "../../book/part/chapter.html"


CHAPTERS = [name for name in toc_files(ROOT) if (ROOT / f"{name}.ipynb").exists()]


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_slides_of_a_chapter(name):
    chapter = twins.load(ROOT / f"{name}.ipynb")
    slides = derive(chapter)
    assert slides[0].kind == "title"
    text = "\n\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    content = text.split("\n## Exercises")[0]
    taught = [s for s in slides if s.kind == "predict"]
    assert len(taught) == len(re.findall(r"^> \*\*Predict\.", content, re.M))
    tasks = [s for s in slides if s.kind == "exercise"]
    assert len(tasks) == len(re.findall(r"^### Exercise", text, re.M)) + text.count(
        "### The capstone"
    )
    assert all(task.body for task in tasks)
    first = [n for n, cell in enumerate(chapter.cells) if "## Exercises" in cell.source]
    before = chapter.cells[: first[0] if first else None]
    found = [json.dumps(row) for row in twins.claims(nbformat.v4.new_notebook(cells=before))]
    rows = [r for s in slides for kind, rows in s.body if kind == "findings" for r in rows]
    assert sorted(json.dumps(r) for r in rows) == sorted(found)
    pictures = [s for s in slides if s.kind == "figure"]
    assert len(pictures) == sum(len(twins.figures(cell)) for cell in before)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_deck_is_sound_html(name):
    slides = derive(twins.load(ROOT / f"{name}.ipynb"))
    html = BeautifulSoup(deck(name, slides, "Book"), "html.parser")
    ids = [tag["id"] for tag in html.find_all(id=True)]
    assert len(ids) == len(set(ids))
    loaded = [tag.get("src") or tag.get("href") for tag in html.select("script[src], link")]
    assert not [url for url in loaded if "//" in url]
    for svg in html.select("svg:not(.katex svg)"):
        assert len(svg["aria-label"].split()) >= 3
    for link in html.select("a[href]"):
        assert not link["href"].endswith(".ipynb") or "colab" in link["href"]
    for frame in html.select(".frame"):
        assert frame.find(["h1", "h2"]).get_text().strip()
        shown = frame.select_one(".body").get_text()
        if not {"code", "figure"} & set(frame["class"]):
            assert "**" not in shown and "$" not in shown
            assert len(shown.split()) <= 130, shown
