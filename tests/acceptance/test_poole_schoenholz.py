"""Published results, measured: order and chaos in random networks, and how deep a signal reaches.

Poole et al. 2016 (Exponential expressivity in deep neural networks through transient chaos);
Schoenholz et al. 2017 (Deep information propagation). The files of this folder hold one paper or
theme each; every test says what was published, what it measures and what does not agree.
"""

import math

import numpy as np
import pytest
import torch

from vglab import initialization, models, theory

SEEDS = range(5)
WIDTH = 400
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def next_q(q, sigma_w, sigma_b):
    """Poole et al. 2016, eq. 3, by Gauss-Hermite quadrature."""
    return sigma_w**2 * (np.tanh(math.sqrt(q) * NODES) ** 2 @ WEIGHTS) + sigma_b**2


def next_c(c, q, sigma_w, sigma_b):
    """The correlation map of Poole et al. 2016, at the fixed point q of the lengths."""
    first = np.tanh(math.sqrt(q) * NODES)
    both = math.sqrt(q) * (c * NODES[:, None] + math.sqrt(max(1 - c * c, 0.0)) * NODES[None, :])
    mean = WEIGHTS @ (first[:, None] * np.tanh(both)) @ WEIGHTS
    return (sigma_w**2 * mean + sigma_b**2) / q


def settled(step, start, times=500):
    for _ in range(times):
        start = step(start)
    return start


def network(depth, sigma_w, sigma_b, seed):
    model = models.MLP((WIDTH,) * (depth + 2), "tanh").double()
    return initialization.initialize(
        model, "mean_field", sigma_w=sigma_w, sigma_b=sigma_b, seed=seed
    )


def pre_activations(model, x):
    """z of every hidden layer, for inputs [N, WIDTH]."""
    states = []
    for linear, activation in model.hidden:
        z = linear(x)
        states.append(z)
        x = activation(z)
    return states


