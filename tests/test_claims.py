"""Claims: every relation both ways, what a row says, and that it is shown before it fails."""

import builtins
import dataclasses
import html
import math
import os
import subprocess
import sys
import warnings
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch

from vglab import claims
from vglab.claims import ClaimFailed, claim

MIME = "application/vnd.vglab.claim+json"
NAN, INF = math.nan, math.inf


@pytest.fixture
def rows(monkeypatch):
    shown = []
    monkeypatch.setattr(claims, "_show", shown.append)
    return shown


def holds(measured, expected, **arguments):
    """Whether the claim held, with what was shown."""
    shown = []
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would stand in the notebook
        patch.setattr(claims, "_show", shown.append)
        try:
            claim("s", measured, expected, **arguments)
        except ClaimFailed as failure:
            assert not shown[0].holds and str(failure) == repr(shown[0])
            return False
    assert len(shown) == 1 and shown[0].holds
    return True


ABOUT = [
    (1.0, 1.0, {}, True),
    (1.01, 1.0, {}, True),
    (0.99, 1.0, {}, True),
    (1.0101, 1.0, {}, False),
    (0.9899, 1.0, {}, False),
    (-1.005, -1.0, {}, True),
    (-1.02, -1.0, {}, False),
    (0, 0, {}, True),
    (1e-300, 0, {}, False),
    (0.5, 1.0, dict(tolerance=0.5), True),
    (1.5, 1.0, dict(tolerance=0.5), True),
    (1.1, 1.0, dict(tolerance=0.1), True),  # 1.1 - 1.0 is a bit more than 0.1 in floating point
    (1.1 + 1e-7, 1.0, dict(tolerance=0.1), False),
    (1.0, 1.0, dict(tolerance=0), True),
    (1.0 + 1e-15, 1.0, dict(tolerance=0), False),
    (7, 7, dict(tolerance=0), True),
    (NAN, 1.0, {}, False),
    (1.0, NAN, {}, False),
    (NAN, NAN, dict(tolerance=1), False),
    (INF, 1.0, dict(tolerance=1e308), False),
    (1.0, INF, {}, False),  # one per cent of infinity would let everything pass
    (1.0, INF, dict(tolerance=1e308), False),
    (INF, INF, {}, True),
    (INF, INF, dict(tolerance=0.1), True),
    (-INF, INF, {}, False),
    (1 + 1j, 1 + 1.001j, {}, True),
    (1 + 1j, 1 - 1j, {}, False),
]


@pytest.mark.parametrize("measured, expected, arguments, holding", ABOUT)
def test_about_equal(measured, expected, arguments, holding):
    assert holds(measured, expected, **arguments) is holding
    assert holds([expected, measured], expected, **arguments) is (holding and expected == expected)


ORDER = {  # relation: holds for measured less than, equal to, greater than expected
    "<": (True, False, False),
    "≤": (True, True, False),
    ">": (False, False, True),
    "≥": (False, True, True),
    "=": (False, True, False),
    "≠": (True, False, True),
}


@pytest.mark.parametrize("relation", ORDER)
def test_relations(relation):
    for measured, holding in zip((1, 2, 3), ORDER[relation], strict=True):
        assert holds(measured, 2, relation=relation) is holding
        assert holds(float(measured), np.float32(2), relation=relation) is holding
    assert holds([1, 1, 1], 2, relation=relation) is ORDER[relation][0]
    for odd_one_out in (1, 2, 3):  # every seed must agree
        others = [3 if ORDER[relation][2] else 1 if ORDER[relation][0] else 2] * 4
        expected = ORDER[relation][odd_one_out - 1]
        assert holds([*others, odd_one_out], 2, relation=relation) is expected


@pytest.mark.parametrize("relation", [*ORDER, "≈"])
def test_nan_never_holds(relation):
    for measured, expected in [(NAN, 1.0), (1.0, NAN), (NAN, NAN), ([2.0, NAN], 1.0), (-1.0, NAN)]:
        assert not holds(measured, expected, relation=relation)
        assert not holds(torch.tensor(measured), torch.tensor(expected), relation=relation)


def test_infinity_has_its_place_in_the_order():
    assert holds(INF, 1.0, relation=">") and holds(-INF, 1.0, relation="<")
    assert holds(INF, INF, relation="=") and not holds(INF, INF, relation="<")


