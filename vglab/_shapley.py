"""Shapley values of a network's inputs, exact where that is cheap, estimated where it is not."""

from typing import Any

import torch
from torch import Tensor, nn

from vglab import _checks
from vglab._attribution import Attribution, Query, as_inputs, asked
from vglab._draws import Budget, Draws, Estimate, by_coalitions, by_orders, draw
from vglab._game import Game
from vglab._players import Players, players
from vglab._shap import deep, gradient

METHODS = ("auto", "exact", "permutation", "kernel", "deep", "gradient", "linear")
EXACT_PLAYERS, CHEAP_EVALUATIONS = 20, 2**16
"""`exact` takes no more players; "auto" is exact where an example costs no more evaluations."""
_ROUNDING = 1e-4


def shap_values(
    model: nn.Module,
    inputs: Any,
    background: Any,
    target: Any = None,
    *,
    method: str = "auto",
    samples: int | None = None,
    precision: float | None = None,
    groups: Any = None,
    output: str = "logit",
    seed: int = 0,
) -> Attribution:
    """Interventional Shapley values: how ``f(x)`` minus the mean over the background is divided.

    Lundberg and Lee 2017; Shapley 1953. A feature that is not in a coalition takes its value from a
    row of the background, whatever the others are (Janzing et al. 2020). Always
    ``baseline + values.sum() == output``, to rounding.

    Parameters
    ----------
    model
        Maps ``[N, *input_shape]`` to logits ``[N, C]``, or to ``[N]`` or ``[N, 1]`` for regression.
    inputs, background
        The examples ``[N, *input_shape]`` and the rows ``[B, *input_shape]``, all of which are
        used.
    target
        None for each example's predicted class; a class; or one for each example.
    method
        "exact": all coalitions of up to 20 players.
        "permutation": what players add along random orders and their reverses, each pair on one
        background row (see `vglab._draws.by_orders`).
        "kernel": weighted least squares over random coalitions; exact where they are few.
        "linear": closed form, ``w_i (x_i - E b_i)``, for a network that is linear.
        "deep", "gradient": shap's DeepExplainer (DeepLIFT's rules; near Shapley values for shallow
        networks, equal to them for linear ones) and GradientExplainer (expected gradients;
        Aumann-Shapley values), on a copy of the model.
        "auto": "exact" where 2^G B is at most 65,536 for G players, otherwise "permutation".
    samples
        Pairs of orders, pairs of coalitions, or points of "gradient" for each example. By default
        every row of a background of up to 128 is used at least twice, of a larger one 256; of
        "kernel" eight times the number of players at least; of "gradient" 200.
    precision
        Of "permutation" and "kernel": stop when no standard error is above this share of the
        largest value, or when there are ``samples`` (by default 2^14) pairs.
    groups
        Features that play together, as superpixels or one category's columns: integers of the
        input's shape (``[H, W]`` of an image), lists of places in the flattened input, or a mapping
        from names to such lists. Each of a group's features gets an equal part of its value.
    output
        "logit" or "probability".
    seed
        Seed of what is drawn; every example uses the same draws.

    Returns
    -------
    Attribution
        With ``baseline``, ``output`` and, of sampling methods, ``standard_error``.

    Raises
    ------
    ValueError, TypeError
        Before any work: bad numbers, a background of another shape, a class that is not there, too
        many players for "exact", a model that "linear" or "deep" cannot explain.

    Examples
    --------
    >>> shap_values(model, data.x_test[:5], data.x_train[:100]).ranking()[:, :3]
    """
    _checks.choice("method", method, METHODS)
    if samples is not None:
        _checks.count("samples", samples, at_least=2)
    if precision is not None:
        _checks.number("precision", precision, above=0)
    with asked(model, inputs, target, output=output, seed=seed) as query:
        rows = as_inputs("background", background, model)
        if rows.shape[1:] != query.inputs.shape[1:]:
            raise ValueError(
                f"a row of background must have the shape of an input "
                f"{[*query.inputs.shape[1:]]}, got {[*rows.shape[1:]]}"
            )
        who = players(groups, query.inputs.shape[1:])
        if method == "auto":
            cheap = len(who) < 17 and 2 ** len(who) * len(rows) <= CHEAP_EVALUATIONS
            method = "exact" if cheap else "permutation"
        _ = query.score  # the target is checked before any work
        name = f"shap_values ({method})"
        if method in ("deep", "gradient"):
            explain = deep(query, rows, output) if method == "deep" else gradient(
                query, rows, output, samples or 200, seed
            )  # fmt: skip
            return _from_features(query, rows, who, name, *explain)
        game = Game(query, rows, who)
        pairs = samples or _default(method, len(who), len(rows), precision)
        draws = (
            draw(pairs, len(who), len(rows), seed, rows.device)
            if method in ("permutation", "kernel")
            else None
        )
        together = method == "permutation" and precision is None
        found = [
            _block(game, block, method, Budget(pairs, precision), draws)
            for block in game.blocks(pairs if together else 2**62)
        ]
        values, error, baseline = map(torch.cat, zip(*found, strict=True))
        return _answer(query, who, values, None if draws is None else error, baseline, name)


