"""Reports: what a reader of the page gets, and what no text in a record can do to it."""

import itertools
import re
from html.parser import HTMLParser
from statistics import mean, median

import made_records as made
import pytest
from bs4 import BeautifulSoup

from vglab.assignments.report import feedback_html, summary_html, written_html

SECRET = "the hidden input was 41"
VOID = {"meta", "img", "br", "hr", "link", "input"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "article", "aside"),
    *("div", "h1", "h2", "h3", "p", "a", "bdi", "pre", "code", "span", "strong", "ul", "li"),
    *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "svg"),
}


class Reader(HTMLParser):
    """Reads a page as strictly as a page of ours should be: closed tags, known attributes."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        assert len({name for name, _ in attributes}) == len(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


def soup(page):
    return BeautifulSoup(page, "html.parser")


def said(page):
    """The text of a page in one line."""
    return " ".join(soup(page).main.get_text(" ").split())


def table(page, caption):
    """A table by its caption, as lists of its rows' cells."""
    (found,) = [t for t in soup(page).find_all("table") if t.caption.get_text() == caption]
    return [[" ".join(c.get_text(" ").split()) for c in row.find_all(["th", "td"])]
            for row in found.find_all("tr")]  # fmt: skip


@pytest.fixture
def anna():
    return made.record(
        "anna", "Anna Example", "12",
        made.question(
            "q1", made.test("test_shape_of_W", possible=1.0),
            made.test("test_value", passed=False, possible=0.5, message="expected 2,\n  got 3"),
            made.test("test_seed_41", hidden=True, passed=False, message=SECRET, possible=2.0),
            made.test("test_other_seed", hidden=True, message=SECRET, possible=1.0),
        ),
        made.written("q5"), made.written("q6", points=1.5, title="And in a residual net?"),
        late=True, message="named x.ipynb.txt, and taken as a notebook",
        errors=[{"cell": 7, "message": "NameError: name 'x' is not defined"}],
        answers={"q5": "The product\n\n- of *Jacobians*", "q6": "No."},
    )  # fmt: skip


def test_feedback_says_what_a_student_needs(anna):
    page = feedback_html(anna, title="Backpropagation")
    text = said(page)
    for words in (
        "Feedback for Anna Example", "3.5 of 8.5 points, and 2 points to be graded by your",
        "work.ipynb ; handed in late", "taken as a notebook", "2 of 4.5 points",
        "✓ passed shape of W (1 of 1 point)", "✗ failed value (0 of 0.5 points) expected 2, got 3",
        "Hidden tests: 1 of 2 passed, 1 of 3 points.", "1.5 of 2 points", "NameError",
    ):  # fmt: skip
        assert words in text, (words, text)
    assert table(page, "Points by question") == [
        ["Question", "Points", "Possible"],
        ["q1: The Jacobian of a layer", "2", "4.5"],
        ["q5: Why does it vanish?", "not yet graded", "2"],
        ["q6: And in a residual net?", "1.5", "2"],
        ["Total", "3.5", "8.5"],
    ]
    assert table(page, "Counted from the top of your notebook")[1][0] == "Cell 7"
    assert "The product\n\n- of *Jacobians*" in soup(page).get_text()  # lines as they were written


def test_feedback_tells_nothing_apart_about_hidden_tests(anna):
    page = feedback_html(anna, title="Backpropagation")
    for secret in (SECRET, "seed", "41", "other"):
        assert secret not in said(page)
    hidden = anna["questions"][0]["tests"][2:]
    for test in hidden:
        test["passed"] = not test["passed"]
    assert feedback_html(anna, title="Backpropagation") == page


@pytest.mark.parametrize(
    ("status", "heading"),
    [("stopped", "Grading your notebook was stopped"), ("unreadable", "could not be read")],
)
def test_feedback_without_grades(status, heading):
    one = made.record("a", "A", "", made.question("q1", made.test(passed=False)), made.written(),
                      status=status, message="more than 2 GB", file="")  # fmt: skip
    text = said(feedback_html(one, title="T"))
    assert heading in text and "more than 2 GB" in text and "0 of 3 points" in text
    assert "Your file: none" in text
    told_by_question = "✗ failed" in text and "No answer." in text
    assert told_by_question == (status == "stopped")


def pages(records):
    yield from (feedback_html(record, title=record["student"]) for record in records)
    yield summary_html(records, title=records[0]["student"])
    yield written_html(records, "q5", records[0]["student"])


def hostile(text):
    tests = [made.test(text, passed=False, message=text), made.test(text, hidden=True)]
    return made.record(
        text[:90], text, text, made.question("q1", *tests, title=text),
        made.written("q5", title=text), file=text, message=text, status="graded",
        errors=[{"cell": 1, "message": text}], answers={"q5": text},
    )  # fmt: skip


@pytest.mark.parametrize("text", [*made.HOSTILE, "x" * 100_000, "<b>" * 40_000],
                         ids=lambda text: ascii(text)[:20])  # fmt: skip
def test_hostile_text_is_text(text):
    for page in pages([hostile(text), dict(hostile(text), status="unreadable")]):
        page.encode()
        assert len(page) < 1_000_000
        reader = Reader(page)
        svg = set(soup(page).svg.find_all() if soup(page).svg else ())
        assert {tag for tag in reader.tags if tag not in TAGS} <= {tag.name for tag in svg}
        assert "script" not in reader.tags and "img" not in reader.tags
        for tag, name, value in reader.attributes:
            assert not name.startswith("on")
            if tag not in {each.name for each in svg} | {"svg"} and name in ("href", "src"):
                assert re.fullmatch(r"feedback/[\w.~%-]+\.html", value), value
        words = "".join(reader.texts)
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", words)
        if text.isprintable() and len(text) < 100:
            assert text in words
        if len(text) > 20_000:
            assert f"(cut here: {len(text) - 20_000:,} more characters)" in words


@pytest.fixture
def classful(anna):
    """Twelve students: ten graded, one stopped, one unreadable."""
    scores = [0.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 4.0, 4.0, 4.0]
    records = []
    for i, score in enumerate(scores):
        near = made.test("test_near", passed=score >= 2, possible=2.0)
        far = made.test("test_far_away", hidden=True, passed=score == 4, possible=2.0)
        one = made.question("q1", near, far) | {"points": score}
        hand = made.written("q5", points=1.0 if i < 4 else None)
        records.append(made.record(f"s{i}", f"Student {i}", str(i), one, hand,
                                   answers={"q5": "same" if i < 3 else f"own {i}"}))  # fmt: skip
    records[3]["errors"] = [{"cell": 1, "message": "x"}] * 2
    records[4]["message"] = "2 notebooks"
    for key, status in (("t", "stopped"), ("u", "unreadable")):
        halted = made.question("q1", made.test("test_near", passed=False, possible=4.0))
        records.append(made.record(key, key.upper(), "", halted, made.written("q5"),
                                   status=status, message=f"{status}: why"))  # fmt: skip
    return records


def test_summary_counts(classful):
    page = summary_html(classful, title="Backpropagation")
    text = said(page)
    assert "12 submissions: 10 graded, 1 stopped, 1 unreadable. 0 handed in late." in text
    assert "8 have answers to grade by hand" in text
    totals = [sum(q["points"] or 0 for q in r["questions"]) for r in classful[:10]]
    assert f"mean {mean(totals):g}, median {median(totals):g}, lowest 1" in text
    parts = table(page, "Graded submissions by their part of 6 points")[1:]
    counts = [sum(10 * i <= 100 * t / 6 < 10 * (i + 1) for t in totals) for i in range(10)]
    assert [int(row[1]) for row in parts] == counts and sum(counts) == 10
    assert table(page, "Questions, over 10 graded submissions")[1:] == [
        ["q1: The Jacobian of a layer", "4", "2.3", "2", "30%", "far away (7)"],
        ["q5: Why does it vanish?", "2", "1", "1", "0%", "none"],
    ]


