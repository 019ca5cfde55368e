"""The front page's picture where nothing moves: gradients that vanish, and gradients that return.

    python book/_tools/hero.py

writes `book/_static/hero.svg`. In a browser with JavaScript `book/_static/play/hero.js` takes its
place, with the same dots, computed there.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from vglab import initialization, models, theory

DEPTH, WIDTH, SHOWN = 32, 64, 16  # layers, units of a layer, units that the picture shows
PITCH, GAP, TOP = 20, 62, 34
DECADES = 4  # a dot's radius falls to nothing over so many powers of ten
BLUE, INK = "#0072b2", "#1a1a1a"


def signal(sigma_w: float, seed: int = 0) -> Tensor:
    """Return ‖∂J/∂h‖ of every unit of a tanh network for one input ``[DEPTH, WIDTH]``."""
    model = models.MLP((WIDTH,) * (DEPTH + 1) + (10,), "tanh").double()
    initialization.initialize(model, "mean_field", sigma_w=sigma_w, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(1, WIDTH, dtype=torch.float64, generator=generator).requires_grad_()
    states = []
    for block in model.hidden:
        h = block(h)
        states.append(h)
    loss = functional.cross_entropy(model.output(h), torch.tensor([0]))
    return torch.cat(torch.autograd.grad(loss, states)).abs()


def radius(size: Tensor) -> Tensor:
    """Return a dot's share of its cell, from a gradient as a multiple of the last layer's."""
    return (1 + size.clamp(min=1e-12).log10() / DECADES).clamp(0, 1.25)


def band(sigma_w: float, words: str, top: int) -> str:
    """Draw one network's dots below a line of words, the input at the left."""
    sizes = signal(sigma_w)
    sizes = sizes / sizes[-1].square().mean().sqrt()
    shares = radius(sizes)[:, : SHOWN // 2]
    dots = [
        f'<circle cx="{PITCH * (layer + 0.5):g}" cy="{top + PITCH * (unit + 0.5):g}" '
        f'r="{0.42 * PITCH * share:.1f}"/>'
        for layer, column in enumerate(shares.tolist())
        for unit, share in enumerate(column)
        if share > 0.02
    ]
    text = f'<text x="2" y="{top - 11}" style="fill: {INK}; font-size: 15px">{words}</text>'
    return f'{text}\n<g style="fill: {BLUE}">{"".join(dots)}</g>'


def picture() -> str:
    """Return the SVG file's text."""
    critical = theory.critical_sigma_w("tanh", 0.0)
    weak = signal(0.8)
    parts = float(f"{weak[-1].norm() / weak[0].norm():.0e}")
    height = SHOWN // 2 * PITCH
    below = TOP + height + GAP - 14
    bands = (
        band(0.8, f"Weights of size 0.8: one part in {parts:,.0f} reaches the first layer", TOP),
        band(critical, "Weights of size 1, which theory had said beforehand: it arrives", below),
    )
    size = f'width="{DEPTH * PITCH}" height="{below + height + 30}"'
    box = f'viewBox="0 0 {DEPTH * PITCH} {below + height + 30}"'
    foot = below + height + 20
    ends = (
        f'<text x="2" y="{foot}" style="fill: {INK}; font-size: 13px">input</text>'
        f'<text x="{DEPTH * PITCH - 2}" y="{foot}" text-anchor="end" '
        f'style="fill: {INK}; font-size: 13px">loss, where gradients start</text>'
    )
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box}>'
    return "\n".join([svg, *bands, ends, "</svg>"]) + "\n"


if __name__ == "__main__":
    target = Path(__file__).resolve().parents[1] / "_static" / "hero.svg"
    target.write_text(picture(), encoding="utf-8", newline="\n")
