"""Shapley values step by step: what the figure says of 50 random games, against vglab."""

import json
import math
import random
import re
from itertools import combinations, permutations
from statistics import mean, stdev

import pytest
import torch
import wine_game
from in_browser import value

from vglab import explain

COALITIONS = {
    n: sorted(range(2**n), key=lambda s: (s.bit_count(), [i for i in range(n) if s >> i & 1]))
    for n in (3, 4)
}


class Table(torch.nn.Module):
    """A network whose coalitions earn these values: x is 1 where a player takes part, else 0."""

    def __init__(self, v):
        super().__init__()
        self.v = torch.nn.Parameter(torch.tensor(v, dtype=torch.float64))

    def forward(self, x):
        there = torch.arange(len(self.v))[:, None] >> torch.arange(x.shape[1]) & 1
        chosen = torch.where(there.bool(), x[:, None], 1 - x[:, None]).prod(2)
        return (chosen * self.v).sum(1)


def exact(v):
    """vglab's exact Shapley values of a game."""
    n = int(math.log2(len(v)))
    ones, zeros = torch.ones(1, n, dtype=torch.float64), torch.zeros(1, n, dtype=torch.float64)
    return explain.shap_values(Table(v), ones, zeros, method="exact").values[0].tolist()


def gains(v, order):
    """What each player gains, by player."""
    found, there = {}, 0
    for player in order:
        found[player] = v[there | 1 << player] - v[there]
        there |= 1 << player
    return [found[player] for player in sorted(found)]


def over_orders(v, n):
    """Mean gains over all orders, from the definition."""
    return [mean(of) for of in zip(*(gains(v, o) for o in permutations(range(n))), strict=True)]


def random_game(rng, n):
    """Values in hundredths; sometimes with a dummy, twins or nothing at all."""
    v = [rng.randrange(-50, 151) / 100 for _ in range(2**n)]
    kind = rng.choice(["free", "free", "dummy", "twins", "flat"])
    if kind == "dummy":
        v = [v[s & ~2] for s in range(2**n)]
    if kind == "twins":
        v = [v[s if s & 3 != 2 else s ^ 3] for s in range(2**n)]
    return [0.3] * 2**n if kind == "flat" else v


def enter(figure, v):
    """Move every coalition's slider; the figure must have the game's number of players."""
    figure.tab.evaluate(
        """(values) => {
          const sliders = document.querySelectorAll(".vglab-coalitions input");
          values.forEach((value, i) => {
            sliders[i].value = value;
            sliders[i].dispatchEvent(new Event("input", { bubbles: true }));
          });
        }""",
        [v[s] for s in COALITIONS[len(v).bit_length() - 1]],
    )
    figure.drawn()


def rows(figure):
    """Of the table: name of the row -> numbers by player."""
    return {name: [value(cell) for cell in cells] for name, *cells in figure.table()[1:]}


def letters(order):
    return ", ".join("ABCD"[player] for player in order)


@pytest.fixture
def figure(open_figure):
    return open_figure("shapley")


def test_values_of_fifty_games_are_those_of_vglab(figure):
    rng = random.Random(0)
    for each in range(50):
        n = 3 if each < 30 else 4
        figure.set(game="wine" if n == 4 else "glove")
        v = random_game(rng, n)
        enter(figure, v)
        orders = list(permutations(range(n)))
        shown = rng.randint(1, len(orders))
        figure.set(order_number=shown)
        found = rows(figure)
        truth = exact(v)
        assert truth == pytest.approx(over_orders(v, n), abs=1e-12)
        assert found["Shapley value"] == pytest.approx(truth, rel=1e-5, abs=1e-12)
        seen = [gains(v, order) for order in orders[:shown]]
        order = orders[shown - 1]
        assert found[f"{shown}: {letters(order)}"] == pytest.approx(seen[-1], abs=1e-9)
        so_far = [mean(of) for of in zip(*seen, strict=True)]
        assert found["mean so far"] == pytest.approx(so_far, rel=1e-5, abs=1e-12)
        assert f"Order {shown} of {len(orders)} is {letters(order)}." in figure.finding
        check_axioms(figure, v, n, truth)


def check_axioms(figure, v, n, truth):
    """The three sentences below the picture, each from its own definition."""
    said = figure.tab.locator(".vglab-axioms dd").all_inner_texts()
    total = re.search(r"= (.+?), which", said[0].replace("\u00a0", " "))[1]
    assert value(total.replace(" ", "")) == pytest.approx(v[-1] - v[0], rel=6e-3, abs=1e-9)
    alike = [
        (a, b)
        for a, b in combinations(range(n), 2)
        if all(v[s | 1 << a] == v[s | 1 << b] for s in range(2**n) if not s & (1 << a | 1 << b))
    ]
    found = re.findall(r"([A-D]) and ([A-D]) add the same", said[1])
    assert found == [("ABCD"[a], "ABCD"[b]) for a, b in alike]
    idle = [i for i in range(n) if all(v[s | 1 << i] == v[s & ~(1 << i)] for s in range(2**n))]
    assert re.findall(r"([A-D]) adds nothing", said[2]) == ["ABCD"[i] for i in idle]
    assert all(abs(truth[i]) < 1e-12 for i in idle)


