"""Surrogates: simple models that imitate a network, and how faithfully they do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vglab import _checks
from vglab._attribution import Query, as_inputs, lent
from vglab._players import players

KINDS = ("linear", "tree", "naive_bayes")


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A simple model fitted to what a network returns.

    Attributes
    ----------
    kind
        "linear", "tree" or "naive_bayes".
    fidelity
        On held-out inputs: the share for which it gives the network's class, or, of a regression,
        R² with respect to the network's predictions. It says how well the surrogate imitates the
        network, not how often either is right.
    chance
        The fidelity of a surrogate that always gives the same answer: what ``fidelity`` has to be
        compared with.
    feature_names
        One name for each value of an input.
    estimator
        The fitted scikit-learn model.
    classes
        Does it give classes, or the numbers of a regression?
    """

    kind: str
    fidelity: float
    chance: float
    feature_names: tuple[str, ...] = field(repr=False)
    estimator: Any = field(repr=False)
    classes: bool = field(repr=False)

    def predict(self, x: Any) -> Tensor:
        """Classes ``[N]`` (int64), or numbers ``[N]`` (float32) of a regression."""
        return torch.from_numpy(_answers(self.estimator, _flat(x), self.kind, self.classes))

    @property
    def coefficients(self) -> Tensor:
        """Of a linear surrogate: the weights ``[C, D]`` of each logit (``[1, D]``: regression)."""
        if self.kind != "linear":
            raise AttributeError(f"a {self.kind} surrogate has no coefficients: use kind='linear'")
        return torch.from_numpy(np.atleast_2d(self.estimator.coef_)).float()

    def rules(self) -> str:
        """Of a tree: its questions and answers as text."""
        if self.kind != "tree":
            raise AttributeError(f"a {self.kind} surrogate has no rules: use kind='tree'")
        from sklearn.tree import export_text

        return str(export_text(self.estimator, feature_names=list(self.feature_names)))


def surrogate(
    model: nn.Module,
    x: Any,
    kind: str,
    *,
    max_depth: int = 4,
    test_fraction: float = 0.25,
    feature_names: Sequence[str] | None = None,
    seed: int = 0,
) -> Surrogate:
    """Fit a simple model to a network's outputs, and measure on other inputs how well it imitates.

    Craven and Shavlik 1996 call the share of agreement on held-out inputs fidelity.

    Parameters
    ----------
    model
        Maps ``[N, *input_shape]`` to logits ``[N, C]``, or to ``[N]`` or ``[N, 1]`` for regression.
    x
        Inputs ``[N, *input_shape]``; no targets are needed.
    kind
        "linear": least squares on the logits, which a linear network's surrogate recovers exactly;
        "tree": a decision tree; "naive_bayes": Gaussian naive Bayes, for classes only, and bad at
        one-hot columns (one that is constant in a class gets a variance of nearly zero).
    max_depth
        Questions that a tree may ask of one input.
    test_fraction
        Share of the inputs that are held out.
    feature_names
        One name for each value of an input.
    seed
        Seed of the split, and of the tree's choice among equally good questions.

    Raises
    ------
    ValueError, TypeError
        Before any work: bad numbers, an unknown kind, naive Bayes for a regression, too few inputs
        to hold some out.

    Examples
    --------
    >>> surrogate(model, data.x_train, "tree").fidelity
    """
    _checks.choice("kind", kind, KINDS)
    _checks.count("max_depth", max_depth)
    _checks.number("test_fraction", test_fraction, above=0, below=1)
    _checks.count("seed", seed, at_least=0)
    with lent(model, seed=seed), torch.no_grad():
        inputs = as_inputs("x", x, model)
        held_out = round(test_fraction * len(inputs))
        if held_out < 1 or len(inputs) - held_out < 2:
            raise ValueError(
                f"{len(inputs)} inputs are too few to hold out {test_fraction:g} of them and fit "
                "the others"
            )
        names = players(None, inputs.shape[1:], feature_names).names
        query = Query(model, inputs, None, "logit")
        logits = torch.cat([query.logits(part.clone()) for part, _ in query.parts(inputs, None)])
    classes = logits.shape[1] > 1
    if kind == "naive_bayes" and not classes:
        raise ValueError("naive Bayes gives classes, but the model is a regression: use 'tree'")
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed)).numpy()
    test, train = order[:held_out], order[held_out:]
    features, outputs = _flat(inputs), logits.cpu().numpy()
    targets = outputs.argmax(1) if classes else outputs[:, 0]
    estimator = _estimator(kind, classes, max_depth, seed)
    estimator.fit(features[train], (outputs if kind == "linear" else targets)[train])
    found = _answers(estimator, features[test], kind, classes)
    constant = np.bincount(targets[train]).argmax() if classes else targets[train].mean()
    return Surrogate(
        kind, _agreement(found, targets[test], classes),
        _agreement(np.full_like(found, constant), targets[test], classes),
        names, estimator, classes,
    )  # fmt: skip


def _estimator(kind: str, classes: bool, max_depth: int, seed: int) -> Any:
    from sklearn.linear_model import LinearRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if kind == "linear":
        return LinearRegression()
    if kind == "naive_bayes":
        return GaussianNB()
    tree = DecisionTreeClassifier if classes else DecisionTreeRegressor
    return tree(max_depth=max_depth, random_state=seed % 2**32)


def _answers(estimator: Any, features: Any, kind: str, classes: bool) -> Any:
    found = estimator.predict(features)
    if kind == "linear":
        found = found.reshape(len(features), -1)
        found = found.argmax(1) if classes else found[:, 0]
    return found.astype(np.int64 if classes else np.float32)


def _agreement(found: Any, wanted: Any, classes: bool) -> float:
    if classes:
        return float((found == wanted).mean())
    spread = float(((wanted - wanted.mean()) ** 2).sum())
    error = float(((found - wanted) ** 2).sum())
    # A network that always says the same is imitated fully or not at all.
    return 1 - error / spread if spread > 0 else float(error == 0)


def _flat(x: Any) -> Any:
    values = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    return values.reshape(len(values), -1).astype(np.float64)