@pytest.mark.parametrize("measured", [
    [1.0, 1.001],
    (1.0, 1.001),
    np.array([1.0, 1.001]),
    np.array([[1.0], [1.001]]),
    torch.tensor([1.0, 1.001]),
    torch.tensor([1.0, 1.001], requires_grad=True),
    torch.tensor([1.0, 1.001]).bfloat16(),
    [torch.tensor(1.0, requires_grad=True), torch.tensor(1.001)],
    (torch.tensor(1.0), 1.001),
    pd.Series([1.0, 1.001], index=["a", "b"]),
    1,
    np.int8(1),
    torch.tensor(1, dtype=torch.uint8),
    torch.tensor(1.0, requires_grad=True),
])  # fmt: skip
def test_numbers_in_any_form(measured):
    assert holds(measured, 1.0) and not holds(measured, 1.5)
    assert holds(measured, torch.tensor(1.0, requires_grad=True))
    assert holds(measured, 0.5, relation=">") and not holds(measured, 0.5, relation="<")


def test_unsigned_numbers_do_not_wrap_around():
    three, five = (torch.tensor(n, dtype=torch.uint8) for n in (3, 5))
    assert holds(three, five, tolerance=2) and holds(five, three, tolerance=2)
    assert not holds(three, five, tolerance=1)


def test_what_is_no_number():
    assert holds("relu", "relu", relation="=") and not holds("relu", "tanh", relation="=")
    assert holds("relu", "tanh", relation="≠") and not holds("relu", "relu", relation="≠")
    assert holds(True, True, relation="=") and not holds(True, False, relation="=")
    assert holds(["a", "b"], ["a", "b"], relation="=")
    assert not holds(["a", "c"], ["a", "b"], relation="=")
    assert holds({"a": 1}, {"a": 1}, relation="=") and not holds({"a": 1}, {}, relation="=")
    assert holds({1, 2}, {2, 1}, relation="=") and holds(None, None, relation="=")
    assert holds([True, True], True, relation="=") and not holds([True, False], True, relation="=")
    assert holds((2, 3), torch.zeros(2, 3).shape, relation="=")


def test_an_expected_array_is_compared_entry_by_entry():
    assert holds([1.0, 2.0], [1.0, 2.0]) and not holds([1.0, 2.0], [2.0, 1.0])
    assert holds([[1.0, 2.0]] * 5, [1.0, 2.0]) and holds([[1, 2]] * 5, [2, 3], relation="<")
    assert not holds([[1.0, 2.0], [1.0, 3.0]], [1.0, 2.0])
    assert holds([1.0, INF], [1.0, INF]) and not holds([5.0, INF], [1.0, INF])


BAD = [
    (ValueError, "^relation must be one of ≈ < ≤ > ≥ = ≠; got '<='", (1, 1), dict(relation="<=")),
    (ValueError, '^tolerance=0.1 goes with relation "≈" only', (1, 1),
     dict(tolerance=0.1, relation="<")),
    (ValueError, "^tolerance must be finite and at least 0, got -1", (1, 1), dict(tolerance=-1)),
    (ValueError, "^tolerance must be finite", (1, 1), dict(tolerance=INF)),
    (ValueError, "^tolerance must be finite", (1, 1), dict(tolerance=NAN)),
    (TypeError, "^tolerance must be a number, got '1 %'", (1, 1), dict(tolerance="1 %")),
    (ValueError, "^digits must be at least 0", (1, 1), dict(digits=-1)),
    (TypeError, "^digits must be an integer", (1, 1), dict(digits=2.5)),
    (ValueError, "^nothing was measured: measured is empty", ([], 1), {}),
    (ValueError, "^nothing was measured", (torch.empty(0, 3), 1), dict(relation="<")),
    (ValueError, r"^measured has shape \[2\], expected \[3\]", ([1, 2], [1, 2, 3]), {}),
    (ValueError, r"^measured has shape \[2\], expected \[3\]", ("ab", "abc"), dict(relation="=")),
    (ValueError, r"^measured has shape \[\], expected \[2\]", (1, [1, 1]), dict(relation="=")),
    (ValueError, r"^measured has shape \[3\]", ([1, 2, 3], [1]), dict(relation="=")),
    (TypeError, '^relation "≈" compares numbers, got True; .* relation="="', (True, True), {}),
    (TypeError, """relation "≈" compares numbers, got 'relu'""", (1, "relu"), {}),
    (TypeError, r"""relation "≈" compares numbers, got \['a', 'b'\]""", (["a", "b"], 1), {}),
]  # fmt: skip


