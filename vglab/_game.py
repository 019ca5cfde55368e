"""The cooperative game behind Shapley values: what a network says of parts of an example."""

from typing import Any

import torch
from torch import Tensor

from vglab._attribution import Query
from vglab._first_layer import first_layer
from vglab._players import Players

_CACHED, _STORED = 2**17, 2**22
"""Numbers worked on at once where the first layer is cut short, so that they stay in the cache;
and numbers that may be kept for one example."""


class Game:
    """Coalitions of the features of one example, the other features coming from a background row.

    ``v_b(S) = f(x_S, b_rest)``; the interventional game is its mean over the background (Janzing et
    al. 2020; Lundberg and Lee 2017 compute it where features are independent).

    Parameters
    ----------
    query
        The question; `Game.play` chooses one of its examples.
    background
        Rows ``[B, *input_shape]``.
    who
        The players.
    output
        "logit" or "probability".
    """

    def __init__(self, query: Query, background: Tensor, who: Players, output: str) -> None:
        self.query, self.who, self.background = query, who, background
        self._output = output
        self._empty: dict[int, Tensor] = {}
        self._slopes: dict[int, Tensor] = {}
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

    def play(self, example: int) -> None:
        """Choose the example; its players who differ nowhere from the background are not alive."""
        self.example = example
        self._x = self.query.inputs[example].flatten()
        self._target = int(self.query.target[example])
        differs = (self._x != self._flat).any(0)
        alive = torch.zeros(len(self.who), dtype=torch.bool, device=differs.device)
        alive[self._of_feature[differs]] = True
        self.alive = alive.nonzero().flatten()
        self._kept: Tensor | None = None

    def empty(self) -> Tensor:
        """``f(b)`` of every background row ``[B]``, for this example's class."""
        if self._target not in self._empty:
            self._empty[self._target] = self._ask(self.background)
        return self._empty[self._target]

    def whole(self) -> Tensor:
        """``f(x)``, a scalar."""
        return self.query.score[self.example]

    def coalitions(self, masks: Tensor, rows: Tensor) -> Tensor:
        """``v_b(S)`` ``[n, K]`` for K coalitions ``[n or 1, K, G]`` (bool) on each of n rows."""
        count, at_once = masks.shape[1], self._at_once(masks.shape[1], masks.shape[2])
        if at_once == 0:  # more coalitions than fit: some at a time
            step = max(1, self._values_at_once() // max(self._width(), masks.shape[2]))
            parts = masks.split(step, 1)
            return torch.cat([self.coalitions(part, rows) for part in parts], 1)
        found = []
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            mask = masks if len(masks) == 1 else masks[start : start + at_once]
            if self._head is None:
                mixed = torch.where(mask[..., self._of_feature], self._x, self._flat[some][:, None])
                values = self._ask(mixed.flatten(0, 1))
            else:
                weights = mask.to(self._z).expand(len(some), -1, -1)
                z = torch.baddbmm(self._z[some][:, None], weights, self._steps(some))
                values = self._pick(self._head.rest(z.flatten(0, 1)))
            found.append(values.view(len(some), count))
        return torch.cat(found)

    def walks(self, orders: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Values along n orders ``[n, G]`` of the players, and along their reverses.

        Each is ``[n, G - 1]``: after one player, after two, … The reverse's coalitions are the
        complements.
        """
        count = orders.shape[1]
        if count == 1:
            none = self._flat.new_zeros(len(rows), 0)
            return none, none
        if self._head is None:
            place = torch.arange(count, device=orders.device).expand_as(orders)
            rank = orders.new_full((len(orders), len(self.who)), count)  # those who never join
            rank = rank.scatter(1, orders, place)[:, None]
            steps = torch.arange(1, count, device=orders.device)[:, None]
            forward, backward = rank < steps, (rank >= count - steps) & (rank < count)
            values = self.coalitions(torch.cat([forward, backward], 1), rows)
            return values[:, : count - 1], values[:, count - 1 :]
        whole = self._head(self.query.inputs[self.example : self.example + 1])
        found = []
        step = max(1, _CACHED // (2 * count * self._z.shape[1]))
        for start in range(0, len(rows), step):
            some, order = rows[start : start + step], orders[start : start + step]
            moves = self._moves(some, order[:, :-1]).cumsum(1)
            both = torch.cat([self._z[some][:, None] + moves, (whole - moves).flip(1)], 1)
            found.append(self._pick(self._head.rest(both.flatten(0, 1))).view(len(some), -1))
        values = torch.cat(found)
        return values[:, : count - 1], values[:, count - 1 :]

    def quadratic(self) -> Tensor | None:
        """Shapley values ``[B, G]`` of a quadratic that has the network's gradients at x and b.

        ``(x - b) (∇f(x) + ∇f(b)) / 2``, corrected so that each row sums to ``f(x) - f(b)``: cheap,
        and close to the network's own. None where there are no gradients.
        """
        x = self.query.inputs[self.example : self.example + 1]
        try:
            if self._target not in self._slopes:
                self._slopes[self._target] = self._gradients(self.background)
            slopes = (self._gradients(x) + self._slopes[self._target]) / 2
        except ValueError:
            return None
        values = self.gather(slopes * (self._x - self._flat)).double()
        gap = (self.whole() - self.empty()).double() - values.sum(1)
        size = values.abs()
        values += gap[:, None] * size / size.sum(1, keepdim=True).clamp_min(1e-300)
        return values if bool(torch.isfinite(values).all()) else None

    def _gradients(self, x: Tensor) -> Tensor:
        at = torch.full((len(x),), self.example, device=x.device)
        with torch.enable_grad():
            return self.query.gradients(x, at).flatten(1)

    def gather(self, values: Tensor) -> Tensor:
        """Sum over the features of each player: ``[n, D]`` to ``[n, G]``."""
        if self.who.alone:
            return values
        sums = values.new_zeros(len(values), len(self.who))
        return sums.index_add(1, self._of_feature, values)

    def _steps(self, rows: Tensor) -> Tensor:
        """What each player's joining adds to the pre-activations ``[n, G, H]``."""
        if self._kept is not None:
            return self._kept[rows]
        change = self._x - self._flat[rows]
        if self.who.alone:
            return change[:, :, None] * self._columns
        pairs = zip(self._members, self._parts, strict=True)
        return torch.stack([change[:, of] @ part for of, part in pairs], 1)

    def _moves(self, rows: Tensor, orders: Tensor) -> Tensor:
        """The same, in each row's order of players ``[n, K, H]``."""
        if self.who.alone:
            change = (self._x - self._flat[rows]).gather(1, orders)
            return change[:, :, None] * self._columns[orders]
        if self._kept is None:
            if len(self._flat) * len(self.who) * self._columns.shape[1] > _STORED:
                return self._steps(rows).gather(
                    1, orders[:, :, None].expand(-1, -1, self._columns.shape[1])
                )
            self._kept = self._steps(torch.arange(len(self._flat), device=rows.device))
        return self._kept[rows[:, None], orders]

    def _width(self) -> int:
        return self._flat.shape[1] if self._head is None else self._z.shape[1]

    def _values_at_once(self) -> int:
        return self.query.rows_at_once * self._width() if self._head is None else _CACHED

    def _at_once(self, coalitions: int, players: int) -> int:
        """Rows of the background in one pass of so many coalitions; 0 where not even one fits."""
        return self._values_at_once() // (coalitions * max(self._width(), players))

    def _ask(self, x: Tensor) -> Tensor:
        at = torch.full((len(x),), self.example, device=x.device)
        return self.query.scores(x.view(-1, *self.background.shape[1:]), at)

    def _pick(self, raw: Any) -> Tensor:
        """The explained output of what the short way returned."""
        logits: Tensor = raw[:, None] if raw.ndim == 1 else raw
        if self._output == "probability":
            logits = logits.softmax(1)
        return logits[:, self._target]
