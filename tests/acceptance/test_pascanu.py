"""Published results, measured: gradients through time (Pascanu et al. 2013; Bengio et al. 1994)."""

import math

import numpy as np
import pytest
import torch

from vglab import data, models, train

SEEDS = range(5)
SIZE, STEPS = 30, 40
SLOPES = {"tanh": (torch.tanh, 1.0), "sigmoid": (torch.sigmoid, 0.25)}  # γ: the largest slope


def recurrent_weights(largest, seed):
    """A Gaussian matrix, scaled to a largest singular value."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(SIZE, SIZE, dtype=torch.float64, generator=generator)
    return weights * largest / torch.linalg.matrix_norm(weights, 2)


def jacobian_norms(phi, weights, x, bias=0.0):
    """Spectral norms of ∂x_t / ∂x_0 for t = 1 …, of x_t = W φ(x_{t-1}) + b, by autograd."""
    product, norms = torch.eye(len(x), dtype=torch.float64), []
    for _ in range(STEPS):
        step = torch.autograd.functional.jacobian(lambda s: weights @ phi(s) + bias, x)
        product = step @ product
        norms.append(torch.linalg.matrix_norm(product, 2).item())
        x = weights @ phi(x) + bias
    return np.array(norms)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_small_singular_values_make_gradients_vanish(activation):
    """With the largest singular value below 1/γ, gradients vanish at least as fast as its power.

    Published: |∂x_{k+1} / ∂x_k| ≤ |W_recᵀ| |diag(σ'(x_k))| < γ σ_max, so σ_max < 1/γ suffices for
    gradients to vanish, γ = 1 for tanh and 1/4 for the sigmoid (Pascanu et al. 2013, section 2.1,
    eq. 6). By contraposition σ_max > 1/γ is necessary for an explosion. Measured: spectral norms of
    the Jacobian over 1 to 40 steps at σ_max = 0.95 / γ, 5 seeds, against the bound 0.95^l. An
    inequality: the tolerance is float64 rounding.
    """
    phi, gamma = SLOPES[activation]
    for seed in SEEDS:
        weights = recurrent_weights(0.95 / gamma, seed)
        generator = torch.Generator().manual_seed(seed + 10)
        start = torch.randn(SIZE, dtype=torch.float64, generator=generator)
        norms = jacobian_norms(phi, weights, start)
        assert (norms <= 0.95 ** np.arange(1, STEPS + 1) * (1 + 1e-12)).all()


def test_large_singular_values_do_not_suffice_for_an_explosion():
    """σ_max > 1/γ is necessary, not sufficient: tanh saturates, and gradients vanish all the same.

    Published: "necessary" (Pascanu et al. 2013, section 2.1). Measured: σ_max = 1.3 for random
    matrices of 30 units, whose spectral radius is about 0.65: gradients vanish over 40 steps, 5
    seeds; and without a nonlinearity they vanish where the spectral radius is below 1, although
    σ_max > 1 lets them grow at first (a matrix with a 5 above the diagonal).
    """
    for seed in SEEDS:
        weights = recurrent_weights(1.3, seed)
        generator = torch.Generator().manual_seed(seed + 10)
        start = torch.randn(SIZE, dtype=torch.float64, generator=generator)
        assert jacobian_norms(torch.tanh, weights, start)[-1] < 1e-3
    weights = torch.tensor([[0.8, 5.0], [0.0, 0.8]], dtype=torch.float64)
    norms = jacobian_norms(lambda s: s, weights, torch.ones(2, dtype=torch.float64))
    assert norms[0] > 5 and norms.max() > 10 and norms[-1] < 0.1


def test_the_eigenvalue_condition_is_false():
    """Deviation: with the largest *eigenvalue* below 1/γ, gradients of a tanh network can explode.

    Published: section 2.1 of Pascanu et al. 2013 (in the arXiv text, 1211.5063) states the
    condition for λ₁, the largest absolute eigenvalue of W_rec, while its proof bounds the 2-norm. A
    published formal proof (a Lean library, read for this test) refutes the eigenvalue version by W
    = [[8, 8], [-8, -8]], which is nilpotent, so that λ₁ = 0 < 1/γ, at the fixed point x* = (0,
    artanh 1/2), where the Jacobian is [[8, 6], [-8, -6]] with eigenvalues 0 and 2. Measured: the
    norm over l steps is 2^(l-1) times that of one step. Tolerance: float64 rounding, amplified
    2^l-fold through the unstable fixed point, hence 12 steps to 1e-6.
    """
    weights = torch.tensor([[8.0, 8.0], [-8.0, -8.0]], dtype=torch.float64)
    assert torch.linalg.eigvals(weights).abs().max().item() < 1e-6
    fixed = torch.tensor([0.0, math.atanh(0.5)], dtype=torch.float64)
    bias = fixed - weights @ torch.tanh(fixed)
    norms = jacobian_norms(torch.tanh, weights, fixed, bias)[:12]
    one = np.linalg.norm([[8, 6], [-8, -6]], 2)
    assert norms == pytest.approx(one * 2.0 ** np.arange(12), rel=1e-6)


def test_clipping_bounds_the_step_and_keeps_its_direction():
    """Algorithm 1: where the gradient's norm exceeds the threshold, it is scaled down to it.

    Published: ĝ ← (threshold / |ĝ|) ĝ (Pascanu et al. 2013, algorithm 1). Measured: one step of
    `fit` on a recurrent network whose gradient explodes, recurrent weights of spectral radius 2
    over 8 steps of digits' rows, 5 seeds: its length is η times the threshold, its direction that
    of the step without clipping, which is at least ten times as long. Tolerance: float32 rounding.
    """
    digits = data.load("digits")
    rows = data.from_arrays(
        digits.x_train[:200].squeeze(1), digits.y_train[:200], standardize=False
    )
    batch, lr, threshold = len(rows.x_train), 1e-3, 0.5
    for seed in SEEDS:
        moves = []
        for clip in (None, threshold):
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = models.SequenceClassifier("rnn", 8, 50, 10)
            with torch.no_grad():
                model.cell.weight_hh_l0.copy_(
                    torch.randn(50, 50, generator=torch.Generator().manual_seed(seed))
                    * 2 / math.sqrt(50)
                )  # fmt: skip
                model.output.weight.mul_(20)
            before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
            train.fit(model, rows, lr=lr, epochs=1, batch_size=batch, clip_norm=clip)
            after = torch.cat([p.detach().flatten() for p in model.parameters()])
            moves.append((after - before).double())
        free, clipped = moves
        assert free.norm().item() > 10 * lr * threshold
        assert clipped.norm().item() == pytest.approx(lr * threshold, rel=1e-3)
        cosine = (free @ clipped / free.norm() / clipped.norm()).item()
        assert cosine == pytest.approx(1.0, abs=1e-3)
