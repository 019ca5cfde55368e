"""Figures made of small pictures: images, and maps that explain them."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, PAPER, GRID = "#1a1a1a", "#ffffff", "#d9d9d9"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def images(
    pixels: Tensor, labels: Sequence[str], *, title: str, columns: int = 8
) -> "Sequence[Axes]":
    """Draw images ``[N, 1, H, W]`` in grey, dark where large, each under its label."""
    if len(pixels) != len(labels):
        raise ValueError(f"{len(pixels)} images need as many labels, got {len(labels)}")
    rows = -(-len(pixels) // columns)
    panels = _panels(rows, columns, title, figsize=(columns * 0.9, rows * 1.15))
    for ax, image, label in zip(panels.flat, array(pixels), labels, strict=False):
        ax.imshow(image[0], cmap="gray_r")
        ax.set_title(label, color=INK, fontsize=9)
    return list(panels.flat)


def attributions(
    pixels: Tensor,
    maps: Mapping[str, Tensor],
    *,
    title: str,
    labels: Sequence[str] | None = None,
) -> "Sequence[Axes]":
    """Draw a row for each image: the image in grey, then each map of what counts in it.

    Parameters
    ----------
    pixels
        Images ``[N, 1, H, W]``.
    maps
        Name -> values ``[N, 1, H, W]``: the ``values`` of an `vglab.explain.Attribution`. Orange
        where they are positive and blue where they are negative, each picture on a scale of its
        own from minus to plus its largest size: colours compare places, not pictures.
    title
        The finding.
    labels
        What stands beside each row, one for each image.
    """
    from matplotlib.colors import LinearSegmentedColormap

    shape = (len(pixels), 1, *pixels.shape[-2:])
    for name, values in {"the images": pixels, **maps}.items():
        if tuple(values.shape) != shape:
            raise ValueError(
                f"{name} must be {list(shape)}, one channel for each image, got "
                f"{[*values.shape]}; sum the values over channels first"
            )
    if labels is not None and len(labels) != len(pixels):
        raise ValueError(f"{len(pixels)} images need as many labels, got {len(labels)}")
    signed = LinearSegmentedColormap.from_list("signed", [COLORS[0], PAPER, COLORS[1]], 257)
    size = ((1 + len(maps)) * 1.1, len(pixels) * 1.2 + 0.5)
    panels = _panels(len(pixels), 1 + len(maps), title, figsize=size, layout="constrained")
    for row, (image, *_) in zip(panels, array(pixels), strict=True):
        row[0].imshow(image, cmap="gray_r")
    for column, (name, values) in enumerate(maps.items(), start=1):
        panels[0, column].set_title(fill(name, 14), color=INK, fontsize=9)
        for ax, (picture, *_) in zip(panels[:, column], array(values), strict=True):
            limit = np.abs(picture).max() or 1.0  # a map of zeros is blank
            ax.imshow(picture, cmap=signed, vmin=-limit, vmax=limit)
    for ax, label in zip(panels[:, 0], labels or (), strict=False):
        ax.text(-0.08, 0.5, label, transform=ax.transAxes, color=INK, fontsize=9, ha="right",
                va="center")  # fmt: skip
    return list(panels.flat)


def _panels(rows: int, columns: int, title: str, **more: Any) -> Any:
    """Empty frames ``[rows, columns]`` without axes under a common title."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(rows, columns, squeeze=False, **more)
    figure.set_facecolor(PAPER)
    figure.suptitle(title, color=INK, fontsize=11, x=0.02, ha="left")
    for ax in panels.flat:
        ax.set_axis_off()
    return panels


def array(values: ArrayLike | Tensor) -> np.ndarray:
    """Numbers of a tensor or of anything that numpy takes."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