def _default(method: str, players: int, rows: int, precision: float | None) -> int:
    if precision is not None:
        return 2**14
    pairs = 2 * rows * -(-64 // (2 * rows)) if rows <= 128 else 256
    return max(pairs, 8 * players) if method == "kernel" else pairs


def _block(
    game: Game, examples: list[int], method: str, budget: Budget, draws: Draws | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Values, standard errors and baselines of E examples, ``[E, G]``, ``[E, G]`` and ``[E]``."""
    game.play(*examples)
    with torch.no_grad():
        baseline = game.empty().double().mean(1)
        count = len(game.alive)
        if draws is None:
            found = _linear(game) if method == "linear" else _exact(game)
        elif count < 2 or (method == "kernel" and _few(count, len(game.background), budget)):
            found = _exact(game)
        else:
            found = (by_orders if method == "permutation" else by_coalitions)(game, draws, budget)
    values, error = found.values.new_zeros(2, len(examples), len(game.who))
    values[:, game.alive], error[:, game.alive] = found.values, found.error
    return values, error, baseline


def _few(players: int, rows: int, budget: Budget) -> bool:
    """Whether all coalitions on all rows cost no more than what would be drawn, or little."""
    return players < 17 and 2**players * rows <= max(2 * budget.pairs, CHEAP_EVALUATIONS)


def _exact(game: Game) -> Estimate:
    """The definition: every coalition of the players that are alive, over the whole background."""
    alive, rows = game.alive, len(game.background)
    count = len(alive)
    if count > EXACT_PLAYERS:
        raise ValueError(
            f"exact values of {count} players need 2^{count} coalitions for every background row: "
            f'use method="permutation", or groups of at most {EXACT_PLAYERS}'
        )
    number = torch.arange(2**count, device=alive.device)
    step = max(1, 2**22 // (2**count * max(1, count)))
    total = torch.zeros(2**count, dtype=torch.float64, device=alive.device)
    masks = torch.zeros(1, 2**count, len(game.who), dtype=torch.bool, device=alive.device)
    bits = torch.arange(count - 1, -1, -1, device=alive.device)
    masks[0][:, alive] = (number[:, None] >> bits & 1).bool()
    for part in torch.arange(rows, device=alive.device).split(step):
        total += game.coalitions(masks, part).double().sum(0)
    return Estimate(shapley(total / rows)[None], total.new_zeros(1, count))


def shapley(values: Tensor) -> Tensor:
    """Shapley values ``[G]`` of a game given by its 2^G coalitions' values, float64.

    Coalition number k holds player i where bit ``G - 1 - i`` of k is set. Of player i: the mean
    over coalition sizes of the mean of ``v(S + i) - v(S)`` over the coalitions S of that size
    (Shapley 1953).
    """
    count = len(values).bit_length() - 1
    if count == 0:
        return values.new_zeros(0)
    cube = values.view((2,) * count)
    sizes = sum(
        (torch.arange(2, device=values.device).view([2 if j == i else 1 for j in range(count - 1)])
        for i in range(count - 1)), torch.zeros((), dtype=torch.long, device=values.device)
    )  # fmt: skip
    # 1 / (G * (G - 1 choose s)) for coalitions of size s
    logs = torch.arange(count + 1, dtype=torch.float64, device=values.device).add(1).lgamma()
    ways = logs[count - 1] - logs[:count] - logs[:count].flip(0)
    weight = ((-ways).exp() / count)[sizes]
    return torch.stack([
        ((cube.select(i, 1) - cube.select(i, 0)) * weight).sum() for i in range(count)
    ])  # fmt: skip


def _linear(game: Game) -> Estimate:
    """The closed form, after some coalitions showed that the network is linear."""
    values = game.quadratic()
    generator = torch.Generator().manual_seed(0)
    picked = torch.randint(len(game.background), (64,), generator=generator)
    masks = torch.rand(64, 1, len(game.who), generator=generator) < 0.5
    rows, masks = picked.to(game.background.device), masks.to(game.background.device)
    found = game.coalitions(masks, rows)[:, 0].double()
    if values is not None:
        wanted = game.empty()[0, rows].double() + (values[0, rows] * masks[:, 0]).sum(1)
        scale = torch.stack([found, wanted]).abs().max().clamp_min(1.0)
        if float((found - wanted).abs().max()) <= _ROUNDING * scale:
            return Estimate(values.mean(1)[:, game.alive], found.new_zeros(1, len(game.alive)))
    raise ValueError(
        'the model\'s output is not linear in its input: use method="auto" (output="logit" of a '
        "linear network is linear, its probability is not)"
    )


def _from_features(
    query: Query, rows: Tensor, who: Players, name: str, values: Tensor, error: Tensor | None
) -> Attribution:
    """Gather what shap gives for each feature ``[N, D]``; gaps due to sampling are closed."""
    at = [torch.full((len(rows),), i, device=rows.device) for i in range(len(values))]
    baseline = torch.stack([query.scores(rows, one).double().mean() for one in at])
    gap = query.score.double() - baseline - values.sum(1)
    if error is not None:
        variance = error.square()
        values = values + gap[:, None] * variance / variance.sum(1, keepdim=True).clamp_min(1e-300)
    if not who.alone:
        of = who.of_feature.to(values.device)
        sums = values.new_zeros(len(values), len(who))
        values = sums.index_add(1, of, values)
        # Errors of one group's features need not be independent: this is their upper bound.
        error = None if error is None else sums.index_add(1, of, error)
    return _answer(query, who, values, error, baseline, name)


def _answer(
    query: Query, who: Players, values: Tensor, error: Tensor | None, baseline: Tensor, name: str
) -> Attribution:
    like, shape = query.inputs, query.inputs.shape
    spread = who.spread(values).to(like.dtype).view(shape)
    errors = None if error is None else who.spread(error).to(like.dtype).view(shape)
    return query.answer(
        spread, name, baseline=baseline.to(like.dtype), standard_error=errors
    )  # fmt: skip
