"""Raw data, before they are split and scaled: the embedded sets and the user's own arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vglab import _checks


@dataclass(frozen=True)
class Raw:
    """Inputs ``[N, ...]``, targets ``[N]`` (int64 for classes) and their names.

    Tables, sequences and regression targets are float64 until they are scaled: a column of large
    numbers that differ little, such as times, would lose what it says in float32.
    ``one_hot`` lists the columns of a table that hold 0 or 1 for a category.
    """

    x: Tensor
    y: Tensor
    feature_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    one_hot: tuple[int, ...] = ()


def _digits() -> Raw:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    return Raw(x, torch.from_numpy(digits.target).long(), (), tuple("0123456789"))


def _faces() -> Raw:
    from skimage.data import lfw_subset

    crops = torch.from_numpy(lfw_subset().copy()).float().unsqueeze(1)
    is_face = (torch.arange(len(crops)) < 100).long()  # 100 faces first, then 100 other crops
    return Raw(crops, is_face, (), ("not a face", "face"))


def _breast_cancer() -> Raw:
    from sklearn.datasets import load_breast_cancer

    return _bunch(load_breast_cancer())


def _wine() -> Raw:
    from sklearn.datasets import load_wine

    return _bunch(load_wine())


def _diabetes() -> Raw:
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(scaled=False)
    return Raw(
        torch.from_numpy(bunch.data),
        torch.from_numpy(bunch.target),
        tuple(bunch.feature_names),
    )


def _penguins() -> Raw:
    from palmerpenguins import load_penguins

    # Without the year of the study, and without the 11 birds that were not measured in full.
    birds = load_penguins().drop(columns="year").dropna()
    return arrays(birds.drop(columns="species"), birds["species"])


def _bunch(bunch: Any) -> Raw:
    return Raw(
        torch.from_numpy(bunch.data),
        torch.from_numpy(bunch.target).long(),
        tuple(map(str, bunch.feature_names)),
        tuple(map(str, bunch.target_names)),
    )


EMBEDDED = {
    "digits": _digits,
    "breast_cancer": _breast_cancer,
    "wine": _wine,
    "diabetes": _diabetes,
    "penguins": _penguins,
    "faces": _faces,
}
"""Name -> loader of a data set that ships inside scikit-learn, scikit-image or palmerpenguins."""


def arrays(
    x: Any,
    y: Any,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Raw:
    """Copy and check the user's arrays; see `vglab.data.from_arrays` for what they may be."""
    names = None if feature_names is None else tuple(map(str, feature_names))
    one_hot: tuple[int, ...] = ()
    if hasattr(x, "select_dtypes"):
        x, one_hot = _one_hot(x)
        names = tuple(map(str, x.columns)) if names is None else names
    inputs = _numbers("x", x)
    if inputs.ndim not in (2, 3, 4) or inputs.numel() == 0:
        raise ValueError(
            f"x must be [N, D], [N, T, D] or [N, C, H, W] and not empty, got {[*inputs.shape]}"
        )
    n_features = inputs[0].numel()
    if names is not None and len(names) != n_features:
        raise ValueError(f"x has {n_features} features, but {len(names)} feature_names")
    targets, classes = _targets(y, len(inputs), class_names)
    return Raw(inputs, targets, names or (), classes, one_hot)


def value_names(shape: Sequence[int]) -> tuple[str, ...]:
    """A name for each value of an input: a row of a table, a sequence or an image."""
    if len(shape) == 1:
        return tuple(f"feature {i}" for i in range(shape[0]))
    if len(shape) == 2:
        return tuple(f"step {t} feature {d}" for t in range(shape[0]) for d in range(shape[1]))
    channels, height, width = shape
    prefixes = {1: [""], 3: ["red ", "green ", "blue "]}.get(
        channels, [f"channel {c} " for c in range(channels)]
    )
    return tuple(
        f"{prefix}row {i} column {j}"
        for prefix in prefixes
        for i in range(height)
        for j in range(width)
    )


def not_too_large(argument: str, values: Tensor) -> None:
    """Raise ValueError where what was finite no longer is: float32, or a square, overflowed."""
    if not torch.isfinite(values).all():
        raise ValueError(f"{argument} holds values that are too large for float32; rescale them")