def test_summary_names_who_needs_attention(classful):
    page = summary_html(classful, title="Backpropagation", pages="pages/")
    assert table(page, "4 of 12 submissions")[1:] == [
        ["T", "stopped: why"],
        ["U", "unreadable: why"],
        ["Student 4", "2 notebooks"],
        ["Student 3", "2 cells raised an error"],
    ]
    links = {a.get_text(): a["href"] for a in soup(page).find_all("a")}
    assert links["Student 4"] == "pages/s4.html" and len(links) == 12
    calm = summary_html(classful[:3], title="Backpropagation")
    assert "Nobody needs attention" in said(calm)


def test_summary_draws_every_score(classful):
    svg = soup(summary_html(classful, title="Backpropagation")).svg
    written = [text.get_text() for text in svg.find_all("text")]
    first = [1, 2, 3, 1, 0, 3]  # of 4 points: none, to 1, to 2, to 3, below 4, all
    assert [int(text) for text in written if text.isdigit()][:12] == [*first, 0, 0, 4, 0, 0, 0]
    assert "Hardest was q5: 50% of its points on average" in written
    assert svg["role"] == "img" and "q5" in svg["aria-label"]


@pytest.mark.parametrize("count", [0, 1])
def test_summary_of_few(classful, count):
    text = said(summary_html(classful[:count], title="T"))
    assert f"{count} submissions" in text
    assert said(summary_html(classful[10:], title="T")).count("0 graded") == 1


def test_written_answers_stand_beside_the_rubric(classful):
    page = written_html(classful, "q5", "2 points: the product\n1 point: a factor")
    text = said(page)
    assert "10 of 12 students answered." in text and "No answer: t , u" in text
    assert "2 points: the product\n1 point: a factor" in soup(page).aside.get_text()
    articles = soup(page).find_all("article")
    assert len(articles) == 8  # one answer was given three times
    assert [code.get_text() for code in articles[0].find_all("code")] == ["s0", "s1", "s2"]
    assert articles[0].pre.get_text() == "same" and "(1 given)" in articles[0].get_text()
    with pytest.raises(ValueError, match=r"'q1' is no written question; there are: q5"):
        written_html(classful, "q1", "")


def test_pages_are_accessible_and_need_nothing(anna, classful):
    for page in pages([anna, *classful]):
        page_soup = soup(page)
        assert page_soup.html["lang"] == "en" and page_soup.title.get_text().strip()
        assert "width=device-width" in str(page_soup.find("meta", {"name": "viewport"}))
        levels = [int(tag.name[1]) for tag in page_soup.find_all(re.compile("h[1-6]"))]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
        for found in page_soup.find_all("table"):
            assert found.caption.get_text().strip()
            assert all(th.get("scope") in ("col", "row") for th in found.find_all("th"))
            assert all(th.get_text().strip() for th in found.find_all("th"))
        policy = page_soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
        assert policy.startswith("default-src 'none'")
        plain = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
        assert not re.search(
            r"(src|href)=\"(?!feedback/|#|data:)|url\((?!#)|@import|https?:", plain
        )
        assert "prefers-color-scheme: dark" in page


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_read_in_light_and_dark(anna):
    """WCAG 2.2 AA: 4.5 to 1 for text."""
    page = feedback_html(anna, title="T")
    schemes = re.findall(r"--ink: [^}]*", page)
    assert len(schemes) == 2
    for scheme in schemes:
        colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", scheme))
        for text in ("ink", "muted", "link", "good", "bad"):
            for ground in ("paper", "panel"):
                pair = sorted(luminance(colors[name]) + 0.05 for name in (text, ground))
                assert pair[1] / pair[0] >= 4.5, (text, ground)
