"""Occlusion: what the output loses when a part of the input is covered."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from vglab import _checks
from vglab._attribution import Attribution, Query, asked
from vglab._first_layer import FirstLayer
from vglab._lent import as_baseline


def occlusion(
    model: nn.Module,
    inputs: Any,
    target: Any = None,
    *,
    patch: int | Sequence[int] = 1,
    stride: int | Sequence[int] | None = None,
    baseline: Any = None,
    output: str = "logit",
) -> Attribution:
    """Occlusion: ``f(x) - f(x with a window covered)``, for windows that slide over the input.

    Zeiler and Fergus 2014, section 4.2. A feature gets the mean over the windows that cover it;
    of a window, every feature gets the whole difference.

    Parameters
    ----------
    model, inputs, target, output
        As in `saliency`.
    patch
        Size of the window: one length for each axis of an input; or a length for all of them, where
        images ``[C, H, W]`` are covered in all channels at once.
    stride
        Steps of the window; None for its size: windows side by side. The last are cut at the edge.
    baseline
        What covers: None for zeros (the average input, where the data are standardised), a number,
        one input ``[*input_shape]``, or one for each example.

    Returns
    -------
    Attribution
        ``values`` ``[N, *input_shape]``; ``baseline`` None, since occlusion is not additive.

    Raises
    ------
    TypeError, ValueError
        As `saliency`; a window larger than the input, a stride larger than the window.
    """
    with asked(model, inputs, target, output=output, seed=0) as query:
        shape = query.inputs.shape[1:]
        sides = _lengths("patch", patch, shape)
        steps = sides if stride is None else _lengths("stride", stride, shape)
        if any(step > side for step, side in zip(steps, sides, strict=True)):
            raise ValueError(f"stride {steps} leaves gaps between windows of {sides}")
        cover = as_baseline(baseline, query.inputs, model).flatten(1)
        windows = list(_windows(shape, sides, steps, query.inputs.device))
        short = query.shortened()
        values = torch.zeros_like(query.inputs).flatten(1)
        count = torch.zeros_like(values[0])
        at_once = max(1, (query if short is None else short[1]).rows_at_once // len(values))
        for i in range(0, len(windows), at_once):
            some = windows[i : i + at_once]
            if short is None:
                left = _scores(query, cover, some)
            else:
                left = _short(*short, query.inputs, cover, some)
            for window, score in zip(some, left, strict=True):
                values[:, window] += (query.score - score)[:, None]
                count[window] += 1
        return query.answer((values / count).view_as(query.inputs), "occlusion")


def _lengths(argument: str, given: int | Sequence[int], shape: torch.Size) -> tuple[int, ...]:
    """One length for each axis, checked; channels of an image are whole where one is for all."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        lengths = tuple(given)
        if len(lengths) != len(shape):
            raise ValueError(f"{argument} must have {len(shape)} lengths, got {lengths}")
    else:
        lengths = (given,) * len(shape)
        if len(shape) == 3:
            lengths = (shape[0], *lengths[1:])
    for length, size in zip(lengths, shape, strict=True):
        _checks.count(argument, length)
        if length > size:
            raise ValueError(f"{argument} {lengths} is larger than an input {[*shape]}")
    return lengths


def _windows(
    shape: torch.Size, sides: tuple[int, ...], steps: tuple[int, ...], device: torch.device
) -> Iterator[Tensor]:
    """Flat places of the features in each window."""
    places = torch.arange(shape.numel(), device=device).view(shape)
    starts = [
        range(0, size - side + step, step)
        for size, side, step in zip(shape, sides, steps, strict=True)
    ]
    for corner in product(*starts):
        cut = tuple(slice(a, a + side) for a, side in zip(corner, sides, strict=True))
        yield places[cut].flatten()


def _scores(query: Query, cover: Tensor, windows: list[Tensor]) -> Tensor:
    """Score ``[G, N]`` with each of some windows covered."""
    copies = query.inputs.flatten(1).repeat(len(windows), 1, 1)
    for copy, window in zip(copies, windows, strict=True):
        copy[:, window] = cover[:, window]
    return _ask(query, copies.view(-1, *query.inputs.shape[1:]), len(windows))


def _short(
    head: FirstLayer, rest: Query, x: Tensor, cover: Tensor, windows: list[Tensor]
) -> Tensor:
    """The same, by what the windows change in the first layer's pre-activations."""
    change, columns = cover - x.flatten(1), head.weight.T
    z = [torch.addmm(rest.inputs, change[:, at], columns[at]) for at in windows]
    return _ask(rest, torch.cat(z), len(windows))


def _ask(query: Query, x: Tensor, windows: int) -> Tensor:
    rows = torch.arange(len(query.inputs), device=x.device).repeat(windows)
    return query.scores(x, rows).view(windows, -1)
