"""Exercises: right, wrong, unfinished and hostile attempts, and what the reader is told."""

import html
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vglab.exercises import Result, check, run_tests

NAN, INF = math.nan, math.inf


def passes(answer, expected, **arguments):
    """Whether an attempt that gives ``answer`` passes where ``expected`` is right."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would stand in the notebook
        result = check(lambda _: answer, lambda _: expected, [0], **arguments)
    assert result.passed is not None
    return result.passed


def told(answer, expected):
    result = check(lambda _: answer, lambda _: expected, [0])
    assert result.passed is False
    return result.message.removeprefix("on input 1 of 1, 0: ")


def test_a_right_attempt():
    result = check(lambda x: x + x, lambda x: 2 * x, [1.0, 2.0, torch.arange(3)])
    assert result == Result(True, "right on 3 inputs") and repr(result) == "✓ right on 3 inputs"
    assert check(abs, abs, [-1]).message == "right on 1 input"


def test_a_wrong_attempt_says_where_and_how():
    result = check(lambda x: x + 2, lambda x: 2 * x, [2.0, 3.0, 4.0])
    assert result == Result(False, "on input 2 of 3, 3.0: expected 6.0, got 5.0")
    assert repr(result) == "✗ on input 2 of 3, 3.0: expected 6.0, got 5.0"


def stub(x):
    raise NotImplementedError


def test_a_stub_is_not_attempted_yet():
    result = check(stub, lambda x: x, [1])
    assert result == Result(None, "not attempted yet") and repr(result) == "○ not attempted yet"


@pytest.mark.parametrize("error", [
    ValueError("no"), ZeroDivisionError("no"), SystemExit("no"), RecursionError("no"),
    AssertionError("no"),
])  # fmt: skip
def test_an_attempt_that_raises_is_told_what(error):
    def attempt(x):
        raise error

    result = check(attempt, lambda x: x, [1])
    assert result.passed is False
    assert result.message == f"on input 1 of 1, 1: raised {type(error).__name__}: no"


def test_an_interrupt_stops_the_notebook():
    def attempt(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(attempt, lambda x: x, [1])


def test_an_attempt_that_is_no_function():
    assert "raised TypeError" in check(3, lambda x: x, [1]).message
    assert "raised TypeError" in check(lambda: 1, lambda x: x, [1]).message


def test_answers_that_cannot_even_be_shown():
    class Hostile:
        def __repr__(self):
            raise RuntimeError("hidden")

        def __array__(self, *arguments, **named):
            raise RuntimeError("no array")

    assert told(Hostile(), 1.0) == "raised RuntimeError: no array"
    assert told([Hostile()], {"a": 1}) == "raised RuntimeError: hidden"


@pytest.mark.parametrize("error", [NotImplementedError, ValueError, SystemExit])
def test_a_reference_that_raises_is_the_authors_bug(error):
    def reference(x):
        raise error("author")

    for attempt in (lambda x: x, stub):
        with pytest.raises(error, match="author"):
            check(attempt, reference, [1])


def test_no_inputs_would_let_everything_pass():
    for inputs in ([], (), (x for x in ())):
        with pytest.raises(ValueError, match="inputs is empty"):
            check(stub, stub, inputs)


@pytest.mark.parametrize(
    "tolerance, error", [(-1, ValueError), (NAN, ValueError), ("a", TypeError)]
)
def test_bad_tolerances(tolerance, error):
    with pytest.raises(error, match="tolerance must be"):
        check(abs, abs, [1], tolerance=tolerance)


# What the functions are called with.


def test_a_tuple_is_arguments_and_anything_else_is_one():
    seen = []

    def reference(*arguments):
        seen.append(arguments)
        return 0

    check(lambda *_: 0, reference, [(1, 2), 3, [4, 5], {"a": 6}, "ab", (), ((7, 8),), None])
    assert seen == [(1, 2), (3,), ([4, 5],), ({"a": 6},), ("ab",), (), ((7, 8),), (None,)]
    result = check(lambda a, b: 0, lambda a, b: a + b, [(0, 0), (1, 2)])
    assert result.message == "on input 2 of 2, (1, 2): expected 3, got 0"


def test_inputs_may_come_from_a_generator():
    result = check(lambda x: 2 * x, lambda x: x + x, (torch.full((2,), float(i)) for i in range(4)))
    assert result.message == "right on 4 inputs"


def test_an_attempt_that_changes_its_inputs_changes_only_its_copy():
    x, network = torch.ones(3), nn.Linear(2, 2)
    values, weight = [1.0, 2.0], network.weight.clone()

    def hostile(x, values, network):
        x.zero_()
        values.clear()
        with torch.no_grad():
            network.weight.zero_()
        return 4.0

    inputs = [(x, values, network)] * 2
    result = check(hostile, lambda x, v, n: x.sum() + len(v) - 1, inputs)
    assert result.passed is True  # each call, and the reference, saw three ones and two values
    assert torch.equal(x, torch.ones(3)) and values == [1.0, 2.0]
    assert torch.equal(network.weight, weight)


def test_a_reference_that_changes_its_inputs_leaves_the_attempt_its_own():
    def reference(x):
        return x.mul_(2)

    x = torch.ones(2)
    assert check(lambda x: x * 2, reference, [x, x]).passed
    assert torch.equal(x, torch.ones(2))


def test_inputs_may_have_a_graph():
    """deepcopy refuses a tensor that is no leaf; each function gets a leaf in its place."""
    x = torch.arange(2.0, requires_grad=True) * 2
    for wrap, unwrap in (
        (lambda t: t, lambda t: t),
        (lambda t: (3, t), lambda *a: a[1]),
        (lambda t: [t], lambda v: v[0]),
        (lambda t: {"a": [(t, t)]}, lambda v: v["a"][0][1]),
    ):
        seen = []

        def attempt(*a, unwrap=unwrap, seen=seen):
            seen.append(unwrap(*a))
            return seen[-1] * 3

        result = check(attempt, lambda *a, unwrap=unwrap: unwrap(*a) * 3, [wrap(x)])
        assert result.passed is True, result
        assert torch.equal(seen[0], x) and seen[0].data_ptr() != x.data_ptr()
        assert seen[0].is_leaf and seen[0].requires_grad
    assert x.grad_fn is not None and x.grad_fn.next_functions


def test_copies_keep_what_inputs_share():
    x = torch.ones(2, requires_grad=True) * 2
    loop = [x]
    loop.append(loop)
    for inputs in [(x, x)], [([1.0],) * 2], [(loop, loop[1])]:
        assert check(lambda a, b: a is b, lambda a, b: True, inputs).passed
    parameter = nn.Parameter(torch.ones(2))
    assert check(lambda p: type(p) is nn.Parameter, lambda p: True, [parameter]).passed


# Comparing answers.


FORMS = [
    2.5, np.float32(2.5), np.array(2.5), torch.tensor(2.5), torch.tensor(2.5, requires_grad=True),
    torch.tensor(2.5).bfloat16(), torch.tensor(2.5).half(), torch.tensor(2.5, dtype=torch.float64),
]  # fmt: skip


@pytest.mark.parametrize("expected", FORMS)
def test_a_number_in_any_form(expected):
    for answer in FORMS:
        assert passes(answer, expected)
    assert not passes(2.6, expected) and not passes("2.5", expected)


LISTS = [
    [1.0, 2.0], (1.0, 2.0), np.array([1.0, 2.0]), torch.tensor([1.0, 2.0], requires_grad=True),
    [torch.tensor(1.0, requires_grad=True), torch.tensor(2.0)], [torch.tensor(1.0), 2],
]  # fmt: skip


@pytest.mark.parametrize("expected", [*LISTS, pd.Series([1.0, 2.0])])
def test_values_in_any_form(expected):
    for answer in LISTS:
        assert passes(answer, expected)
        assert not passes(
            answer, expected * 2 if isinstance(expected, (list, tuple)) else -expected
        )
    assert not passes([1.0, 3.0], expected) and not passes([1.0], expected)
    assert not passes(1.0, expected) and not passes([[1.0, 2.0]], expected)


def test_integers_and_booleans():
    assert passes(3, 3) and not passes(4, 3) and passes(3.0, 3)
    assert passes(True, True) and not passes(False, True) and not passes(True, False)
    assert passes(np.array([True, False]), torch.tensor([True, False]))
    assert not passes(np.array([True, True]), torch.tensor([True, False]))
    big = 2**40
    assert passes(big + 1, big) and not passes(big * 1.001, big)


@pytest.mark.parametrize("answer, expected, right", [
    (1.0001, 1.0, True),
    (0.9999, 1.0, True),
    (1.0002, 1.0, False),
    (0.9998, 1.0, False),
    (-1.0002, -1.0, False),
    (1000.09, 1000.0, True),
    (1000.2, 1000.0, False),
    # Relative to the largest of the reference's values, not to each one.
    ([1000.0, 0.05], torch.tensor([1000.0, 0.0]), True),
    ([1000.0, 0.2], torch.tensor([1000.0, 0.0]), False),
    ([-1000.0, 0.05], torch.tensor([-1000.0, 0.0]), True),
    (0.0, 0.0, True),
    (1e-9, 0.0, False),
    (1e-17, 0.0, True),
    (1e-9, 2e-9, False),
])  # fmt: skip
def test_the_default_tolerance(answer, expected, right):
    assert passes(answer, expected) is right


def test_other_tolerances():
    assert passes(1.5, 1.0, tolerance=0.5) and not passes(1.5001, 1.0, tolerance=0.5)
    assert passes(0.1, 0.1, tolerance=0) and not passes(0.1 + 2e-17, 0.1, tolerance=0)
    nested = {"a": [1.4, 10.0]}, {"a": [1.0, 10.0]}
    assert passes(*nested, tolerance=0.5) and not passes(*nested)


@given(st.floats(1e-6, 1e6), st.floats(-3e-4, 3e-4), st.integers(-9, 9))
def test_units_do_not_matter(value, error, exponent):
    """In thousandths or in thousands, the same answer is right or wrong."""
    if abs(abs(error) - 1e-4) > 1e-9:
        assert passes(value * (1 + error), value) is (abs(error) < 1e-4)
    scaled = value * 2.0**exponent
    assert passes(scaled * (1 + error / 2), scaled) is passes(value * (1 + error / 2), value)


@pytest.mark.parametrize("answer, expected, right", [
    (NAN, NAN, True),
    (NAN, 1.0, False),
    (1.0, NAN, False),
    ([NAN, 1.00001], np.array([NAN, 1.0]), True),  # a NaN once left no tolerance for the rest
    ([NAN, 1.1], np.array([NAN, 1.0]), False),
    ([1.0, NAN], np.array([NAN, 1.0]), False),
    (INF, INF, True),
    (-INF, INF, False),
    (1e300, INF, False),
    (INF, 1.0, False),
    ([INF, 1.00001], np.array([INF, 1.0]), True),
    ([INF, 5.0], np.array([INF, 1.0]), False),  # infinity once let everything else pass
    ([INF, INF], np.array([INF, 1.0]), False),
    ([NAN, INF], np.array([NAN, INF]), True),
])  # fmt: skip
def test_nan_and_infinity(answer, expected, right):
    assert passes(answer, expected) is right


def test_nested_results():
    expected = {"loss": 1.0, "norms": [torch.ones(2), (3, "name")]}
    assert passes({"norms": (np.ones(2), [3, "name"]), "loss": 1}, expected)
    assert not passes({"norms": (np.ones(2), [3, "game"]), "loss": 1}, expected)
    assert not passes({"norms": (np.zeros(2), [3, "name"]), "loss": 1}, expected)
    assert told({"loss": 2.0, "norms": 0}, expected) == "expected 1.0, got 2.0"
    assert told({"loss": 1.0}, expected) == (
        "expected a dict with keys ['loss', 'norms'], got {'loss': 1.0}"
    )
    assert told([1.0], expected).startswith("expected a dict with keys")
    assert told((1.0, 2.0, 3.0), (1.0, 2.0)) == "expected 2 values, got (1.0, 2.0, 3.0)"
    assert told(1.0, [1.0]) == "expected 1 values, got 1.0"
    assert told(torch.tensor(1.0), [1.0]) == "expected 1 values, got tensor(1.)"
    assert passes([], []) and passes({}, {}) and not passes([], {}) and not passes([0], [])
    assert told([1.0, None], [1.0, 2.0]).startswith("your function returned nothing")


def test_text_and_other_objects():
    assert passes("relu", "relu") and passes(np.array(["a"]), np.array(["a"]))
    assert told("tanh", "relu") == "expected 'relu', got 'tanh'"
    assert told(np.array([1.0, 2.0]), "relu") == "expected 'relu', got array([1., 2.])"
    assert told("relu", 1.0) == "expected 1.0, got 'relu'"
    assert passes({1, 2}, {2, 1}) and not passes({1}, {2})
    assert passes(1 + 2j, torch.tensor(1 + 2j)) and not passes(1 + 2j, 1 - 2j)
    assert passes(1.0, 1 + 0j)


def test_nothing():
    assert told(None, 1.0) == "your function returned nothing (None); does it end with return?"
    assert told(None, [1.0]) == "expected 1 values, got None"
    assert passes(None, None) and told(1.0, None) == "expected None, got 1.0"


def test_shapes():
    assert told(torch.ones(3, 1), torch.ones(3)) == "expected shape [3], got [3, 1]"
    assert told(1.0, torch.ones(1)) == "expected shape [1], got []"
    assert told(torch.ones(0), torch.ones(2, 2)) == "expected shape [2, 2], got [0]"
    assert passes(torch.ones(0), torch.ones(0)) and passes(torch.ones(2, 0), torch.ones(2, 0))


def test_messages_are_short():
    many = told(torch.arange(1000.0).view(10, 100), torch.zeros(10, 100))
    assert len(many) < 300 and "\n" not in many
    # 120 characters at most of each, the last an ellipsis.
    text = told("x" * 500, "y" * 500)
    assert text == f"expected '{'y' * 116}…, got '{'x' * 116}…"
    assert told("x" * 118, "y") == f"expected 'y', got '{'x' * 118}'"
    assert told("x" * 119, "y") == f"expected 'y', got '{'x' * 116}…"
    assert told(torch.tensor(1 / 3), 1.0) == "expected 1.0, got tensor(0.3333)"
    before = torch._tensor_str.PRINT_OPTS
    told(torch.ones(50), torch.zeros(50))
    assert before == torch._tensor_str.PRINT_OPTS


# How a notebook shows it.


@pytest.mark.parametrize("passed, mark, state", [
    (True, "✓", "passed"), (False, "✗", "failed"), (None, "○", "pending"),
])  # fmt: skip
def test_the_bundle_that_a_notebook_stores(passed, mark, state):
    result = Result(passed, 'got <b> & "x"')
    bundle = result._repr_mimebundle_(include=None, exclude=None)
    assert bundle == {
        "text/plain": f'{mark} got <b> & "x"',
        "text/html": f'<div class="vglab-check {state}">'
        + html.escape(f'{mark} got <b> & "x"')
        + "</div>",
        "application/vnd.vglab.check+json": {"passed": passed, "message": 'got <b> & "x"'},
    }


def test_public_tests_take_the_names_of_the_notebook() -> None:
    def test_sum(add: object, scale: int) -> None:
        if add(1, 2) != 3 * scale:  # type: ignore[operator]
            raise AssertionError("1 + 2")

    def test_type(add: object) -> None:
        assert isinstance(add(1, 2), int)  # type: ignore[operator]

    names = {"add": lambda a, b: a + b, "scale": 1}
    done = run_tests(names, test_sum, test_type)
    assert done.passed and repr(done) == "✓ all public tests passed\n✓ sum\n✓ type"
    wrong = run_tests({**names, "scale": 2}, test_sum, test_type)
    assert wrong.passed is False and repr(wrong) == "✗ not yet:\n✗ sum: 1 + 2\n✓ type"


def test_public_tests_of_what_was_not_attempted() -> None:
    def stub(x: float) -> float:
        raise NotImplementedError

    def test_it(answer: object) -> None:
        answer(1.0)  # type: ignore[operator]

    for names in ({}, {"answer": ...}, {"answer": stub}):
        assert run_tests(names, test_it).passed is None


@pytest.mark.parametrize("error", [ZeroDivisionError("by nothing"), SystemExit("out")])
def test_public_tests_survive_the_answer(error: BaseException) -> None:
    def answer() -> None:
        raise error

    def test_it(answer: object) -> None:
        answer()  # type: ignore[operator]

    done = run_tests({"answer": answer}, test_it)
    assert done.passed is False and type(error).__name__ in done.message
