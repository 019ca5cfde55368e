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
    """Inputs float32 ``[N, ...]``, targets int64 or float32 ``[N]`` and their names.

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
        torch.from_numpy(bunch.data).float(),
        torch.from_numpy(bunch.target).float(),
        tuple(bunch.feature_names),
    )


def _penguins() -> Raw:
    from palmerpenguins import load_penguins

    # Without the year of the study, and without the 11 birds that were not measured in full.
    birds = load_penguins().drop(columns="year").dropna()
    return arrays(birds.drop(columns="species"), birds["species"])


def _bunch(bunch: Any) -> Raw:
    return Raw(
        torch.from_numpy(bunch.data).float(),
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
    one_hot: tuple[int, ...] = ()
    if hasattr(x, "columns"):
        x, one_hot = _one_hot(x)
        feature_names = feature_names or tuple(map(str, x.columns))
    inputs = _numbers("x", x)
    if inputs.ndim not in (2, 4) or inputs.numel() == 0:
        raise ValueError(f"x must be [N, D] or [N, C, H, W] and not empty, got {[*inputs.shape]}")
    n_features = inputs[0].numel()
    if feature_names is None and inputs.ndim == 2:
        feature_names = tuple(f"feature {i}" for i in range(n_features))
    if feature_names is not None and len(feature_names) != n_features:
        raise ValueError(f"x has {n_features} features, but {len(feature_names)} feature_names")
    targets, classes = _targets(y, class_names)
    if len(inputs) != len(targets):
        raise ValueError(f"x holds {len(inputs)} examples, but y holds {len(targets)}")
    return Raw(inputs, targets, tuple(feature_names or ()), classes, one_hot)


def _one_hot(table: Any) -> tuple[Any, tuple[int, ...]]:
    """The data frame with each column of text or categories as one 0/1 column for each value."""
    import pandas as pd

    gaps = [str(column) for column in table.columns if table[column].isna().any()]
    if gaps:
        raise ValueError(
            f"x has gaps in {', '.join(gaps)}; drop those rows (x.dropna()) or fill them first"
        )
    numeric = table.select_dtypes(["number", "bool"]).columns
    encoded = pd.get_dummies(table, columns=[c for c in table.columns if c not in set(numeric)])
    new = [i for i, column in enumerate(encoded.columns) if column not in set(numeric)]
    return encoded.astype(np.float64), tuple(new)


def _numbers(argument: str, values: Any) -> Tensor:
    """A float32 copy of ``values``; an error names what is no finite number."""
    if isinstance(values, Tensor):
        tensor = values.detach().to("cpu", torch.float32, copy=True)
    else:
        try:
            tensor = torch.from_numpy(np.array(values, dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{argument} must hold numbers in an array of one shape: {error}"
            ) from None
    _checks.finite(argument, tensor)
    return tensor


def _targets(y: Any, class_names: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    values = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if values.ndim != 1:
        raise ValueError(f"y must be [N], one target for each example, got {[*values.shape]}")
    if values.dtype.kind == "f":
        if class_names is not None:
            raise TypeError(
                "class_names are for classes, but y holds floating-point numbers; "
                "convert y to integers for classification, leave class_names out for regression"
            )
        return _numbers("y", values), ()
    if any(value is None or value != value for value in values.tolist()):
        raise ValueError("y has gaps (None or NaN); drop those examples first")
    found, labels = np.unique(values.astype(str) if values.dtype.kind == "O" else values,
                              return_inverse=True)  # fmt: skip
    if class_names is None:
        names = tuple(map(str, found))
    else:
        names = tuple(map(str, class_names))
        known = range(len(names)) if values.dtype.kind in "iu" else names
        unknown = [value for value in found.tolist() if value not in known]
        if unknown:
            expected = f"0 to {len(names) - 1}" if values.dtype.kind in "iu" else ", ".join(names)
            raise ValueError(f"y holds labels out of range: {unknown[:5]}; expected {expected}")
        labels = np.array([known.index(value) for value in found.tolist()])[labels]
    if len(names) < 2:
        raise ValueError(f"y holds one class only ({', '.join(names)}); at least two are needed")
    return torch.from_numpy(labels.astype(np.int64)), names
