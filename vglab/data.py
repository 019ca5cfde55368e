"""Data sets as tensors in memory: embedded ones, downloaded ones, and the user's own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vglab import _checks
from vglab._download import DownloadError, images
from vglab._sources import EMBEDDED, Raw, arrays, not_too_large, value_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DOWNLOADED", "EMBEDDED", "Dataset", "DownloadError", "check", "from_arrays", "load"]

DOWNLOADED = ("mnist", "fashion_mnist", "cifar10")

_Parts = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Inputs and targets, split into a training and a test part.

    Attributes
    ----------
    name
        What the data are called.
    x_train, x_test
        float32 ``[N, *input_shape]``.
    y_train, y_test
        int64 ``[N]``, the class of each example; for regression float32 ``[N]``.
    feature_names
        One name for each input value, in the order of the flattened input.
    class_names
        One name for each class; ``()`` for regression.
    target_mean, target_scale
        Regression only: the target in its own unit is ``y * target_scale + target_mean``.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    target_mean: float = 0.0
    target_scale: float = 1.0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: ``(D,)`` for a table, ``(T, D)`` sequences, ``(C, H, W)`` images."""
        return tuple(self.x_train.shape[1:])

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return len(self.class_names)

    @property
    def task(self) -> str:
        """Either "classification" or "regression"."""
        return "classification" if self.class_names else "regression"

    def __repr__(self) -> str:
        target = f"{self.n_classes} classes" if self.class_names else "regression"
        return (
            f"Dataset({self.name!r}: {len(self.x_train)} training and {len(self.x_test)} test "
            f"examples of shape {self.input_shape}, {target})"
        )


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
        parts = _split(raw, test_fraction, seed)
    if image_size is not None:
        if raw.x.ndim == 2:
            raise ValueError(f"image_size={image_size} is for images, but {name} is a table")
        parts = (_resample(parts[0], image_size), parts[1],
                 _resample(parts[2], image_size), parts[3])  # fmt: skip
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
    parts = _split(raw, test_fraction, seed)
    return _assemble(name, raw, parts, standardize=standardize, flatten=False)


def check(data: Dataset) -> None:
    """Raise unless the data are whole: both parts alike, finite, with labels of known classes."""
    if not isinstance(data, Dataset):
        raise TypeError(
            "data must be a Dataset (see vglab.data.load and from_arrays), "
            f"got {type(data).__name__}"
        )
    for part, x, y in (("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)):
        for argument, values in ((f"x_{part}", x), (f"y_{part}", y)):
            if not isinstance(values, Tensor):
                raise TypeError(f"{argument} must be a tensor, got {type(values).__name__}")
        if len(x) == 0 or len(x) != len(y):
            raise ValueError(f"x_{part} and y_{part} must hold as many examples, at least one; "
                             f"got {len(x)} and {len(y)}")  # fmt: skip
        _checks.finite(f"x_{part}", x)
        if not data.class_names:
            _checks.finite(f"y_{part}", y)
        elif y.is_floating_point():
            raise TypeError(f"y_{part} must hold integers, since class_names are given, "
                            f"got {y.dtype}")  # fmt: skip
        elif y.min() < 0 or y.max() >= data.n_classes:
            raise ValueError(f"y_{part} must lie in 0 to {data.n_classes - 1}, "
                             f"got {y.min()} to {y.max()}")  # fmt: skip
    for part, y in (("train", data.y_train), ("test", data.y_test)):
        if y.ndim != 1:
            raise ValueError(f"y_{part} must have shape [N], got {[*y.shape]}")
    if data.x_train.shape[1:] != data.x_test.shape[1:]:
        raise ValueError(
            "x_train and x_test must hold inputs of one shape, "
            f"got {[*data.x_train.shape[1:]]} and {[*data.x_test.shape[1:]]}"
        )


def _check_split(test_fraction: float, seed: int) -> None:
    _checks.number("test_fraction", test_fraction, above=0, below=1)
    _checks.count("seed", seed, at_least=0)
    if seed >= 2**32:
        raise ValueError(f"seed must be at most 2**32 - 1, got {seed}")


def _assemble(name: str, raw: Raw, parts: _Parts, *, standardize: bool, flatten: bool) -> Dataset:
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


def _split(raw: Raw, test_fraction: float, seed: int) -> _Parts:
    from sklearn.model_selection import train_test_split

    n, needed = len(raw.y), 1
    if n < 2:
        raise ValueError(f"at least two examples are needed to split, got {n}")
    if raw.class_names:
        sizes = torch.unique(raw.y, return_counts=True)[1]
        needed = len(sizes)
        if sizes.min() < 2:
            raise ValueError(
                f"every class needs at least two examples to split, one has {sizes.min()}"
            )
    n_test = math.ceil(n * test_fraction)
    if min(n_test, n - n_test) < needed:
        raise ValueError(
            f"test_fraction={test_fraction:g} of {n} examples leaves {n - n_test} to train and "
            f"{n_test} to test; each part needs at least {needed}"
            + (", one for each class" if raw.class_names else "")
        )
    train, test = train_test_split(
        np.arange(n),
        test_size=n_test,
        random_state=seed,
        stratify=raw.y.numpy() if raw.class_names else None,
    )
    return raw.x[train], raw.y[train], raw.x[test], raw.y[test]


def _resample(x: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(
        x, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )
