"""Predictions against closed forms, adaptive quadrature, published values and random networks."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from vglab import initialization, models, theory, train

SCALAR = {
    "linear": (lambda z: z, lambda z: 1.0),
    "sigmoid": (
        lambda z: 0.5 * (1 + math.tanh(z / 2)),
        lambda z: 0.25 / math.cosh(z / 2) ** 2,
    ),
    "tanh": (math.tanh, lambda z: 1 / math.cosh(z) ** 2),
    "relu": (lambda z: max(z, 0.0), lambda z: float(z > 0)),
    "leaky_relu": (lambda z: z if z > 0 else 0.01 * z, lambda z: 1.0 if z > 0 else 0.01),
    "elu": (lambda z: z if z > 0 else math.expm1(z), lambda z: 1.0 if z > 0 else math.exp(z)),
    "hard_tanh": (lambda z: max(-1.0, min(1.0, z)), lambda z: float(abs(z) < 1)),
    "softplus": (lambda z: math.log1p(math.exp(z)), lambda z: 1 / (1 + math.exp(-z))),
}


def expectation(function, q, kinks=(0.0,)):
    """E[function(√q z)] by adaptive quadrature, told where the function is not smooth."""
    root = math.sqrt(q)
    points = sorted({kink / root for kink in kinks if abs(kink / root) < 9})

    def integrand(z):
        return function(root * z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    return quad(integrand, -9, 9, points=points, limit=200)[0]


def settled(activation, sigma_w, sigma_b, steps=400):
    """The variance recursion itself, iterated from 1."""
    value, _ = SCALAR[activation]
    q = 1.0
    for _ in range(steps):
        new = sigma_w**2 * expectation(lambda z: value(z) ** 2, q, (-1, 0, 1)) + sigma_b**2
        if abs(new - q) < 1e-11 * q:
            break
        q = new
    return q


@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_b"),
    [
        ("tanh", 1.5, 0.3), ("tanh", 2.5, 0.0), ("sigmoid", 1.0, 0.0), ("sigmoid", 4.0, 0.5),
        ("relu", 1.0, 0.7), ("leaky_relu", 1.2, 0.1), ("elu", 1.1, 0.2), ("hard_tanh", 2.0, 0.4),
        ("softplus", 0.8, 0.1), ("linear", 0.9, 0.5),
    ],
)  # fmt: skip
def test_fixed_point_and_chi_are_those_of_the_recursion(activation, sigma_w, sigma_b):
    q = settled(activation, sigma_w, sigma_b)
    assert theory.variance_fixed_point(activation, sigma_w, sigma_b) == pytest.approx(q, rel=1e-5)
    _, slope = SCALAR[activation]
    chi = sigma_w**2 * expectation(lambda z: slope(z) ** 2, q, (-1, 0, 1))
    # hard_tanh's slope jumps between two of the package's 20,000 midpoints: 1e-3 a step.
    rel = 1e-3 if activation == "hard_tanh" else 1e-5
    assert theory.chi(activation, sigma_w, sigma_b) == pytest.approx(chi, rel=rel)


@pytest.mark.parametrize("sigma_w", [0.3, 1.0, 1.3])
@pytest.mark.parametrize("sigma_b", [0.2, 1.0])
def test_relu_in_closed_form(sigma_w, sigma_b):
    q = sigma_b**2 / (1 - sigma_w**2 / 2)
    assert theory.variance_fixed_point("relu", sigma_w, sigma_b) == pytest.approx(q, rel=1e-6)
    assert theory.chi("relu", sigma_w, sigma_b) == pytest.approx(sigma_w**2 / 2, rel=1e-9)


def test_signals_that_die_grow_or_stay():
    assert theory.variance_fixed_point("tanh", 0.5, 0.0) == 0.0
    assert theory.variance_fixed_point("relu", 1.5, 0.0) == math.inf
    assert theory.variance_fixed_point("relu", math.sqrt(2), 0.0) == 1.0
    assert theory.variance_fixed_point("linear", 0.0, 0.5) == pytest.approx(0.25)
    # Where the signal died, units work at z = 0; where it grows without bound, far out.
    assert theory.chi("tanh", 0.5, 0.0) == pytest.approx(0.25)
    assert theory.chi("relu", 1.5, 0.3) == pytest.approx(1.125)
    # SELU has two slopes at 0, and a dying signal sees either: half the sum of their squares.
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    slopes = scale**2 * (1 + alpha**2) / 2
    assert theory.chi("selu", 0.3, 0.0) == pytest.approx(0.09 * slopes, rel=1e-4)


def test_critical_weights_in_closed_form():
    assert theory.critical_sigma_w("relu", 0.0) == pytest.approx(math.sqrt(2))
    assert theory.critical_sigma_w("relu", 0.5) == pytest.approx(math.sqrt(2))
    assert theory.critical_sigma_w("linear", 0.0) == pytest.approx(1.0)
    assert theory.critical_sigma_w("tanh", 0.0) == pytest.approx(1.0)
    leaky = math.sqrt(2 / (1 + 0.01**2))
    assert theory.critical_sigma_w("leaky_relu", 0.0) == pytest.approx(leaky)


@pytest.mark.parametrize(
    ("activation", "sigma_b", "jumps"),
    [("tanh", 0.3, False), ("sigmoid", 0.1, False), ("elu", 0.1, True), ("gelu", 0.2, True)],
)
def test_gradients_vanish_below_the_critical_weights_and_not_above(activation, sigma_b, jumps):
    critical = theory.critical_sigma_w(activation, sigma_b)
    for share in (0.2, 0.5, 0.9, 0.9999):
        assert theory.chi(activation, share * critical, sigma_b) < 1
    assert theory.chi(activation, 1.0001 * critical, sigma_b) >= 1
    if not jumps:
        assert theory.chi(activation, critical, sigma_b) == pytest.approx(1.0, abs=1e-6)


def test_depth_scale():
    assert theory.depth_scale("relu", 1.0, 0.0) == pytest.approx(1 / math.log(2))
    assert theory.depth_scale("relu", 2.0, 0.1) == pytest.approx(1 / math.log(2))
    assert theory.depth_scale("relu", math.sqrt(2), 0.0) == math.inf
    assert theory.depth_scale("tanh", 0.0, 0.5) == 0.0


@pytest.mark.parametrize(
    ("activation", "sigma_w"), [("tanh", 1.5), ("sigmoid", 1.0), ("relu", 1.0)]
)
def test_random_networks_follow_the_profile(activation, sigma_w):
    # Signals at their fixed point: after ten layers, at which the backward pass stops.
    width, above, sigma_b = 400, 20, 0.1
    slopes = []
    for seed in range(4):
        network = models.MLP((width,) * (above + 11), activation)
        initialization.initialize(
            network, "mean_field", sigma_w=sigma_w, sigma_b=sigma_b, seed=seed
        )
        h = torch.randn(16, width, generator=torch.Generator().manual_seed(seed))
        for layer in network.hidden[:10]:
            h = layer(h)
        low = h.detach().requires_grad_()
        states = [low]
        for layer in network.hidden[10:]:
            states.append(layer(states[-1]))
        direction = torch.randn(16, width, generator=torch.Generator().manual_seed(seed + 99))
        gradients = torch.autograd.grad((states[-1] * direction).sum(), states)
        norms = torch.stack([gradient.norm() for gradient in gradients]).double()
        slopes.append(((norms[-1] / norms[0]).log() / (len(norms) - 1)).item())
    predicted = theory.gradient_profile(activation, sigma_w, sigma_b, above)
    step = -np.diff(np.log(predicted[::-1])).mean()
    # One vector's stretch by a layer scatters by √(2/400)/2; sixteen examples share the weights, so
    # count one, over 19 layers and four networks. Finite width adds a bias of the same small size.
    error = math.sqrt(2 / width) / 2 / math.sqrt(19 * 4)
    assert np.mean(slopes) == pytest.approx(step, abs=4 * error + 2 / width)


def test_gradient_profile_is_geometric_and_ends_at_one():
    profile = theory.gradient_profile("relu", 1.0, 0.0, 5)
    assert profile == pytest.approx([0.25, 2**-1.5, 0.5, 2**-0.5, 1.0])
    assert theory.gradient_profile("tanh", 0.0, 0.0, 1) == pytest.approx([1.0])


def spd(seed, size=6):
    root = torch.randn(
        size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return root @ root.T / size


def test_learning_rate_limit_is_where_a_loop_starts_to_diverge():
    hessian = spd(0)
    limit = theory.learning_rate_limit(hessian)
    assert limit == pytest.approx(2 / np.linalg.eigvalsh(hessian.numpy())[-1])
    start = torch.ones(6, dtype=torch.float64)
    for share, grows in ((0.99, False), (1.01, True)):
        theta = start.clone()
        for _ in range(3000):
            theta = theta - share * limit * hessian @ theta
        assert bool(theta.norm() > start.norm()) is grows
    assert theory.learning_rate_limit(-hessian) == math.inf


def test_quadratic_trajectory_is_the_loops():
    hessian, start = spd(1), torch.arange(6.0, dtype=torch.float64)
    theta, expected = start.clone(), [start]
    for _ in range(12):
        theta = theta - 0.3 * hessian @ theta
        expected.append(theta)
    path = theory.quadratic_trajectory(hessian, start, 0.3, 12)
    torch.testing.assert_close(path, torch.stack(expected), rtol=1e-10, atol=1e-10)
    single = theory.quadratic_trajectory(hessian, start.float(), 0.3, 12)
    walked = train.gradient_descent(
        lambda t: t @ hessian.float() @ t / 2, start.float(), lr=0.3, steps=12
    )
    torch.testing.assert_close(single, walked, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("start", [[1, 2], (1.0, 2.0), torch.tensor([1, 2]), np.array([1, 2])])
def test_a_trajectory_starts_from_any_numbers(start):
    """An integer start once gave a path of integers."""
    path = theory.quadratic_trajectory(torch.eye(2), start, 0.25, 2)
    expected = torch.tensor([[1.0, 2.0], [0.75, 1.5], [0.5625, 1.125]])
    torch.testing.assert_close(path, expected)  # also the dtype
    walked = train.gradient_descent(lambda t: t @ t / 2, start, lr=0.25, steps=2)
    torch.testing.assert_close(path, walked)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.chi("step", 1.0, 0.0), "sigmoid"),
        (lambda: theory.chi("tanh", -1.0, 0.0), "sigma_w"),
        (lambda: theory.variance_fixed_point("tanh", 1.0, math.nan), "sigma_b"),
        (lambda: theory.critical_sigma_w("tanh", -0.1), "sigma_b"),
        (lambda: theory.depth_scale("tanh", math.inf, 0.0), "sigma_w"),
        (lambda: theory.gradient_profile("tanh", 1.0, 0.0, 0), "depth"),
        (lambda: theory.learning_rate_limit(torch.ones(2, 3)), "square"),
        (lambda: theory.learning_rate_limit(torch.tensor([[1.0, 2.0], [0.0, 1.0]])), "symmetric"),
        (lambda: theory.learning_rate_limit(torch.full((2, 2), math.nan)), "finite"),
        (lambda: theory.quadratic_trajectory(torch.eye(2), torch.ones(3), 0.1, 2), "start"),
        (lambda: theory.quadratic_trajectory(torch.eye(2), [1.0], 0.1, 2), "start"),
        (lambda: theory.quadratic_trajectory(torch.eye(2), [1.0, math.nan], 0.1, 2), "start"),
        (lambda: theory.quadratic_trajectory(torch.empty(0, 0), [], 0.1, 2), "not empty"),
        (lambda: theory.learning_rate_limit(torch.empty(0, 0)), "not empty"),
        (lambda: theory.quadratic_trajectory(torch.eye(2), torch.ones(2), 0.0, 2), "lr"),
        (lambda: theory.quadratic_trajectory(torch.eye(2), torch.ones(2), 0.1, -1), "steps"),
    ],
)
def test_bad_arguments_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
