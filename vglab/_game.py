"""The cooperative game behind Shapley values: what a network says of parts of an example."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vglab._attribution import Query, gradient
from vglab._first_layer import first_layer
from vglab._players import Players

_CACHED, _STORED = 2**17, 2**22
"""Numbers worked on at once where the first layer is cut short, so that they stay in the cache;
and numbers that may be kept for one example, or for a block of them."""


class Game:
    """Coalitions of the features of one example, the other features coming from a background row.

    ``v_b(S) = f(x_S, b_rest)``; the interventional game is its mean over the background (Janzing et
    al. 2020; Lundberg and Lee 2017 compute it where features are independent).

    Parameters
    ----------
    query
        The question; `Game.play` chooses among its examples.
    background
        Rows ``[B, *input_shape]``.
    who
        The players.
    """

    def __init__(self, query: Query, background: Tensor, who: Players) -> None:
        self.query, self.who, self.background = query, who, background
        self._empty: Tensor | None = None
        self._slopes: tuple[Tensor, dict[int, Tensor]] | None = None
        self._of_feature = who.of_feature.to(background.device)
        self._flat = background.flatten(1)
        self._head = first_layer(query.model, background)
        if self._head is not None:
            self._columns = self._head.weight.T.contiguous()
            with torch.no_grad():
                self._z = self._head(background)
            order = self._of_feature.argsort(stable=True)
            sizes = self._of_feature.bincount(minlength=len(who)).tolist()
            self._members = list(order.split(sizes))
            self._parts = [self._columns[of] for of in self._members]

    def play(self, *examples: int) -> None:
        """Choose one example, or one of `blocks`.

        Players who differ nowhere from the background are not alive.
        """
        self.examples = list(examples)
        self._x = self.query.inputs[self.examples].flatten(1)
        self._target = self.query.target[self.examples]
        self.alive = self._living(self._x[0])
        self._kept: Tensor | None = None

    def _living(self, x: Tensor) -> Tensor:
        differs = (x != self._flat).any(0)
        if self.who.alone:
            return differs.nonzero().flatten()
        alive = torch.zeros(len(self.who), dtype=torch.bool, device=differs.device)
        alive[self._of_feature[differs]] = True
        return alive.nonzero().flatten()

    def blocks(self, pairs: int) -> Iterator[list[int]]:
        """Group all examples: a few pairs of `walks` take less time for several of them at once.

        Of one block the same players are alive.
        """
        examples, most = range(len(self.query.inputs)), 1
        if self._head is not None and self.who.alone:
            step = 2 * len(self.who) * self._z.shape[1]
            kept = max(step * pairs, len(self._flat) * len(self.who))
            most = min(_CACHED // step, _STORED // kept)
        if most < 2:
            yield from ([each] for each in examples)
            return
        alive = [self._living(x) for x in self.query.inputs.flatten(1)]
        block: list[int] = []
        for each in examples:
            same = block and len(alive[each]) > 1 and torch.equal(alive[block[0]], alive[each])
            if block and (len(block) == most or not same):
                yield block
                block = []
            block.append(each)
        yield block

    def empty(self) -> Tensor:
        """``f(b)`` of every background row, for each example's class ``[E, B]``."""
        if self._empty is None:
            with torch.no_grad():
                parts = self.query.parts(self.background, None)
                every = [self.query.scaled(self.query.logits(x.clone())) for x, _ in parts]
            self._empty = torch.cat(every).T.contiguous()
        return self._empty[self._target]

    def whole(self) -> Tensor:
        """``f(x)`` of each example ``[E]``."""
        return self.query.score[self.examples]

    def coalitions(self, masks: Tensor, rows: Tensor) -> Tensor:
        """``v_b(S)`` ``[n, K]`` for K coalitions ``[n or 1, K, G]`` (bool) on each of n rows.

        Of one example.
        """
        count, at_once = masks.shape[1], self._at_once(masks.shape[1], masks.shape[2])
        if at_once == 0:  # more coalitions than fit: some at a time
            step = max(1, self._values_at_once() // max(self._width(), masks.shape[2]))
            parts = masks.split(step, 1)
            return torch.cat([self.coalitions(part, rows) for part in parts], 1)
        (example,), found = self.examples, []
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            mask = masks if len(masks) == 1 else masks[start : start + at_once]
            if self._head is None:
                x = torch.where(mask[..., self._of_feature], self._x, self._flat[some][:, None])
                x = x.view(-1, *self.background.shape[1:])
                values = self.query.scores(x, torch.full((len(x),), example, device=x.device))
            else:
                weights = mask.to(self._z).expand(len(some), -1, -1)
                z = torch.baddbmm(self._z[some][:, None], weights, self._steps(some))
                values = self._pick(self._head.rest(z.flatten(0, 1)), (1, 1, len(some), count))
            found.append(values.view(len(some), count))
        return torch.cat(found)

    def walks(self, orders: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Values of the first players of n orders ``[n, G]``, and of all others without them.

        Each is ``[E, n, G - 1]``: the first player, the first two, … The others' coalitions are
        those of the reverse order.
        """
        count = orders.shape[1]
        if count == 1:
            none = self._flat.new_zeros(len(self.examples), len(rows), 0)
            return none, none
        if self._head is None:
            place = torch.arange(count, device=orders.device).expand_as(orders)
            rank = orders.new_full((len(orders), len(self.who)), count)  # those who never join
            rank = rank.scatter(1, orders, place)[:, None]
            steps = torch.arange(1, count, device=orders.device)[:, None]
            first, others = rank < steps, (rank >= steps) & (rank < count)
            values = self.coalitions(torch.cat([first, others], 1), rows)
            return values[None, :, : count - 1], values[None, :, count - 1 :]
        whole = self._head(self.query.inputs[self.examples])[:, None]
        found = []
        step = max(1, _CACHED // (2 * count * self._z.shape[1] * len(self.examples)))
        for start in range(0, len(rows), step):
            some, order = rows[start : start + step], orders[start : start + step]
            z = self._z[some]
            both = z.new_empty(2, len(self.examples), len(some), count - 1, z.shape[1])
            first, others = both
            self._moves(some, order[:, :-1], first)
            first[:, :, 0] += z
            first.cumsum_(2)
            torch.sub((whole + z)[:, :, None], first, out=others)
            found.append(self._pick(self._head.rest(both.flatten(0, 3)), both.shape[:-1]))
        values = torch.cat(found, 2)
        return values[0], values[1]

    def quadratic(self) -> Tensor | None:
        """Shapley values ``[E, B, G]`` of a quadratic with the network's gradients at x and b.

        ``(x - b) (∇f(x) + ∇f(b)) / 2``, corrected so that each row sums to ``f(x) - f(b)``: cheap,
        and close to the network's own. None where there are no gradients.
        """
        try:
            if self._slopes is None:
                self._slopes = self._gradients()
        except ValueError:
            return None
        here, there = self._slopes
        rows = torch.stack([there[target] for target in self._target.tolist()])
        slopes = (here[self.examples][:, None] + rows) / 2
        values = self.gather(slopes * (self._x[:, None] - self._flat)).double()
        gap = (self.whole()[:, None] - self.empty()).double() - values.sum(2)
        size = values.abs()
        values += size * (gap / size.sum(2).clamp_min(1e-300))[..., None]
        return values if bool(torch.isfinite(values).all()) else None

    def _gradients(self) -> tuple[Tensor, dict[int, Tensor]]:
        """At all examples ``[N, D]``, and at the background ``[B, D]`` for each class of them."""
        query, targets = self.query, self.query.target.unique().tolist()
        with torch.enable_grad():
            here = query.gradients(query.inputs).flatten(1)
            found: dict[int, list[Tensor]] = {target: [] for target in targets}
            for part, _ in query.parts(self.background, None):
                leaf = part.detach().clone().requires_grad_()
                scores = query.scaled(query.logits(leaf.clone()))
                for target, slopes in found.items():
                    slopes.append(gradient(scores[:, target], leaf, again=True).flatten(1))
        return here, {target: torch.cat(slopes) for target, slopes in found.items()}

    def gather(self, values: Tensor) -> Tensor:
        """Sum over the features of each player: ``[..., D]`` to ``[..., G]``."""
        if self.who.alone:
            return values
        sums = values.new_zeros(*values.shape[:-1], len(self.who))
        return sums.index_add(values.ndim - 1, self._of_feature, values)

    def _steps(self, rows: Tensor) -> Tensor:
        """What each player's joining adds to the pre-activations ``[n, G, H]``."""
        if self._kept is not None:
            return self._kept[rows]
        change = self._x - self._flat[rows]
        if self.who.alone:
            return change[:, :, None] * self._columns
        pairs = zip(self._members, self._parts, strict=True)
        return torch.stack([change[:, of] @ part for of, part in pairs], 1)

    def _moves(self, rows: Tensor, orders: Tensor, out: Tensor) -> None:
        """Write the same of each example, in each row's order of players ``[E, n, K, H]``."""
        if self.who.alone:
            change = (self._x[:, None] - self._flat[rows]).gather(2, orders.expand(*out.shape[:3]))
            columns = nn.functional.embedding(orders, self._columns)  # faster than indexing
            torch.mul(change[..., None], columns, out=out)
            return
        if self._kept is None:
            if len(self._flat) * len(self.who) * self._columns.shape[1] > _STORED:
                places = orders[..., None].expand(out.shape[1:])
                torch.gather(self._steps(rows), 1, places, out=out[0])
                return
            self._kept = self._steps(torch.arange(len(self._flat), device=rows.device))
        out[0] = self._kept[rows[:, None], orders]

    def _width(self) -> int:
        return self._flat.shape[1] if self._head is None else self._z.shape[1]

    def _values_at_once(self) -> int:
        return self.query.rows_at_once * self._width() if self._head is None else _CACHED

    def _at_once(self, coalitions: int, players: int) -> int:
        """Rows of the background in one pass of so many coalitions; 0 where not even one fits."""
        return self._values_at_once() // (coalitions * max(self._width(), players))

    def _pick(self, raw: Any, shape: tuple[int, ...]) -> Tensor:
        """The explained output of what the short way returned, ``[K, E, ...]``."""
        scores = self.query.scaled(raw[:, None] if raw.ndim == 1 else raw).view(*shape, -1)
        if len(self.examples) == 1:
            return scores[..., int(self._target[0])]
        target = self._target.view(-1, 1, 1, 1).expand(*scores.shape[:-1], 1)
        return scores.gather(-1, target).squeeze(-1)
