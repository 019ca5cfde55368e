"""The figures that the chapters draw: one function each, which returns the Axes.

Colours are safe for the colour-blind (Okabe & Ito 2008) and doubled by markers or line styles; the
ink and the paper are fixed values, which the website swaps for the theme's own in dark mode.
Matplotlib is imported by the first figure, not by ``import vglab``.
"""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vglab._pictures import COLORS, GRID, INK, PAPER, array, attributions, images

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLORS",
    "GRID",
    "INK",
    "LINES",
    "MARKERS",
    "PAPER",
    "attributions",
    "descent",
    "effects",
    "heatmap",
    "images",
    "lines",
    "svg",
    "trainability",
]

MARKERS = ("o", "s", "^", "D")
LINES = ("-", "--", "-.", ":")


def lines(
    series: Mapping[str, ArrayLike],
    x: ArrayLike | None = None,
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    log: str = "",
    reference: tuple[str, ArrayLike] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw one line for each entry of ``series``, with a band from least to most over seeds.

    Parameters
    ----------
    series
        Name -> values ``[X]``, or ``[S, X]`` for S seeds: then their median, in a band. At most
        eight lines.
    x
        Positions ``[X]``; by default 1, 2, ….
    title, xlabel, ylabel
        The finding, and the axes with their units.
    log
        Which axes are logarithmic: "", "x", "y" or "xy".
    reference
        Name and values ``[X]`` of a prediction, drawn thin in ink.
    ax
        Axes to draw into; new ones by default.
    """
    if not 1 <= len(series) <= 2 * len(COLORS):
        raise ValueError(f"1 to {2 * len(COLORS)} lines can be told apart, got {len(series)}")
    if log not in ("", "x", "y", "xy"):
        raise ValueError(f'log must be "", "x", "y" or "xy", got {log!r}')
    ax = _axes(ax, title, xlabel, ylabel)
    for i, (name, values) in enumerate(series.items()):
        runs = np.atleast_2d(array(values))
        positions = np.arange(1, runs.shape[1] + 1) if x is None else array(x)
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        every = max(1, len(positions) // 8)  # markers of lines that coincide stand side by side
        ax.plot(
            positions,
            np.median(runs, axis=0),
            label=name,
            color=color,
            linestyle=LINES[i % len(LINES)],
            marker=marker,
            markevery=(i * every // len(series), every),
            markersize=5,
            markerfacecolor=color if i < len(COLORS) else PAPER,
        )
        if len(runs) > 1:
            ax.fill_between(
                positions, runs.min(0), runs.max(0), alpha=0.2, linewidth=0, color=color
            )
    if reference is not None:
        name, values = reference
        ax.plot(positions, array(values), color=INK, linewidth=1, linestyle=(0, (1, 2)), label=name)
    if "x" in log:
        ax.set_xscale("log")
    elif np.issubdtype(positions.dtype, np.integer):
        ax.locator_params(axis="x", integer=True)
    if "y" in log:
        ax.set_yscale("log")
    if len(series) + (reference is not None) > 1:
        ax.legend(frameon=False, labelcolor=INK)
    return ax


def descent(
    objective: Callable[[Tensor], Tensor],
    trajectories: Mapping[str, Tensor],
    *,
    title: str,
    window: float = 2.0,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw paths ``[steps + 1, 2]`` of gradient descent over the contours of a function of two.

    ``window`` is the half width of the square around the origin that is shown; the other arguments
    are as in `lines`.
    """
    if len(trajectories) > len(COLORS):
        raise ValueError(f"{len(COLORS)} paths can be told apart, got {len(trajectories)}")
    ax = _axes(ax, title, "θ₁", "θ₂")
    grid = torch.linspace(-window, window, 81)
    points = torch.cartesian_prod(grid, grid)
    heights = torch.stack([objective(point) for point in points]).view(81, 81)
    heights = heights - heights.min()
    levels = heights.max().item() * np.linspace(0.03, 1, 9) ** 2
    ax.contour(grid, grid, heights.T.detach(), levels=levels, colors=GRID, linewidths=1)
    for i, (name, path) in enumerate(trajectories.items()):
        x, y = array(path).T
        ax.plot(x, y, label=name, color=COLORS[i], linestyle=LINES[i], marker=MARKERS[i],
                markersize=4, linewidth=1.2)  # fmt: skip
    ax.plot(0, 0, marker="*", markersize=11, color=INK, linestyle="none", label="minimum")
    ax.set(xlim=(-window, window), ylim=(-window, window), aspect="equal")
    ax.legend(frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.02, 1))
    return ax


