"""Who takes part: features that are perturbed together count as one player."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vglab._sources import value_names


@dataclass(frozen=True, eq=False)
class Players:
    """The G players, in the order of their first feature.

    Attributes
    ----------
    of_feature
        The player ``[D]`` of each value of the flattened input, int64.
    names
        One name for each player.
    """

    of_feature: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def alone(self) -> bool:
        """Whether every feature is a player of its own."""
        return len(self.names) == len(self.of_feature)

    def spread(self, values: Tensor) -> Tensor:
        """Give every feature an equal part of its player's value: ``[..., G]`` to ``[..., D]``."""
        size = self.of_feature.bincount(minlength=len(self)).to(values)
        return (values / size)[..., self.of_feature]


def players(
    groups: Any, shape: Sequence[int], feature_names: Sequence[str] | None = None
) -> Players:
    """Read ``groups``.

    Parameters
    ----------
    groups
        None: every value of an input is a player. Integers of the input's shape (for images,
        ``[H, W]`` will do for all channels): features with the same number are one player.
        Otherwise lists of places in the flattened input, which may have names (a mapping); a
        feature in none of them stands alone.
    shape
        Of one input.
    feature_names
        One name for each value of an input.

    Raises
    ------
    ValueError, TypeError
        A map of another shape, a place that is not there or comes twice, no integers.
    """
    size = int(np.prod(shape))
    names = _names(feature_names, shape, size)
    if groups is None:
        return Players(torch.arange(size), names)
    if isinstance(groups, Tensor | np.ndarray):
        given: dict[int, str] = {}
        label = _from_map(torch.as_tensor(groups), shape)
    else:
        label, given = _from_lists(groups, size)
    _, first = np.unique(label, return_index=True)
    order = label[np.sort(first)]
    place = {old: new for new, old in enumerate(order.tolist())}
    of_feature = torch.tensor([place[old] for old in label.tolist()])
    members: list[list[str]] = [[] for _ in place]
    for feature, player in enumerate(of_feature.tolist()):
        members[player].append(names[feature])
    called = [given.get(old, _together(members[new])) for old, new in place.items()]
    return Players(of_feature, tuple(called))


def _names(given: Sequence[str] | None, shape: Sequence[int], size: int) -> tuple[str, ...]:
    if given is not None:
        if isinstance(given, str) or len(given) != size:
            raise ValueError(f"feature_names must be {size} names, got {len(given)}")
        return tuple(map(str, given))
    return value_names(shape) if len(shape) <= 3 else tuple(f"value {i}" for i in range(size))


def _together(members: list[str]) -> str:
    return " + ".join(members) if len(members) <= 3 else f"{members[0]} … {members[-1]}"


def _from_map(label: Tensor, shape: Sequence[int]) -> Any:
    if label.is_floating_point() or label.is_complex() or label.dtype == torch.bool:
        raise TypeError(f"groups must hold integers, got {label.dtype}")
    fits = tuple(label.shape) == tuple(shape) or (
        len(shape) == 3 and tuple(label.shape) == tuple(shape[1:])
    )
    if not fits:
        raise ValueError(
            f"groups must have the shape of one input {list(shape)}, got {[*label.shape]}"
        )
    return label.cpu().expand(tuple(shape)).flatten().numpy()


def _from_lists(groups: Any, size: int) -> tuple[Any, dict[int, str]]:
    named = groups if isinstance(groups, Mapping) else dict(enumerate(groups))
    label = np.arange(size)
    seen: set[int] = set()
    given = {}
    for name, members in named.items():
        places = np.atleast_1d(np.asarray(members))
        if places.size == 0 or not np.issubdtype(places.dtype, np.integer):
            raise TypeError(f"groups[{name!r}] must list places of features, got {members!r}")
        if places.min() < 0 or places.max() >= size:
            raise ValueError(
                f"groups[{name!r}] must hold places from 0 to {size - 1}, got {members!r}"
            )
        if len(set(places.tolist())) < places.size or seen & set(places.tolist()):
            raise ValueError(f"groups[{name!r}] holds a feature that comes twice: {members!r}")
        seen |= set(places.tolist())
        label[places] = places.min()
        if isinstance(groups, Mapping):
            given[int(places.min())] = str(name)
    return label, given
