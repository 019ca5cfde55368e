"""Pages out of text that nobody may trust: every string is escaped, cut and freed of hidden signs.

A page needs nothing but itself: no script, no address, and a policy that forbids both.
"""

import html
import re
from collections.abc import Iterable, Sequence

LONGEST = 20_000
"""Characters of one text; the rest is counted, not shown."""

CSS = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #ffffff; --panel: #f6f8fa;
  --grid: #d8dee4; --muted: #57606a; --link: #0a5a94; --good: #00694d; --bad: #a8330b; }
@media (prefers-color-scheme: dark) { :root { --ink: #d5dae0; --paper: #14181d; --panel: #1e242b;
  --grid: #38414b; --muted: #a3adb8; --link: #7cc0f0; --good: #4fd6ab; --bad: #ff9e7a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 48rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
main.wide { max-width: 72rem; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p { margin: .4rem 0; overflow-wrap: anywhere; }
a { color: var(--link); }
.quiet { color: var(--muted); }
.total { font-size: 1.25rem; }
.total strong { font-size: 2rem; }
.good { color: var(--good); font-weight: 600; white-space: nowrap; }
.bad { color: var(--bad); font-weight: 600; white-space: nowrap; }
.note { border-inline-start: .3rem solid var(--bad); background: var(--panel);
  padding: .6rem 1rem; margin: 1rem 0; border-radius: .3rem; }
.note h2 { margin: 0 0 .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 1rem; }
caption { text-align: start; color: var(--muted); padding: .2rem 0; }
th, td { text-align: start; vertical-align: top; padding: .4rem .6rem;
  border-bottom: 1px solid var(--grid); overflow-wrap: break-word; }
th { font-weight: 600; }
th[scope="row"] { min-width: 8rem; overflow-wrap: anywhere; }
td.number, th.number { text-align: end; white-space: nowrap; font-variant-numeric: tabular-nums; }
tfoot td, tfoot th { font-weight: 700; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--panel); margin: .3rem 0;
  padding: .6rem .8rem; border-radius: .3rem; font-size: .9rem; max-height: 30rem;
  overflow-y: auto; font-family: ui-monospace, Menlo, Consolas, monospace; }
pre.answer { font-family: inherit; font-size: 1rem; max-height: none; }
ul.tests { list-style: none; margin: .4rem 0 1rem; padding: 0; }
ul.tests > li { padding: .4rem 0; border-bottom: 1px solid var(--grid); }
article { margin: 0 0 1.6rem; }
.bar { display: block; margin-top: .3rem; min-width: 2px; height: .9rem; background: var(--link);
  border-radius: .15rem; }
svg { width: 100%; min-width: 28rem; max-width: 40rem; height: auto;
  font-family: system-ui, sans-serif; }
.sides { display: grid; gap: 2rem; }
@media (min-width: 60rem) { .sides { grid-template-columns: 1fr 22rem; }
  .sides > aside { order: 1; position: sticky; top: 1rem; align-self: start;
    max-height: calc(100vh - 2rem); overflow-y: auto; } }
@media (max-width: 30rem) { th, td { padding: .4rem .3rem; }
  th[scope="row"] { min-width: 7.5rem; } }
@media print { pre { max-height: none; } }
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
# Control signs, halves of characters, and signs that reorder the text around them.
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Safe(str):
    """Markup: text that is escaped already."""


Child = str | None | Iterable["Child"]


def tag(name: str, *children: Child, **attributes: str | None) -> Safe:
    """An element; children that are not `Safe` are escaped, attributes always.

    ``class_`` stands for ``class``; an attribute that is None is left out.
    """
    given = {key.rstrip("_").replace("_", "-"): text for key, text in attributes.items()}
    inside = "".join(
        f' {key}="{_escaped(text)}"' for key, text in given.items() if text is not None
    )
    return Safe(f"<{name}{inside}>{''.join(map(_markup, children))}</{name}>")


def page(title: str, *children: Child, wide: bool = False) -> str:
    """A whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"{tag('title', title)}\n<style>{CSS}</style>\n</head>\n"
        f"<body>\n{tag('main', *children, class_='wide' if wide else None)}\n</body>\n</html>\n"
    )


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[Child]],
    *,
    numbers: Sequence[int] = (),
    foot: Sequence[Child] = (),
) -> Safe:
    """A table whose first column names the rows; ``numbers`` are columns of figures."""

    def cells(row: Sequence[Child]) -> list[Safe]:
        kinds = ["number" if i in numbers else None for i in range(len(row))]
        first = tag("th", row[0], scope="row", class_=kinds[0])
        return [first, *(tag("td", c, class_=k) for c, k in zip(row[1:], kinds[1:], strict=True))]

    top = [
        tag("th", name, scope="col", class_="number" if i in numbers else None)
        for i, name in enumerate(head)
    ]
    body = [tag("tr", *cells(row)) for row in rows]
    last = tag("tfoot", tag("tr", *cells(foot))) if foot else None
    whole = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", *top)), tag("tbody", *body), last
    )
    return tag("div", whole, class_="scroll")


def name(text: str) -> Safe:
    """Somebody's name, or another text of unknown direction, within a line."""
    return tag("bdi", text)


def block(text: str, *, answer: bool = False) -> Safe:
    """A text of several lines, as it was written."""
    return tag("pre", text, dir="auto", class_="answer" if answer else None)


def _markup(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Safe):
        return child
    return _escaped(child) if isinstance(child, str) else "".join(map(_markup, child))


def _escaped(text: str) -> str:
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} … (cut here: {len(text) - LONGEST:,} more characters)"
    return html.escape(_HIDDEN.sub("\ufffd", text))
