"""LIME: a linear model of a network near each example, as lime fits it, on batches of outputs."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vglab import _checks
from vglab._attribution import Attribution, Query, as_inputs, asked
from vglab._game import Game
from vglab._players import Players, players


@dataclass(frozen=True, eq=False, kw_only=True)
class LocalModel(Attribution):
    """An `Attribution` by local linear models, and how well they fit.

    Attributes
    ----------
    r2
        Share of the variance of the output near each example, weighted by the kernel, that its
        linear model explains ``[N]``: a low one says that the values are not the network
        (discretised, they never are), a high one that they fit where the neighbours are.
    intercept
        What the linear model adds to its weighted features ``[N]``.
    segments
        Of images: the number of each pixel's segment ``[N, H, W]``; of groups of features, their
        numbers in the shape of the input.
    """

    r2: Tensor
    intercept: Tensor
    segments: Tensor | None = field(default=None, repr=False)


def lime_weights(
    model: nn.Module,
    inputs: Any,
    background: Any,
    target: Any = None,
    *,
    samples: int | None = None,
    segments: Any = None,
    discretize: bool = False,
    kernel_width: float | None = None,
    output: str = "logit",
    seed: int = 0,
) -> LocalModel:
    """Weights of a linear model fitted to the network around each example.

    Ribeiro, Singh and Guestrin 2016. Neighbours are drawn as the lime library draws them, weighted
    by its kernel, and fitted by its ridge regression (penalty 1); all examples share the draws.

    Parameters
    ----------
    model
        Maps ``[N, *input_shape]`` to logits ``[N, C]``, or to ``[N]`` or ``[N, 1]`` for regression.
    inputs
        Images ``[N, C, H, W]``: whole segments are replaced. Anything else is a table: single
        values are.
    background
        Rows ``[B, *input_shape]``. Of a table they give the distribution of the neighbours: normal
        with each column's mean and deviation, so around that mean and not around the example, or,
        discretised, its quartiles. A hidden segment of an image shows their mean.
    target
        None for each example's predicted class; a class; or one for each example.
    samples
        Neighbours of each example; by default 5000 for tables and 1000 for images, as in lime.
    segments
        Of images: integers ``[H, W]`` (or ``[N, H, W]``), the number of each pixel's segment; by
        default superpixels of about 16 pixels that follow the edges (see `superpixels`). Of other
        inputs: groups of values that are replaced together, as in `shap_values`.
    discretize
        Tables only: explain whether a value lies between the quartiles where the example's lies.
    kernel_width
        By default 0.75 √D of a table (distances in standard deviations; discretised, the root of
        the number of features in another bin), 0.25 of an image (cosine distance), as in lime. A
        small one leaves few neighbours, whose weights the penalty shrinks to nothing.
    output
        "logit" or "probability".
    seed
        Seed of the neighbours.

    Returns
    -------
    LocalModel
        ``values``: of a table slopes, in the output's unit by unit of the input (of a linear
        network its coefficients); discretised, what lying in the example's bin adds, compared with
        the other bins (of a linear network its coefficients times the difference of the means:
        Garreau and von Luxburg 2020, "Looking deeper into tabular LIME"); of an image
        what showing a segment adds, the same for each of its pixels. With the fit's ``r2``.

    Raises
    ------
    ValueError, TypeError
        Before any work: bad numbers, a background or segments of another shape, discretised images.

    Examples
    --------
    >>> lime_weights(model, data.x_test[:3], data.x_train).r2
    """
    if samples is not None:
        _checks.count("samples", samples, at_least=2)
    if kernel_width is not None:
        _checks.number("kernel_width", kernel_width, above=0)
    with asked(model, inputs, target, output=output, seed=seed) as query, torch.no_grad():
        rows = as_inputs("background", background, model)
        x = query.inputs
        if rows.shape[1:] != x.shape[1:]:
            raise ValueError(
                f"a row of background must have the shape of an input {[*x.shape[1:]]}, "
                f"got {[*rows.shape[1:]]}"
            )
        in_parts = segments is not None or x.ndim == 4
        if in_parts and discretize:
            raise ValueError("discretize=True is for tables whose features stand alone")
        maps = _maps(segments, x) if in_parts else None
        _ = query.score  # the target is checked before any work
        if maps is None:
            width = kernel_width or 0.75 * x[0].numel() ** 0.5
            fits = _table(query, rows, samples or 5000, discretize, width, output, seed)
        else:
            fits = _parts(query, rows, maps, samples or 1000, kernel_width or 0.25, seed)
        values, intercept, r2 = (torch.stack(each).to(x) for each in zip(*fits, strict=True))
        answer = query.answer(values.view(x.shape), "lime_weights")
    shown = None if maps is None else torch.stack([who.of_feature for who in maps])
    if shown is not None:
        shown = shown.view(x.shape)[:, 0] if x.ndim == 4 else shown.view(x.shape)
    return LocalModel(
        answer.values, answer.target, answer.method, output=answer.output, r2=r2,
        intercept=intercept, segments=shown,
    )  # fmt: skip


def superpixels(image: Tensor, *, size: int = 16) -> Tensor:
    """Segments ``[H, W]`` (int64, from 0) of about ``size`` pixels of an image ``[C, H, W]``.

    Simple linear iterative clustering (Achanta et al. 2012), which has some dozens of segments even
    in a digit of 28 x 28 pixels, where lime's default (quickshift) sees one or two.
    """
    from skimage.segmentation import slic

    pixels = image.detach().double().cpu()
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp_min(1e-12)
    count = max(2, pixels[0].numel() // size)
    for compactness in (0.2, 2.0, 20.0):  # noise falls apart unless nearness counts for more
        found = slic(
            pixels.permute(1, 2, 0).numpy(), n_segments=count, compactness=compactness,
            start_label=0, channel_axis=-1, convert2lab=False,
        )  # fmt: skip
        if found.max() + 1 >= count / 2:
            break
    return torch.from_numpy(np.asarray(found, dtype=np.int64))


_Fit = tuple[Tensor, Tensor, Tensor]


def ridge(data: Any, outputs: Any, distances: Any, width: float) -> tuple[Any, float, float]:
    """What lime's fit returns, by the normal equations: weights ``[K]``, intercept, weighted R².

    Minimises the squared error, weighted by ``exp(-distance² / 2 width²)``, plus the squared
    weights.

    Parameters
    ----------
    data, outputs, distances
        Neighbours ``[S, K]``, the network's outputs ``[S]``, and how far each is ``[S]``.
    width
        Of the kernel.
    """
    near = np.exp(-(distances**2) / (2 * width**2))
    share = near / near.sum()
    mean, level = share @ data, float(share @ outputs)
    centred, left = data - mean, outputs - level
    weighted = centred * near[:, None]
    weights = np.linalg.solve(weighted.T @ centred + np.eye(data.shape[1]), weighted.T @ left)
    total = float(near @ left**2)
    error = float(near @ (left - centred @ weights) ** 2)
    r2 = 1 - error / total if total > 0 else 1.0
    return weights, level - float(mean @ weights), r2


def _table(
    query: Query, rows: Tensor, samples: int, discretize: bool, width: float, output: str, seed: int
) -> list[_Fit]:
    x = query.inputs.flatten(1).double().cpu().numpy()
    columns = rows.flatten(1).double().cpu().numpy()
    generator = np.random.default_rng(seed)
    if discretize:
        bins_of, bins, neighbours = _binned(columns, samples, generator)
    else:
        scale = columns.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        steps = generator.standard_normal((samples, x.shape[1]))
        neighbours = columns.mean(0) + scale * steps
    shown = torch.from_numpy(neighbours).to(rows).view(samples, *rows.shape[1:])
    logits = torch.cat([query.logits(part.clone()) for part, _ in query.parts(shown, None)])
    if output == "probability":
        logits = logits.softmax(1)
    found = []
    for i, target in enumerate(query.target.tolist()):
        outputs = logits[:, target].double().cpu().numpy()
        outputs[0] = float(query.score[i])
        if discretize:
            data = (bins == bins_of(x[i])).astype(float)
            data[0] = 1.0
        else:
            data = steps.copy()
            data[0] = (x[i] - columns.mean(0)) / scale
        distances = np.sqrt(((data - data[0]) ** 2).sum(1))
        weights, intercept, r2 = ridge(data, outputs, distances, width)
        if not discretize:
            weights = weights / scale
            intercept -= float((weights * columns.mean(0)).sum())
        found.append((torch.tensor(weights), torch.tensor(intercept), torch.tensor(r2)))
    return found


def _binned(columns: Any, samples: int, generator: np.random.Generator) -> tuple[Any, Any, Any]:
    """Draw bins by their frequency and, within, from a normal cut to the bin, as lime does."""
    from lime.discretize import QuartileDiscretizer
    from scipy.special import ndtr, ndtri

    count = columns.shape[1]
    quartiles = QuartileDiscretizer(columns, [], [str(i) for i in range(count)], random_state=0)
    held = quartiles.discretize(columns).astype(int)
    drawn = held[generator.integers(len(held), size=(samples, count)), np.arange(count)]
    tables = np.zeros((4, count, 4))  # a column of few values has fewer than four bins
    for name, table in zip(("mins", "maxs", "means", "stds"), tables, strict=True):
        for i in range(count):
            values = getattr(quartiles, name)[i]
            table[i, : len(values)] = values
    low, high, mean, deviation = tables
    deviation = deviation.clip(1e-300)
    start, end = ndtr((low - mean) / deviation), ndtr((high - mean) / deviation)
    place = np.arange(count) * 4 + drawn
    at = start.take(place)
    inside = ndtri(at + generator.random((samples, count)) * (end.take(place) - at))
    middle = mean.take(place)
    inside = np.where(np.isfinite(inside), middle + deviation.take(place) * inside, middle)
    low, high = low.take(place), high.take(place)
    return quartiles.discretize, drawn, np.clip(inside, low, high)


def _maps(segments: Any, x: Tensor) -> list[Players]:
    """The segments of each example."""
    shape = x.shape[1:]
    if segments is None:
        return [players(superpixels(image), shape) for image in x]
    one_each = isinstance(segments, Tensor | np.ndarray) and (
        segments.ndim == x.ndim - (x.ndim == 4) and len(segments) == len(x)
    )
    if not one_each:
        return [players(segments, shape)] * len(x)
    return [players(one, shape) for one in segments]


def _parts(
    query: Query, rows: Tensor, maps: list[Players], samples: int, width: float, seed: int
) -> list[_Fit]:
    mean, found = rows.mean(0, keepdim=True), []
    games: dict[int, Game] = {}
    for i, who in enumerate(maps):
        game = games.setdefault(id(who), Game(query, mean, who))
        game.play(i)
        generator = torch.Generator().manual_seed(seed)
        masks = torch.rand(samples, len(who), generator=generator) < 0.5
        masks[0] = True
        first = torch.zeros(1, dtype=torch.long, device=rows.device)
        outputs = game.coalitions(masks[None].to(rows.device), first)[0]
        data = masks.double().numpy()
        distances = 1 - np.sqrt(data.mean(1))  # the cosine distance from all ones
        weights, intercept, r2 = ridge(data, outputs.double().cpu().numpy(), distances, width)
        spread = torch.tensor(weights)[who.of_feature]
        found.append((spread, torch.tensor(intercept), torch.tensor(r2)))
    return found