def heatmap(
    values: ArrayLike,
    *,
    rows: Sequence[object],
    columns: Sequence[object],
    title: str,
    xlabel: str,
    ylabel: str,
    text: str = "{:z.1f}",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a table ``[rows, columns]`` as shaded cells, each with its value written in it.

    Darker cells hold larger values; ``text`` is how a value is written. The other arguments are as
    in `lines`.
    """
    table = array(values)
    if table.shape != (len(rows), len(columns)):
        raise ValueError(
            f"values must be [{len(rows)}, {len(columns)}] for these rows and columns, "
            f"got {list(table.shape)}"
        )
    ax = _axes(ax, title, xlabel, ylabel)
    ax.grid(False)
    ax.imshow(table, cmap="cividis_r", aspect="auto")
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for i, j in np.ndindex(table.shape):
        ink = "#fefefe" if table[i, j] > middle else "#010101"  # on the cell, not on the page
        ax.text(j, i, text.format(table[i, j]), ha="center", va="center", fontsize=9, color=ink)
    ax.set_xticks(range(len(columns)), [str(column) for column in columns])
    ax.set_yticks(range(len(rows)), [str(row) for row in rows])
    return ax


def trainability(
    accuracy: ArrayLike,
    *,
    depths: Sequence[int],
    sigma_w: Sequence[float],
    boundary: tuple[str, ArrayLike],
    title: str,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw test accuracies ``[depths, sigma_w]`` as a map, and a predicted depth over it.

    Darker is more accurate. ``depths`` and ``sigma_w`` are evenly spaced; ``boundary`` is the name
    of a prediction and its depths ``[sigma_w]``, drawn where they are on the map.
    """
    table, (name, line) = array(accuracy), boundary
    if table.shape != (len(depths), len(sigma_w)):
        raise ValueError(
            f"accuracy must be [{len(depths)}, {len(sigma_w)}] for these depths and σ_w, "
            f"got {list(table.shape)}"
        )
    ax = _axes(ax, title, "σ_w, standard deviation of the weights × √width", "hidden layers")
    ax.grid(False)
    across, up = (np.ptp(values) / (len(values) - 1) / 2 for values in (sigma_w, depths))
    extent = (min(sigma_w) - across, max(sigma_w) + across, min(depths) - up, max(depths) + up)
    image = ax.imshow(
        table, cmap="cividis_r", vmin=0, vmax=1, origin="lower", aspect="auto", extent=extent
    )
    # On the map, whose colours stay as they are, and not on the page.
    ax.plot(sigma_w, array(line), color="#fefefe", linewidth=4)
    ax.plot(sigma_w, array(line), color="#010101", linewidth=1.6, label=name)
    ax.set_xlim(*extent[:2])
    ax.set_ylim(*extent[2:])
    ax.legend(frameon=False, labelcolor="#010101", loc="upper right")
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_label("test accuracy", color=INK)
    bar.ax.tick_params(colors=INK, labelsize=9)
    bar.outline.set_visible(False)
    return ax


def effects(
    series: Mapping[str, ArrayLike],
    *,
    names: Sequence[str],
    title: str,
    xlabel: str,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a dot for each effect, its median over seeds, with a line from least to most.

    ``series`` maps a kind of effect to values ``[E]``, or ``[S, E]`` for S seeds; ``names`` are the
    E rows, the first on top. A line in ink marks zero. The other arguments are as in `lines`.
    """
    if not 1 <= len(series) <= len(COLORS):
        raise ValueError(f"1 to {len(COLORS)} kinds can be told apart, got {len(series)}")
    tables = {kind: np.atleast_2d(array(values)) for kind, values in series.items()}
    for kind, runs in tables.items():
        if runs.shape[1] != len(names):
            raise ValueError(
                f"{kind!r} has {runs.shape[1]} effects, but there are {len(names)} names"
            )
    ax = _axes(ax, title, xlabel, "")
    ax.axvline(0, color=INK, linewidth=1)
    for i, (kind, runs) in enumerate(tables.items()):
        rows = np.arange(len(names)) + 0.18 * (i - (len(series) - 1) / 2)
        if len(runs) > 1:
            ax.hlines(rows, runs.min(0), runs.max(0), color=COLORS[i], linewidth=1.6)
        ax.plot(np.median(runs, axis=0), rows, label=kind, color=COLORS[i], linestyle="none",
                marker=MARKERS[i], markersize=6)  # fmt: skip
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(len(names) - 0.5, -0.5)
    if len(series) > 1:
        ax.legend(frameon=False, labelcolor=INK, loc="upper right", ncols=len(series),
                  bbox_to_anchor=(1, -0.16), columnspacing=1, handletextpad=0.2)  # fmt: skip
    return ax


def svg(ax: "Axes", *, alt: str) -> str:
    """The figure of ``ax`` as an ``<svg>`` element for a page, and the figure closed.

    Ink, paper and grid become CSS variables, ``--ink``, ``--paper`` and ``--grid``, so that the
    page can give them its own colours. ``alt`` says what is to be seen. The same figure gives the
    same text.
    """
    import matplotlib.pyplot as plt

    figure, file = ax.get_figure(root=True), io.StringIO()
    assert figure is not None
    with plt.rc_context({"svg.hashsalt": "vglab", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    element = re.sub(r"\A.*?<svg|\s*<metadata>.*?</metadata>", "", file.getvalue(), flags=re.S)
    for name, color in (("ink", INK), ("paper", PAPER), ("grid", GRID)):
        element = element.replace(color, f"var(--{name}, {color})")
    return f'<svg role="img" aria-label="{html.escape(alt)}"{element}'


def _axes(ax: "Axes | None", title: str, xlabel: str, ylabel: str) -> "Axes":
    """``ax``, or new axes, in the style of the book."""
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
    ax.figure.set_facecolor(PAPER)
    ax.set_facecolor(PAPER)
    ax.set_title(title, loc="left", color=INK, fontsize=11)
    ax.set_xlabel(xlabel, color=INK)
    ax.set_ylabel(ylabel, color=INK)
    ax.tick_params(colors=INK, which="both", labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.grid(True, color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    return ax
