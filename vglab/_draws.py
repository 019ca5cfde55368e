"""Shapley values from sampled orders or coalitions, with their standard errors."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vglab._game import Game


@dataclass(frozen=True)
class Estimate:
    """Values and standard errors ``[G]`` of one example's players, float64."""

    values: Tensor
    error: Tensor


@dataclass(frozen=True)
class Budget:
    """How much may be drawn, and when it is enough.

    Attributes
    ----------
    pairs
        Pairs of opposite orders, or of opposite coalitions, at most.
    precision
        Stop when the largest standard error is below this share of the largest value; None: draw
        all.
    """

    pairs: int
    precision: float | None

    def rounds(self, rows: int) -> Iterator[int]:
        """How many pairs there are to be after each round."""
        now = self.pairs if self.precision is None else min(max(32, rows), self.pairs)
        while True:
            yield now
            if now >= self.pairs:
                return
            now = min(2 * now, self.pairs)

    def enough(self, found: Estimate) -> bool:
        """Whether a result is precise enough to stop."""
        if self.precision is None:
            return False
        largest = float(found.values.abs().max())
        return float(found.error.max()) <= self.precision * largest


@dataclass(frozen=True)
class Draws:
    """Random numbers that all examples share, so that a batch gives what one example gives.

    Attributes
    ----------
    rows
        Background row of each pair ``[n]``: all rows once in a random order, then all again, so
        that each is used equally often, give or take one.
    keys
        ``[n, G]``: players sorted by them stand in random order.
    sizes
        ``[n]`` in [0, 1): become the sizes of coalitions.
    """

    rows: Tensor
    keys: Tensor
    sizes: Tensor


def draw(pairs: int, players: int, rows: int, seed: int, device: torch.device) -> Draws:
    """Draw for so many pairs; the first of many are those of fewer."""
    generator = torch.Generator().manual_seed(seed)
    cycles = [torch.randperm(rows, generator=generator) for _ in range(-(-pairs // rows))]
    numbers = torch.rand(pairs, players + 1, generator=generator).to(device)
    return Draws(torch.cat(cycles)[:pairs].to(device), numbers[:, 1:], numbers[:, 0])


def by_orders(game: Game, draws: Draws, budget: Budget) -> Estimate:
    """Average what players add along random orders and their reverses, each on one background row.

    Opposite orders give each of two players exactly half of what they do together (antithetic
    sampling, Mitchell et al. 2022), equal use of the rows takes out their variation; where not all
    are used equally often, a quadratic with the network's gradients stands in for what the rows
    would have said (a control variate).
    """
    alive, empty, whole = game.alive, game.empty(), game.whole()
    control = game.quadratic() if budget.pairs < 2 * len(empty) or budget.pairs % len(empty) or (
        budget.precision is not None
    ) else None  # fmt: skip
    control = None if control is None else control[:, alive]
    seen = empty.new_zeros(0, len(alive)).double()
    for count in budget.rounds(len(empty)):
        rows = draws.rows[len(seen) : count]
        order = draws.keys[len(seen) : count][:, alive].argsort(1)
        forward, backward = game.walks(alive[order], rows)
        start, end = empty[rows][:, None], whole.expand(len(rows), 1)
        added = seen.new_zeros(order.shape)
        for path, places in ((forward, order), (backward, order.flip(1))):
            steps = torch.cat([start, path, end], 1).double().diff(dim=1)
            added.scatter_add_(1, places, steps / 2)
        seen = torch.cat([seen, added])
        found = _combine(seen, draws.rows[:count], len(empty), control)
        if budget.enough(found):
            break
    gap = (whole.double() - empty.double().mean()) - found.values.sum()
    return Estimate(found.values + gap * _shares(found), found.error)


def _combine(seen: Tensor, rows: Tensor, background: int, control: Tensor | None) -> Estimate:
    """Mean and standard error of pairs ``[n, G]`` stratified by the background row."""
    pairs = len(seen)
    left = pairs % background if pairs > background else pairs
    values, rest = seen.mean(0), seen
    if control is not None:
        corrected = seen - control[rows]
        if float(corrected.var(0).sum()) < float(seen.var(0).sum()):
            values = values + control.mean(0) - control[rows].mean(0)
            rest = corrected
    variance = rest.var(0) * left / pairs**2
    if pairs > background:  # within rows, from those that were used again
        sums = seen.new_zeros(background, seen.shape[1]).index_add(0, rows, seen)
        used = rows.bincount(minlength=background)
        within = (seen - (sums / used[:, None])[rows]).square().sum(0)
        variance = variance + within / int((used - 1).clamp_min(0).sum()) / pairs
    return Estimate(values, variance.sqrt())


def _shares(found: Estimate) -> Tensor:
    """How a gap between the values and their known sum is closed: most where least is known."""
    for weights in (found.error.square(), found.values.abs()):
        if float(weights.sum()) > 0:
            return weights / weights.sum()
    return torch.full_like(found.values, 1 / max(1, len(found.values)))


def by_coalitions(game: Game, draws: Draws, budget: Budget) -> Estimate:
    """Least squares over random coalitions and their complements, each on one background row.

    Kernel SHAP (Lundberg and Lee 2017, theorem 2) with paired sampling (Covert and Lee 2021); only
    what the quadratic of `by_orders` does not explain is regressed.
    """
    alive, empty, whole = game.alive, game.empty().double(), game.whole().double()
    count = len(alive)
    control = game.quadratic()
    known = (
        ((whole - empty) / count)[:, None].expand(-1, count)
        if control is None
        else control[:, alive]
    )
    sizes = torch.arange(1, count, device=alive.device)
    chance = (1.0 / (sizes * (count - sizes))).cumsum(0)
    masks, differences = empty.new_zeros(0, count), empty.new_zeros(0)
    for pairs in budget.rounds(len(empty)):
        some = slice(len(masks), pairs)
        rows, keys = draws.rows[some], draws.keys[some][:, alive]
        size = torch.searchsorted(chance / chance[-1], draws.sizes[some].contiguous()) + 1
        inside = keys.argsort(1).argsort(1) < size.clamp_max(count - 1)[:, None]
        both = torch.zeros(len(rows), 2, len(game.who), dtype=torch.bool, device=alive.device)
        both[:, 0, alive], both[:, 1, alive] = inside, ~inside
        values = game.coalitions(both, rows).double()
        part = (known[rows] * (inside.double() - 0.5)).sum(1)
        masks = torch.cat([masks, inside.double()])
        differences = torch.cat([differences, (values[:, 0] - values[:, 1]) / 2 - part])
        found = _regress(masks, differences, known.mean(0))
        if budget.enough(found):
            break
    return found


def _regress(masks: Tensor, differences: Tensor, known: Tensor) -> Estimate:
    """Weights that sum to zero, and their errors by the sandwich formula (White 1980)."""
    inverse = torch.linalg.pinv(masks.T @ masks, hermitian=True)
    ones = inverse.sum(1)
    inverse = inverse - ones[:, None] * ones / ones.sum()
    linear = inverse @ masks.T
    weights = linear @ differences
    left = differences - masks @ weights
    spare = max(1, len(masks) - masks.shape[1] + 1)
    error = ((linear * left).square().sum(1) * (len(masks) / spare)).sqrt()
    return Estimate(known + weights, error)
