"""Gradient descent on a surface: what the figure says on 50 random settings, against torch."""

import math
import random
import re

import pytest
import torch
from in_browser import value

from vglab import theory, train

KAPPAS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)
METHODS = ("plain", "momentum", "RMSprop", "Adam")
FAR = 1e6  # where the figure ends a path


def surfaces(kappa):
    """The figure's four surfaces, for automatic differentiation."""

    def bumpy(p):
        wells = ((1, 6, (0.9, 0.5)), (0.7, 1.2, (-0.9, -0.4)))
        floor = p.square().sum() / 10
        for depth, steep, at in wells:
            floor = floor - depth * torch.exp(-steep * (p - p.new_tensor(at)).square().sum())
        return floor

    return {
        "valley": lambda p: (p[0] ** 2 + kappa * p[1] ** 2) / 2,
        "curved": lambda p: ((1 - p[0]) ** 2 + kappa * (p[1] - p[0] ** 2) ** 2) / 2,
        "saddle": lambda p: (p[0] ** 2 - p[1] ** 2) / 2 + p[1] ** 4 / 4,
        "bumpy": bumpy,
    }


def lowest(objective, kind):
    """The lowest value, by Newton's method of torch's own derivatives."""
    near = {"valley": (0, 0), "curved": (1, 1), "saddle": (0, 1), "bumpy": (0.9, 0.5)}[kind]
    point = torch.tensor(near, dtype=torch.float64)
    for _ in range(20):
        slope = torch.autograd.functional.jacobian(objective, point)
        curvature = torch.autograd.functional.hessian(objective, point)
        point = point - torch.linalg.solve(curvature, slope)
    return objective(point).item()


def walk(objective, method, start, lr, mu, rho, steps):
    """The path of one method, cut where it leaves for good."""
    start = torch.tensor(start, dtype=torch.float64)
    if method == "plain":
        path = train.gradient_descent(objective, start, lr=lr, steps=steps)
    else:
        point = start.clone().requires_grad_()
        optimizer = {
            "momentum": lambda: torch.optim.SGD([point], lr=lr, momentum=mu),
            "RMSprop": lambda: torch.optim.RMSprop([point], lr=lr, alpha=rho),
            "Adam": lambda: torch.optim.Adam([point], lr=lr),
        }[method]()
        points = [start]
        for _ in range(steps):
            optimizer.zero_grad()
            objective(point).backward()
            optimizer.step()
            points.append(point.detach().clone())
        path = torch.stack(points)
    left = (~(path.norm(dim=1) <= FAR)).nonzero().flatten().tolist()
    return path[: left[0]] if left else path


def random_setting(rng):
    kind = rng.choice(["valley", "valley", "curved", "saddle", "bumpy"])
    return {
        "kind": kind,
        "kappa": rng.randrange(len(KAPPAS)),
        "rate": rng.randrange(40, 210),
        "steps": rng.randint(1, 40),
        "mu": rng.randrange(0, 100) / 100,
        "rho": rng.randrange(500, 1000) / 1000,
        "at": (rng.random(), rng.random()),
    }


def show(figure, setting):
    """Bring a setting into the figure; return the rate and the start that it names."""
    figure.set(surface=setting["kind"])
    figure.set(
        narrowness=setting["kappa"], learning_rate=setting["rate"], steps=setting["steps"],
        **{"momentum’s": setting["mu"], "RMSprop’s": setting["rho"]},
    )  # fmt: skip
    box = figure.tab.locator(".vglab-touch").bounding_box()
    across, up = setting["at"]
    figure.tab.mouse.click(box["x"] + across * box["width"], box["y"] + up * box["height"])
    figure.drawn()
    where = figure.tab.locator(".vglab-handle").get_attribute("aria-valuetext")
    start = [value(part.split("= ")[1]) for part in where.split(", ")]
    rate = figure.tab.get_by_label("learning rate η").get_attribute("aria-valuetext")
    return value(rate), start


def by_method(rows, steps):
    """Of the table's rows: step, and for each method [θ₁, θ₂, loss]."""
    for step, *cells in rows[1:]:
        found = [value(cell) for cell in cells]
        yield int(step), {name: found[3 * i : 3 * i + 3] for i, name in enumerate(METHODS)}
    assert int(rows[-1][0]) == steps


def test_paths_losses_and_limits_are_those_of_torch(open_figure):
    figure, rng = open_figure("descent"), random.Random(0)
    figure.set(RMSprop=True, Adam=True)
    compared = skipped = 0
    for _ in range(50):
        setting = random_setting(rng)
        lr, start = show(figure, setting)
        kappa, kind, steps = KAPPAS[setting["kappa"]], setting["kind"], setting["steps"]
        objective = surfaces(kappa)[kind]
        bottom = lowest(objective, kind)
        more = (lr, setting["mu"], setting["rho"], steps)
        paths = {name: walk(objective, name, start, *more) for name in METHODS}
        nudged = [x + 1e-10 for x in start]
        others = {name: walk(objective, name, nudged, *more) for name in METHODS}
        for step, shown in by_method(figure.table(), steps):
            for name, path in paths.items():
                # Where a path depends so much on its start, no two computers agree on it.
                size, other = path[: step + 1].abs().max().item(), others[name]
                if len(path) != len(other) or (
                    step < len(path) and (path[step] - other[step]).abs().max() > 1e-5 * size
                ):
                    skipped += 1
                    continue
                compared += 1
                if step >= len(path):
                    assert all(map(math.isnan, shown[name])), (setting, name, step)
                    continue
                loss = objective(path[step]).item() - bottom
                expected = [*path[step].tolist(), loss]
                near = pytest.approx(expected, rel=1e-4, abs=1e-9 * max(1, size))
                assert shown[name] == near, (setting, name, step)
        check_limit(figure.finding, objective, start, lr, kappa if kind == "valley" else None)
    assert skipped < 0.1 * compared


