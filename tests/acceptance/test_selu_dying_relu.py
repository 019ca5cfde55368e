"""Published results, measured: SELU's fixed point and networks born dead.

Klambauer et al. 2017 (Self-normalizing neural networks); Lu et al. 2019 (Dying ReLU and
initialization).
"""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import erfc
from torch import nn

from vglab import initialization, models

SEEDS = range(5)
SELU = models.ACTIVATIONS["selu"]()


def selu(z):
    return SELU(torch.tensor(z, dtype=torch.float64)).item()


def moments(mean, variance):
    """Mean and variance of SELU's output for a normal input, by adaptive quadrature."""
    deviation = math.sqrt(variance)

    def expectation(power):
        def integrand(z):
            return selu(mean + deviation * z) ** power * math.exp(-z * z / 2)

        kink = -mean / deviation
        value = quad(integrand, -10, kink, limit=200)[0] + quad(integrand, kink, 10, limit=200)[0]
        return value / math.sqrt(2 * math.pi)

    first = expectation(1)
    return first, expectation(2) - first**2


def test_selus_constants_and_fixed_point():
    """α = 1.67326 and λ = 1.0507 in closed form, and the mean 0 and variance 1 that they keep.

    Published: eq. 14 gives both constants by erfc; with them (0, 1) is a fixed point of the map of
    mean and variance (Klambauer et al. 2017; the text was checked). Measured: the constants of the
    module, read off its outputs, against eq. 14; the map by quadrature with the module itself.
    Tolerance: float64 rounding; 1e-8 for the quadrature.
    """
    e = math.e
    tail, far = erfc(1 / math.sqrt(2)), erfc(math.sqrt(2))
    alpha = -math.sqrt(2 / math.pi) / (tail * math.exp(0.5) - 1)
    scale = (
        (1 - tail * math.sqrt(e)) * math.sqrt(2 * math.pi)
        / math.sqrt(
            2 * far * e**2 + math.pi * tail**2 * e
            - 2 * (2 + math.pi) * tail * math.sqrt(e) + math.pi + 2
        )
    )  # fmt: skip
    assert (alpha, scale) == pytest.approx((1.67326, 1.0507), abs=5e-6)
    assert selu(1.0) == pytest.approx(scale, rel=1e-12)
    assert selu(-50.0) == pytest.approx(-scale * alpha, rel=1e-12)
    assert moments(0.0, 1.0) == pytest.approx((0.0, 1.0), abs=1e-8)


def test_the_fixed_point_attracts():
    """The map's Jacobian at (0, 1) is [[0, 0.088834], [0, 0.782648]], of spectral norm 0.7877.

    Published: eq. 6 for weights of sum 0 and square sum 1, so that the fixed point attracts; and
    from any mean in [-0.1, 0.1] and variance in [0.8, 1.5] the map leads to it (theorem 1; its
    domain is cited from memory). Here the derivatives are with respect to (μω, ντ) at ω = 0, τ = 1:
    the first column is then 0, because ω multiplies μ. Measured: differences of the quadrature, and
    40 iterations from the corners of that domain. Tolerance: 1e-5 for differences of step 1e-3.
    """
    step = 1e-3
    plus, minus = np.array(moments(0, 1 + step)), np.array(moments(0, 1 - step))
    column = (plus - minus) / (2 * step)
    assert column == pytest.approx([0.088834, 0.782648], abs=1e-5)
    assert np.linalg.norm(column) == pytest.approx(0.7877, abs=5e-5)
    for start in (0.8, 1.5):
        variance = start
        for _ in range(40):
            variance = moments(0.0, variance)[1]  # the next layer's input has mean 0: ω = 0
        assert variance == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("start", [0.5, 1.5])
def test_selu_networks_normalise_themselves(start):
    """Activations of a SELU network approach mean 0 and variance 1 by 0.78 a layer.

    Published: the fixed point of the tests above, for weights of variance 1/n (Klambauer et al.
    2017). Measured: inputs of variance 0.5 and 1.5, layers of 500 units, 5 seeds of 20 layers; the
    pre-activations' variance by layer against the map iterated by quadrature. Tolerance: 500 units
    at 100 inputs leave a layer's variance a relative deviation of √(2/50,000) = 0.006, and weights
    that all inputs share about 1/500; later layers forget it by 0.78 each, so it sums to at most
    0.007 / √(1 - 0.78²) = 0.011, and 0.005 over 5 seeds; four of these and 0.005 for the bias of a
    finite width. Each network by itself ends within 0.1 of mean 0 and variance 1.
    """
    expected, runs = [start], []
    for _ in range(19):
        mean, variance = moments(0.0, expected[-1])
        expected.append(variance + mean**2)
    for seed in SEEDS:
        model = models.MLP((500,) * 22, "selu", bias=False)
        initialization.initialize(model, "lecun", seed=seed)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(100, 500, generator=generator)
        with torch.no_grad():
            x, variances = x * math.sqrt(start), []
            for linear, phi in model.hidden:
                z = linear(x)
                variances.append(z.square().mean().item())
                x = phi(z)
        assert abs(x.mean().item()) < 0.1 and abs(x.var().item() - 1) < 0.1
        runs.append(variances[:20])
    assert np.mean(runs, axis=0) == pytest.approx(np.array(expected), abs=0.025)
    assert expected[-1] == pytest.approx(1.0, abs=0.01)


