"""Planted shortcuts: pixels found again in the photographs they come from, and who follows what."""

import numpy as np
import pytest
import skimage.data
import torch

from vglab import _planted, data, initialization, models, train
from vglab.data import load, planted

CLASSES = (3, 8)


@pytest.fixture(scope="module")
def made():
    return planted()


def shrunk(name, factor):
    photograph = getattr(skimage.data, name)().astype(float)
    side = 512 // factor
    photograph = photograph[: side * factor, : side * factor]
    return photograph.reshape(side, factor, side, factor).mean((1, 3))


def found(texture, pixels, mask):
    """Column of the cut of a texture that is the image, up to two numbers, where the mask says."""
    windows = np.lib.stride_tricks.sliding_window_view(texture, pixels.shape)
    cuts = windows[:, :, mask]
    cuts = cuts - cuts.mean(-1, keepdims=True)
    wanted = pixels[mask] - pixels[mask].mean()
    match = (cuts @ wanted) / (np.linalg.norm(cuts, axis=-1) * np.linalg.norm(wanted))
    row, column = np.unravel_index(match.argmax(), match.shape)
    assert match[row, column] > 0.9999
    return column


def cropped(mask):
    rows, columns = np.nonzero(mask)
    part = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return part.shape, part.tobytes()


def parts(made):
    d = made.data
    return {
        "train": (d.x_train, d.y_train, made.digit_mask_train, made.tile_mask_train,
                  made.tile_train),
        "test": (d.x_test, d.y_test, made.digit_mask_test, made.tile_mask_test, made.tile_test),
    }  # fmt: skip


def test_it_is_a_whole_balanced_data_set(made):
    data.check(made.data)
    assert repr(made.data) == (
        "Dataset('planted': 600 training and 300 test examples of shape (1, 28, 28), 2 classes)"
    )
    assert made.data.class_names == ("3", "8")
    assert made.data.y_train.sum() == 300 and made.data.y_test.sum() == 150


@pytest.mark.parametrize("part", ["train", "test"])
def test_grass_is_cut_from_one_side_of_the_photograph(made, part):
    x, _, digit, tile, _ = parts(made)[part]
    grass = shrunk("grass", 4)
    for i in range(8):
        free = ~(digit | tile)[i, 0].numpy()
        first = found(grass, x[i, 0].numpy(), free)
        assert first + 28 <= 77 if part == "train" else first >= 77  # 0.6 * 128 is 76.8


@pytest.mark.parametrize("part", ["train", "test"])
def test_the_tile_is_brick_standing_or_transposed_from_one_side(made, part):
    x, _, _, tile, kinds = parts(made)[part]
    brick = shrunk("brick", 10)
    for i in range(60):
        cut = x[i, 0][tile[i, 0]].view(8, 8).numpy()
        cut = cut.T if kinds[i] else cut
        first = found(brick, cut, np.ones((8, 8), dtype=bool))
        assert first + 8 <= 31 if part == "train" else first >= 31  # 0.6 * 51 is 30.6
    assert 0 < kinds[:60].sum() < 60


@pytest.mark.parametrize("part", ["train", "test"])
def test_digits_are_those_of_this_part_and_class(made, part):
    _, y, digit, _, _ = parts(made)[part]
    source = load("digits", image_size=14, standardize=False)
    pixels, labels = getattr(source, f"x_{part}"), getattr(source, f"y_{part}")
    for k, name in enumerate(CLASSES):
        known = {cropped(one[0].numpy() > 0) for one in pixels[labels == name]}
        seen = {cropped(one[0].numpy()) for one in digit[y == k]}
        assert seen <= known
        # 300 draws deal out every digit there is.
        assert part == "test" or len(seen) == len(known)


def test_the_other_digit_is_one_of_the_other_class(made):
    drawn = (made.other_digit - made.without_digit).abs() > 0
    source = load("digits", image_size=14, standardize=False)
    for k, name in enumerate(CLASSES):
        known = {cropped(one[0].numpy() > 0) for one in source.x_test[source.y_test == name]}
        seen = {cropped(one[0].numpy()) for one in drawn[made.data.y_test == 1 - k]}
        assert seen <= known


@pytest.mark.parametrize("part", ["train", "test"])
def test_digit_and_tile_lie_apart(made, part):
    _, _, digit, tile, _ = parts(made)[part]
    assert not (digit & tile).any()
    assert digit.flatten(1).any(1).all()
    rows, columns = tile.any(3).sum(2), tile.any(2).sum(2)
    assert (rows == 8).all() and (columns == 8).all() and (tile.flatten(1).sum(1) == 64).all()
    assert len(torch.unique(tile, dim=0)) > 100  # anywhere


def test_another_tile_changes_the_direction_and_nothing_else(made):
    x, tile = made.data.x_test, made.tile_mask_test
    assert torch.equal(made.other_tile[~tile], x[~tile])
    before, after = (each[tile].view(-1, 8, 8) for each in (x, made.other_tile))
    assert torch.equal(after, before.transpose(1, 2))
    assert (before != after).flatten(1).any(1).all()