def check_limit(finding, objective, start, lr, kappa):
    point = torch.tensor(start, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(objective, point)
    limit = theory.learning_rate_limit(hessian)
    if limit == math.inf:
        assert "curves upwards in no direction" in finding
        return
    if said := re.search(r"2/λmax = ([\d.×⁻⁰-⁹ ]*\d)", finding):
        assert value(said[1].replace(" ", "")) == pytest.approx(limit, rel=6e-3)
    else:
        assert lr == pytest.approx(limit) and "η = " in finding
    if kappa is not None and (said := re.search(r"([\d.]+) times as large", finding)):
        path = theory.quadratic_trajectory(hessian, [0.0, 1.0], lr, 1)
        assert lr > limit
        assert float(said[1]) == pytest.approx(path[1, 1].abs().item(), rel=6e-3)


@pytest.mark.parametrize("kind", ["valley", "curved", "saddle", "bumpy"])
def test_slopes_curvatures_and_minima_are_those_of_autograd(open_figure, kind):
    rng = random.Random(1)
    points = [[rng.uniform(-3, 3), rng.uniform(-3, 3)] for _ in range(20)]
    found = open_figure("descent").tab.evaluate(
        """async ([kind, points]) => {
          const { SURFACES } = await import("/play/descent-model.js");
          const { value, gradient, hessian, minima } = SURFACES[kind](7.5);
          const at = points.map((p) => [value(...p), ...gradient(...p), ...hessian(...p)]);
          const bottom = (p) => [...gradient(...p), ...hessian(...p), value(...p)];
          return { at, bottoms: minima.map(bottom) };
        }""",
        [kind, points],
    )
    objective = surfaces(7.5)[kind]
    for point, numbers in zip(points, found["at"], strict=True):
        where = torch.tensor(point, dtype=torch.float64)
        slope = torch.autograd.functional.jacobian(objective, where).tolist()
        (a, b), (_, c) = torch.autograd.functional.hessian(objective, where).tolist()
        assert numbers == pytest.approx([objective(where).item(), *slope, a, b, c], rel=1e-10)
    for gx, gy, a, b, c, _ in found["bottoms"]:
        assert math.hypot(gx, gy) < 1e-12 and a > 0 and a * c - b * b > 0
    values = [bottom[-1] for bottom in found["bottoms"]]
    assert values == sorted(values)


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9])
def test_momentum_moves_the_limit_as_the_figure_says(open_figure, mu):
    figure = open_figure("descent")
    figure.set(**{"momentum’s": mu})
    said = float(re.search(r"2\(1 \+ μ\)/λmax = ([\d.]*\d)", figure.finding)[1])

    def growth(lr):  # of (velocity, θ) along the direction of curvature 10
        return max(abs(torch.linalg.eigvals(torch.tensor([[mu, 10.0], [-lr * mu, 1 - lr * 10]]))))

    assert growth(said * 0.99) < 1 < growth(said * 1.01)


def test_the_keyboard_moves_the_start(open_figure):
    figure = open_figure("descent")
    handle = figure.tab.get_by_role("slider", name=re.compile("start of the descent"))
    handle.focus()
    before = figure.finding
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp", "ArrowDown"):
        figure.tab.keyboard.press(key)
    figure.drawn()
    assert handle.get_attribute("aria-valuetext") == "θ₁ = −1.6, θ₂ = 0.41"
    assert figure.finding != before
    figure.tab.keyboard.press("Home")
    figure.drawn()
    assert handle.get_attribute("aria-valuetext") == "θ₁ = −1.8, θ₂ = 0.5"
    assert figure.finding == before


def test_play_goes_on_step_by_step_and_stops(open_figure):
    figure = open_figure("descent")
    steps = figure.tab.get_by_label("steps", exact=True)
    figure.tab.get_by_role("button", name="Play").click()
    figure.tab.wait_for_function("document.querySelectorAll('.vglab-slider output')[2].value > 31")
    figure.tab.get_by_role("button", name="Pause").click()
    stopped = int(steps.input_value())
    assert 31 < stopped < 200
    figure.drawn()
    assert int(steps.input_value()) == stopped


def test_play_without_motion_goes_to_the_end_at_once(open_figure):
    figure = open_figure("descent", reduced_motion="reduce")
    figure.tab.get_by_role("button", name="Play").click()
    figure.drawn()
    assert figure.tab.get_by_label("steps", exact=True).input_value() == "200"
    assert "after 200 steps" in figure.finding
