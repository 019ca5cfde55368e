"""The theme's icons: of Font Awesome's fonts the few that the site shows, inside its style sheet.

The theme would load a script of 1.5 MB instead. Font Awesome Free: fonts SIL OFL 1.1; its notice
stays in the style sheet.
"""

import base64
import io
import re
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

FACE = re.compile(r'(@font-face\s*\{[^}]*src:)url\("([^"]*/fa-[^"]*)\.woff2"\)[^;}]*')
PRIVATE = re.compile("[\ue000-\uf8ff]")  # where an icon font has its icons


def embed(css: str, static: Path) -> str:
    """Put the icons that a style sheet names into it, in place of the fonts' addresses."""
    icons = {ord(icon) for icon in PRIVATE.findall(css)}

    def one(match: re.Match[str]) -> str:
        data = base64.b64encode(few(static / f"{match[2]}.ttf", icons)).decode()
        return f'{match[1]}url("data:font/woff;base64,{data}") format("woff")'

    return FACE.sub(one, css)


def few(path: Path, icons: set[int]) -> bytes:
    """Return a font's file with these icons only."""
    options = subset.Options(hinting=False)
    with TTFont(path, recalcTimestamp=False) as font:
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=icons)
        cutter.subset(font)
        font.flavor = "woff"
        file = io.BytesIO()
        font.save(file)
    return file.getvalue()
