"""Exercises that check themselves against a reference, and say where an answer differs."""

import copy
import html
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vglab import _checks

__all__ = ["Result", "check", "run_tests"]

MIME = "application/vnd.vglab.check+json"


@dataclass(frozen=True)
class Result:
    """How an attempt fared: ``passed`` is True, False, or None where it was not attempted yet."""

    passed: bool | None
    message: str

    def __repr__(self) -> str:
        return f"{ {True: '✓', False: '✗', None: '○'}[self.passed] } {self.message}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        state = {True: "passed", False: "failed", None: "pending"}[self.passed]
        text = f'<div class="vglab-check {state}">{html.escape(repr(self))}</div>'
        return {
            "text/plain": repr(self),
            "text/html": text,
            MIME: {"passed": self.passed, "message": self.message},
        }


def check(
    attempt: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Iterable[Any],
    *,
    tolerance: float = 1e-4,
) -> Result:
    """Compare ``attempt`` with ``reference`` on each of ``inputs``.

    Nothing that the attempt does ends the notebook: an attempt that raises `NotImplementedError` is
    "not attempted yet", any other exception, or an exit, is reported as its result.

    Parameters
    ----------
    attempt
        The reader's function.
    reference
        A function of the same arguments that gives the right answers: numbers, tensors, arrays, or
        tuples, lists and mappings of them.
    inputs
        The arguments of each call: a tuple, or a single argument. Each function gets its own copy,
        of a tensor that has a graph one without.
    tolerance
        Largest difference, relative to the reference's largest absolute value.

    Returns
    -------
    Result
        Shown by a notebook as one line.

    Raises
    ------
    ValueError
        ``inputs`` is empty, so that anything would pass; or the tolerance is negative.
    """
    _checks.number("tolerance", tolerance, at_least=0)
    calls = [one if isinstance(one, tuple) else (one,) for one in inputs]
    if not calls:
        raise ValueError("inputs is empty: an exercise needs at least one input to check")
    for number, arguments in enumerate(calls, start=1):
        expected = reference(*_copy(arguments))
        shown = arguments[0] if len(arguments) == 1 else arguments
        where = f"on input {number} of {len(calls)}, {_short(shown)}"
        try:
            answer = attempt(*_copy(arguments))
            difference = _difference(answer, expected, tolerance)
        except NotImplementedError:
            return Result(None, "not attempted yet")
        except (Exception, SystemExit) as error:
            return Result(False, f"{where}: raised {type(error).__name__}: {error}")
        if difference:
            return Result(False, f"{where}: {difference}")
    return Result(True, f"right on {len(calls)} input{'s' * (len(calls) > 1)}")


def run_tests(names: Mapping[str, Any], *tests: Callable[..., None]) -> Result:
    """Run the public tests of an assignment's question, one line of the result for each.

    Parameters
    ----------
    names
        The notebook's names, ``globals()``; a test's parameters say which of them it takes.
    tests
        Functions that raise where something is wrong, as with ``assert``.

    Returns
    -------
    Result
        Passed where every test did; not attempted where a name is missing or still ``...``, or a
        function raises `NotImplementedError`.
    """
    lines, all_passed = [], True
    for test in tests:
        parameters = list(inspect.signature(test).parameters)
        if any(names.get(name, ...) is ... for name in parameters):
            return Result(None, "not attempted yet")
        try:
            test(*(names[name] for name in parameters))
            lines.append(f"✓ {_told(test)}")
        except NotImplementedError:
            return Result(None, "not attempted yet")
        except (Exception, SystemExit) as error:
            all_passed = False
            said = str(error) or "it did not hold"
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            lines.append(f"✗ {_told(test)}: {kind}{said}")
    head = "all public tests passed" if all_passed else "not yet:"
    return Result(all_passed, "\n".join([head, *lines]))


def _told(test: Callable[..., None]) -> str:
    return test.__name__.removeprefix("test_").replace("_", " ")


def _copy(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """A deep copy, with a leaf in place of each tensor that has a graph, which deepcopy refuses."""
    copies: dict[int, Any] = {}
    seen, left = set(), list(arguments)
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Tensor) and not one.is_leaf:
            copies[id(one)] = one.detach().clone().requires_grad_(one.requires_grad)
        elif isinstance(one, (tuple, list)):
            left.extend(one)
        elif isinstance(one, dict):
            left.extend(one.values())
    return copy.deepcopy(arguments, copies)  # which looks up there what has been copied


def _difference(answer: Any, expected: Any, tolerance: float) -> str:
    """What is wrong with ``answer``; empty where nothing is."""
    if isinstance(expected, dict):
        if not isinstance(answer, dict) or answer.keys() != expected.keys():
            return f"expected a dict with keys {list(expected)}, got {_short(answer)}"
        pairs: Sequence[tuple[Any, Any]] = [(answer[key], expected[key]) for key in expected]
    elif isinstance(expected, (tuple, list)):
        if isinstance(answer, (Tensor, np.ndarray)) and answer.ndim:
            answer = list(answer)
        if not isinstance(answer, (tuple, list)) or len(answer) != len(expected):
            return f"expected {len(expected)} values, got {_short(answer)}"
        pairs = list(zip(answer, expected, strict=True))
    else:
        return _difference_of_arrays(answer, expected, tolerance)
    return next(filter(None, (_difference(a, b, tolerance) for a, b in pairs)), "")


def _difference_of_arrays(answer: Any, expected: Any, tolerance: float) -> str:
    if answer is None and expected is not None:
        return "your function returned nothing (None); does it end with return?"
    got, wanted = _array(answer), _array(expected)
    if wanted.dtype.kind not in "fcb" or got.dtype.kind not in "fcb":
        equal = np.array_equal(got, wanted)
        return "" if equal else f"expected {_short(expected)}, got {_short(answer)}"
    if got.shape != wanted.shape:
        return f"expected shape {list(wanted.shape)}, got {list(got.shape)}"
    finite = np.abs(wanted[np.isfinite(wanted)])
    allowed = tolerance * max(1e-12, float(np.max(finite, initial=0.0)))
    if np.allclose(got, wanted, rtol=0.0, atol=allowed, equal_nan=True):
        return ""
    return f"expected {_short(expected)}, got {_short(answer)}"


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value
    elif isinstance(value, (tuple, list)) and any(isinstance(one, Tensor) for one in value):
        value = [_array(one) for one in value]
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "fiu" else array


def _short(value: Any) -> str:
    with torch._tensor_str.printoptions(precision=4, threshold=8, edgeitems=2):
        text = " ".join(repr(value).split())
    return text if len(text) <= 120 else f"{text[:117]}…"
