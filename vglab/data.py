"""Data sets as tensors in memory: embedded, downloaded, with a planted answer, the user's own."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vglab import _checks
from vglab._dataset import Dataset, Parts, check, resample, split
from vglab._download import DownloadError, images
from vglab._planted import Planted, planted
from vglab._sources import EMBEDDED, Raw, arrays, not_too_large, value_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DOWNLOADED",
    "EMBEDDED",
    "Dataset",
    "DownloadError",
    "Planted",
    "check",
    "from_arrays",
    "load",
    "planted",
]

DOWNLOADED = ("mnist", "fashion_mnist", "cifar10")


def load(
    name: str,
    *,
    image_size: int | None = None,
    flatten: bool = False,
    standardize: bool = True,
    test_fraction: float = 0.25,
    root: str | PathLike[str] | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a data set by name.

    Embedded, without network: "digits" (images 1x8x8), "faces" (1x25x25, face or not),
    "breast_cancer", "wine", "penguins" (tables), "diabetes" (regression). Downloaded once, with
    their published checksums and split: "mnist", "fashion_mnist" (1x28x28), "cifar10" (3x32x32).

    Parameters
    ----------
    name
        One of the names above.
    image_size
        Resample images to this height and width (bilinear, antialiased).
    flatten
        Give images as vectors ``[N, C * H * W]``.
    standardize
        Scale by the training part: a table's columns to mean 0 and variance 1 each (one-hot columns
        stay 0 or 1), a sequence's features over all steps, images by one mean and deviation for
        each channel, a regression target too.
        Otherwise tables come as they are and images between 0 and 1.
    test_fraction
        Share of the examples kept for testing, drawn with the class frequencies kept. The
        downloaded sets keep their published split instead.
    root
        Folder for downloads; by default ``$VGLAB_DATA``, else a cache folder of the user.
    seed
        Seed of the split, 0 to ``2**32 - 1``. The global random state is not touched.

    Raises
    ------
    ValueError, TypeError
        An unknown name, an image size for a table, a fraction outside (0, 1).
    DownloadError
        Neither cached nor to be had from the network; the message names an embedded alternative.

    Examples
    --------
    >>> load("digits", image_size=28)
    Dataset('digits': 1347 training and 450 test examples of shape (1, 28, 28), 10 classes)
    """
    _checks.choice("name", name, (*EMBEDDED, *DOWNLOADED))
    if image_size is not None:
        _checks.count("image_size", image_size)
    _check_split(test_fraction, seed)
    if name in DOWNLOADED:
        x_train, y_train, x_test, y_test, classes = images(name, root)
        parts = (x_train / 255, y_train, x_test / 255, y_test)
        raw = Raw(x_train, y_train, class_names=classes)
    else:
        raw = EMBEDDED[name]()
        parts = split(raw, test_fraction, seed)
    if image_size is not None:
        if raw.x.ndim == 2:
            raise ValueError(f"image_size={image_size} is for images, but {name} is a table")
        parts = (resample(parts[0], image_size), parts[1],
                 resample(parts[2], image_size), parts[3])  # fmt: skip
    return _assemble(name, raw, parts, standardize=standardize, flatten=flatten)


def from_arrays(
    x: "ArrayLike | Tensor | pd.DataFrame",
    y: "ArrayLike | Tensor | pd.Series[Any]",
    *,
    name: str = "custom",
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    standardize: bool = True,
    test_fraction: float = 0.25,
    seed: int = 0,
) -> Dataset:
    """Make a data set of your own arrays, tensors or data frame, which stay as they are.

    Parameters
    ----------
    x
        Inputs ``[N, D]``, sequences ``[N, T, D]`` or images ``[N, C, H, W]``, numbers without
        gaps. A data frame's columns of text or categories become one-hot columns, after the others.
    y
        Targets ``[N]``: integers, booleans or text are classes, floating-point numbers are a
        regression target. Row i belongs to row i of ``x``, whatever a pandas index says.
    name, feature_names, class_names
        Names for the result; by default a data frame's columns and the classes found in ``y``.
        With class names given, an integer or boolean ``y`` must lie in
        ``0 … len(class_names) - 1``, and text must be one of them.
    standardize, test_fraction, seed
        As in `load`.

    Raises
    ------
    ValueError, TypeError
        Lengths that do not match, values that are NaN, infinite or too large for float32, fewer
        than two classes, a class with a single example, labels out of range, names of the wrong
        number, nothing to split.
    """
    _check_split(test_fraction, seed)
    raw = arrays(x, y, feature_names, class_names)
    parts = split(raw, test_fraction, seed)
    return _assemble(name, raw, parts, standardize=standardize, flatten=False)


def _check_split(test_fraction: float, seed: int) -> None:
    _checks.number("test_fraction", test_fraction, above=0, below=1)
    _checks.count("seed", seed, at_least=0)
    if seed >= 2**32:
        raise ValueError(f"seed must be at most 2**32 - 1, got {seed}")


def _assemble(name: str, raw: Raw, parts: Parts, *, standardize: bool, flatten: bool) -> Dataset:
    x_train, y_train, x_test, y_test = parts
    feature_names = raw.feature_names or value_names(x_train.shape[1:])
    target_mean, target_scale = 0.0, 1.0
    if standardize:
        mean, scale = _mean_and_scale(
            "x", x_train, {2: (0,), 3: (0, 1), 4: (0, 2, 3)}[x_train.ndim]
        )
        mean[..., list(raw.one_hot)], scale[..., list(raw.one_hot)] = 0.0, 1.0
        x_train, x_test = (x_train - mean) / scale, (x_test - mean) / scale
        if not raw.class_names:
            y_mean, y_scale = _mean_and_scale("y", y_train, (0,))
            y_train, y_test = (y_train - y_mean) / y_scale, (y_test - y_mean) / y_scale
            target_mean, target_scale = y_mean.item(), y_scale.item()
    if flatten:
        x_train, x_test = x_train.flatten(1), x_test.flatten(1)
    if not raw.class_names:
        y_train, y_test = y_train.float(), y_test.float()
    x_train, x_test = x_train.float(), x_test.float()
    for argument, values in (("x", x_train), ("x", x_test), ("y", y_train), ("y", y_test)):
        not_too_large(argument, values)
    return Dataset(name, x_train, y_train, x_test, y_test, feature_names,
                   raw.class_names, target_mean, target_scale)  # fmt: skip


def _mean_and_scale(argument: str, x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and deviation over ``axes``; the deviation of a constant counts as 1."""
    mean = x.mean(axes, keepdim=True)
    scale = x.std(axes, keepdim=True, correction=0)
    not_too_large(argument, scale)
    rounding = 64 * torch.finfo(x.dtype).eps * mean.abs()
    return mean, torch.where(scale > rounding, scale, 1.0)