def test_what_is_taken_away_leaves_grass(made):
    x, digit, tile = made.data.x_test, made.digit_mask_test, made.tile_mask_test
    assert torch.equal(made.without_tile[~tile], x[~tile])
    assert torch.equal(made.without_digit[~digit], x[~digit])
    assert torch.equal(made.canvas, torch.where(digit, made.without_digit, made.without_tile))
    assert (x[digit] > made.without_digit[digit]).all()  # ink is white
    assert torch.equal(made.other_digit[tile], x[tile])
    grass = shrunk("grass", 4)
    for i in range(8):
        assert found(grass, made.canvas[i, 0].numpy(), np.ones((28, 28), dtype=bool)) >= 77


def test_no_pixel_is_beyond_black_or_white():
    contrasts = {"grass": _planted.CANVAS_CONTRAST, "brick": _planted.TILE_CONTRAST}
    for name, contrast in contrasts.items():
        texture = shrunk(name, _planted.SHRINK[name])
        pixels = _planted.LEVEL + contrast * (texture - texture.mean()) / texture.std()
        assert pixels.min() >= 0 and pixels.max() <= 1


def test_strength_decides_how_often_the_tile_agrees():
    def agreement(strength):
        made = planted(strength=strength, train=2000, test=2000)
        return [(made.tile_train == made.data.y_train).float().mean().item(),
                (made.tile_test == made.data.y_test).float().mean().item()]  # fmt: skip

    assert agreement(1.0) == [1.0, 1.0]
    assert agreement(0.0) == [0.0, 0.0]
    for strength in (0.5, 0.8):
        error = (strength * (1 - strength) / 2000) ** 0.5
        assert agreement(strength) == pytest.approx([strength] * 2, abs=4 * error)


def test_strength_changes_nothing_but_kinds(made):
    half = planted(strength=0.5)
    assert torch.equal(half.data.y_test, made.data.y_test)
    same = (half.tile_test == made.tile_test).view(-1, 1, 1, 1)
    assert 0 < same.sum() < 300
    assert torch.equal(half.data.x_test, torch.where(same, made.data.x_test, made.other_tile))
    outside = ~made.tile_mask_train
    assert torch.equal(half.data.x_train[outside], made.data.x_train[outside])


def test_images_are_standardised_but_for_the_tile(made):
    free = made.data.x_train[~made.tile_mask_train]
    # 1 / 12.25 of the pixels, the tile's, are grass in what the scale was taken from.
    assert abs(free.mean()) < 0.1 and abs(free.std() - 1) < 0.1


def test_the_seed_decides_and_nothing_else_is_drawn(made):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    again, other = planted(), planted(seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(again.data.x_train, made.data.x_train)
    assert torch.equal(again.other_digit, made.other_digit)
    assert not torch.equal(other.digit_mask_test, made.digit_mask_test)
    # The test part is the same however many train, but for the scale.
    few = planted(train=100)
    assert torch.equal(few.digit_mask_test, made.digit_mask_test)
    assert torch.equal(few.tile_test, made.tile_test)


def test_other_digits_and_sizes():
    made = planted(classes=(7, 1), size=22, train=4, test=3)
    assert made.data.class_names == ("7", "1") and made.data.input_shape == (1, 22, 22)
    assert len(made.data.x_test) == 3 and not (made.digit_mask_test & made.tile_mask_test).any()


def test_networks_take_the_shortcut_where_there_is_one_and_read_where_there_is_none():
    """The causal truth: what a changed tile or digit does to the prediction."""

    def moved(strength):
        made = planted(strength=strength)
        model = initialization.initialize(models.ConvNet(1, 2, channels=(8, 16, 16)), "he")
        train.fit(model, made.data, optimizer="adam", lr=0.005, epochs=12, batch_size=32)
        with torch.no_grad():
            before = model(made.data.x_test).argmax(1)
            return [
                (model(x).argmax(1) != before).float().mean()
                for x in (made.other_tile, made.other_digit)
            ]

    tile, digit = moved(1.0)
    assert tile > 0.6 and digit < 0.25
    tile, digit = moved(0.5)
    assert tile < 0.25 and digit > 0.6


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        ({"strength": 1.1}, ValueError, "strength must be a probability, 0 to 1, got 1.1"),
        ({"strength": -0.1}, ValueError, "strength"),
        ({"strength": "1"}, TypeError, "strength must be a number"),
        ({"classes": (3,)}, TypeError, r"two digits, as in \(3, 8\)"),
        ({"classes": "38"}, TypeError, "two digits"),
        ({"classes": (3, 3)}, ValueError, "two different digits"),
        ({"classes": (3, 10)}, ValueError, "0 to 9"),
        ({"classes": (3, 8.0)}, TypeError, "integer"),
        ({"size": 21}, ValueError, "size must be at least 22"),
        ({"train": 1}, ValueError, "train must be at least 2"),
        ({"test": 1}, ValueError, "test must be at least 2"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 2**32}, ValueError, "seed must be at most"),
    ],
)
def test_errors_say_what_came(wrong, error, message):
    with pytest.raises(error, match=message):
        planted(**wrong)