@pytest.mark.parametrize("n", [3, 4])
def test_the_model_is_exact_to_rounding(figure, n):
    rng = random.Random(n)
    games = [[rng.gauss(0, 1) for _ in range(2**n)] for _ in range(25)]
    found = figure.tab.evaluate(
        """async (games) => {
          const { shapley } = await import("/play/shapley-model.js");
          return games.map(shapley);
        }""",
        games,
    )
    for v, values in zip(games, found, strict=True):
        assert values == pytest.approx(exact(v), abs=1e-9)
        assert values == pytest.approx(over_orders(v, n), abs=1e-12)


def test_random_orders_are_fair_and_their_errors_honest(figure):
    figure.set(at_random=True)
    figure.set(order_number=24)  # as many as the table shows
    found = rows(figure)
    drawn = [name.partition(": ")[2] for name in found if re.match(r"\d", name)]
    orders = [["ABC".index(letter) for letter in each.split(", ")] for each in drawn]
    glove = [0, 0, 0, 1, 0, 1, 0, 1]
    by_player = list(zip(*(gains(glove, order) for order in orders), strict=True))
    assert len(orders) == 24
    assert found["mean so far"] == pytest.approx([mean(of) for of in by_player], rel=1e-5)
    errors = [stdev(of) / math.sqrt(24) for of in by_player]
    assert found["standard error"] == pytest.approx(errors, rel=1e-5)
    before = figure.finding
    figure.tab.get_by_role("button", name="Draw anew").click()
    figure.set(order_number=24)
    assert figure.finding != before
    counts = figure.tab.evaluate(
        """async () => {
          const { randomOrders } = await import("/play/shapley-model.js");
          const counts = {};
          for (const order of randomOrders(4, 24000, 5)) counts[order] = (counts[order] ?? 0) + 1;
          return counts;
        }"""
    )
    # Chi square with 23 degrees of freedom: above 49.7 once in a thousand seeds.
    assert len(counts) == 24
    assert sum((found - 1000) ** 2 / 1000 for found in counts.values()) < 49.7


def test_the_games_are_what_their_names_say(figure):
    expected = {
        "glove": [4 / 6, 1 / 6, 1 / 6], "and": [1 / 3] * 3, "or": [1 / 3] * 3, "xor": [1 / 3] * 3,
        "additive": [0.7, 0.3, -0.4], "copy": [0.4, 0.4, 0.4], "dummy": [0.65, 0.35, 0],
    }  # fmt: skip
    for name, values in expected.items():
        figure.set(game=name)
        assert rows(figure)["Shapley value"] == pytest.approx(values, rel=1e-5, abs=1e-12)
    figure.set(game="copy")
    assert "A and B add the same" in figure.tab.locator(".vglab-axioms").inner_text()
    figure.set(game="dummy")
    assert "C adds nothing to any coalition, and gets 0" in (
        figure.tab.locator(".vglab-axioms").inner_text()
    )


def test_the_wine_network_is_the_stored_game_and_vglab_agrees(figure):
    stored = json.loads(wine_game.FILE.read_text(encoding="utf-8"))
    made = wine_game.game()
    assert made["players"] == stored["players"] and made["class"] == stored["class"]
    assert stored["values"] == pytest.approx(made["values"], abs=1e-3)  # float32 training
    net, x, background = wine_game.question()
    truth = explain.shap_values(net, x, background, made["class"], method="exact").values[0]
    figure.set(game="wine")
    assert rows(figure)["Shapley value"] == pytest.approx(truth.tolist(), abs=1e-3)
    names = figure.tab.locator(".vglab-legend").inner_text()
    for name in ("A: alcohol", "B: flavanoids", "C: colour intensity", "D: proline"):
        assert name in names


def test_the_buttons_step_and_an_edit_makes_the_game_the_readers_own(figure):
    number = figure.tab.get_by_label("order number")
    next_order = figure.tab.get_by_role("button", name="Next")
    for _ in range(3):
        next_order.click()
    assert number.input_value() == "4"
    figure.tab.get_by_role("button", name="Previous").click()
    figure.drawn()
    assert "Order 3 of 6 is B, A, C." in figure.finding
    figure.tab.get_by_label("value of A B C").focus()
    figure.tab.keyboard.press("ArrowRight")
    figure.drawn()
    assert figure.tab.get_by_label("game").input_value() == "own"
    assert rows(figure)["Shapley value"] == pytest.approx(
        exact([0, 0, 0, 1, 0, 1, 0, 1.01]), rel=1e-5
    )


def test_play_visits_the_orders_and_without_motion_ends_at_once(open_figure):
    moving = open_figure("shapley").tab
    moving.get_by_role("button", name="Play").click()
    moving.wait_for_function("document.querySelector('.vglab-walk output').value > 1")
    moving.get_by_role("button", name="Pause").click()
    assert 1 < int(moving.get_by_label("order number").input_value()) < 6
    calm = open_figure("shapley", reduced_motion="reduce")
    calm.tab.get_by_role("button", name="Play").click()
    calm.drawn()
    assert "Order 6 of 6" in calm.finding