@pytest.mark.parametrize("error, match, values, arguments", BAD)
def test_bad_arguments_are_no_failed_claims(rows, error, match, values, arguments):
    values = [list(v) if v in ("ab", "abc") else v for v in values]
    with pytest.raises(error, match=match) as caught:
        claim("s", *values, **arguments)
    assert not isinstance(caught.value, ClaimFailed) and rows == []


# What a row says.


@pytest.mark.parametrize("measured, expected, arguments, text", [
    (0.25, 0.25, dict(relation="≤"), "✓ s: expected ≤ 0.25, measured 0.25"),
    (1.2345678, 1.2345, {}, "✓ s: expected 1.23 ± 1 %, measured 1.23"),
    (1.2345678, 1.2345, dict(digits=5), "✓ s: expected 1.2345 ± 1 %, measured 1.2346"),
    (1.2, 1.25, dict(tolerance=0.1), "✓ s: expected 1.25 ± 0.1, measured 1.2"),
    (3, 3, dict(relation="="), "✓ s: expected = 3, measured 3"),
    (np.float32(0.1), 0.2, dict(relation="<"), "✓ s: expected < 0.2, measured 0.1"),
    ([1.0, 2.0, 6.0], 9, dict(relation="<"), "✓ s: expected < 9, measured 3 (1 to 6, n = 3)"),
    ([2.0, 2.0], 2, {}, "✓ s: expected 2 ± 1 %, measured 2 (n = 2)"),
    (torch.tensor([1, 2]), 9, dict(relation="<"),
     "✓ s: expected < 9, measured 1.5 (1 to 2, n = 2)"),
    ([5.0], 9, dict(relation="<"), "✓ s: expected < 9, measured 5"),
    (["a", "b"], "c", dict(relation="≠"), "✓ s: expected ≠ c, measured a, b"),
    ([True, True], True, dict(relation="="), "✓ s: expected = True, measured True, True"),
    ([1 / 3, 2 / 3], [1 / 3, 2 / 3], {},
     "✓ s: expected [0.333, 0.667] ± 1 %, measured 0.5 (0.333 to 0.667, n = 2)"),
    (1e-17, 1e-12, dict(relation="<", digits=0), "✓ s: expected < 1e-12, measured yes"),
    (0.12345, 1, dict(relation="<", digits=2, source="Glorot 2010, eq. 16"),
     "✓ s: expected < 1, measured 0.12  [Glorot 2010, eq. 16]"),
    (1, 1, dict(source=""), "✓ s: expected 1 ± 1 %, measured 1"),
])  # fmt: skip
def test_the_text_of_a_row(rows, measured, expected, arguments, text):
    claim("s", measured, expected, **arguments)
    assert repr(rows[0]) == text


@pytest.mark.parametrize("measured, expected, arguments, text", [
    (2, 1, {}, "✗ s: expected 1 ± 1 %, measured 2"),
    ([1.0, NAN, 3.0], 0, dict(relation=">"), "✗ s: expected > 0, measured nan (1 of 3)"),
    (1e-3, 1e-12, dict(relation="<", digits=0), "✗ s: expected < 1e-12, measured 0.001"),
])  # fmt: skip
def test_the_text_of_a_row_that_fails(rows, measured, expected, arguments, text):
    with pytest.raises(ClaimFailed) as failure:
        claim("s", measured, expected, **arguments)
    assert str(failure.value) == repr(rows[0]) == text
    assert isinstance(failure.value, AssertionError)


def test_the_bundle_that_a_notebook_stores(rows):
    claim("slope", 0.2, 0.25, relation="≤", source="Glorot")
    claim("gain", 1.001, 1.0)
    bundle = rows[0]._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) == {"text/plain", "text/html", MIME}
    assert bundle["text/plain"] == "✓ slope: expected ≤ 0.25, measured 0.2  [Glorot]"
    assert bundle[MIME] == {
        "anchor": rows[0].anchor, "statement": "slope", "expected": "≤ 0.25", "measured": "0.2",
        "relation": "≤", "tolerance": None, "source": "Glorot", "holds": True,
    }  # fmt: skip
    second = rows[1]._repr_mimebundle_()[MIME]
    assert (second["tolerance"], second["relation"], second["source"]) == ("1 %", "≈", None)
    with pytest.raises(ClaimFailed):
        claim("gain", 2.0, 1.0, tolerance=0.5)
    third = rows[2]._repr_mimebundle_()[MIME]
    assert (third["tolerance"], third["holds"]) == ("0.5", False)


