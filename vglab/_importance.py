"""Permutation importance: how much worse a network gets when one feature is shuffled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vglab import _checks
from vglab._attribution import Query, as_inputs, lent
from vglab._first_layer import FirstLayer, first_layer
from vglab._players import Players, players

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("accuracy", "loss")
_CACHED = 2**19
"""Values of pre-activations worked on at once: few enough to stay in a processor's cache."""

_Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Importance:
    """What shuffling each feature costs.

    Attributes
    ----------
    mean, std
        Over the repeats, ``[D]`` (one for each group where features were grouped): by how much the
        accuracy falls or the loss rises. The deviation is divided by the number of repeats, as
        scikit-learn's is.
    feature_names
        One name for each of them.
    score
        The accuracy or loss with nothing shuffled.
    metric
        "accuracy" or "loss".
    """

    mean: Tensor
    std: Tensor
    feature_names: tuple[str, ...]
    score: float
    metric: str

    def to_frame(self) -> "pd.DataFrame":
        """One row for each feature, the most important first."""
        import pandas as pd

        frame = pd.DataFrame(
            {"mean": self.mean.numpy(), "std": self.std.numpy()},
            index=pd.Index(self.feature_names, name="feature"),
        )
        return frame.sort_values("mean", ascending=False, kind="stable")


def permutation_importance(
    model: nn.Module,
    x: Any,
    y: Any,
    *,
    metric: str = "accuracy",
    repeats: int = 10,
    groups: Any = None,
    feature_names: Sequence[str] | None = None,
    seed: int = 0,
) -> Importance:
    """Importance of each feature: the loss of accuracy when its values are shuffled over examples.

    Breiman 2001, for the trees of a forest; for any model Fisher, Rudin and Dominici 2019, section
    3, whose model reliance is the ratio of the two losses. Of a linear regression with the true
    coefficient β_j it is, with ``metric="loss"``, ``2 β_j² Var(x_j)`` on average. All features
    share the same ``repeats`` permutations. A network that begins with a linear layer is not run
    from the start for every shuffled copy (see `vglab._first_layer`): the same numbers, to
    rounding, much sooner.

    Parameters
    ----------
    model
        Maps ``[N, *input_shape]`` to logits ``[N, C]``, or to ``[N]`` or ``[N, 1]`` for regression.
    x, y
        Examples ``[N, *input_shape]``, which should be held out from training, and their targets
        ``[N]``: classes (integers), or real numbers for regression.
    metric
        "accuracy"; or "loss", mean cross-entropy for classes and mean squared error for numbers.
    repeats
        Number of permutations.
    groups
        Features that are shuffled together, such as the columns of one category: integers of the
        input's shape, or lists of places in the flattened input, or a mapping from names to such
        lists.
    feature_names
        One name for each value of an input.
    seed
        Seed of the permutations.

    Raises
    ------
    ValueError, TypeError
        Before any work: bad numbers, targets that do not fit the model's output, fewer than two
        examples, an unknown metric, accuracy of a regression.

    Examples
    --------
    >>> permutation_importance(model, data.x_test, data.y_test).to_frame()
    """
    _checks.choice("metric", metric, METRICS)
    _checks.count("repeats", repeats)
    _checks.count("seed", seed, at_least=0)
    with lent(model, seed=seed), torch.no_grad():
        inputs = as_inputs("x", x, model)
        if len(inputs) < 2:
            raise ValueError("x must hold at least 2 examples, got 1: nothing to shuffle")
        who = players(groups, inputs.shape[1:], feature_names)
        query = Query(model, inputs, None, "logit")
        logits = torch.cat([query.logits(part.clone()) for part, _ in query.parts(inputs, None)])
        targets = _targets(y, logits, metric)
        score = _SCORES["squared" if targets.is_floating_point() else metric]
        before = score(logits[None], targets).sum(1, dtype=torch.float64) / len(inputs)
        head = first_layer(model, inputs)
        ask = _Whole(query, who) if head is None else _Short(head, query, who)
        generator = torch.Generator().manual_seed(seed)
        orders = (torch.randperm(len(inputs), generator=generator) for _ in range(repeats))
        after = torch.stack([
            _shuffled(ask, inputs, targets, score, who, order.to(inputs.device), before)
            for order in orders
        ])  # fmt: skip
    change = (before - after if metric == "accuracy" else after - before).cpu()
    return Importance(
        change.mean(0).float(), change.std(0, correction=0).float(), who.names,
        float(before), metric,
    )  # fmt: skip


