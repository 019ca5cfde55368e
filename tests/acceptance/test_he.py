"""Published results, measured: rectifiers. He et al. 2015 (Delving deep); Hanin 2018."""

import math

import numpy as np
import pytest
import torch

from vglab import data, initialization, models, train

SEEDS = range(5)


@pytest.mark.parametrize("sigma_w", [1.0, math.sqrt(2), 1.6])
def test_second_moments_by_layer(sigma_w):
    """Each ReLU layer multiplies the second moment by σ_w² / 2, forwards and backwards.

    Published: Var[y_l] = (n_l Var[w_l] / 2) Var[y_{l-1}] for the pre-activations y, and the same
    factor with n̂_l, a layer's outputs, for gradients; n Var[w] / 2 = 1 keeps both (He et al. 2015,
    eqs. 8, 10 and 14; numbers as vglab cites them). Measured: 20 layers of 400 units, the slope of
    the logarithm over layers, 10 seeds. Tolerance: one layer multiplies a vector's squared norm by
    a factor of mean σ_w² / 2 and relative variance 5 / width (see the test below), whose logarithm
    therefore lies 5 / (2 width) low; four standard errors of a mean over 20 layers and 10 seeds.
    """
    width, depth, forward, backward = 400, 21, [], []
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        model = models.MLP((width,) * (depth + 2), "relu", bias=False).double()
        initialization.initialize(model, "mean_field", sigma_w=sigma_w, seed=seed)
        x = torch.randn(1, width, generator=generator, dtype=torch.float64)
        states = []
        for linear, phi in model.hidden:
            states.append(linear(x))
            x = phi(states[-1])
        top = torch.randn(1, width, generator=generator, dtype=torch.float64)
        gradients = torch.autograd.grad((states[-1] * top).sum(), states)
        norms = [[v.square().sum().item() for v in vectors] for vectors in (states, gradients)]
        forward.append(math.log(norms[0][-1] / norms[0][0]) / (depth - 1))
        backward.append(math.log(norms[1][0] / norms[1][-1]) / (depth - 1))
    tolerance = 4 * math.sqrt(5 / width / (depth - 1) / 10) + 5 / (2 * width)
    expected = math.log(sigma_w**2 / 2)
    assert np.mean(forward) == pytest.approx(expected, abs=tolerance)
    assert np.mean(backward) == pytest.approx(expected, abs=tolerance)


def test_thirty_layers_learn_with_he_and_stall_with_xavier():
    """A 30-layer ReLU network learns from He's weights and does not from Xavier's.

    Published: the 30-layer network converges with He's initialisation and completely stalls with
    Xavier's, its gradients diminishing (He et al. 2015, section 2.2, figure 3: 27 convolutional
    layers and 3 others on ImageNet; checked in notes that quote it). Measured: 30 layers of 128
    units on the 8x8 digits, SGD with momentum as there, 8 epochs, 5 seeds; one learning rate for
    both, the best of several for He. Found: 0.75 to 0.89 test accuracy against chance (0.10), the
    loss of Xavier's network still ln 10. Of the paper only the contrast is reproduced. Tolerance:
    single runs scatter by 0.04 and rounding on another processor moves them as much; the bounds
    leave three times that. Stalled is a loss within 0.03 of ln 10 = 2.303 (the mean over 40 batches
    at chance moves by 0.001).
    """
    digits = data.load("digits", flatten=True)
    accuracy = {}
    for scheme in ("he", "xavier"):
        histories = []
        for seed in SEEDS:
            model = models.MLP((64, *(128,) * 30, 10), "relu")
            initialization.initialize(model, scheme, seed=seed)
            histories.append(
                train.fit(
                    model, digits, optimizer="momentum", lr=0.0005, epochs=8, batch_size=32,
                    seed=seed,
                )
            )  # fmt: skip
        accuracy[scheme] = [history.test_accuracy[-1].item() for history in histories]
        if scheme == "xavier":
            final = [history.loss[-40:].mean().item() for history in histories]
            assert final == pytest.approx([math.log(10)] * len(final), abs=0.03)
    assert np.mean(accuracy["he"]) > 0.7 and min(accuracy["he"]) > 0.5
    assert max(accuracy["xavier"]) < 0.2


def test_narrow_layers_spread_the_lengths():
    """E[|h|⁴] / E[|h|²]² = (1 + 5/n)^L after L ReLU layers of n units: Σ 1/n decides, not L.

    Published: the fluctuations of lengths and gradients in a ReLU network at He's initialisation
    are exponential in the sum of the layers' 1/n (Hanin 2018; Hanin & Rolnick 2018). Closed form: a
    layer's output is √(2/n) |h| times b z, with z normal and b on half of the time, so the squared
    norm is multiplied by independent factors of mean 1 and variance (4/n)(3/2 - 1/4) = 5/n.
    (Derived here; the papers' constants go with what they measure.) Measured: 100,000 networks in
    two shapes of one Σ 1/n = 0.25, 4 layers of 16 and 20 of 80: 2.97 and 3.36 predicted, and exp(5
    Σ 1/n) = 3.49 for wide layers. Tolerance: four standard errors.
    """
    generator = torch.Generator().manual_seed(0)
    for widths in ((16,) * 4, (80,) * 20):
        assert sum(1 / n for n in widths) == pytest.approx(0.25)
        squared = torch.ones(100_000, dtype=torch.float64)
        for n in widths:
            # W h for fresh normal W is a normal vector of length |h|: draw that instead of W.
            z = torch.randn(len(squared), n, generator=generator)
            squared *= torch.relu(z).square().sum(1) * 2 / n
        spread = (squared**2).mean() / squared.mean() ** 2
        error = (squared**2).std() / squared.mean() ** 2 / math.sqrt(len(squared))
        expected = math.prod(1 + 5 / n for n in widths)
        assert spread.item() == pytest.approx(expected, abs=4 * error.item())
        assert error.item() < 0.1 * expected