class Reader(HTMLParser):
    """The text of a row by the class of its span, and the attributes of its outer element."""

    def __init__(self, text):
        super().__init__()
        self.attributes, self.spans, self.open, self.tags = None, {}, [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.attributes = self.attributes or attributes
        self.open.append(attributes.get("class"))
        self.tags.append((tag, attributes))

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, text):
        for name in {name for name in self.open if name}:
            self.spans[name] = self.spans.get(name, "") + text


def test_the_html_of_a_row(rows):
    statement = '<b>W</b> & "b" < $x^2$'
    claim(statement, "<i>", "<u>", relation="≠", source="A & B <2020>")
    text = rows[0]._repr_mimebundle_()["text/html"]
    assert html.escape(statement) in text and "<b>" not in text and "<i>" not in text
    row = Reader(text)
    assert row.attributes == {"class": "vglab-claim", "id": rows[0].anchor}
    assert {tag for tag, _ in row.tags} == {"div", "span", "small"}
    assert row.spans["vglab-claim-statement"] == statement
    assert row.spans["vglab-claim-expected"] == "expected ≠ <u>"
    assert row.spans["vglab-claim-measured"] == "measured <i>"
    assert row.spans["vglab-claim-source"] == "A & B <2020>"
    assert row.spans["vglab-claim-mark"] == "✓"
    marks = [a for _, a in row.tags if a.get("class") == "vglab-claim-mark"]
    assert marks == [{"class": "vglab-claim-mark", "role": "img", "aria-label": "holds"}]


def test_the_html_of_a_row_that_fails_and_has_no_source(rows):
    with pytest.raises(ClaimFailed):
        claim("s", 2, 1)
    row = Reader(rows[0]._html())
    assert row.spans["vglab-claim-mark"] == "✗" and "vglab-claim-source" not in row.spans
    assert [a["aria-label"] for _, a in row.tags if "aria-label" in a] == ["does not hold"]


def test_anchors_are_stable_and_tell_statements_apart(rows):
    for statement in ("the sigmoid's slope", "the sigmoid's slope", "the tanh's slope", "η λ"):
        claim(statement, 1, 1)
    anchors = [row.anchor for row in rows]
    # The first ten digits of SHA-256, as any other tool gives them.
    assert anchors[0] == anchors[1] == "claim-4141990715"
    assert len(set(anchors)) == 3
    assert all(anchor.isascii() and len(anchor) == 16 for anchor in anchors)
    with pytest.raises(ClaimFailed):
        claim("the sigmoid's slope", 2, 1)
    assert rows[-1].anchor == anchors[0]  # what was measured doesn't move the link
    with pytest.raises(dataclasses.FrozenInstanceError):
        rows[0].holds = False


def test_a_row_is_shown_before_it_fails(capsys):
    with pytest.raises(ClaimFailed):
        claim("s", 2, 1)
    assert capsys.readouterr().out == "✗ s: expected 1 ± 1 %, measured 2\n"


def test_rows_are_printed_where_there_is_no_notebook(capsys, monkeypatch):
    kept = builtins.__import__

    def without_ipython(name, *arguments, **named):
        if name.startswith("IPython"):
            raise ImportError(name)
        return kept(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_ipython)
    claim("s", 1, 1)
    assert capsys.readouterr().out == "✓ s: expected 1 ± 1 %, measured 1\n"


@pytest.mark.parametrize("hidden", ["", "import sys; sys.modules['IPython.display'] = None\n"])
def test_a_terminal_that_cannot_write_a_row_still_gets_its_verdict(hidden):
    code = (
        f"{hidden}from vglab.claims import ClaimFailed, claim\n"
        "claim('slope η', 1, 1)\n"
        "try:\n    claim('slope η', 2, 1)\n"
        "except ClaimFailed:\n    print('failed')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == (
        "\\u2713 slope \\u03b7: expected 1 \\xb1 1 %, measured 1\n"
        "\\u2717 slope \\u03b7: expected 1 \\xb1 1 %, measured 2\n"
        "failed\n"
    )


def test_a_claim_gives_nothing_back(rows):
    assert claim("s", 1, 1) is None


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [(1432.0, 2, "1400"), (98765.4, 3, "98800"), (0.00012345, 2, "0.00012"), (2.5e7, 3, "2.5e+07")],
)
def test_large_numbers_are_written_out_up_to_a_million(value, digits, shown, capsys):
    claim("a size", value, 0.0, relation=">", digits=digits)
    assert f"measured {shown}" in capsys.readouterr().out
