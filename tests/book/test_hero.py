"""The front page's picture: what it shows is what vglab computes, still and living."""

import re
from pathlib import Path

import hero
import pytest
import torch
from in_browser import serving
from torch.nn import functional

from vglab import models, theory

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "book" / "_static"
DOT = re.compile(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"/>')


def dots(svg):
    return {(float(x), float(y)): float(r) for x, y, r in DOT.findall(svg)}


def test_the_stored_picture_is_what_the_script_draws():
    stored = dots((STATIC / "hero.svg").read_text(encoding="utf-8"))
    drawn = dots(hero.picture())
    for place in stored.keys() | drawn.keys():  # a dot of radius 0.2 may be there or not
        assert stored.get(place, 0.0) == pytest.approx(drawn.get(place, 0.0), abs=0.21)


def test_its_weights_keep_gradients_where_theory_says():
    critical = theory.critical_sigma_w("tanh", 0.0)
    for sigma_w, least, most in ((0.8, 1e-5, 1e-2), (critical, 0.1, 10)):
        factors = [(s[0].norm() / s[-1].norm()).item() for s in map(one(sigma_w), range(9))]
        assert least < sorted(factors)[4] < most


def one(sigma_w):
    return lambda seed: hero.signal(sigma_w, seed)


def test_a_dot_is_as_large_as_its_gradients_logarithm():
    sizes = torch.tensor([1.0, 0.1, 1e-4, 1e-9, 1e9])
    assert hero.radius(sizes).tolist() == pytest.approx([1, 0.75, 0, 0, 1.25])


@pytest.fixture(scope="module")
def tab(browser):
    with serving(STATIC) as address:
        opened = browser.new_page()
        opened.goto(f"{address}logo.svg")
        yield opened
        opened.close()


LIVING = """async ({ settings }) => {
  const { makeNetwork } = await import("/play/flow-model.js");
  const { radius } = await import("/play/hero.js");
  const network = makeNetwork({ width: 16, seed: 3, batch: 4 });
  const rows = [];
  network.measure(settings, (layer, g) => (rows[layer - 1] = [...g]));
  const weights = [0, ...rows.keys()].map((_, l) => network.layer(l)).map((p) => [...p.weights]);
  return {
    rows, weights, inputs: [...network.inputs], labels: network.labels,
    radii: [1, 0.1, 1e-4, 1e-9, 1e9].map(radius),
  };
}"""


def test_the_living_picture_shows_each_units_gradient(tab):
    settings = {"depth": 5, "activation": "sigmoid", "sigmaW": 3.0}
    seen = tab.evaluate(LIVING, {"settings": settings})
    assert seen["radii"] == pytest.approx(hero.radius(torch.tensor([1, 0.1, 1e-4, 1e-9, 1e9])))
    model = models.MLP((16,) * 6 + (10,), "sigmoid").double()
    drawn = [torch.tensor(w, dtype=torch.float64).view(-1, 16) for w in seen["weights"]]
    h = torch.tensor(seen["inputs"], dtype=torch.float64).view(4, 16).requires_grad_()
    states = []
    with torch.no_grad():
        for layer, w in zip(
            models.weight_layers(model).values(), [*drawn[1:], drawn[0]], strict=True
        ):
            layer.copy_(3.0 / 4 * w)
        for block in model.hidden:
            block[0].bias.zero_()
        model.output.bias.zero_()
    for block in model.hidden:
        h = block(h)
        states.append(h)
    loss = functional.cross_entropy(model.output(h), torch.tensor(seen["labels"]))
    for ours, theirs in zip(seen["rows"], torch.autograd.grad(loss, states), strict=True):
        assert ours == pytest.approx(theirs.flatten().tolist(), rel=1e-9)