def dead(width, depth, inputs, count, seed):
    """Which of many ReLU networks without biases are constant 0 on each of the inputs [N, D].

    The L - 1 hidden layers of a network of the paper's depth L. Weights are normal: only their
    symmetry matters, and that their scale cannot.
    """
    generator = torch.Generator().manual_seed(seed)
    h = inputs.expand(count, *inputs.shape)
    for _ in range(depth - 1):
        weights = torch.randn(count, width, h.shape[2], generator=generator)
        h = torch.relu(torch.einsum("kwd,knd->knw", weights, h))
        h = h / h.abs().amax((1, 2), keepdim=True).clamp(min=1e-30)  # ReLU ignores scale
    return (h == 0).all(2)


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("depth", [2, 5, 10, 20])
def test_the_probability_of_being_born_dead(width, depth):
    """A narrow deep ReLU network is constant with a probability that the paper bounds.

    Published: with symmetric weights, the probability that a network of width N and depth L (L - 1
    hidden layers) is born dead, constant on all inputs, is at most 1 - (1 - 2^-N)^(L-1), and tends
    to 1 with L (Lu et al. 2019). Exact, and the reason for the bound: on *one* input the network is
    dead with just that probability. Below, for one-dimensional inputs (two rays, of which the first
    layer keeps at least one), the square of the same at L - 2, derived here: rays that agree die
    together at least as often as two independent ones. (The paper's own lower bound was not found
    in a stored text.) Measured: 5 x 4,000 networks. Tolerance: four standard errors.
    """
    both = torch.tensor([[1.0], [-1.0]])
    found = torch.cat([dead(width, depth, both, 4000, seed) for seed in SEEDS])
    one, born_dead = found[:, 0].double().mean().item(), found.all(1).double().mean().item()
    count, alive = len(found), 1 - 2.0**-width
    exact = 1 - alive ** (depth - 1)
    error = math.sqrt(exact * (1 - exact) / count)
    assert one == pytest.approx(exact, abs=4 * error)
    below = (1 - alive ** (depth - 2)) ** 2
    assert below - 4 * error <= born_dead <= exact + 4 * error
    if depth == 2:
        assert born_dead == 0.0


def test_read_outs_of_the_paper():
    """Ten layers: width 10 collapses in under 1 %, width 5 in over 10 %, width 3 in about 60 %.

    Published: the design map of Lu et al. 2019 (a stored summary of the paper gives these numbers).
    Measured: 5 x 4,000 networks with one-dimensional inputs. Tolerance: the paper's words; "about
    60 %" is taken as 0.55 to 0.65. Four standard errors at 0.6 are 0.014.
    """
    both = torch.tensor([[1.0], [-1.0]])
    share = {
        width: np.mean([dead(width, 10, both, 4000, s).all(1).double().mean() for s in SEEDS])
        for width in (3, 5, 10)
    }
    assert share[10] < 0.01
    assert share[5] > 0.1
    assert 0.55 < share[3] < 0.65


def test_the_count_is_of_real_networks():
    """The batched networks above against `vglab.models.MLP`, one by one: the same share dies."""
    inputs, deaths = torch.tensor([[1.0], [-1.0]]), 0
    for seed in range(400):
        model = models.MLP((1, *(2,) * 4, 1), "relu", bias=False)
        initialization.initialize(model, "he", seed=seed)
        with torch.no_grad():
            h = inputs
            for layer in model.hidden:
                h = layer(h)
        deaths += bool((h == 0).all())
    share = dead(2, 5, inputs, 20_000, 9).all(1).double().mean().item()
    error = math.sqrt(share * (1 - share) / 400)
    assert deaths / 400 == pytest.approx(share, abs=4 * error)
    assert isinstance(model.hidden[0][1], nn.ReLU)
