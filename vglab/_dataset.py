"""What a data set holds, its check, and how raw examples are split and resampled."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vglab import _checks
from vglab._sources import Raw

Parts = tuple[Tensor, Tensor, Tensor, Tensor]


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


def split(raw: Raw, test_fraction: float, seed: int) -> Parts:
    """Training and test part of the inputs and targets, class frequencies kept."""
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


def resample(x: Tensor, size: int) -> Tensor:
    """Images ``[N, C, size, size]`` of images of any size: bilinear, antialiased."""
    return torch.nn.functional.interpolate(
        x, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )
