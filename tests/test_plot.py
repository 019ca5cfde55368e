"""Figures: that they draw the numbers they are given, and nothing that the site cannot recolour."""

import io
import itertools
import math
import re
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from vglab import plot

WORDS = dict(title="What was found", xlabel="layer", ylabel="norm (1)")
PALETTE = {plot.INK, plot.PAPER, plot.GRID, *(color.lower() for color in plot.COLORS)}


@pytest.fixture(autouse=True)
def same_state():
    before = matplotlib.rcParams.copy(), matplotlib.get_backend(), plt.isinteractive()
    yield
    plt.close("all")
    assert before == (matplotlib.rcParams.copy(), matplotlib.get_backend(), plt.isinteractive())


def colors_of(figure):
    """Every colour that stands in the figure's SVG, pictures aside."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg")
    text = re.sub(r'(xlink:)?href="[^"]*"|id="[^"]*"|url\([^)]*\)', "", file.getvalue())
    assert not re.search(r"rgb\(", text)
    named = set(re.findall(r"(?:fill|stroke|color): ?([a-z]+)", text)) - {"none"}
    return {color.lower() for color in re.findall(r"#[0-9a-fA-F]{6}\b", text)} | named


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def words(ax):
    return dict(title=ax.get_title(loc="left"), xlabel=ax.get_xlabel(), ylabel=ax.get_ylabel())


# lines


def test_lines_draw_what_they_are_given():
    runs = np.random.default_rng(0).uniform(1, 2, size=(5, 6))
    ax = plot.lines({"one": [3.0, 1.0, 2.0], "five seeds": runs}, log="y", **WORDS)
    assert words(ax) == WORDS and legend(ax) == ["one", "five seeds"]
    one, five = ax.get_lines()
    np.testing.assert_array_equal(one.get_xydata(), [[1, 3], [2, 1], [3, 2]])
    np.testing.assert_array_equal(five.get_xdata(), np.arange(1, 7))
    np.testing.assert_allclose(five.get_ydata(), np.sort(runs, axis=0)[2])  # the third of five
    (band,) = ax.collections  # only where there are seeds
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    for i in range(6):
        assert {(i + 1, runs[:, i].min()), (i + 1, runs[:, i].max())} <= corners
    assert {y for _, y in corners} == {*runs.min(0), *runs.max(0)}
    assert to_hex(band.get_facecolor()[0]) == plot.COLORS[1].lower()
    assert band.get_facecolor()[0][3] == pytest.approx(0.2)
    assert ax.get_yscale() == "log" and ax.get_xscale() == "linear"


def test_lines_over_given_positions():
    ax = plot.lines(
        {"a": torch.tensor([1.0, 2.0], requires_grad=True)}, torch.tensor([0.1, 10.0]), log="xy",
        reference=("predicted", torch.tensor([3.0, 4.0])), **WORDS,
    )  # fmt: skip
    measured, predicted = ax.get_lines()
    np.testing.assert_allclose(measured.get_xydata(), [[0.1, 1], [10, 2]], rtol=1e-6)
    np.testing.assert_allclose(predicted.get_xydata(), [[0.1, 3], [10, 4]], rtol=1e-6)
    assert legend(ax) == ["a", "predicted"]
    assert predicted.get_color() == plot.INK and predicted.get_marker() in (None, "None", "")
    assert predicted.get_linestyle() != measured.get_linestyle()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


@pytest.mark.parametrize("log, x, y", [("", "linear", "linear"), ("x", "log", "linear")])
def test_logarithmic_axes(log, x, y):
    ax = plot.lines({"a": [1, 2]}, log=log, **WORDS)
    assert (ax.get_xscale(), ax.get_yscale()) == (x, y)


def test_one_line_needs_no_legend():
    assert plot.lines({"a": [1, 2]}, **WORDS).get_legend() is None


def test_whole_positions_have_whole_ticks():
    ax = plot.lines({"a": [1.0, 2.0, 3.0]}, **WORDS)
    ax.figure.canvas.draw()
    assert all(tick == round(tick) for tick in ax.get_xticks())
    ax = plot.lines({"a": [1.0, 2.0, 3.0]}, [0.1, 0.2, 0.3], **WORDS)
    ax.figure.canvas.draw()
    assert any(tick != round(tick) for tick in ax.get_xticks())


def test_a_frame_of_seeds():
    frame = pd.DataFrame({1: [1.0, 2.0, 9.0], 2: [4.0, 5.0, 6.0]})
    (line,) = plot.lines({"a": frame}, [1, 2], **WORDS).get_lines()
    assert line.get_ydata().tolist() == [2.0, 5.0]


def test_eight_lines_differ_also_without_colour():
    ax = plot.lines({str(i): [i, i + 1] for i in range(8)}, **WORDS)
    lines = ax.get_lines()
    seen = [(li.get_color(), li.get_linestyle(), li.get_marker()) for li in lines]
    assert [color for color, *_ in seen] == [*plot.COLORS, *plot.COLORS]
    # The first four differ in style and in marker; the second four in hollow markers.
    assert len({style for _, style, _ in seen[:4]}) == len({m for *_, m in seen[:4]}) == 4
    grey = [(li.get_linestyle(), li.get_marker(), li.get_markerfacecolor() == plot.PAPER)
            for li in lines]  # fmt: skip
    assert len(set(grey)) == 8
    assert colors_of(ax.figure) <= PALETTE


def test_markers_stay_few_on_long_lines():
    ax = plot.lines({"a": np.arange(1000), "b": np.arange(1000)}, **WORDS)
    starts = []
    for line in ax.get_lines():
        start, every = line.get_markevery()
        starts.append(start)
        assert 7 <= len(range(start, 1000, every)) <= 9
    assert starts[0] != starts[1]  # of lines that coincide, both markers are seen


@pytest.mark.parametrize("series, match", [
    ({}, "1 to 8 lines can be told apart, got 0"),
    ({str(i): [1, 2] for i in range(9)}, "1 to 8 lines can be told apart, got 9"),
])  # fmt: skip
def test_too_few_or_too_many_lines(series, match):
    with pytest.raises(ValueError, match=match):
        plot.lines(series, reference=("a", [1]), **WORDS)
    assert plt.get_fignums() == []  # no empty figure is left for a notebook to show


def test_an_unknown_scale():
    with pytest.raises(ValueError, match='log must be "", "x", "y" or "xy", got \'log\''):
        plot.lines({"a": [1]}, log="log", **WORDS)
    assert plt.get_fignums() == []


def test_axes_of_ones_own():
    figure, own = plt.subplots()
    assert plot.lines({"a": [1, 2]}, ax=own, **WORDS) is own
    assert plot.heatmap([[1.0]], rows="a", columns="b", ax=own, **WORDS) is own
    assert plot.descent(lambda p: p.square().sum(), {}, title="t", ax=own) is own
    assert plt.get_fignums() == [figure.number]
    assert plot.lines({"a": [1, 2]}, **WORDS).figure is not figure


# descent


def test_descent_draws_paths_over_contours():
    def objective(point):
        return point[0] ** 2 + 4 * point[1] ** 2 + 7

    steep = torch.tensor([[1.0, 1.0], [0.5, -1.0], [0.25, 1.0]], requires_grad=True)
    paths = {"η = 0.1": steep, "η = 0.2": torch.zeros(2, 2)}
    ax = plot.descent(objective, paths, title="t", window=1.5)
    assert words(ax) == dict(title="t", xlabel="θ₁", ylabel="θ₂")
    assert legend(ax) == ["η = 0.1", "η = 0.2", "minimum"]
    first, second, minimum = ax.get_lines()
    np.testing.assert_array_equal(first.get_xydata(), steep.detach())
    np.testing.assert_array_equal(second.get_xydata(), np.zeros((2, 2)))
    assert np.ravel(minimum.get_xydata()).tolist() == [0, 0] and minimum.get_marker() == "*"
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_marker() != second.get_marker()
    assert ax.get_xlim() == ax.get_ylim() == (-1.5, 1.5) and ax.get_aspect() == 1
    (contours,) = ax.collections
    levels = 5 * 1.5**2 * np.linspace(0.03, 1, 9) ** 2  # above the minimum, at the corner at most
    np.testing.assert_allclose(contours.levels, levels, rtol=1e-5)
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        # On a grid of 3/80, linear interpolation is off by h²/8 of the curvature at most.
        on_contour = [x**2 + 4 * y**2 for x, y in path.vertices]
        np.testing.assert_allclose(on_contour, level, atol=8 * (3 / 80) ** 2 / 8 + 1e-5)
    assert colors_of(ax.figure) <= PALETTE


def test_descent_tells_four_paths_apart():
    paths = {str(i): torch.zeros(2, 2) for i in range(5)}
    with pytest.raises(ValueError, match="4 paths can be told apart, got 5"):
        plot.descent(lambda p: p.sum(), paths, title="t")
    assert plt.get_fignums() == []
    del paths["4"]
    plot.descent(lambda p: p.sum(), paths, title="t")


# heatmap


def luminance(color):
    """Relative luminance (WCAG 2.1)."""
    channels = matplotlib.colors.to_rgb(color)
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_heatmap_writes_every_value_where_it_belongs():
    table = torch.arange(12.0).view(3, 4) / 3
    ax = plot.heatmap(table, rows=["a", "b", "c"], columns=(1, 2, 4, 8), text="{:.2f}", **WORDS)
    assert words(ax) == WORDS
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), table)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "4", "8"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written == {(j, i): f"{(4 * i + j) / 3:.2f}" for i in range(3) for j in range(4)}


def test_heatmap_writes_no_negative_zero():
    ax = plot.heatmap([[-0.01, 1.0]], rows="a", columns="bc", **WORDS)
    assert ax.texts[0].get_text() == "0.0"


def test_heatmap_is_darker_where_larger_and_its_text_can_be_read():
    ax = plot.heatmap([[float(i) for i in range(12)]], rows=["a"], columns=range(12), **WORDS)
    (image,) = ax.get_images()
    shades = [luminance(image.to_rgba(i)[:3]) for i in range(12)]
    assert all(a > b for a, b in itertools.pairwise(shades))
    for text, shade in zip(ax.texts, shades, strict=True):
        ink = luminance(text.get_color())
        contrast = (max(ink, shade) + 0.05) / (min(ink, shade) + 0.05)
        assert contrast > 3  # WCAG's least; on the grey in the middle no ink reaches 5


def test_heatmap_keeps_its_inks_in_dark_mode():
    """Cells are a picture and keep their shade: what is written on them must not change."""
    ax = plot.heatmap([[0.0, 1.0]], rows=["a"], columns="bc", **WORDS)
    inks = {text.get_color() for text in ax.texts}
    assert len(inks) == 2 and not inks & {*PALETTE, "#000000", "black", "white"}
    assert colors_of(ax.figure) <= PALETTE | inks


def test_heatmap_of_runs_that_diverged():
    ax = plot.heatmap([[0.0, math.nan, 10.0]], rows=["a"], columns="bcd", **WORDS)
    assert [text.get_text() for text in ax.texts] == ["0.0", "nan", "10.0"]
    light, _, dark = (luminance(text.get_color()) for text in ax.texts)
    assert light < 0.1 and dark > 0.9


def test_heatmap_of_another_shape():
    with pytest.raises(ValueError, match=r"values must be \[2, 1\] for these .*, got \[1, 2\]"):
        plot.heatmap([[1, 2]], rows="ab", columns="c", **WORDS)
    assert plt.get_fignums() == []


# trainability

MAP = dict(depths=[2, 4, 6], sigma_w=[0.5, 1.0, 1.5, 2.0], title="Where networks learn")


def test_trainability_puts_every_value_at_its_depth_and_weights():
    accuracy = torch.arange(12.0).view(3, 4) / 12
    ax = plot.trainability(accuracy, boundary=("predicted", [3.0, math.inf, 6.0, 2.0]), **MAP)
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), accuracy)
    left, right, bottom, top = image.get_extent()
    for i, depth in enumerate(MAP["depths"]):
        assert bottom + (i + 0.5) * (top - bottom) / 3 == pytest.approx(depth)
    for j, size in enumerate(MAP["sigma_w"]):
        assert left + (j + 0.5) * (right - left) / 4 == pytest.approx(size)
    assert image.origin == "lower" and image.get_clim() == (0, 1)
    for line in ax.get_lines():
        np.testing.assert_array_equal(line.get_xydata()[:, 1], [3.0, math.inf, 6.0, 2.0])
    assert legend(ax) == ["predicted"] and ax.get_ylim() == (bottom, top)


def test_trainability_keeps_what_lies_on_the_map_in_dark_mode():
    ax = plot.trainability(np.zeros((3, 4)), boundary=("predicted", [1, 2, 3, 4]), **MAP)
    fixed = {"#fefefe", "#010101"}
    assert colors_of(ax.figure) <= PALETTE | fixed
    assert {to_hex(line.get_color()) for line in ax.get_lines()} == fixed


def test_trainability_of_another_shape():
    with pytest.raises(ValueError, match=r"accuracy must be \[3, 4\] for these .*, got \[4, 3\]"):
        plot.trainability(np.zeros((4, 3)), boundary=("", [0] * 4), **MAP)
    assert plt.get_fignums() == []


# effects


def test_effects_draw_medians_and_ranges_under_their_names():
    runs = np.random.default_rng(0).normal(size=(5, 3))
    ax = plot.effects({"five seeds": runs, "one": torch.tensor([1.0, -2.0, 0.5])},
                      names=["a", "b", "c"], title="t", xlabel="x")  # fmt: skip
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    assert words(ax) == dict(title="t", xlabel="x", ylabel="")
    assert legend(ax) == ["five seeds", "one"]
    zero, five, one = ax.get_lines()
    assert set(zero.get_xdata()) == {0}
    np.testing.assert_allclose(five.get_xdata(), np.sort(runs, axis=0)[2])  # the third of five
    np.testing.assert_array_equal(one.get_xdata(), [1, -2, 0.5])
    assert five.get_marker() != one.get_marker() and five.get_color() != one.get_color()
    for line in (five, one):  # each at its name, the first on top, side by side
        assert [round(y) for y in line.get_ydata()] == [0, 1, 2]
    assert (np.asarray(five.get_ydata()) < np.asarray(one.get_ydata())).all()
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    (ranges,) = ax.collections  # only where there are seeds
    for (start, end), values, y in zip(
        ranges.get_segments(), runs.T, five.get_ydata(), strict=True
    ):
        np.testing.assert_allclose(start, [values.min(), y])
        np.testing.assert_allclose(end, [values.max(), y])
    assert colors_of(ax.figure) <= PALETTE


def test_one_kind_of_effect_needs_no_legend():
    assert plot.effects({"a": [1.0, 2.0]}, names="xy", title="t", xlabel="x").get_legend() is None


def test_effects_that_cannot_be_drawn():
    words = dict(title="t", xlabel="x")
    with pytest.raises(ValueError, match="'a' has 3 effects, but there are 2 names"):
        plot.effects({"a": [1.0, 2.0, 3.0]}, names="xy", **words)
    with pytest.raises(ValueError, match="1 to 4 kinds can be told apart, got 5"):
        plot.effects({str(i): [0.0] for i in range(5)}, names="x", **words)
    with pytest.raises(ValueError, match="got 0"):
        plot.effects({}, names="x", **words)
    assert plt.get_fignums() == []


# images


def test_images_show_each_picture_under_its_label():
    pixels = torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    axes = plot.images(pixels, [str(i) for i in range(10)], title="Digits", columns=4)
    assert len(axes) == 12 and axes[0].figure.get_suptitle() == "Digits"
    for i, ax in enumerate(axes):
        assert not ax.axison
        shown = [image.get_array() for image in ax.get_images()]
        if i < 10:
            np.testing.assert_array_equal(shown[0], pixels[i, 0])
            assert ax.get_title() == str(i)
            picture = ax.get_images()[0]
            assert luminance(picture.to_rgba(pixels[i].max().item())[:3]) == 0  # dark where large
        else:
            assert shown == [] and ax.get_title() == ""
    columns = {round(ax.get_position().x0, 3) for ax in axes}
    assert len(columns) == 4
    assert colors_of(axes[0].figure) <= PALETTE


def test_images_need_a_label_each():
    with pytest.raises(ValueError, match="3 images need as many labels, got 2"):
        plot.images(torch.zeros(3, 1, 2, 2), ["a", "b"], title="t")
    assert plt.get_fignums() == []


# attributions


def test_attributions_show_signs_in_two_colours_on_a_scale_of_their_own():
    pixels = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    values = torch.tensor([[-1.0, 0.0, 2.0], [4.0, -4.0, 0.5], [0.0, 0.0, 0.0]])
    maps = {"a": torch.stack([values, values * 1e-9])[:, None], "nothing": torch.zeros(2, 1, 3, 3)}
    axes = plot.attributions(pixels, maps, title="What counts", labels=["one", "two"])
    assert len(axes) == 6 and axes[0].figure.get_suptitle() == "What counts"
    assert [ax.get_title() for ax in axes] == ["", "a", "nothing", "", "", ""]
    assert [text.get_text() for ax in axes for text in ax.texts] == ["one", "two"]
    for row, (shown, first, blank) in enumerate(zip(*[iter(axes)] * 3, strict=True)):
        np.testing.assert_array_equal(shown.get_images()[0].get_array(), pixels[row, 0])
        picture = first.get_images()[0]
        low, zero, high = (picture.to_rgba(scale)[:3] for scale in np.array([-4, 0, 4]) * 1e-9**row)
        assert to_hex(low) == plot.COLORS[0].lower() and to_hex(high) == plot.COLORS[1].lower()
        assert to_hex(zero) == to_hex(blank.get_images()[0].to_rgba(0.0)) == plot.PAPER
    assert colors_of(axes[0].figure) <= PALETTE


@pytest.mark.parametrize(
    ("maps", "labels", "message"),
    [
        ({"a": torch.zeros(1, 1, 4, 4)}, None, r"a must be \[2, 1, 4, 4\].*got \[1, 1, 4, 4\]"),
        ({"a": torch.zeros(2, 3, 4, 4)}, None, "sum the values over channels"),
        ({}, ["one"], "2 images need as many labels, got 1"),
    ],
)
def test_attributions_refuse_what_does_not_fit(maps, labels, message):
    with pytest.raises(ValueError, match=message):
        plot.attributions(torch.zeros(2, 1, 4, 4), maps, title="t", labels=labels)
    assert plt.get_fignums() == []


# The palette, and the cost of an import.


def test_the_palette_can_be_told_apart_and_seen():
    for color in plot.COLORS:  # on white at least 3 to 1 (WCAG 1.4.11), but for the pink's 2.9
        assert 1.05 / (luminance(color) + 0.05) > 2.8
    assert 1.05 / (luminance(plot.INK) + 0.05) > 7
    assert len({*PALETTE}) == 7


def test_importing_the_package_does_not_import_matplotlib():
    heavy = "('matplotlib', 'sklearn', 'skimage', 'shap', 'lime', 'palmerpenguins')"
    code = f"import sys, vglab; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]" and done.stderr == ""


# svg


def test_svg_is_an_element_that_a_page_can_recolour():
    ax = plot.heatmap([[0.0, 2.0]], rows="a", columns="bc", **WORDS)
    before = colors_of(ax.figure)
    number = ax.figure.number
    text = plot.svg(ax, alt='"a" & <b>')
    assert number not in plt.get_fignums()
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("role") == "img" and root.get("aria-label") == '"a" & <b>'
    written = {each.text.strip() for each in root.iter() if each.tag.endswith("}text")}
    assert {"What was found", "a", "b", "c", "0.0", "2.0"} <= written
    for name, color in (("ink", plot.INK), ("paper", plot.PAPER), ("grid", plot.GRID)):
        assert (f"var(--{name}, {color})" in text) == (color in before)
        assert text.replace(f"var(--{name}, {color})", "").count(color) == 0


def test_svg_is_the_same_every_time():
    first, second = (plot.svg(plot.lines({"a": [1.0, 2.0]}, **WORDS), alt="") for _ in range(2))
    assert first == second
