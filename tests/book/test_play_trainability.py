"""The trainability map in a browser, against networks trained anew, the theory and the chapter."""

import base64
import gzip
import io
import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
import trainability_data
import twins
from in_browser import serving
from matplotlib import image
from torch.nn import functional

from vglab import data, initialization, models, theory, train

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "book" / "_static"
FILE = STATIC / "play" / "trainability.json"
STORED = json.loads(FILE.read_text(encoding="utf-8"))
SIGMA_W, DEPTHS, STEPS = STORED["sigma_w"], STORED["depths"], STORED["settings"]["steps"]
RIGHT, FIRM = np.array(STORED["right"]), np.array(STORED["firm"])
DIGITS = data.load("digits", flatten=True)
IMAGES = len(DIGITS.y_test)
EPOCH = -(-len(DIGITS.x_train) // 64)
THREE_DIGITS = 0.5e-3
RANDOM = np.random.default_rng(0)
POINTS = [(int(s), int(d)) for s, d in zip(RANDOM.integers(25, size=50),
          RANDOM.integers(25, size=50), strict=True)]  # fmt: skip
IN_FULL = 8  # of these points; the others for one pass over the data, to keep the test short

PAGE = """<!doctype html><html lang="en" data-theme="light"><title>Map</title>
<link rel="stylesheet" href="vglab.css"><link rel="stylesheet" href="play.css">
<body class="bd-article"><main><div class="cell tag_cover tag_play-trainability">
<div class="vglab-figure">still</div></div></main>
<script type="module" src="play/play.js"></script>"""

SEEN = """async (points) => {
  const panel = document.querySelector(".vglab-panel");
  const inputs = [...panel.querySelectorAll("input[type=range]")];
  const frame = () => new Promise(requestAnimationFrame);
  const seen = [];
  for (const values of points) {
    inputs.forEach((input, i) => {
      input.value = values[i];
      input.dispatchEvent(new Event("input", { bubbles: true }));
    });
    for (let i = 0; i < 3; i += 1) await frame();
    const rows = [...panel.querySelectorAll(".vglab-readout tbody tr")];
    seen.push({
      curves: [...panel.querySelectorAll("g.curves path.line")].map((p) => p.__data__.values),
      cells: rows.map((row) => [...row.querySelectorAll("td")].map((cell) => cell.textContent)),
      finding: panel.querySelector(".vglab-finding").textContent,
    });
  }
  return seen;
}"""


@pytest.fixture(scope="module")
def served():
    with serving(STATIC) as address:
        yield address


@pytest.fixture
def tab(browser, served):
    context = browser.new_context(viewport={"width": 800, "height": 1100}, has_touch=True)
    opened = context.new_page()
    errors = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    opened.route("**/map.html", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    opened.goto(f"{served}map.html")
    opened.wait_for_selector(".vglab-panel.ready")
    opened.wait_for_selector("g.curves path.line")
    yield opened
    assert [e for e in errors if "favicon" not in e] == []
    context.close()


@pytest.fixture(scope="module")
def seen(browser, served):
    """What the figure shows at the random points: A at one, B at the next."""
    page = browser.new_page(viewport={"width": 800, "height": 1100})
    page.route("**/map.html", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    page.goto(f"{served}map.html")
    page.wait_for_selector("g.curves path.line")
    pairs = zip(POINTS, POINTS[1:] + POINTS[:1], strict=True)
    shown = page.evaluate(SEEN, [[*a, *b] for a, b in pairs])
    page.close()
    return shown


def curve(shown, which=0):
    values = np.array(shown["curves"][which])
    assert values[:, 0].tolist() == list(range(1, STEPS + 1))
    return values[:, 1]


def trained(s, d, epochs):
    model = models.MLP((64,) + (32,) * DEPTHS[d] + (10,), "tanh")
    initialization.initialize(model, "mean_field", sigma_w=SIGMA_W[s], sigma_b=0.05**0.5, seed=0)
    return model, train.fit(model, DIGITS, lr=0.05, epochs=epochs, seed=0).loss.numpy()


def trained_in_full(s, d):
    """The losses of 150 steps and the test images read: six passes by `fit`, the rest by hand."""
    model, losses = trained(s, d, STEPS // EPOCH)
    order = torch.Generator().manual_seed(0)
    for _ in range(STEPS // EPOCH + 1):
        visits = torch.randperm(len(DIGITS.x_train), generator=order)
    rest = []
    for batch in visits.split(64)[: STEPS % EPOCH]:
        loss = functional.cross_entropy(model(DIGITS.x_train[batch]), DIGITS.y_train[batch])
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(model.parameters(), slopes, strict=True):
                parameter -= 0.05 * slope
        rest.append(loss.item())
    with torch.no_grad():
        right = (model(DIGITS.x_test).argmax(1) == DIGITS.y_test).sum().item()
    return np.concatenate([losses, rest]), right


def test_curves_are_those_of_networks_trained_anew(seen):
    """To three digits, for as long as those do not hang on how a processor rounds."""
    compared = 0
    for number, ((s, d), shown) in enumerate(zip(POINTS, seen, strict=True)):
        full = number < IN_FULL
        losses, right = trained_in_full(s, d) if full else (trained(s, d, 1)[1], None)
        steps = min(len(losses), FIRM[d][s])
        compared += steps
        for drawn in (curve(shown), curve(seen[number - 1], 1)):  # as A, and as B
            error = np.abs(drawn[:steps] / losses[:steps] - 1)
            assert error.max(initial=0) < 2 * THREE_DIGITS, (SIGMA_W[s], DEPTHS[d])
        if full and FIRM[d][s] == STEPS:
            assert abs(right - RIGHT[d][s]) <= 2  # images on the edge between two classes
    most = IN_FULL * STEPS + (len(POINTS) - IN_FULL) * EPOCH
    assert compared > 0.3 * most  # right of the critical σ_w few steps are firm: it is chaos


def test_numbers_are_those_of_the_theory_and_of_the_networks(seen):
    for (s, d), shown in zip(POINTS, seen, strict=True):
        xi = theory.depth_scale("tanh", SIGMA_W[s], 0.05**0.5)
        ratio = DEPTHS[d] / xi
        expected = [
            SIGMA_W[s], DEPTHS[d], theory.chi("tanh", SIGMA_W[s], 0.05**0.5), xi, ratio,
            curve(shown)[-1],
        ]  # fmt: skip
        texts = [row[0].replace(",", "") for row in shown["cells"]]
        for text, value in zip(texts, expected, strict=False):
            assert float(text) == pytest.approx(value, rel=0.5e-2)
        assert texts[6] == f"{RIGHT[d][s] / IMAGES:.1%}"
        assert texts[7] == f"{FIRM[d][s]} / {STEPS}"
        said = shown["finding"].split("B ")[0]
        assert ("did not learn" in said) == (2 * RIGHT[d][s] <= IMAGES)
        assert ("as predicted" in said) == ((ratio <= 6) == (2 * RIGHT[d][s] > IMAGES))
        assert f"{DEPTHS[d]} layers" in said


def accuracies_of_the_chapter():
    """Every one of the 625, to 1/256: the picture in the stored notebook shows them as colours."""
    notebook = twins.load(ROOT / "book" / "gradients" / "signal_propagation.ipynb")
    found = re.findall(r'href="data:image/png;base64,([^"]+)"', twins.cover(notebook))
    pictures = [image.imread(io.BytesIO(base64.b64decode(text))) for text in found]
    cells = max(pictures, key=lambda picture: picture.shape[1])  # the other one is the colour bar
    rows, columns = (((np.arange(25) + 0.5) * size / 25).astype(int) for size in cells.shape[:2])
    colors = cells[np.ix_(rows, columns)][..., None, :3]
    levels = matplotlib.colormaps["cividis_r"](np.arange(256))[:, :3]
    return (np.abs(colors - levels).sum(-1).argmin(-1) + 0.5) / 256


def test_the_accuracies_are_those_of_the_chapter():
    """Where rounding does not decide; elsewhere another processor trains another network."""
    drawn, stored = accuracies_of_the_chapter(), RIGHT / IMAGES
    firm = FIRM == STEPS
    assert firm.mean() > 0.3
    assert np.abs(drawn - stored)[firm].max() < 4 / IMAGES + 0.5 / 256  # images on an edge
    assert ((drawn > 0.5) == (stored > 0.5)).mean() > 0.95
    assert abs(drawn.mean() - stored.mean()) < 0.01


def test_the_settings_are_those_of_the_chapter():
    source = (ROOT / "book" / "_source" / "gradients" / "signal_propagation.md").read_text("utf-8")
    for line in (
        "sizes, depths = np.linspace(0.5, 3.0, 25).round(3), range(2, 51, 2)",
        'plain = {"width": [32], "activation": ["tanh"], "sigma_b": [sigma_b], "lr": [0.05]}',
        'plain | {"depth": depths, "sigma_w": sizes}, digits, steps=150, n_jobs=2)',
        "tags: [cover, play-trainability]",
    ):
        assert line in source
    assert np.array_equal(np.linspace(0.5, 3.0, 25).round(3), SIGMA_W)
    assert [*range(2, 51, 2)] == DEPTHS and STEPS == 150
    plain = {"width": 32, "activation": "tanh", "sigma_b": 0.05**0.5, "lr": 0.05}
    assert plain.items() <= STORED["settings"].items()


def test_the_file_is_small():
    assert len(gzip.compress(FILE.read_bytes(), 6)) < 100_000


def test_packing_loses_less_than_the_fourth_digit(tab):
    losses = np.exp(np.random.default_rng(1).normal(0, 2, (3, 4, 5)))
    text = trainability_data.pack(losses)
    unpacked = tab.evaluate(
        """async ([text, quantum]) => {
          const { unpack } = await import("./play/trainability-model.js");
          return unpack(text, 3, 4, quantum).map((row) => row.map((one) => [...one]));
        }""",
        [text, trainability_data.QUANTUM],
    )
    assert np.abs(np.array(unpacked) / losses - 1).max() < THREE_DIGITS


def test_firm_steps_end_where_a_third_digit_changes():
    losses = np.ones((1, 3, 4))
    nudged = losses + np.array([[[0, 0, 1e-3, 0], [1e-3, 0, 0, 0], [1e-4, -1e-4, 0, 0]]])
    assert trainability_data.firm_steps(losses, nudged).tolist() == [[2, 0, 4]]


def test_the_map_is_moved_by_keys_and_by_the_pointer(tab):
    a, b = (tab.get_by_role("slider", name=f"Network {name}") for name in "AB")
    sliders = [input.input_value() for input in tab.locator("input[type=range]").all()]
    s, d = int(sliders[0]), int(sliders[1])
    a.focus()
    for press, (across, up) in {"ArrowRight": (1, 0), "ArrowUp": (0, 1), "PageUp": (0, 5),
                                "ArrowLeft": (-1, 0), "ArrowDown": (0, -1), "Home": (-99, 0),
                                "PageDown": (0, -5), "End": (99, 0)}.items():  # fmt: skip
        tab.keyboard.press(press)
        s, d = min(24, max(0, s + across)), min(24, max(0, d + up))
        tab.wait_for_function(
            "v => document.querySelector('.vglab-cursor').ariaValueNow === v", arg=str(25 * d + s)
        )
        said = a.get_attribute("aria-valuetext")
        assert said.startswith(f"σ_w {float(f'{SIGMA_W[s]:.3g}'):g}, {DEPTHS[d]} hidden layers")
        assert f"{RIGHT[d][s] / IMAGES:.1%}" in said
    before = b.bounding_box()
    x, y = before["x"] + 22, before["y"] + 22
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 180, y - 60, steps=12)
    tab.mouse.up()
    tab.wait_for_timeout(100)
    after = b.bounding_box()
    assert after["x"] - before["x"] == pytest.approx(180, abs=15)  # half a cell
    assert before["y"] - after["y"] == pytest.approx(60, abs=8)
    area = tab.locator("rect.network").nth(0).bounding_box()  # bottom left
    tab.touchscreen.tap(area["x"] + 3, area["y"] + 3)
    tab.wait_for_function(
        "[...document.querySelectorAll('.vglab-cursor')].some(c => c.ariaValueNow === '0')"
    )


FRAMES = """() => {
  const real = requestAnimationFrame;
  window.spent = [];
  window.requestAnimationFrame = (f) => real((now) => {
    const begun = performance.now();
    f(now);
    window.spent.push(performance.now() - begun);
  });
}"""


def test_dragging_leaves_time_in_every_frame(tab):
    """Sixty frames a second leave 16.7 ms each; ours may take half of one."""
    tab.evaluate(FRAMES)
    box = tab.locator(".vglab-cursor").first.bounding_box()
    x, y = box["x"] + 22, box["y"] + 22
    tab.mouse.move(x, y)
    tab.mouse.down()
    for step in range(60):
        tab.mouse.move(x + 6 * step, y - 150 + 2 * step)
    tab.mouse.up()
    tab.wait_for_timeout(100)
    spent = tab.evaluate("window.spent")
    assert len(spent) >= 20
    assert np.median(spent) < 8
