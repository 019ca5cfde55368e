"""Findings that check themselves: a chapter states what it found, and fails where it isn't so."""

import hashlib
import html
import operator
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from vglab import _checks

__all__ = ["Claim", "ClaimFailed", "claim"]

MIME = "application/vnd.vglab.claim+json"

RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "≤": operator.le,
    ">": operator.gt,
    "≥": operator.ge,
    "=": operator.eq,
    "≠": operator.ne,
}
"""Besides "≈", which needs a tolerance."""


class ClaimFailed(AssertionError):
    """What was claimed does not hold for what was measured."""


@dataclass(frozen=True)
class Claim:
    """One row of "What we measured": a statement, what was expected, what was measured."""

    statement: str
    expected: str
    measured: str
    relation: str
    tolerance: str | None
    source: str | None
    holds: bool

    @property
    def anchor(self) -> str:
        """Identifier of the row in a page, the same on every machine."""
        return "claim-" + hashlib.sha256(self.statement.encode()).hexdigest()[:10]

    def __repr__(self) -> str:
        source = f"  [{self.source}]" if self.source else ""
        mark = "✓" if self.holds else "✗"
        return (
            f"{mark} {self.statement}: expected {self.expected}, measured {self.measured}{source}"
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {
            "text/plain": repr(self),
            "text/html": self._html(),
            MIME: {"anchor": self.anchor, **asdict(self)},
        }

    def _html(self) -> str:
        mark = ("✓", "holds") if self.holds else ("✗", "does not hold")
        parts = {"statement": self.statement, "expected": self.expected, "measured": self.measured}
        parts |= {"source": self.source} if self.source else {}
        spans = " ".join(
            f'<span class="vglab-claim-{name}">{_LABELS.get(name, "")}{html.escape(text)}</span>'
            for name, text in parts.items()
        )
        return (
            f'<div class="vglab-claim" id="{self.anchor}"><span class="vglab-claim-mark" '
            f'role="img" aria-label="{mark[1]}">{mark[0]}</span> {spans}</div>'
        )


_LABELS = {"expected": "<small>expected</small> ", "measured": "<small>measured</small> "}


def claim(
    statement: str,
    measured: ArrayLike | Tensor,
    expected: ArrayLike | Tensor,
    *,
    tolerance: float | None = None,
    relation: str = "≈",
    source: str | None = None,
    digits: int = 3,
) -> None:
    """Show one row that says what was expected and what was measured, and fail where it isn't so.

    Parameters
    ----------
    statement
        The finding, in words.
    measured
        A number, or one number for each seed ``[S]``: then the claim must hold for every one, and
        the row shows their mean and range. With "=" and "≠" anything that ``==`` compares.
    expected
        The same for all, or an array of the last dimensions of ``measured``, entry by entry.
    tolerance
        For "≈": the largest ``abs(measured - expected)``, in their own unit; by default 1 % of
        ``expected``.
    relation
        What should hold: measured "≈", "=", "≠", "<", "≤", ">" or "≥" expected. NaN never does.
    source
        Where the expectation comes from, as "Author year, equation".
    digits
        Significant digits shown: as many as come out the same on every machine. With 0, for
        rounding errors say, the row shows only that the claim holds.

    Raises
    ------
    ClaimFailed
        The relation does not hold (the row is shown first).
    ValueError
        An unknown relation, a tolerance without "≈", nothing measured, shapes that do not match.
    TypeError
        "≈" between what are no numbers.

    Examples
    --------
    >>> claim("the sigmoid's slope is at most 1/4", slopes.max(), 0.25, relation="≤")
    ✓ the sigmoid's slope is at most 1/4: expected ≤ 0.25, measured 0.25
    """
    if relation != "≈" and relation not in RELATIONS:
        raise ValueError(f"relation must be one of ≈ {' '.join(RELATIONS)}; got {relation!r}")
    _checks.count("digits", digits, at_least=0)
    if tolerance is not None:
        _checks.number("tolerance", tolerance, at_least=0)
        if relation != "≈":
            raise ValueError(f'tolerance={tolerance} goes with relation "≈" only')
    values, goals = _array(measured), _array(expected)
    if values.size == 0:
        raise ValueError("nothing was measured: measured is empty")
    if goals.ndim and values.shape[-goals.ndim :] != goals.shape:
        raise ValueError(f"measured has shape {[*values.shape]}, expected {[*goals.shape]}")
    goal = goals[()]
    within = None
    if relation == "≈":
        within = "1 %" if tolerance is None else _text(float(tolerance), max(digits, 3))
        holds = _are_close(values, goals, tolerance)
        wanted = f"{_text(goal, max(digits, 3))} ± {within}"
    else:
        holds = bool(np.all(RELATIONS[relation](values, goal)))
        holds = holds and not _has_nan(values) and not _has_nan(goals)
        wanted = f"{relation} {_text(goal, max(digits, 3))}"
    shown = "yes" if holds and digits == 0 else _summary(values, digits or 3)
    row = Claim(statement, wanted, shown, relation, within, source, holds)
    _show(row)
    if not holds:
        raise ClaimFailed(repr(row))


def _array(value: Any) -> np.ndarray:
    """``value`` as an array; tensors may have a graph, stand in a list, or live on a GPU."""
    if isinstance(value, (list, tuple)):
        return np.asarray([_array(one) for one in value])
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return np.asarray(value.double() if value.is_floating_point() else value)
    return np.asarray(value)


def _are_close(values: np.ndarray, goals: np.ndarray, tolerance: float | None) -> bool:
    for one in (values, goals):
        if one.dtype.kind not in "iufc":
            raise TypeError(
                f'relation "≈" compares numbers, got {one.tolist()!r}; '
                'for anything else give relation="="'
            )
    values, goals = values + 0.0, goals + 0.0  # the difference of unsigned integers wraps around
    margin = np.abs(goals) / 100 if tolerance is None else tolerance
    with np.errstate(invalid="ignore"):
        # A hair more than the margin: the last bit of a difference is rounding, not a finding.
        close = np.abs(values - goals) <= margin * (1 + 1e-9)
    # One per cent of infinity holds every number: infinity is close to itself alone.
    return bool(np.all((close & np.isfinite(goals)) | (values == goals)))


def _has_nan(values: np.ndarray) -> bool:
    return bool(np.any(values != values))


def _summary(values: np.ndarray, digits: int) -> str:
    if values.size == 1 or values.dtype.kind not in "fiu":
        return ", ".join(_text(value, digits) for value in values.ravel())
    if gaps := int(np.count_nonzero(values != values)):
        return f"nan ({gaps} of {values.size})"
    with np.errstate(invalid="ignore"):  # both infinities have no mean
        low, mean, high = (_text(f(values), digits) for f in (np.min, np.mean, np.max))
    spread = "" if low == mean == high else f"{low} to {high}, "
    return f"{mean} ({spread}n = {values.size})"


def _text(value: Any, digits: int) -> str:
    if isinstance(value, (float, np.floating)):
        text = f"{value:.{digits}g}"
        # 1400 reads better than 1.4e+03.
        return f"{float(text):.0f}" if "e+" in text and abs(float(value)) < 1e6 else text
    if isinstance(value, np.ndarray):
        return f"[{', '.join(_text(one, digits) for one in value)}]"
    return str(value)


def _show(row: Claim) -> None:
    try:
        from IPython.display import display as show
    except ImportError:
        show = print  # type: ignore[assignment]  # what display does outside of notebooks
    try:
        show(row)
    except UnicodeEncodeError:  # a terminal or a file without ✓, η, ±: the verdict matters more
        encoding = sys.stdout.encoding or "ascii"
        print(repr(row).encode(encoding, "backslashreplace").decode(encoding))
