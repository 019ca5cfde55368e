"""Formulas set at build time, and style sheets cut down: the rules, on small inputs."""

import hashlib

import pytest
from bs4 import BeautifulSoup
from formulas import FormulaError, render, typeset
from sheets import Sheet, bundle, faces, vocabulary
from throwaway import ROOT


def text(html, selector):
    return BeautifulSoup(html, "html.parser").select_one(selector).get_text()


def test_a_formula_is_seen_and_heard():
    html = render(r"\frac{a}{b} < \sigma^2", display=True)
    assert text(html, "annotation") == r"\frac{a}{b} < \sigma^2"
    assert BeautifulSoup(html, "html.parser").select_one("math[display=block] mfrac")
    assert BeautifulSoup(html, "html.parser").select_one(".katex-html")["aria-hidden"] == "true"


def test_a_formula_that_katex_does_not_know_is_refused():
    with pytest.raises(FormulaError, match=r"\\\\nosuch.*Undefined control sequence"):
        render(r"\nosuch{x}")
    with pytest.raises(FormulaError, match="doubts"):
        render("1 × 中")


def test_numbers_of_equations_are_left_to_sphinx():
    assert 'class="tag"' not in render(r"\begin{align}a &= b\\ c &= d\end{align}", display=True)
    assert "eqn-num" not in render(r"\begin{equation}a\end{equation}", display=True)


def test_only_marked_formulas_are_set():
    left = r"<code>re.compile(r'\(x\)')</code>"
    html = typeset(rf'<p>{left}<span class="math inline">\(a &lt; b\)</span></p>')
    assert left in html and text(html, "annotation") == "a < b"


@pytest.mark.parametrize(
    ("css", "kept"),
    [
        (".on{color:red}", ".on{color:red}\n"),
        (".off{color:red}", ""),
        (".on,.off{color:red}", ".on{color:red}\n"),
        (".on .off{color:red}", ""),
        (
            ".on:not(.off):is(.off,b)::before{color:red}",
            ".on:not(.off):is(.off,b)::before{color:red}\n",
        ),
        ("#me>p[data-x]{a:b}", "#me>p[data-x]{a:b}\n"),
        ("h6{a:b}", ""),
        (".later{a:b}", ".later{a:b}\n"),
        ("@media print{.off{a:b}}", ""),
        ("@media print{.on{a:b}.off{a:b}}", "@media print{.on{a:b}\n}\n"),
        ("/* gone */ :root{--x:1}", ":root{--x:1}\n"),
        ("@keyframes k{from{a:b}to{a:c}}", "@keyframes k{from{a:b}to{a:c}}\n"),
    ],
)
def test_a_rule_stays_where_something_can_use_it(css, kept):
    known = vocabulary(['<p class="on" id="me">'], ['box.classList.add("later")'])
    assert bundle([Sheet(css, "a.css")], known) == kept


def test_a_rule_stays_where_a_script_puts_the_class_together():
    known = vocabulary([], ["element.className = `vglab-play-${name}`"])
    css = ".vglab-play-flow .vglab-play-hero{color:red}\n"
    assert bundle([Sheet(css + ".vglab-other{color:red}", "a.css")], known) == css


def test_addresses_follow_their_sheet_and_a_medium_stays():
    css = ".on{background:url(../x/y.png)}p{background:url('data:a,b')}"
    made = bundle([Sheet(css, "styles/a.css", "print")], {"on", "p"})
    assert made.startswith('@media print{.on{background:url("x/y.png")}')
    assert "data:a,b" in made


FACES = (
    "@font-face{font-family:KaTeX_Main;font-style:normal;font-weight:%s;"
    'src:url("f/M-%s.woff2") format("woff2"),url("f/M.ttf")}'
)


def test_a_font_that_a_rule_asks_for_stays_and_one_that_none_does_goes():
    css = FACES % ("400", "400") + FACES % ("700", "700") + ".katex{font-family:KaTeX_Main}"
    there = "f/M-400.woff2".__eq__
    made = faces(css, there)
    assert 'src:url("f/M-400.woff2") format("woff2")}' in made and "M-700" not in made
    assert "M-700" in faces(css + ".katex .textbf{font-weight:700}", there)


def test_what_is_vendored_is_what_its_list_says():
    lines = (ROOT / "book" / "_tools" / "katex" / "SOURCE.txt").read_text("utf-8").splitlines()
    sums = [line.split() for line in lines if len(line) > 64 and "  " in line[64:66]]
    listed = {path for _, path in sums}
    for digest, path in sums:
        assert hashlib.sha256((ROOT / "book" / path).read_bytes()).hexdigest() == digest, path
    there = [*(ROOT / "book/_tools/katex").iterdir(), *(ROOT / "book/_static/katex").rglob("*")]
    names = {p.relative_to(ROOT / "book").as_posix() for p in there if p.is_file()}
    assert names - {"_tools/katex/SOURCE.txt"} == listed
