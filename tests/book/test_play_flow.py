"""The gradient flow explorer's network, in a real browser, against vglab with the same weights."""

import base64
import math

import numpy as np
import pytest
import torch
from in_browser import value
from torch.nn import functional

from vglab import models, probe, theory
from vglab._gaussian import mean_square, mean_square_slope

RMS_EPS = torch.finfo(torch.float32).eps  # what nn.RMSNorm takes in the course's precision
NORMS = ("none", "batch", "layer", "rms")
MEASURE = """async (settings) => {
  const { makeNetwork } = await import("/play/flow-model.js");
  const bytes = (numbers) => {
    const raw = new Uint8Array(Float64Array.from(numbers).buffer);
    let text = "";
    for (let k = 0; k < raw.length; k += 8192) {
      text += String.fromCharCode(...raw.subarray(k, k + 8192));
    }
    return btoa(text);
  };
  const network = makeNetwork(settings);
  const found = network.measure(settings);
  const layers = [...Array(settings.depth).keys()].map((l) => network.layer(l + 1));
  return Object.fromEntries(
    Object.entries({
      ...found,
      inputs: network.inputs,
      labels: network.labels,
      weights: [...layers, network.layer(0)].flatMap((layer) => [...layer.weights]),
      biases: [...layers, network.layer(0)].flatMap((layer) => [...layer.biases]),
    }).map(([name, numbers]) => [name, bytes(numbers)]),
  );
}"""
THEORY = """async (settings) => {
  const { chi, criticalSigmaW, depthScale, predict, varianceFixedPoint } =
    await import("/play/flow-theory.js");
  return settings.map(({ activation, sigmaW, sigmaB, depth }) => {
    const { size, gradient } = predict({ activation, sigmaW, sigmaB, depth });
    const factor = chi(activation, sigmaW, sigmaB);
    return {
      q: varianceFixedPoint(activation, sigmaW, sigmaB),
      chi: factor,
      scale: depthScale(factor),
      critical: criticalSigmaW(activation, sigmaB),
      size: [...size],
      gradient: [...gradient],
    };
  });
}"""


@pytest.fixture(scope="module")
def tab(browser, figures):
    opened = browser.new_page()
    opened.goto(figures.replace("figure/", "favicon.svg"))
    yield opened
    opened.close()


def draw(count, seed=0):
    """Random settings; every activation and normalisation occurs among them."""
    rng = np.random.default_rng(seed)
    names = list(models.ACTIVATIONS)
    return [
        {
            "activation": names[k % len(names)],
            "norm": NORMS[k % 4 if k % 8 < 4 else 0],
            "residual": bool(rng.random() < 0.3),
            "depth": int(rng.integers(1, 51)),
            "width": int(rng.integers(8, 65)) // 2 * 2,
            "sigmaW": float(rng.uniform(0.1, 4)),
            "sigmaB": float(rng.choice([0, rng.uniform(0, 1)])),
            "seed": int(rng.integers(1, 1000)),
        }
        for k in range(count)
    ]


def numbers(found):
    """Arrays from what MEASURE returns."""
    return {name: np.frombuffer(base64.b64decode(text)).copy() for name, text in found.items()}


def rebuilt(settings, found):
    """The same network in vglab, in double precision."""
    width, depth = settings["width"], settings["depth"]
    norm = None if settings["norm"] == "none" else settings["norm"]
    model = models.MLP(
        (width,) * (depth + 1) + (10,),
        settings["activation"],
        norm=norm,
        residual=settings["residual"],
    ).double()
    weights = torch.from_numpy(found["weights"]) * settings["sigmaW"] / math.sqrt(width)
    biases = torch.from_numpy(found["biases"]) * settings["sigmaB"]
    with torch.no_grad():
        for linear in [*(block[0] for block in model.hidden), model.output]:
            size = linear.weight.numel()
            linear.weight.copy_(weights[:size].view_as(linear.weight))
            linear.bias.copy_(biases[: len(linear.bias)])
            weights, biases = weights[size:], biases[len(linear.bias) :]
    for module in model.modules():
        if isinstance(module, torch.nn.RMSNorm):
            module.eps = RMS_EPS
    assert len(weights) == len(biases) == 0
    return model


def sizes(model, x):
    """Root mean square of what each layer passes on, with skip paths where the model has them."""
    passed = []
    for layer in model.hidden:
        x = x + layer(x) if model.residual else layer(x)
        passed.append(x.square().mean().sqrt().item())
    return [*passed, model.output(x).square().mean().sqrt().item()]


@pytest.mark.parametrize(
    "settings", draw(50), ids=lambda s: f"{s['activation']}-{s['norm']}-{s['depth']}x{s['width']}"
)
def test_every_number_of_every_layer_is_vglabs(tab, settings):
    found = numbers(tab.evaluate(MEASURE, settings))
    model = rebuilt(settings, found)
    x = torch.from_numpy(found["inputs"]).view(-1, settings["width"])
    y = torch.from_numpy(found["labels"]).long()
    assert len(x) == len(y) == 16 and y.min() >= 0 and y.max() < 10
    with probe.Probe(model) as watched:
        loss = functional.cross_entropy(model(x), y)
        gradients = probe.layer_gradients(model, loss)
        loss.backward()
    frame = watched.frame()
    expected = {
        "std": frame["std"],
        "saturated": frame["saturated"],
        "gradient": frame["gradient_norm"],
        "weightGradient": gradients.gradient_norm,
        "size": sizes(model, x),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], np.asarray(values), rtol=1e-6, err_msg=name)
    # A mean may be next to zero: what counts is its error beside the activations' size.
    error = np.abs(found["mean"] - frame["mean"]) / np.hypot(frame["mean"], frame["std"])
    assert error.max() < 1e-6


