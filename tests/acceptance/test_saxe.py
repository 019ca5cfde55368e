"""Published results, measured: Saxe et al. 2014, exact solutions of deep linear networks."""

import math

import numpy as np
import pytest
import torch

from vglab import initialization, models, train

SEEDS = range(5)
STRENGTHS = torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=torch.float64)
SIZE = len(STRENGTHS)


def published_curve(s, u0, t):
    """Saxe et al. 2014, eq. 12, with τ = 1."""
    growth = math.exp(2 * s * t)
    return s * growth / (growth - 1 + s / u0)


def orthogonal(seed):
    normal = torch.randn(
        SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return torch.linalg.qr(normal)[0]


def mode_strengths(seed, lr, start, end):
    """Strength of each mode after every step of gradient descent, from weights that `start` gives.

    The task has white inputs and the input-output correlation U S Vᵀ, so that the loss of the
    network W₂ W₁ is |U S Vᵀ - W₂ W₁|² / 2, whose gradient flow is the paper's eq. 2 with τ = 1.
    """
    u, v = orthogonal(seed), orthogonal(seed + 1000)
    task = u @ torch.diag(STRENGTHS) @ v.T

    def loss(theta):
        first, second = theta.view(2, SIZE, SIZE)
        return (task - second @ first).square().sum() / 2

    steps = round(end / lr)
    path = train.gradient_descent(loss, start(u, v).flatten(), lr=lr, steps=steps)
    first, second = path.view(steps + 1, 2, SIZE, SIZE).unbind(1)
    return torch.diagonal(u.T @ second @ first @ v, dim1=1, dim2=2)


def decoupled(seed, u0):
    """W₂ = U √u₀ Rᵀ, W₁ = R √u₀ Vᵀ with an arbitrary orthogonal R: the paper's section 1.3."""
    r = orthogonal(seed + 2000)

    def start(u, v):
        return math.sqrt(u0) * torch.stack([r @ v.T, u @ r.T])

    return start


def test_the_learning_curve_of_every_mode():
    """A mode of strength s follows s e^{2st} / (e^{2st} - 1 + s/u₀), stronger modes first.

    Published: eq. 12, for gradient flow on a network with one hidden layer, white inputs and
    decoupled balanced weights; the text was checked. Measured: gradient descent on 4 modes, 5
    random tasks, the largest distance from the curve at any time. Tolerance: a step multiplies
    small weights by 1 + ηs where the flow has e^{ηs}, so the curve comes late by the part ηs/2 of
    its time ln(s/u₀) / 2s, which at the steepest slope (s/2 of the final strength) is a distance of
    ηs ln(s/u₀) / 8: 0.015 for s = 3, η = 0.005. Found 0.011, and half of it for half of η.
    """
    u0 = 1e-3
    for seed in SEEDS:
        worst = []
        for lr in (0.01, 0.005):
            measured = mode_strengths(seed, lr, decoupled(seed, u0), end=5.0)
            expected = torch.tensor([
                [published_curve(s, u0, lr * step) for s in STRENGTHS.tolist()]
                for step in range(len(measured))
            ], dtype=torch.float64)  # fmt: skip
            worst.append(((measured - expected) / STRENGTHS).abs().max().item())
        assert worst[1] < 0.015
        assert 1.8 < worst[0] / worst[1] < 2.2


def test_half_learning_times_from_small_random_weights():
    """Small random weights, which are not decoupled, learn a mode of strength s at about 1/s.

    Published: the analytical curves are a good approximation from small random weights too, whose
    learning comes a little later (figure 3; eq. 11: a time of ln(s/u₀) / (2s) to half the
    strength). Measured: weights of deviation 0.01, 5 seeds, time to half strength of the two
    strongest modes against eq. 11 with the seed's own u₀, the mode's initial weight, (a + b)² / 4
    (only the sum of the two layers' weights grows). Tolerance: a tenth for the first mode, which
    has no rival. The second has to wait while the first is learned; the paper's figure 3 (right)
    shows such delays. Found: up to a quarter; a third is allowed.
    """
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        weights = 0.01 * torch.randn(2, SIZE, SIZE, dtype=torch.float64, generator=generator)
        u, v = orthogonal(seed), orthogonal(seed + 1000)
        a, b = u.T @ weights[1], (weights[0] @ v).T  # rows: the modes' weights to the hidden units
        u0 = ((a + b) / 2).square().sum(1)
        lr = 0.01
        measured = mode_strengths(seed, lr, lambda u, v, w=weights: w, end=6.0)
        for mode, allowed in ((0, 0.1), (1, 0.33)):
            s = STRENGTHS[mode].item()
            half = lr * int((measured[:, mode] > s / 2).nonzero()[0])
            eq11 = math.log((s - u0[mode]) / u0[mode]) / (2 * s)
            assert half == pytest.approx(eq11, rel=allowed)


def test_products_of_orthogonal_and_of_gaussian_matrices():
    """Orthogonal layers keep every singular value at 1; Gaussian ones spread them with depth.

    Published: both kinds of deep linear network keep the norm of a typical vector, but only the
    orthogonal product has all singular values equal to 1; the Gaussian one becomes highly
    anisotropic: most singular values vanish, a few grow large (section 3, figure 6B, N = 1000; the
    text was checked). Closed form for the spread: for N → ∞ the mean of σ⁴ over the singular values
    of L Gaussian factors is the Fuss-Catalan number L + 1, while the mean of σ² stays 1. Measured:
    100 units, L = 1, 5 and 20, 5 seeds. Tolerance: float32 rounding, 20 x 1e-6, for orthogonal
    layers; four standard errors, and 10 % for finite N at L = 1 and 5 (corrections of order L²/N).
    """
    for depth in (1, 5, 20):
        products = {"orthogonal": [], "lecun": []}
        for scheme, singular in products.items():
            for seed in SEEDS:
                model = models.MLP((100,) * (depth + 1), "linear", bias=False)
                initialization.initialize(model, scheme, seed=seed)
                product = torch.eye(100)
                for layer in models.weight_layers(model).values():
                    product = layer.detach() @ product
                singular.append(torch.linalg.svdvals(product.double()).numpy())
        assert np.array(products["orthogonal"]) == pytest.approx(1.0, abs=1e-4)
        squares = np.array(products["lecun"]) ** 2
        second, fourth = squares.mean(1), (squares**2).mean(1)
        error = second.std(ddof=1) / math.sqrt(len(second))
        assert second.mean() == pytest.approx(1.0, abs=4 * error + 0.01)
        if depth < 20:
            error = fourth.std(ddof=1) / math.sqrt(len(fourth))
            assert fourth.mean() == pytest.approx(depth + 1, abs=4 * error + 0.1 * (depth + 1))
        else:
            assert np.median(squares, axis=1).max() < 1e-3 and squares.max(axis=1).min() > 10
