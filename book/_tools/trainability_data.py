"""Train the networks of the trainability map, and store what its interactive figure shows.

    python book/_tools/trainability_data.py

It writes `book/_static/play/trainability.json`: the settings, which are those of the chapter on
signal propagation, what the theory says for each σ_w, and of each network the loss of every step
and the test images it reads.

A loss is stored as its logarithm in units of `quantum`, rounded; then as what that differs by from
the step before, and this as what it differs by from the network with the next smaller σ_w: networks
that see the same batches rise and fall together. The differences, from 0, -1, 1, -2 … to 0, 1, 2,
3 …, are two digits to the base 56, each a character; the first digits of all stand before the
second ones. A web server packs that to half its size.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vglab import data, sweep, theory

TARGET = Path(__file__).resolve().parents[1] / "_static" / "play" / "trainability.json"
SIGMA_W = np.linspace(0.5, 3.0, 25).round(3)
DEPTHS = range(2, 51, 2)
SIGMA_B = 0.05**0.5
STEPS = 150
PLAIN: dict[str, list[Any]] = {
    "width": [32],
    "activation": ["tanh"],
    "sigma_b": [SIGMA_B],
    "lr": [0.05],
}
SEED, BATCH_SIZE = 0, 64

QUANTUM = 0.00099
"""Of a loss's logarithm: half of it, the largest error, leaves three digits."""

THREE_DIGITS = 0.5e-3
"""Two losses that differ by less than this share of themselves agree to three digits."""

NUDGE = 2.0**-20
"""A change of the weights that is as small as what another processor's rounding does to them."""

BASE, FIRST = 56, ord("$")
"""Digits, and the character of the digit 0: from there on few need escaping in JSON."""


def trained(sigma_w: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Loss of every step ``[depths, sigma_w, steps]`` and test accuracy ``[depths, sigma_w]``."""
    grid = PLAIN | {"depth": [*DEPTHS], "sigma_w": sigma_w.tolist()}
    frame = sweep.sweep(
        grid, data.load("digits", flatten=True), steps=STEPS, seeds=[SEED],
        batch_size=BATCH_SIZE, losses=True, n_jobs=2, progress=True,
    )  # fmt: skip
    shape = len(DEPTHS), len(sigma_w)
    losses = np.stack(frame["losses"].tolist()).reshape(*shape, STEPS).astype(np.float64)
    return losses, frame["test_accuracy"].to_numpy().reshape(shape)


def firm_steps(losses: NDArray[Any], nudged: NDArray[Any]) -> NDArray[Any]:
    """Steps ``[depths, sigma_w]`` through which two records agree to three digits."""
    differ = np.abs(nudged / losses - 1) > THREE_DIGITS
    steps: NDArray[Any] = np.where(differ.any(-1), differ.argmax(-1), losses.shape[-1])
    return steps


def pack(losses: NDArray[Any]) -> str:
    """Write losses ``[depths, sigma_w, steps]`` as text; see above."""
    levels = np.rint(np.log(losses) / QUANTUM).astype(int)
    differences = np.diff(np.diff(levels, axis=2, prepend=0), axis=1, prepend=0).ravel()
    counted = np.where(differences >= 0, 2 * differences, -2 * differences - 1)
    return "".join(chr(FIRST + digit) for digit in [*(counted // BASE), *(counted % BASE)])


def short(value: float) -> float:
    """Keep what a reader may see of a number, and more."""
    return float(f"{value:.7g}")


def main() -> None:
    """Train, compare with networks that are started a rounding away, and write."""
    losses, accuracy = trained(SIGMA_W)
    nudged, _ = trained(SIGMA_W * (1 + NUDGE))
    dataset = data.load("digits")
    images = len(dataset.y_test)
    content = {
        "settings": {key: values[0] for key, values in PLAIN.items()}
        | {"data": "digits", "seed": SEED, "batch_size": BATCH_SIZE, "steps": STEPS}
        | {"test_images": images},
        "sigma_w": SIGMA_W.tolist(),
        "depths": [*DEPTHS],
        "chi": [short(theory.chi("tanh", sigma_w, SIGMA_B)) for sigma_w in SIGMA_W],
        "xi": [short(theory.depth_scale("tanh", sigma_w, SIGMA_B)) for sigma_w in SIGMA_W],
        "right": np.rint(accuracy * images).astype(int).tolist(),
        "firm": firm_steps(losses, nudged).tolist(),
        "quantum": QUANTUM,
        "losses": pack(losses),
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    TARGET.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
