"""Findings that check themselves: a chapter states what it found, and fails where it isn't so."""

import hashlib
import html
import math
import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

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
        the row shows their mean and range.
    expected
        A number (or anything ``==`` compares, with ``relation="="``).
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
        An unknown relation, a tolerance without "≈", nothing measured.

    Examples
    --------
    >>> claim("the sigmoid's slope is at most 1/4", slopes.max(), 0.25, relation="≤")
    ✓ the sigmoid's slope is at most 1/4: expected ≤ 0.25, measured 0.25
    """
    if relation != "≈" and relation not in RELATIONS:
        raise ValueError(f"relation must be one of ≈ {' '.join(RELATIONS)}; got {relation!r}")
    if tolerance is not None and (relation != "≈" or not 0 <= tolerance < math.inf):
        raise ValueError(f'tolerance={tolerance} must be ≥ 0 and goes with relation "≈" only')
    values = np.atleast_1d(_array(measured))
    if values.size == 0:
        raise ValueError("nothing was measured: measured is empty")
    goal = _array(expected)[()]
    within = None
    if relation == "≈":
        margin = abs(goal) / 100 if tolerance is None else tolerance
        within = "1 %" if tolerance is None else _text(float(tolerance), digits or 3)
        # A hair more than the margin: the last bit of a difference is rounding, not a finding.
        holds = bool(np.all(np.abs(values - goal) <= margin * (1 + 1e-9)))
        wanted = f"{_text(goal, digits or 3)} ± {within}"
    else:
        holds = bool(np.all(RELATIONS[relation](values, goal)) and not _has_nan(values))
        wanted = f"{relation} {_text(goal, digits or 3)}"
    shown = "yes" if holds and digits == 0 else _summary(values, digits or 3)
    row = Claim(statement, wanted, shown, relation, within, source, holds)
    _show(row)
    if not holds:
        raise ClaimFailed(repr(row))


def _array(value: Any) -> np.ndarray:
    """``value`` as an array; tensors may have a graph, stand in a list, or live on a GPU."""
    if isinstance(value, (list, tuple)):
        return np.asarray([_array(one) for one in value])
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _has_nan(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and bool(np.isnan(values).any())


def _summary(values: np.ndarray, digits: int) -> str:
    if values.size == 1 or values.dtype.kind not in "fiu":
        return ", ".join(_text(value, digits) for value in values.ravel())
    low, mean, high = (_text(f(values), digits) for f in (np.min, np.mean, np.max))
    return f"{mean} ({low} to {high}, n = {values.size})"


def _text(value: Any, digits: int) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.{digits}g}"
    return str(value)


def _show(row: Claim) -> None:
    try:
        from IPython.display import display
    except ImportError:  # outside of notebooks, display would print the same text
        print(row)
    else:
        display(row)