def _targets(y: Any, logits: Tensor, metric: str) -> Tensor:
    """Classes as int64 or numbers in the precision of the logits, ``[N]``, checked."""
    given = y if isinstance(y, Tensor) else torch.from_numpy(np.array(y))
    if given.is_complex() or given.dtype == torch.bool:
        raise TypeError(f"y must be classes or real numbers, got {given.dtype}")
    count, outputs = logits.shape
    if given.shape == (count, 1):
        given = given[:, 0]
    if given.shape != (count,):
        raise ValueError(f"y must be [{count}], one for each example, got {[*given.shape]}")
    if given.is_floating_point():
        if metric == "accuracy":
            raise ValueError(
                'accuracy needs classes (integers) in y, got real numbers: use metric="loss"'
            )
        if outputs != 1:
            raise ValueError(f"y holds real numbers, but the model returns {outputs} logits")
        _checks.finite("y", given)
        return given.to(logits)
    if outputs == 1:
        raise ValueError("y holds classes, but the model returns one number: give y as floats")
    if int(given.min()) < 0 or int(given.max()) >= outputs:
        raise ValueError(
            f"y must be classes from 0 to {outputs - 1}, got {int(given.min())} to "
            f"{int(given.max())}"
        )
    return given.to(logits.device, torch.long)


def _right(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.argmax(2) == targets


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    classes = targets.expand(logits.shape[:2]).flatten()
    losses = functional.cross_entropy(logits.flatten(0, 1), classes, reduction="none")
    return losses.view(logits.shape[:2])


def _squared(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits[..., 0] - targets) ** 2


# Each takes logits [G, n, C] and targets [n], and returns [G, n].
_SCORES: dict[str, _Score] = {
    "accuracy": _right, "loss": _cross_entropy, "squared": _squared
}  # fmt: skip


class _Whole:
    """Any model: copies of the inputs with some of their features exchanged."""

    def __init__(self, query: Query, who: Players) -> None:
        self._query, self._members = query, _members(who, query.inputs.device)
        self.at_once = query.rows_at_once

    def start(self, x: Tensor, other: Tensor) -> None:
        self._shape, self._x, self._other = x.shape[1:], x.flatten(1), other.flatten(1)

    def logits(self, some: Tensor) -> Tensor:
        """Logits ``[G, n, C]`` with the features of each of some players exchanged."""
        members = [self._members[player] for player in some.tolist()]
        copies = self._x.repeat(len(members), 1, 1)
        for copy, places in zip(copies, members, strict=True):
            copy[:, places] = self._other[:, places]
        logits = self._query.logits(copies.view(-1, *self._shape))
        return logits.view(len(members), len(self._x), -1)


class _Short:
    """A model that begins with a linear layer: a change of rank one (or a group's size) of z."""

    def __init__(self, head: FirstLayer, query: Query, who: Players) -> None:
        self._head, self._alone = head, who.alone
        self._members = _members(who, query.inputs.device)
        self._columns = head.weight.T.contiguous()
        self.at_once = max(1, _CACHED // self._columns.shape[1])

    def start(self, x: Tensor, other: Tensor) -> None:
        self._z, self._change = self._head(x), (other - x).flatten(1)

    def logits(self, some: Tensor) -> Tensor:
        """As those of `_Whole`, to rounding."""
        if self._alone:
            change = self._change[:, some].T[:, :, None]
            z = torch.addcmul(self._z, change, self._columns[some][:, None])
        else:
            z = torch.stack([
                torch.addmm(self._z, self._change[:, places], self._columns[places])
                for places in (self._members[player] for player in some.tolist())
            ])  # fmt: skip
        logits: Tensor = self._head.rest(z.flatten(0, 1))
        return logits.view(*z.shape[:2], -1)


def _members(who: Players, device: torch.device) -> list[Tensor]:
    order = who.of_feature.argsort(stable=True).to(device)
    return list(order.split(who.of_feature.bincount(minlength=len(who)).tolist()))


def _shuffled(
    ask: _Whole | _Short,
    x: Tensor,
    targets: Tensor,
    score: _Score,
    who: Players,
    order: Tensor,
    before: Tensor,
) -> Tensor:
    """Mean score ``[G]`` with each player's features in another order, float64."""
    other = x[order]
    total = before * len(x) * x.new_ones(len(who), dtype=torch.float64)
    # A feature that is everywhere the same, as a picture's corner, changes nothing.
    moved = who.of_feature.to(x.device)[(other != x).flatten(1).any(0)].unique()
    total[moved] = 0
    rows = min(len(x), ask.at_once)
    step = max(1, ask.at_once // rows)
    for start in range(0, len(x), rows):
        ask.start(x[start : start + rows], other[start : start + rows])
        for some in moved.split(step):
            scores = score(ask.logits(some), targets[start : start + rows])
            total[some] += scores.sum(1, dtype=torch.float64)
    return total / len(x)
