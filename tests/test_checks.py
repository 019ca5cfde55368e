"""Argument checks: what each accepts, refuses, and says."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from vglab import _checks


def message(check, *args, **kwargs):
    with pytest.raises((TypeError, ValueError)) as caught:
        check(*args, **kwargs)
    return f"{caught.type.__name__}: {caught.value}"


def test_choice_lists_the_known_names():
    _checks.choice("norm", "b", ["a", "b"])
    assert message(_checks.choice, "norm", "c", (n for n in "ab")) == (
        "ValueError: norm must be one of a, b; got 'c'"
    )
    assert "got None" in message(_checks.choice, "norm", None, {"a": 1})
    assert "got ['a']" in message(_checks.choice, "norm", ["a"], {"a": 1})


@pytest.mark.parametrize("value", [1, 1.5, np.float32(1.5), np.int64(1), Fraction(3, 2), -1e300])
def test_number_takes_every_real_number(value):
    _checks.number("lr", value)


@pytest.mark.parametrize("value", [True, "1", None, 1j, torch.tensor(1.0), np.bool_(True), [1]])
def test_number_refuses_what_is_no_number(value):
    said = message(_checks.number, "lr", value)
    assert said.startswith("TypeError: lr must be a number, got ")
    assert said.endswith(f"({type(value).__name__})")


def test_the_bounds_of_a_number():
    _checks.number("lr", 0, at_least=0)
    _checks.number("lr", 1e-300, above=0, below=1)
    assert message(_checks.number, "lr", 0, above=0) == (
        "ValueError: lr must be finite and greater than 0, got 0"
    )
    assert message(_checks.number, "m", 1.0, at_least=0, below=1) == (
        "ValueError: m must be finite and at least 0 and less than 1, got 1.0"
    )
    assert message(_checks.number, "m", -1e-9, at_least=0) == (
        "ValueError: m must be finite and at least 0, got -1e-09"
    )
    for value in (math.nan, math.inf, -math.inf):
        assert message(_checks.number, "m", value) == (f"ValueError: m must be finite, got {value}")


def test_count():
    _checks.count("epochs", 1)
    _checks.count("epochs", np.int32(1))
    _checks.count("epochs", 0, at_least=0)
    assert message(_checks.count, "epochs", 0) == "ValueError: epochs must be at least 1, got 0"
    assert message(_checks.count, "n", 1, at_least=2) == "ValueError: n must be at least 2, got 1"
    for value in (True, 1.0, "1", None, np.float64(2)):
        said = message(_checks.count, "epochs", value)
        assert said.startswith("TypeError: epochs must be an integer, got ")
        assert said.endswith(f"({type(value).__name__})")


def test_finite_counts_what_is_not():
    _checks.finite("x", torch.tensor([1.0, -2.0]))
    _checks.finite("x", torch.tensor([1, 2]))
    _checks.finite("x", torch.empty(0))
    bad = torch.tensor([[1.0, math.nan], [math.inf, -math.inf]])
    assert message(_checks.finite, "x", bad).startswith(
        "ValueError: x must be finite, got 3 NaN or infinite values among 4;"
    )
