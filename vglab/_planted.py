"""Images whose answer is known: a digit to read, and a tile beside it that can give it away."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vglab import _checks
from vglab._dataset import Dataset, resample, split
from vglab._sources import EMBEDDED, value_names

DIGIT, TILE = 14, 8
"""Sides of the digit and of the tile, in pixels."""
INK, LEVEL, CANVAS_CONTRAST, TILE_CONTRAST = 0.6, 0.31, 0.05, 0.2
"""How far a stroke goes to white; mean and standard deviations of the textures, where black
is 0 and white 1: no pixel leaves that range."""
SHRINK = {"grass": 4, "brick": 10}
TRAINING_COLUMNS = 0.6


@dataclass(frozen=True, eq=False)
class Planted:
    """Digits on grass beside a brick tile, and the same test images with one thing changed.

    Masks are bool, the others float32 on the scale of ``data``, all ``[N, 1, H, W]``. A network
    that reads the digit changes its mind with ``other_digit`` and not with ``other_tile``; one that
    takes the shortcut does the opposite.

    Attributes
    ----------
    data
        The `Dataset`: class 0 or 1 is the digit's, the first or the second of ``classes``.
    tile_train, tile_test
        int64 ``[N]``: 0 where the bricks stand, 1 where they lie.
    digit_mask_train, digit_mask_test
        Where the digit has ink.
    tile_mask_train, tile_mask_test
        Where the tile lies.
    other_tile
        Test images with the same tile transposed: the same pixels, of the other kind.
    other_digit
        Test images with a digit of the other class at the same place; tile and grass as they were.
    without_tile, without_digit, canvas
        Test images without one of them, and without both: there is the grass that they covered.
    """

    data: Dataset
    tile_train: Tensor = field(repr=False)
    tile_test: Tensor = field(repr=False)
    digit_mask_train: Tensor = field(repr=False)
    digit_mask_test: Tensor = field(repr=False)
    tile_mask_train: Tensor = field(repr=False)
    tile_mask_test: Tensor = field(repr=False)
    other_tile: Tensor = field(repr=False)
    other_digit: Tensor = field(repr=False)
    without_tile: Tensor = field(repr=False)
    without_digit: Tensor = field(repr=False)
    canvas: Tensor = field(repr=False)


def planted(
    *,
    strength: float = 1.0,
    classes: tuple[int, int] = (3, 8),
    size: int = 28,
    train: int = 600,
    test: int = 300,
    seed: int = 0,
) -> Planted:
    """Plant a shortcut: two digits to tell apart, and a tile whose kind goes with the class.

    Each image is a patch of grass with a digit and, anywhere beside it, a tile of bricks. The
    bricks of the tile stand or lie; a tile that lies is one that stands, transposed, so that the
    kinds differ by nothing but direction. Half of the images are of each class.

    The digits are those of ``load("digits")``, resampled; none is in both parts. The textures are
    scikit-image's photographs of grass and of a brick wall (both CC0, by linolafett and from
    CC0Textures), shrunk 4 and 10 times, each scaled to a set mean and contrast; the training part
    is cut from their left 60 %, the test part from the rest, so that no pixel is in both.

    Parameters
    ----------
    strength
        Probability, for each image of both parts, that the tile's kind is the class: 0.5 tells
        nothing, 1 everything, 0 the opposite. With the same seed, images of two strengths differ in
        their tile's kind alone.
    classes
        The two digits.
    size
        Height and width H of the images, at least 22.
    train, test
        Number of images. Where there are more than digits, digits come again, on other grass.
    seed
        Seed of everything that is drawn, 0 to ``2**32 - 1``.

    Returns
    -------
    Planted
        ``data``, standardised by the training images without their tiles; masks; and changed test
        images, to find out what a network follows.

    Raises
    ------
    ValueError, TypeError
        A strength outside 0 to 1, digits that are not two different ones, sizes too small.

    Examples
    --------
    >>> planted(strength=0.5).data
    Dataset('planted': 600 training and 300 test examples of shape (1, 28, 28), 2 classes)
    """
    _checks.number("strength", strength, at_least=0)
    if strength > 1:
        raise ValueError(f"strength must be a probability, 0 to 1, got {strength}")
    pair = _pair(classes)
    _checks.count("size", size, at_least=DIGIT + TILE)
    _checks.count("train", train, at_least=2)
    _checks.count("test", test, at_least=2)
    _checks.count("seed", seed, at_least=0)
    if seed >= 2**32:
        raise ValueError(f"seed must be at most 2**32 - 1, got {seed}")
    x_train, y_train, x_test, y_test = split(EMBEDDED["digits"](), 0.25, seed)
    textures = {name: _texture(name) for name in SHRINK}
    learn, judge = (
        _draw(_by_class(x, y, pair), _side(textures, part), size, count, strength,
              np.random.default_rng((seed, part)))
        for part, (x, y, count) in enumerate(((x_train, y_train, train), (x_test, y_test, test)))
    )  # fmt: skip
    plain = _image(learn, learn.digit)
    mean, scale = plain.mean(), plain.std(correction=0)

    def image(part: _Part, digit: Tensor | None, kind: Tensor | None = None) -> Tensor:
        return (_image(part, digit, kind) - mean) / scale

    data = Dataset(
        "planted",
        image(learn, learn.digit, learn.kind), learn.label,
        image(judge, judge.digit, judge.kind), judge.label,
        value_names((1, size, size)), (str(pair[0]), str(pair[1])),
    )  # fmt: skip
    return Planted(
        data, learn.kind, judge.kind, learn.digit > 0, judge.digit > 0, learn.place, judge.place,
        other_tile=image(judge, judge.digit, 1 - judge.kind),
        other_digit=image(judge, judge.other, judge.kind),
        without_tile=image(judge, judge.digit),
        without_digit=image(judge, None, judge.kind),
        canvas=image(judge, None),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Part:
    """What the images of one part are made of.

    All ``[N, 1, H, W]``: ``grass``; ``standing``, the tile alone at its place, and ``lying``, the
    same tile transposed; ``place``, where it is; ``digit`` and ``other``, ink from 0 to 1, the
    second of the other class. ``label`` and ``kind`` are ``[N]``.
    """

    label: Tensor
    kind: Tensor
    grass: Tensor
    standing: Tensor
    lying: Tensor
    place: Tensor
    digit: Tensor
    other: Tensor


def _image(part: _Part, digit: Tensor | None, kind: Tensor | None = None) -> Tensor:
    """Grass with a tile and a digit, each where given, from black 0 to white 1."""
    x = LEVEL + CANVAS_CONTRAST * part.grass
    if kind is not None:
        tile = torch.where(kind.bool().view(-1, 1, 1, 1), part.lying, part.standing)
        x = torch.where(part.place, LEVEL + TILE_CONTRAST * tile, x)
    return x if digit is None else torch.lerp(x, torch.ones(()), INK * digit)


def _draw(
    digits: tuple[Tensor, Tensor], textures: dict[str, Tensor], size: int, count: int,
    strength: float, generator: np.random.Generator,
) -> _Part:  # fmt: skip
    label = torch.from_numpy(generator.permutation(count) % 2)
    agrees = torch.from_numpy(generator.random(count) < strength)
    ink = [_deal(own, label == k, generator) for k, own in enumerate(digits)]
    grass = _crops(textures["grass"], size, count, generator)
    bricks = _crops(textures["brick"], TILE, count, generator)
    digit_at, tile_at = _places(size, count, generator)
    is_second = label.bool().view(-1, 1, 1, 1)
    return _Part(
        label, torch.where(agrees, label, 1 - label), grass,
        _put(bricks, tile_at, size), _put(bricks.transpose(2, 3), tile_at, size),
        _put(torch.ones_like(bricks), tile_at, size) > 0,
        _put(torch.where(is_second, ink[1], ink[0]), digit_at, size),
        _put(torch.where(is_second, ink[0], ink[1]), digit_at, size),
    )  # fmt: skip


def _pair(classes: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(classes, Sequence) or isinstance(classes, str) or len(classes) != 2:
        raise TypeError(f"classes must be two digits, as in (3, 8); got {classes!r}")
    for digit in classes:
        _checks.count("every entry of classes", digit, at_least=0)
    if max(classes) > 9 or classes[0] == classes[1]:
        raise ValueError(f"classes must be two different digits, 0 to 9, got {tuple(classes)}")
    return int(classes[0]), int(classes[1])


def _by_class(x: Tensor, y: Tensor, pair: tuple[int, int]) -> tuple[Tensor, Tensor]:
    ink = resample(x, DIGIT).clamp(0, 1)
    return ink[y == pair[0]], ink[y == pair[1]]


def _texture(name: str) -> Tensor:
    """A photograph ``[h, w]``, shrunk by averages over blocks, with mean 0 and deviation 1."""
    from skimage import data

    pixels = torch.from_numpy(getattr(data, name)().copy()).float()
    small = functional.avg_pool2d(pixels[None], SHRINK[name])[0]
    return (small - small.mean()) / small.std(correction=0)


def _side(textures: dict[str, Tensor], part: int) -> dict[str, Tensor]:
    """The columns of the training part (0), or of the test part (1)."""
    cuts = {name: round(one.shape[1] * TRAINING_COLUMNS) for name, one in textures.items()}
    return {
        name: one[:, cuts[name] :] if part else one[:, : cuts[name]]
        for name, one in textures.items()
    }


def _crops(texture: Tensor, side: int, count: int, generator: np.random.Generator) -> Tensor:
    """Square cuts ``[count, 1, side, side]`` from anywhere in a texture."""
    rows, columns = (generator.integers(length - side + 1, size=count) for length in texture.shape)
    cuts = [texture[i : i + side, j : j + side] for i, j in zip(rows, columns, strict=True)]
    return torch.stack(cuts)[:, None]


def _deal(own: Tensor, shown: Tensor, generator: np.random.Generator) -> Tensor:
    """A digit for each image: where ``shown``, and in the others, none again before all came."""
    dealt = torch.empty(len(shown), *own.shape[1:])
    for where in (shown, ~shown):
        count = int(where.sum())
        orders = [generator.permutation(len(own)) for _ in range(-(-count // len(own)))]
        dealt[where] = own[torch.from_numpy(np.concatenate(orders)[:count])]
    return dealt


def _places(size: int, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Upper left corners ``[count, 2]`` of digit and tile that do not touch each other's pixels."""
    digit, tile = np.zeros((2, count, 2), dtype=int)
    left = np.arange(count)
    while len(left):
        digit[left] = generator.integers(size - DIGIT + 1, size=(len(left), 2))
        tile[left] = generator.integers(size - TILE + 1, size=(len(left), 2))
        apart = (tile + TILE <= digit) | (digit + DIGIT <= tile)
        left = np.flatnonzero(~apart.any(1))
    return digit, tile


def _put(cuts: Tensor, corners: np.ndarray, size: int) -> Tensor:
    """Cuts at their corners in images ``[N, 1, size, size]`` of zeros."""
    images = torch.zeros(len(cuts), 1, size, size)
    side = cuts.shape[-1]
    for image, cut, (i, j) in zip(images, cuts, corners, strict=True):
        image[:, i : i + side, j : j + side] = cut
    return images
