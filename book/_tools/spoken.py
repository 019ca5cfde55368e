"""What a reader sees of a code cell's stored outputs in words, and how to say it otherwise."""

import copy
import html
import re
from collections.abc import Iterator

from nbformat import NotebookNode
from passages import Look, has_words, rewrite

CLAIM = "application/vnd.vglab.claim+json"
CHECK = "application/vnd.vglab.check+json"
LABELS = ("expected", "measured", "holds", "does not hold")  # of a claim; for `site.po`
SVG_TEXT = re.compile(r"(<text\b[^>]*>)([^<]+)(</text>)")
NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?(?![\w])")


def rewrite_cell(cell: NotebookNode, look: Look, *, anchors: bool = False) -> None:
    """Put `look(kind, text)` in the place of each visible text of a cell; its code stays."""
    if cell.cell_type == "markdown":
        cell.source = rewrite(cell.source, look, anchors=anchors)
        return
    image = cell.metadata.get("mystnb", {}).get("image", {})
    if "alt" in image:
        image["alt"] = look("alternative text", " ".join(str(image["alt"]).split()))
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/svg+xml" in data:
            data["image/svg+xml"] = rewrite_svg(data["image/svg+xml"], look)
        if CLAIM in data:
            rewrite_claim(data, look)
        if CHECK in data:
            rewrite_check(data, look)


def rewrite_svg(svg: str, look: Look) -> str:
    """Replace the texts of a picture: title, axes, legend, labels. Numbers stay."""

    def new(match: re.Match[str]) -> str:
        old = html.unescape(match[2])
        text = look("figure text", old) if has_words(old) else old
        return match[0] if text == old else match[1] + html.escape(text, quote=False) + match[3]

    return SVG_TEXT.sub(new, svg)


def svg_words(svg: str) -> list[str]:
    """List the texts of a picture that hold words."""
    texts = (html.unescape(match[2]) for match in SVG_TEXT.finditer(svg))
    return [text for text in texts if has_words(text)]


def rewrite_claim(data: NotebookNode, look: Look) -> None:
    """Replace the words of a claim in its data, its HTML and its plain text; its anchor stays."""
    claim = data[CLAIM]
    page, plain = data["text/html"], data["text/plain"]
    label = {name: look("label", name) for name in LABELS}
    mark = "holds" if claim["holds"] else "does not hold"
    page = page.replace(f'aria-label="{mark}"', f'aria-label="{html.escape(label[mark])}"')
    for part in ("statement", "expected", "measured", "source"):
        old = claim[part]
        if not old:
            continue
        if part in ("expected", "measured"):
            new = rewrite_numbers(part, old, look)
        else:
            new = look("claim" if part == "statement" else part, old) if has_words(old) else old
        page = page.replace(span(part, old, part), span(part, new, label.get(part, "")))
        if part in LABELS:
            plain = plain.replace(f"{part} {old}", f"{label[part]} {new}")
        else:
            plain = plain.replace(old, new)
        claim[part] = new
    data["text/html"], data["text/plain"] = page, plain


def span(part: str, text: str, label: str) -> str:
    """Return the HTML of one part of a claim, as `vglab.claims` writes it."""
    small = f"<small>{html.escape(label)}</small> " if part in LABELS else ""
    return f'<span class="vglab-claim-{part}">{small}{html.escape(text)}</span>'


def rewrite_check(data: NotebookNode, look: Look) -> None:
    """Replace the verdict on an exercise."""
    old = data[CHECK]["message"]
    new = rewrite_numbers("verdict", old, look)
    data[CHECK]["message"] = new
    data["text/html"] = data["text/html"].replace(html.escape(old), html.escape(new))
    data["text/plain"] = data["text/plain"].replace(old, new)


def rewrite_numbers(kind: str, text: str, look: Look) -> str:
    """Look up a text whose numbers are blanks: `right on {1} inputs` for any count of inputs."""
    if not has_words(text):
        return text
    numbers = NUMBER.findall(text)
    count = iter(range(1, len(numbers) + 1))
    pattern = NUMBER.sub(lambda _: f"{{{next(count)}}}", text)
    new = look(kind, pattern)
    return re.sub(r"\{(\d+)\}", lambda m: numbers[int(m[1]) - 1], new)


def spoken(cells: list[NotebookNode]) -> Iterator[tuple[int, str, str]]:
    """Yield each text of a notebook in the order of reading: number of the cell, kind, text."""
    for number, cell in enumerate(cells, start=1):
        found: list[tuple[str, str]] = []

        def note(kind: str, text: str, found: list[tuple[str, str]] = found) -> str:
            if kind != "label":
                found.append((kind, text))
            return text

        rewrite_cell(copy.deepcopy(cell), note)
        yield from ((number, kind, text) for kind, text in found)
