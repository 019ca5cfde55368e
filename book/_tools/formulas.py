"""Formulas set while the book is built: KaTeX, run by V8, so that a reader's browser only draws."""

import functools
import html
import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from py_mini_racer import JSEvalException, MiniRacer
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

KATEX = Path(__file__).parent / "katex" / "katex.min.js"
NUMBERED = re.compile(r"\\(begin|end)\{(equation|align|alignat|gather)\}")
MARKED = re.compile(
    r'(<(?:span|div) class="(?:math (?:inline|block)|formula)">)\s*'
    r"\\(?:\((?P<inline>.*?)\\\)|\[(?P<display>.*?)\\\])\s*(?=</)",
    re.S,
)
FITS = 20  # signs of a formula
SET = """
var warnings = [];
var console = {warn: (text) => warnings.push(text), error: (text) => warnings.push(text)};
function set(tex, displayMode, output) {
  warnings = [];
  const html = katex.renderToString(tex, {displayMode, output, throwOnError: true});
  return [html, warnings.join("; ")];
}
"""


class FormulaError(ValueError):
    """KaTeX does not know how to set a formula."""


@functools.cache
def render(tex: str, display: bool = False, output: str = "htmlAndMathml") -> str:
    r"""Set one formula.

    Parameters
    ----------
    tex:
        What stands between the marks; an environment of amsmath stands for itself.
    display:
        Does it stand on a line of its own?
    output:
        ``"htmlAndMathml"`` to see and to hear, or ``"mathml"`` where no style sheet is.

    Returns
    -------
    HTML. Numbers of equations are Sphinx's: KaTeX adds none.
    """
    try:
        text, warnings = engine(os.getpid()).call(
            "set", NUMBERED.sub(r"\\\1{\2*}", tex), display, output
        )
    except JSEvalException as error:
        reason = str(error).partition("\n")[0].rpartition("Error: ")[2]
        raise FormulaError(f"KaTeX cannot set {tex!r}: {reason}") from None
    if warnings:
        raise FormulaError(f"KaTeX has doubts about {tex!r}: {warnings}")
    return str(text)


@functools.cache
def engine(_process: int) -> MiniRacer:
    """Start KaTeX, once in each process."""
    context = MiniRacer()
    context.eval(SET)
    context.eval(KATEX.read_text(encoding="utf-8"))
    return context


def typeset(text: str, output: str = "htmlAndMathml") -> str:
    r"""Set the formulas in finished HTML, marked ``\(…\)`` or ``\[…\]`` in their elements."""

    def one(match: re.Match[str]) -> str:
        display = match["display"] is not None
        tex = html.unescape(match["display"] if display else match["inline"])
        return match[1] + render(tex.strip(), display, output)

    return MARKED.sub(one, text)


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    written = named(translator, node, node.astext(), display=False)
    opening = translator.starttag(node, "span", "", CLASS="math notranslate nohighlight")
    translator.body.append(f"{opening}{written}</span>")
    raise nodes.SkipNode


def visit_display(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, with its number if it has one."""
    tex = node.astext() if node["nowrap"] else lines(node.astext())
    written = named(translator, node, tex, display=True)
    focus = {"tabindex": "0"} if wide(written) else {}
    kind = "math notranslate nohighlight"
    translator.body.append(translator.starttag(node, "div", CLASS=kind, **focus))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(f"{written}</div>\n")
    raise nodes.SkipNode


def wide(written: str) -> bool:
    """Tell whether a formula may be too wide for a phone: a box that scrolls takes the focus."""
    seen = written.partition('<span class="katex-html"')[2]
    return len(re.sub(r"<[^>]+>", "", seen)) > FITS


def lines(tex: str) -> str:
    r"""Stack paragraphs of TeX, and lines ended by ``\\``, as Sphinx has always done."""
    parts = [part.strip() for part in tex.split("\n\n") if part.strip()]
    split = [rf"\begin{{split}}{p}\end{{split}}" if r"\\" in p else p for p in parts]
    if len(split) == 1:
        return split[0]
    return r"\begin{aligned}" + r"\\".join(split) + r"\end{aligned}"


def named(translator: Any, node: nodes.Node, tex: str, display: bool) -> str:
    """Set a page's formula, or say which page it is on."""
    try:
        return render(tex.strip(), display)
    except FormulaError as error:
        raise ExtensionError(f"{translator.builder.current_docname}: {error}") from None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register KaTeX as the one who sets formulas."""
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