def slope_square(name, q):
    """``E[φ'(√q z)²]``; exact for hard_tanh, whose jumps vglab's points meet only to 1e-4."""
    return math.erf(1 / math.sqrt(2 * q)) if name == "hard_tanh" else mean_square_slope(name, q)


def test_theory_is_vglabs(tab):
    settings = draw(50, seed=1)
    for setting, found in zip(settings, tab.evaluate(THEORY, settings), strict=True):
        name, sigma_w, sigma_b, depth = (
            setting[key] for key in ("activation", "sigmaW", "sigmaB", "depth")
        )
        expected = {
            "q": theory.variance_fixed_point(name, sigma_w, sigma_b),
            "chi": theory.chi(name, sigma_w, sigma_b),
            "scale": theory.depth_scale(name, sigma_w, sigma_b),
            "critical": theory.critical_sigma_w(name, sigma_b),
        }
        for key, wanted in expected.items():
            assert found[key] == pytest.approx(wanted, rel=1e-3), (key, setting)
        q, size, factor = sigma_w**2 + sigma_b**2, [], []
        for _ in range(depth):
            square = mean_square(name, q)
            size.append(math.sqrt(square))
            factor.append(sigma_w * math.sqrt(slope_square(name, q)))
            q = sigma_w**2 * square + sigma_b**2
        gradient = [math.prod(factor[above:]) for above in range(1, depth + 1)]
        for key, values in {"size": size, "gradient": gradient}.items():
            exact = np.array(found[key], dtype=float)  # a large one comes as a Python integer
            np.testing.assert_allclose(exact, values, rtol=1e-3, err_msg=f"{key} {setting}")


def test_deep_layers_lose_the_gradient_that_vglab_predicts(tab):
    setting = {"activation": "tanh", "sigmaW": 1.5, "sigmaB": 0.3, "depth": 50}
    (found,) = tab.evaluate(THEORY, [setting])
    profile = theory.gradient_profile("tanh", 1.5, 0.3, 50)
    np.testing.assert_allclose(found["gradient"][10:], profile[10:], rtol=1e-3)


def test_the_drawn_numbers_are_standard_normal_and_differ_by_layer_and_seed(tab):
    samples = tab.evaluate("""async () => {
      const { makeNetwork } = await import("/play/flow-model.js");
      const networks = [1, 2].map((seed) => makeNetwork({ width: 64, seed }));
      return networks.flatMap((network) => [1, 2, 50].map((l) => [...network.layer(l).weights]));
    }""")
    samples = np.array(samples)
    assert samples.shape == (6, 4096)
    four_errors = 4 / math.sqrt(samples.size)
    assert abs(samples.mean()) < four_errors
    assert abs(samples.var() - 1) < four_errors * math.sqrt(2)
    assert abs((samples**4).mean() - 3) < four_errors * math.sqrt(96)
    correlation = np.corrcoef(samples) - np.eye(6)
    assert np.abs(correlation).max() < 4 / math.sqrt(4096)


STORY = {
    "Sigmoid, as in the 1990s": ("1 part in 10", "keeps √χ = 0.24"),
    "He + ReLU": ("Gradients pass almost whole", "passes it on whole: √χ = 1.00"),
    "Too large": ("times the last layer’s gradient", "multiplies it by √χ = 1.36"),
    "Skip paths + norm": ("Gradients pass almost whole", "without skip paths and normalisation"),
}


def test_the_presets_tell_their_story(open_figure):
    figure = open_figure("flow")
    for name, words in STORY.items():
        figure.tab.get_by_role("button", name=name).click()
        figure.drawn()
        for part in words:
            assert part in figure.finding, name
    factor = theory.chi("tanh", 3.0, 0.0) ** 0.5
    assert f"{factor:.2f}" in STORY["Too large"][1]


def test_the_table_and_the_finding_are_the_models(open_figure):
    figure = open_figure("flow")
    figure.set(**{"Activation": "tanh", "Weights": 1.5, "Hidden_layers": 12, "Units": 16})
    figure.set(**{"Biases": 0.3})
    settings = {"depth": 12, "width": 16, "seed": 1, "activation": "tanh", "sigmaW": 1.5}
    found = numbers(figure.tab.evaluate(MEASURE, {**settings, "sigmaB": 0.3}))
    rows = figure.table()[1:]
    assert [row[0] for row in rows] == [*map(str, range(1, 13)), "output"]
    for name, column in {"size": 1, "gradient": 3, "weightGradient": 5}.items():
        shown = [value(row[column].replace(" ", "")) for row in rows]
        np.testing.assert_allclose(shown, found[name], rtol=6e-3)
    predicted = (
        found["gradient"][11]
        * figure.tab.evaluate(THEORY, [{**settings, "sigmaB": 0.3}])[0]["gradient"][0]
    )
    assert value(rows[0][4].replace(" ", "")) == pytest.approx(predicted, rel=6e-3)


def test_the_slider_stops_at_the_critical_weights(open_figure):
    figure = open_figure("flow")
    figure.set(Activation="relu", Weights=1.42)
    assert "√χ = 1.00" in figure.finding
    assert figure.tab.locator("output").first.inner_text() == "1.41, critical"
    figure.set(Weights=1.44)
    assert "√χ = 1.02" in figure.finding
    assert figure.tab.get_by_text("critical: 1.41").is_visible()
