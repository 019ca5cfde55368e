"""Social cards: the picture of a page that a chat or a feed shows beside its address."""

import hashlib
import shutil
import textwrap
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT, DPI = 1200, 630, 100
PAPER, INK, MUTED, BLUE, ORANGE = "#ffffff", "#101418", "#57606a", "#0072b2", "#d55e00"
LEFT, BARS, KEPT, REPAIRED = 72, 46, 0.9, 32  # pixels; a bar keeps 9/10 of the one before it
CHINESE = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "PingFang SC", "SimHei")
VERSION = "1"  # of the drawing


def card(folder: Path, cache: Path, book: str, title: str, text: str) -> str:
    """Draw a page's card unless it is in the cache; return the name of its file in the folder."""
    name = (
        hashlib.sha256("\n".join((VERSION, book, title, text)).encode()).hexdigest()[:16] + ".png"
    )
    if not (cache / name).exists():
        cache.mkdir(parents=True, exist_ok=True)
        draw(book, title, text).savefig(cache / name, dpi=DPI, metadata={"Software": None})
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(cache / name, folder / name)
    return name


def draw(book: str, title: str, text: str) -> "Figure":
    """Draw a card: the logo's bars as a strip below, the page's title and its question above."""
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.set_axis_off()
    pitch = (WIDTH - 2 * LEFT) / BARS
    for number, height in enumerate(heights()):
        color = BLUE if number < REPAIRED else ORANGE
        at = (LEFT + number * pitch, 56)
        box = "round,pad=0,rounding_size=4"
        axes.add_patch(FancyBboxPatch(at, 0.62 * pitch, height, boxstyle=box, fc=color, ec="none"))
    fonts = families(book + title + text)
    if fonts is None:  # no font on this machine has the text's signs: the bars speak alone
        return figure
    if title != book:
        axes.text(LEFT, 556, book, size=19, color=MUTED, family=fonts)
    size, lines = fitted(title, (46, 40, 34, 28), 2)
    top = 520 - size
    axes.text(
        LEFT, top, "\n".join(lines), size=size, color=INK, weight="bold", family=fonts,
        va="baseline", linespacing=1.15,
    )  # fmt: skip
    return asked(figure, text, top, fonts)


def asked(figure: "Figure", text: str, top: float, fonts: list[str]) -> "Figure":
    """Write the question below the title."""
    axes = figure.axes[0]
    title = axes.texts[-1]
    title.set_verticalalignment("top")
    title.set_y(524)
    lower = title.get_window_extent().y0
    size, lines = fitted(text, (23, 20, 18), 4)
    axes.text(
        LEFT, lower - 28, "\n".join(lines), size=size, color=MUTED, family=fonts, va="top",
        linespacing=1.4,
    )  # fmt: skip
    return figure


def heights() -> list[float]:
    """Return the bars' heights in pixels: each keeps a share of the last, until a repair."""
    before = [120 * KEPT**number for number in range(REPAIRED)]
    steps = BARS - REPAIRED
    after = [before[-1] * (120 / before[-1]) ** ((n + 1) / steps) for n in range(steps)]
    return before + after


def fitted(text: str, sizes: tuple[int, ...], most: int) -> tuple[int, list[str]]:
    """Return the largest of the sizes at which a text takes few enough lines, and the lines."""
    lines: list[str] = []
    for size in sizes:
        wide = any(unicodedata.east_asian_width(sign) == "W" for sign in text)
        room = int((WIDTH - 2 * LEFT) / (size * DPI / 72 * (1.0 if wide else 0.6)))
        lines = textwrap.wrap(text, room)
        if len(lines) <= most:
            return size, lines
    return sizes[-1], [*lines[: most - 1], f"{lines[most - 1][:-1]}…"]


def families(text: str) -> list[str] | None:
    """Return fonts that have every sign of a text, or None if this machine lacks them."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    known = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    chosen = ["DejaVu Sans", *[name for name in CHINESE if name in known][:1]]
    signs = set(text) - {"\n"}
    for name in chosen:
        signs -= {sign for sign in signs if FT2Font(known[name]).get_char_index(ord(sign))}
    return None if signs else chosen