def _one_hot(table: Any) -> tuple[Any, tuple[int, ...]]:
    """The data frame with each column of text or categories as one 0/1 column for each value."""
    import pandas as pd

    _check_unique(table)
    if gaps := [str(column) for column in table.columns[table.isna().any()]]:
        raise ValueError(
            f"x has gaps in {', '.join(gaps)}; drop those rows (x.dropna()) or fill them first"
        )
    table = table.infer_objects()
    numeric = set(table.select_dtypes(["number", "bool"], exclude=["timedelta"]).columns)
    others = [column for column in table.columns if column not in numeric]
    for column in others:
        kind = table[column].dtype
        if not (isinstance(kind, pd.CategoricalDtype) or pd.api.types.is_string_dtype(kind)):
            raise TypeError(
                f"column {column} of x holds {kind}; numbers, text, booleans or categories were "
                "expected: convert it or leave it out"
            )
    encoded = pd.get_dummies(table, columns=others)
    _check_unique(encoded)
    new = [i for i, column in enumerate(encoded.columns) if column not in numeric]
    return encoded.astype(np.float64), tuple(new)


def _check_unique(table: Any) -> None:
    if twice := sorted({str(column) for column in table.columns[table.columns.duplicated()]}):
        raise ValueError(f"x has more than one column named {', '.join(twice)}; rename them")


def _numbers(argument: str, values: Any) -> Tensor:
    """A copy of ``values`` in float64, images in float32; an error names what is no number."""
    try:
        array = _numpy(values)
        if array.dtype.kind == "c":
            raise TypeError("complex numbers are not supported")
        kind = np.float64 if array.ndim < 4 else np.float32
        with np.errstate(over="ignore"):
            tensor = torch.from_numpy(np.array(array, dtype=kind))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{argument} must hold numbers in an array of one shape: {error}") from None
    if not torch.isfinite(tensor).all() and np.isfinite(array.astype(np.float64)).all():
        not_too_large(argument, tensor)
    _checks.finite(argument, tensor)
    return tensor


def _numpy(values: Any) -> np.ndarray:
    if not isinstance(values, Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    # NumPy has no bfloat16.
    array: np.ndarray = (values.float() if values.dtype is torch.bfloat16 else values).numpy()
    return array


def _targets(
    y: Any, n_examples: int, class_names: Sequence[str] | None
) -> tuple[Tensor, tuple[str, ...]]:
    import pandas as pd

    # As objects, lest NumPy turn a gap in a list of text into the text "nan".
    values = _numpy(y) if hasattr(y, "dtype") else np.asarray(y, dtype=object)
    if values.ndim != 1:
        raise ValueError(f"y must be [N], one target for each example, got {[*values.shape]}")
    if len(values) != n_examples:
        raise ValueError(f"x holds {n_examples} examples, but y holds {len(values)}")
    if values.dtype.kind != "f" and pd.isna(values).any():
        raise ValueError("y has gaps (None or NaN); drop those examples first")
    if values.dtype.kind == "O":
        values = np.asarray(values.tolist())
    if values.dtype.kind == "f":
        if class_names is not None:
            raise TypeError(
                "class_names are for classes, but y holds floating-point numbers; "
                "convert y to integers for classification, leave class_names out for regression"
            )
        return _numbers("y", values), ()
    if values.dtype.kind not in "iubUT":
        raise TypeError(f"y must hold numbers, text or booleans, got {values.dtype}")
    found, labels = np.unique(values, return_inverse=True)
    if class_names is None:
        names = tuple(map(str, found))
    else:
        names = tuple(map(str, class_names))
        are_numbers = values.dtype.kind in "iub"
        known = range(len(names)) if are_numbers else names
        unknown = [value for value in found.tolist() if value not in known]
        if unknown:
            expected = f"0 to {len(names) - 1}" if are_numbers else ", ".join(names)
            raise ValueError(f"y holds labels out of range: {unknown[:5]}; expected {expected}")
        labels = np.array([known.index(value) for value in found.tolist()])[labels]
    if len(found) < 2:
        raise ValueError(f"y holds one class only ({found[0]}); at least two are needed")
    return torch.from_numpy(labels.astype(np.int64)), names