def pair(correlation, q, seed):
    """Two inputs whose first pre-activations have about this correlation (no biases counted)."""
    a, b = torch.randn(2, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    b = b - a * (a @ b) / (a @ a)
    a, b = a / a.norm(), b / b.norm()
    second = correlation * a + math.sqrt(1 - correlation**2) * b
    return math.sqrt(q * WIDTH) * torch.stack([a, second])


def test_the_critical_weights_of_tanh():
    """σ_w = 1 without biases; with biases above 1, σ_w² = 1.76 for σ_b² = 0.05.

    Published: the line χ = 1 parts order from chaos, and for tanh starts at (σ_w, σ_b) = (1, 0)
    (Poole et al. 2016, figure 1; Schoenholz et al. 2017, figure 1). σ_w² = 1.76, σ_b² = 0.05 is the
    critical point at which that line of work trains its networks. Figure numbers and 1.76 are cited
    from memory: no stored source gives them. Oracle: χ by Gauss-Hermite quadrature at the q of the
    iterated map, with no code of vglab's. Tolerance: 0.005, half the last digit printed.
    """
    assert theory.critical_sigma_w("tanh", 0.0) == pytest.approx(1.0, abs=1e-6)
    sigma_b = math.sqrt(0.05)
    critical = theory.critical_sigma_w("tanh", sigma_b)
    assert critical**2 == pytest.approx(1.76, abs=0.005)
    q = settled(lambda q: next_q(q, critical, sigma_b), 1.0)
    slope = 1 - np.tanh(math.sqrt(q) * NODES) ** 2
    assert critical**2 * (slope**2 @ WEIGHTS) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("sigma_w", "sigma_b", "phase"),
    [
        (0.8, 0.0, "ordered"), (1.0, 0.3, "ordered"), (1.3, 0.3, "ordered"),
        (1.5, 0.0, "chaotic"), (2.5, 0.3, "chaotic"),
    ],
)  # fmt: skip
def test_variance_and_gradient_factor_of_wide_tanh_networks(sigma_w, sigma_b, phase):
    """q* and χ, predicted and measured, in both phases, with and without biases.

    Published: the variance of the pre-activations goes to q*, and a gradient's squared norm is
    multiplied by χ in each layer, below 1 in the ordered phase and above in the chaotic one (Poole
    et al. 2016; Schoenholz et al. 2017, σ_b = 0.3 as in their figures). Measured: 20 layers of 500
    units deep in a network (where q has settled), the mean of ln χ over layers, 5 seeds. Tolerance:
    four standard errors over the seeds, and 3/width: the mean of a logarithm lies below the
    logarithm of the mean by half its variance, which is a few times 1/width here. All agree; the
    largest deviation of ln χ is 0.43 for 0.46 predicted (σ_w = 2.5, σ_b = 0.3).
    """
    depth, skipped = 32, 16
    logs, variances = [], []
    for seed in SEEDS:
        model = network(depth, sigma_w, sigma_b, seed)
        states = pre_activations(model, pair(0.0, 1.0, seed)[:1])
        direction = torch.randn(
            1, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 50)
        )
        gradients = torch.autograd.grad((states[-1] * direction).sum(), states[skipped:])
        norms = [gradient.norm().item() for gradient in gradients]
        logs.append(2 * math.log(norms[0] / norms[-1]) / (len(norms) - 1))
        variances.append(np.mean([z.square().mean().item() for z in states[skipped:]]))
    q, factor = (f("tanh", sigma_w, sigma_b) for f in (theory.variance_fixed_point, theory.chi))
    assert (factor < 1) == (phase == "ordered")
    error = np.std(logs, ddof=1) / math.sqrt(len(logs))
    assert np.mean(logs) == pytest.approx(math.log(factor), abs=4 * error + 3 / WIDTH)
    assert (np.mean(logs) < 0) == (phase == "ordered")
    if q == 0:  # without biases the signal dies: by σ_w² a layer once it is small
        assert np.mean(variances) < 1e-3
        return
    error = np.std(variances, ddof=1) / math.sqrt(len(variances))
    assert np.mean(variances) == pytest.approx(q, abs=4 * error + 5 * q / WIDTH)


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.0, 0.3), (2.5, 0.3)])
def test_two_inputs_meet_in_order_and_part_in_chaos(sigma_w, sigma_b):
    """The correlation fixed point c*: 1 in the ordered phase, below 1 in the chaotic one.

    Published: c = 1 is always a fixed point, stable where χ < 1; where χ > 1 a second one, c* < 1,
    attracts every pair of inputs (Poole et al. 2016). Measured: the correlation of two inputs that
    start at 0.5 and of two that start at 0.99, after 30 layers, 5 seeds; predicted by iterating the
    two-dimensional Gaussian integral. Tolerance: a correlation of 400 units scatters by √((1 - c²)²
    / 400), which deep layers do not average away: 0.04; over 5 seeds and both starts 0.015 and, for
    the bias of finite width, as much again. Found: 1.000 and 0.136 (for 0.122).
    """
    q = settled(lambda q: next_q(q, sigma_w, sigma_b), 1.0)
    expected = settled(lambda c: next_c(c, q, sigma_w, sigma_b), 0.5)
    found = []
    for seed in SEEDS:
        model = network(30, sigma_w, sigma_b, seed)
        with torch.no_grad():
            for start in (0.5, 0.99):
                a, b = pre_activations(model, pair(start, q, seed))[-1]
                found.append((a @ b / (a.norm() * b.norm())).item())
    assert np.mean(found) == pytest.approx(expected, abs=0.03)
    if theory.chi("tanh", sigma_w, sigma_b) < 1:
        assert expected == pytest.approx(1.0, abs=1e-9) and min(found) > 0.999
    else:
        assert expected < 0.7 and max(found) < 0.85


def test_the_depth_scale_of_correlations():
    """ξ_c = -1 / ln χ in the ordered phase: layers over which two inputs lose their difference.

    Published: 1 - c falls like exp(-l / ξ_c), and in the ordered phase, where c* = 1, ξ_c equals
    the gradient's depth scale (Schoenholz et al. 2017). Measured at σ_w = 1, σ_b = 0.3 (ξ = 2.8
    layers): the slope of ln(1 - c) over layers 8 to 28, 5 seeds. In the chaotic phase the decay
    towards c* drowns in the scatter 1/√width before it can be timed; what is measured there is the
    other published side: inputs that start close part, their squared distance growing by χ a layer.
    Found: 2.83 layers for 2.81 predicted, and 2.18 for 2.17. Tolerance: four standard errors over
    the seeds, and 3/width for the mean of a logarithm.
    """
    for sigma_w, layers, start in ((1.0, (8, 28), 0.5), (2.5, (1, 9), 1 - 1e-12)):
        q = settled(lambda q, s=sigma_w: next_q(q, s, 0.3), 1.0)
        slopes = []
        for seed in range(10):
            model = network(30, sigma_w, 0.3, seed)
            with torch.no_grad():
                states = pre_activations(model, pair(start, q, seed))
            gaps = [(a - b).square().mean().item() for a, b in states]
            first, last = layers
            slopes.append(math.log(gaps[last] / gaps[first]) / (last - first))
        factor = theory.chi("tanh", sigma_w, 0.3)
        error = np.std(slopes, ddof=1) / math.sqrt(len(slopes))
        assert np.mean(slopes) == pytest.approx(math.log(factor), abs=4 * error + 3 / WIDTH)
        assert 1 / abs(np.mean(slopes)) == pytest.approx(
            theory.depth_scale("tanh", sigma_w, 0.3), rel=0.1
        )
