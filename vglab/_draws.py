"""Shapley values from sampled orders or coalitions, with their standard errors."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vglab._game import Game


@dataclass(frozen=True)
class Estimate:
    """Values and standard errors ``[E, G]`` of E examples' players, float64."""

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
    alive, empty, whole = game.alive, game.empty().double(), game.whole().double()[:, None]
    examples, background = empty.shape
    control = game.quadratic() if budget.pairs < 2 * background or budget.pairs % background or (
        budget.precision is not None
    ) else None  # fmt: skip
    control = None if control is None else control[..., alive]
    seen = empty.new_zeros(examples, 0, len(alive))
    for count in budget.rounds(background):
        some = slice(seen.shape[1], count)
        rows, order = draws.rows[some], draws.keys[some][:, alive].argsort(1)
        first, others = game.walks(alive[order], rows)
        # What a player adds to those before it, and to those after it, is their sum here.
        start = (empty[:, rows] - whole)[..., None]
        steps = torch.cat([start, first.double() - others.double(), -start], 2).diff(dim=2) / 2
        added = torch.empty_like(steps).scatter_(2, order.expand_as(steps), steps)
        seen = torch.cat([seen, added], 1) if some.start else added
        found = _combine(seen, draws.rows[:count], background, control)
        if budget.enough(found):
            break
    gap = whole - empty.mean(1, keepdim=True) - found.values.sum(1, keepdim=True)
    return Estimate(found.values + gap * _shares(found), found.error)


def _combine(seen: Tensor, rows: Tensor, background: int, control: Tensor | None) -> Estimate:
    """Mean and standard error of pairs ``[E, n, G]`` stratified by the background row."""
    pairs = seen.shape[1]
    left = pairs % background if pairs > background else pairs
    values, spread = seen.mean(1), seen.var(1)
    if control is not None:
        used = control[:, rows]
        rest = (seen - used).var(1)
        helps = rest.sum(1, keepdim=True) < spread.sum(1, keepdim=True)
        values = torch.where(helps, values + control.mean(1) - used.mean(1), values)
        spread = torch.where(helps, rest, spread)
    variance = spread * left / pairs**2
    if pairs > background:  # within rows, from those that were used again
        sums = seen.new_zeros(len(seen), background, seen.shape[2]).index_add(1, rows, seen)
        times = rows.bincount(minlength=background)
        within = (seen - (sums / times[:, None])[:, rows]).square().sum(1)
        variance = variance + within / int((times - 1).clamp_min(0).sum()) / pairs
    return Estimate(values, variance.sqrt())


def _shares(found: Estimate) -> Tensor:
    """How a gap between the values and their known sum is closed: most where least is known."""
    shares = torch.full_like(found.values, 1 / max(1, found.values.shape[1]))
    for weights in (found.values.abs(), found.error.square()):
        total = weights.sum(1, keepdim=True)
        shares = torch.where(total > 0, weights / total, shares)
    return shares


def by_coalitions(game: Game, draws: Draws, budget: Budget) -> Estimate:
    """Least squares over random coalitions and their complements, each on one background row.

    Kernel SHAP (Lundberg and Lee 2017, theorem 2) with paired sampling (Covert and Lee 2021); only
    what the quadratic of `by_orders` does not explain is regressed.
    """
    alive, empty, whole = game.alive, game.empty()[0].double(), game.whole().double()
    count = len(alive)
    control = game.quadratic()
    known = (
        ((whole - empty) / count)[:, None].expand(-1, count)
        if control is None
        else control[0][:, alive]
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
    return Estimate((known + weights)[None], error[None])
