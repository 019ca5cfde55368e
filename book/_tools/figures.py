"""SVG pictures as part of their page, so that they follow its theme and a reader hears them."""

import base64
import hashlib
import html
import posixpath
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

COLORS = {
    "#000000": "ink",
    "#1a1a1a": "ink",
    "#ffffff": "paper",
    "#d9d9d9": "grid",
    "#0072b2": "blue",
    "#d55e00": "orange",
    "#009e73": "green",
    "#cc79a7": "pink",
}
PIXELS_PER_POINT = 4 / 3
REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')
PLACES = re.compile(r'\b(?:d|x|y|cx|cy|points)="[^"]+"')
DIGITS = re.compile(r"(\d\.\d\d)\d+")
PIXELS = re.compile(r'"data:image/png;base64,([^"]{1000,})"')
DROPPED = re.compile(r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", re.S)


class InlineFigures(SphinxPostTransform):
    """Replace every image that is a local SVG file by the picture itself."""

    default_priority = 100
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Walk the page's images; each gets ids of its own."""
        images = [node for node in self.document.findall(nodes.image) if is_local_svg(node)]
        for number, image in enumerate(images, start=1):
            svg = (Path(self.env.srcdir) / image["uri"].lstrip("/")).read_text(encoding="utf-8")
            text = inline(svg, image.get("alt", ""), f"figure{number}-")
            text = PIXELS.sub(self.in_a_file, text)
            image.replace_self(nodes.raw("", text, format="html"))

    def in_a_file(self, match: re.Match[str]) -> str:
        """Store a figure's pixels beside the page, which then need not wait for them."""
        data = base64.b64decode(match[1])
        name = f"_images/{hashlib.sha256(data).hexdigest()[:16]}.png"
        path = Path(self.app.outdir, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return f'"{posixpath.relpath(name, posixpath.dirname(self.env.docname))}"'


def is_local_svg(image: nodes.image) -> bool:
    """Tell whether an image is a picture of the book."""
    return bool(image["uri"].endswith(".svg") and "://" not in image["uri"])


def inline(svg: str, alt: str, prefix: str) -> str:
    """Turn an SVG file into HTML: named for a reader, as wide as it fits, in the page's colours."""
    svg = DROPPED.sub("", svg[svg.index("<svg") :])
    opening, body = svg.split(">", 1)
    box = re.search(r'viewBox="([^"]+)"', opening)
    width = re.search(r'\bwidth="([\d.]+)(pt)?"', opening)
    if box is None or width is None:
        raise ValueError(f"a figure needs a width and a viewBox, got {opening[:200]}")
    pixels = round(float(width[1]) * (PIXELS_PER_POINT if width[2] else 1))
    picture = themed(short(REFERENCE.sub(rf"\g<1>{prefix}", body))).strip()
    return (
        f'<div class="vglab-figure" tabindex="0" style="--figure-width: {pixels}px">'
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'role="img" aria-label="{html.escape(alt)}" viewBox="{box[1]}">'
        f"{picture}</div>"
    )


def short(svg: str) -> str:
    """Write places to a hundredth of a point, which is less than anyone sees."""
    return PLACES.sub(lambda match: DIGITS.sub(r"\1", match[0]), svg)


def themed(svg: str) -> str:
    """Give the package's colours by name, so that the style sheet decides them."""

    def named(match: re.Match[str]) -> str:
        before, color = match[1] or "", match[2].lower()
        if color not in COLORS or (before and COLORS[color] == "paper"):
            return match[0]  # white text lies on a dark cell of data, in either theme
        return f"{before}var(--figure-{COLORS[color]})"

    return re.sub(r"(<text[^>]*fill: )?(#[0-9a-fA-F]{6})\b", named, svg)
