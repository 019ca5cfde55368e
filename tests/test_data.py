"""Data sets against their sources, and the user's own data in every form they come in."""

import dataclasses
import math
import random
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import lfw_subset
from sklearn import datasets

from vglab import data, models, train
from vglab.data import Dataset, from_arrays, load

TABLES = {
    "breast_cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "diabetes": lambda: datasets.load_diabetes(scaled=False),
}
IMAGES = ("digits", "faces")
PENGUIN_COLUMNS = (
    "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g",
    "island_Biscoe", "island_Dream", "island_Torgersen", "sex_female", "sex_male",
)  # fmt: skip


def table(n=20, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def halves(n=20):
    return np.arange(n) % 2


def everything(dataset):
    """All examples as rows, with their targets, in the order of the split."""
    x = torch.cat([dataset.x_train, dataset.x_test]).flatten(1)
    return x, torch.cat([dataset.y_train, dataset.y_test])


def as_counter(x, y):
    return Counter((tuple(row), target) for row, target in zip(x.tolist(), y.tolist(), strict=True))


# The embedded sets against the libraries that ship them.


@pytest.mark.parametrize("name", TABLES)
def test_a_table_holds_the_rows_of_its_source(name):
    source = TABLES[name]()
    loaded = load(name, standardize=False)
    x = torch.from_numpy(source.data).float()
    y = torch.from_numpy(source.target)
    assert as_counter(*everything(loaded)) == as_counter(x, y.float() if name == "diabetes" else y)
    assert loaded.feature_names == tuple(source.feature_names)
    assert loaded.input_shape == (x.shape[1],)
    if name == "diabetes":
        assert loaded.class_names == () and loaded.n_classes == 0
        assert loaded.task == "regression" and loaded.y_train.dtype == torch.float32
    else:
        assert loaded.class_names == tuple(source.target_names)
        assert loaded.task == "classification" and loaded.y_train.dtype == torch.int64


@pytest.mark.parametrize(
    "name, n, shape", [("digits", 1797, (1, 8, 8)), ("faces", 200, (1, 25, 25))]
)
def test_images_are_those_of_their_source(name, n, shape):
    loaded = load(name, standardize=False)
    assert loaded.input_shape == shape
    if name == "digits":
        source = datasets.load_digits()
        pixels, labels = source.images / 16, source.target
        assert loaded.class_names == tuple("0123456789")
    else:
        pixels, labels = lfw_subset(), np.repeat([1, 0], 100)
        assert loaded.class_names == ("not a face", "face")
    x = torch.from_numpy(np.ascontiguousarray(pixels)).float().flatten(1)
    assert len(x) == n
    assert as_counter(*everything(loaded)) == as_counter(x, torch.from_numpy(labels))
    assert x.min() >= 0 and x.max() <= 1
    assert loaded.feature_names[:2] == ("row 0 column 0", "row 0 column 1")
    assert loaded.feature_names[-1] == f"row {shape[1] - 1} column {shape[2] - 1}"


def test_penguins_are_one_hot():
    from palmerpenguins import load_penguins

    birds = load_penguins()
    whole = birds[birds.notna().all(axis=1)]
    loaded = load("penguins", standardize=False)
    assert loaded.feature_names == PENGUIN_COLUMNS
    assert loaded.class_names == ("Adelie", "Chinstrap", "Gentoo")
    expected = [
        (
            *(float(np.float32(value)) for value in list(bird)[2:6]),
            *(float(bird.island == island) for island in ("Biscoe", "Dream", "Torgersen")),
            float(bird.sex == "female"),
            float(bird.sex == "male"),
            bird.species,
        )
        for bird in whole.itertuples(index=False)
    ]
    x, y = everything(loaded)
    got = [(*r, loaded.class_names[c]) for r, c in zip(x.tolist(), y.tolist(), strict=True)]
    assert len(got) == 333 and Counter(got) == Counter(expected)


def test_penguins_standardised_keep_their_one_hot_columns():
    loaded = load("penguins")
    for x in (loaded.x_train, loaded.x_test):
        assert set(x[:, 4:].unique().tolist()) == {0.0, 1.0}
        assert torch.equal(x[:, 4:7].sum(1), torch.ones(len(x)))
        assert torch.equal(x[:, 7:].sum(1), torch.ones(len(x)))
    assert_standard(loaded.x_train[:, :4])


def assert_standard(x, axes=0):
    """Mean 0 and deviation 1, to the rounding of a float32 mean of some hundred values."""
    x = x.double()
    assert x.mean(axes).abs().max() < 1e-5
    assert (x.std(axes, correction=0) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_standardised_by_their_training_part(name):
    raw, scaled = load(name, standardize=False), load(name)
    assert_standard(scaled.x_train)
    train = raw.x_train.double().numpy()
    expected = (raw.x_test.double().numpy() - train.mean(0)) / train.std(0)
    # float32 inputs: 24 bits of the largest values, of some standard deviations
    np.testing.assert_allclose(scaled.x_test, expected, rtol=1e-5, atol=1e-4)


def test_a_regression_target_can_be_scaled_back():
    raw, scaled = load("diabetes", standardize=False), load("diabetes")
    assert_standard(scaled.y_train)
    assert (raw.target_mean, raw.target_scale) == (0.0, 1.0)
    assert scaled.target_mean == pytest.approx(raw.y_train.double().mean().item(), rel=1e-9)
    assert scaled.target_scale == pytest.approx(raw.y_train.double().numpy().std(), rel=1e-9)
    for part in ("y_train", "y_test"):
        back = getattr(scaled, part) * scaled.target_scale + scaled.target_mean
        torch.testing.assert_close(back, getattr(raw, part), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_standardised_as_a_whole(name):
    raw, scaled = load(name, standardize=False), load(name)
    assert_standard(scaled.x_train, (0, 1, 2, 3))
    mean, deviation = raw.x_train.double().mean(), raw.x_train.double().std(correction=0)
    torch.testing.assert_close(
        scaled.x_test.double(), (raw.x_test.double() - mean) / deviation, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", ["digits", "faces", "breast_cancer", "wine", "penguins"])
@pytest.mark.parametrize("fraction", [0.25, 0.1, 0.5])
def test_the_split_keeps_class_frequencies_and_its_fraction(name, fraction):
    loaded = load(name, test_fraction=fraction, standardize=False)
    _, y = everything(loaded)
    assert len(loaded.y_test) == math.ceil(fraction * len(y))
    share = len(loaded.y_test) / len(y)
    for label in range(loaded.n_classes):
        expected = share * (y == label).sum().item()
        assert abs((loaded.y_test == label).sum().item() - expected) < 1 + 1e-9


def test_a_regression_is_split_too():
    loaded = load("diabetes", test_fraction=0.3)
    assert (len(loaded.x_train), len(loaded.x_test)) == (309, 133)  # ceil(0.3 * 442) = 133
    assert (len(loaded.y_train), len(loaded.y_test)) == (309, 133)


@pytest.mark.parametrize("name", data.EMBEDDED)
def test_the_seed_decides_the_split(name):
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    once, again, other = load(name, seed=3), load(name, seed=3), load(name, seed=4)
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(once, part), getattr(again, part))
    assert not torch.equal(once.y_test, other.y_test)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()
    assert random.getstate() == state[2]


def test_the_default_seed_is_zero():
    assert torch.equal(load("wine").x_test, load("wine", seed=0).x_test)
    x, y = table(), halves()
    assert torch.equal(from_arrays(x, y).x_test, from_arrays(x, y, seed=0).x_test)
    assert not torch.equal(from_arrays(x, y).x_test, from_arrays(x, y, seed=1).x_test)


# Resampled and flattened images.


def upsample(image, size):
    """Bilinear with half-pixel centres, in plain loops."""
    n = len(image)
    result = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            y, x = (min(max((k + 0.5) * n / size - 0.5, 0), n - 1) for k in (i, j))
            top, left = int(y), int(x)
            bottom, right = min(top + 1, n - 1), min(left + 1, n - 1)
            dy, dx = y - top, x - left
            result[i, j] = (
                (1 - dy) * ((1 - dx) * image[top, left] + dx * image[top, right])
                + dy * ((1 - dx) * image[bottom, left] + dx * image[bottom, right])
            )  # fmt: skip
    return result


def test_digits_at_28_pixels_are_the_bilinear_resampling():
    small = load("digits", standardize=False)
    large = load("digits", image_size=28, standardize=False)
    assert large.input_shape == (1, 28, 28) and len(large.feature_names) == 784
    assert torch.equal(large.y_train, small.y_train)
    for i in range(3):
        expected = upsample(small.x_train[i, 0].double().numpy(), 28)
        np.testing.assert_allclose(large.x_train[i, 0], expected, atol=1e-6)
        expected = upsample(small.x_test[i, 0].double().numpy(), 28)
        np.testing.assert_allclose(large.x_test[i, 0], expected, atol=1e-6)
    # Edge pixels are stretched a little differently from inner ones: the mean moves by per cents.
    assert abs(large.x_train.mean() - small.x_train.mean()) < 0.02 * small.x_train.mean() + 0.01


def test_a_smaller_image_averages_all_pixels():
    small = load("faces", image_size=5, standardize=False)
    whole = load("faces", standardize=False)
    # Antialiased: every pixel counts, so means agree far better than for every fifth pixel.
    difference = small.x_train.mean((1, 2, 3)) - whole.x_train.mean((1, 2, 3))
    assert difference.abs().max() < 0.02
    # A triangle of half width 5 around each centre, by hand for the middle pixel.
    weights = np.array([max(0.0, 1 - abs(k - 12) / 5) for k in range(25)])
    weights /= weights.sum()
    expected = weights @ whole.x_train[0, 0].double().numpy() @ weights
    assert small.x_train[0, 0, 2, 2] == pytest.approx(expected, abs=1e-5)


def test_resampled_images_are_standardised_after_resampling():
    assert_standard(load("digits", image_size=28).x_train, (0, 1, 2, 3))


def test_flat_images():
    images = load("digits", image_size=28)
    flat = load("digits", image_size=28, flatten=True)
    assert flat.input_shape == (784,) and flat.feature_names == images.feature_names
    assert torch.equal(flat.x_train, images.x_train.flatten(1))
    assert torch.equal(flat.x_test.view(-1, 1, 28, 28), images.x_test)
    assert flat.feature_names[28] == "row 1 column 0"
    assert torch.equal(load("wine", flatten=True).x_train, load("wine").x_train)


# Downloaded sets: their own tests hold the download; here only what load makes of them.


@pytest.fixture
def downloaded(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (8, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(8) % 2
    asked = []

    def images(name, root):
        asked.append((name, root))
        return pixels[:6], labels[:6], pixels[6:], labels[6:], ("cat", "dog")

    monkeypatch.setattr(data, "images", images)
    return pixels, labels, asked


def test_a_downloaded_set_keeps_its_split(downloaded, tmp_path):
    pixels, labels, asked = downloaded
    loaded = load("cifar10", root=tmp_path, standardize=False, test_fraction=0.5, seed=7)
    assert asked == [("cifar10", tmp_path)]
    assert loaded.name == "cifar10" and loaded.class_names == ("cat", "dog")
    np.testing.assert_allclose(loaded.x_train, pixels[:6].numpy() / 255, atol=1e-7)
    np.testing.assert_allclose(loaded.x_test, pixels[6:].numpy() / 255, atol=1e-7)
    assert torch.equal(loaded.y_train, labels[:6]) and torch.equal(loaded.y_test, labels[6:])
    assert loaded.x_train.dtype == torch.float32
    assert loaded.feature_names[0] == "red row 0 column 0"
    assert loaded.feature_names[1024] == "green row 0 column 0"
    assert loaded.feature_names[-1] == "blue row 31 column 31"


def test_colour_images_are_standardised_by_channel(downloaded):
    loaded = load("cifar10")
    assert_standard(loaded.x_train, (0, 2, 3))
    small = load("cifar10", image_size=16)
    assert small.input_shape == (3, 16, 16)
    assert_standard(small.x_train, (0, 2, 3))
    assert small.x_test.shape == (2, 3, 16, 16)


# Dataset itself.


def test_a_dataset_cannot_be_changed_and_says_what_it_is():
    digits = load("digits", image_size=28)
    assert repr(digits) == (
        "Dataset('digits': 1347 training and 450 test examples of shape (1, 28, 28), 10 classes)"
    )
    assert repr(load("diabetes")).endswith("examples of shape (10,), regression)")
    assert digits.n_classes == 10
    with pytest.raises(dataclasses.FrozenInstanceError):
        digits.name = "mine"
    renamed = dataclasses.replace(digits, name="mine")
    assert renamed.name == "mine" and renamed.x_train is digits.x_train
    assert digits != load("digits", image_size=28) and hash(digits) != hash(renamed)


# load's errors.


@pytest.mark.parametrize(
    "error, match, arguments",
    [
        (ValueError, "one of digits, .*penguins.*mnist.*cifar10; got 'iris'", ["iris"]),
        (ValueError, "^name must be one of .*; got None", [None]),
        (ValueError, "^image_size=4 is for images, but wine", ["wine", dict(image_size=4)]),
        (ValueError, "^image_size must be at least 1", ["digits", dict(image_size=0)]),
        (TypeError, "^image_size must be an integer", ["digits", dict(image_size=28.0)]),
        (ValueError, "^test_fraction must .*less than 1, got 1", ["wine", dict(test_fraction=1)]),
        (ValueError, "^test_fraction must be .*greater than 0", ["wine", dict(test_fraction=0)]),
        (ValueError, "^test_fraction must", ["wine", dict(test_fraction=math.nan)]),
        (TypeError, "^test_fraction must be a number", ["wine", dict(test_fraction="half")]),
        (TypeError, "^seed must be an integer, got None", ["wine", dict(seed=None)]),
        (ValueError, "^seed must be at least 0", ["wine", dict(seed=-1)]),
        (ValueError, "^seed must be at most 2.*got 4294967296", ["wine", dict(seed=2**32)]),
        (ValueError, "leaves 176 to train and 2 to test; each part needs at least 3, one for each",
         ["wine", dict(test_fraction=0.01)]),
    ],
)  # fmt: skip
def test_bad_arguments_of_load(error, match, arguments):
    name, *rest = arguments
    with pytest.raises(error, match=match):
        load(name, **(rest[0] if rest else {}))


def test_numpy_numbers_are_numbers():
    loaded = load("digits", image_size=np.int64(4), test_fraction=np.float32(0.5), seed=np.int64(1))
    assert loaded.input_shape == (1, 4, 4) and len(loaded.x_test) == 899


# The user's own data.


def x_forms():
    plain = table().astype(np.float32)
    wide = torch.from_numpy(np.repeat(plain, 2, axis=1))
    return {
        "float32 array": plain,
        "float64 array": plain.astype(np.float64),
        "Fortran order": np.asfortranarray(plain),
        "reversed twice": plain[::-1, ::-1].copy()[::-1, ::-1],
        "every second column": np.repeat(plain, 2, axis=1)[:, ::2],
        "read-only": np.frombuffer(plain.tobytes(), np.float32).reshape(plain.shape),
        "nested lists": plain.tolist(),
        "tensor": torch.from_numpy(plain.copy()),
        "float64 tensor": torch.from_numpy(plain).double(),
        "requires grad": torch.from_numpy(plain.copy()).requires_grad_(),
        "parameter": torch.nn.Parameter(torch.from_numpy(plain.copy())),
        "strided tensor": wide[:, ::2],
        "transposed tensor": torch.from_numpy(plain.T.copy()).T,
        "list of tensors": list(torch.from_numpy(plain)),
        "data frame": pd.DataFrame(plain),
    }


@pytest.mark.parametrize("form", x_forms())
def test_inputs_in_any_form_give_the_same(form):
    given_x = x_forms()[form]
    expected = from_arrays(x_forms()["float32 array"], halves(), standardize=False)
    got = from_arrays(given_x, halves(), standardize=False)
    assert torch.equal(got.x_train, expected.x_train) and torch.equal(got.x_test, expected.x_test)
    assert got.x_train.dtype == torch.float32 and not got.x_train.requires_grad
    assert as_counter(*everything(got)) == as_counter(torch.from_numpy(table()).float(), halves())


Y_FORMS = {
    "int64": halves(),
    "int8": halves().astype(np.int8),
    "uint8": halves().astype(np.uint8),
    "list": halves().tolist(),
    "tuple": tuple(halves().tolist()),
    "tensor": torch.from_numpy(halves()),
    "int32 tensor": torch.from_numpy(halves()).int(),
    "not contiguous": torch.arange(40)[::2] // 2 % 2,
    "from seven": halves() + 7,
    "negative": halves() * 2 - 1,
    "objects": halves().astype(object),
    "booleans": halves().astype(bool),
    "boolean tensor": torch.from_numpy(halves()).bool(),
    "text": np.array(["cat", "dog"])[halves()],
    "list of text": np.array(["cat", "dog"])[halves()].tolist(),
    "objects of text": np.array(["cat", "dog"])[halves()].astype(object),
    "variable-width text": np.array(["cat", "dog"])[halves()].astype(np.dtypes.StringDType()),
    "series": pd.Series(halves()),
    "series, shuffled index": pd.Series(halves(), index=range(20, 0, -1)),
    "series of Int64": pd.Series(halves(), dtype="Int64"),
    "series of text as objects": pd.Series(np.array(["cat", "dog"])[halves()], dtype=object),
    "series of string": pd.Series(np.array(["cat", "dog"])[halves()], dtype="string"),
    "series of categories": pd.Series(np.array(["cat", "dog"])[halves()], dtype="category"),
    "series of boolean": pd.Series(halves().astype(bool), dtype="boolean"),
}
if pd.__version__ >= "3":
    Y_FORMS["series of str"] = pd.Series(np.array(["cat", "dog"])[halves()], dtype="str")
FOUND = {"text": ("cat", "dog"), "bool": ("False", "True"), "seven": ("7", "8"), "neg": ("-1", "1"),
         "str": ("cat", "dog"), "categories": ("cat", "dog")}  # fmt: skip


@pytest.mark.parametrize("form", Y_FORMS)
def test_classes_in_any_form_give_the_same(form):
    expected = from_arrays(table(), halves())
    got = from_arrays(table(), Y_FORMS[form])
    assert torch.equal(got.y_train, expected.y_train) and torch.equal(got.y_test, expected.y_test)
    assert torch.equal(got.x_train, expected.x_train)
    assert got.y_train.dtype == torch.int64 and got.task == "classification"
    assert got.class_names == next((FOUND[key] for key in FOUND if key in form), ("0", "1"))


def test_classes_are_sorted_as_numbers_also_among_objects():
    y = np.array([2, 10] * 10, dtype=object)
    assert from_arrays(table(), y).class_names == ("2", "10")
    assert from_arrays(table(), pd.Series(y)).class_names == ("2", "10")


@pytest.mark.parametrize(
    "y",
    [
        table(20, 1)[:, 0],
        table(20, 1)[:, 0].astype(np.float16),
        table(20, 1)[:, 0].tolist(),
        torch.from_numpy(table(20, 1)[:, 0]).requires_grad_(),
        torch.from_numpy(table(20, 1)[:, 0]).bfloat16(),
        pd.Series(table(20, 1)[:, 0]),
        pd.Series(table(20, 1)[:, 0], dtype="Float64"),
        pd.Series(table(20, 1)[:, 0], dtype=object),
        [0.0, 1.0] * 10,
    ],
)
def test_floating_point_targets_are_a_regression(y):
    got = from_arrays(table(), y, standardize=False)
    assert got.task == "regression" and got.class_names == ()
    assert got.y_train.dtype == torch.float32 and not got.y_train.requires_grad
    expected = sorted(
        np.array(
            [float(v) for v in (y.tolist() if hasattr(y, "tolist") else y)], dtype=np.float32
        ).tolist()
    )
    assert sorted(everything(got)[1].tolist()) == expected
    assert_standard(from_arrays(table(), y).y_train)


def test_names_given_by_the_user():
    got = from_arrays(
        table(), halves(), name="mine", feature_names=["a", "b", "c"], class_names=["no", "yes"]
    )
    assert (got.name, got.feature_names, got.class_names) == (
        "mine",
        ("a", "b", "c"),
        ("no", "yes"),
    )
    unnamed = from_arrays(table(), halves())
    assert unnamed.name == "custom"
    assert unnamed.feature_names == ("feature 0", "feature 1", "feature 2")
    assert from_arrays(table(), halves(), feature_names=range(3)).feature_names == ("0", "1", "2")


def test_names_may_be_arrays_as_scikit_learn_gives_them():
    source = datasets.load_breast_cancer()
    got = from_arrays(
        source.data, source.target, feature_names=source.feature_names,
        class_names=source.target_names, standardize=False,
    )  # fmt: skip
    assert got.feature_names == tuple(source.feature_names)
    assert all(type(name) is str for name in got.feature_names + got.class_names)
    assert torch.equal(got.x_test, load("breast_cancer", standardize=False).x_test)


def test_class_names_decide_the_order_of_text_and_name_numbers_and_booleans():
    animals = np.array(["cat", "dog"])[halves()]
    x = np.arange(20.0)[:, None]  # a row is its number, so that a class can be looked up
    got = from_arrays(x, animals, class_names=("dog", "cat", "bird"), standardize=False)
    assert got.class_names == ("dog", "cat", "bird") and got.n_classes == 3
    rows, labels = everything(got)
    assert [got.class_names[c] for c in labels] == [animals[int(row)] for row in rows]
    for y in (halves(), halves().astype(bool), halves().astype(object)):
        named = from_arrays(x, y, class_names=("no", "yes"), standardize=False)
        rows, labels = everything(named)
        assert labels.tolist() == [halves()[int(row)] for row in rows]
    named = from_arrays(x, halves() * 2, class_names=("a", "b", "c"), standardize=False)
    rows, labels = everything(named)
    assert labels.tolist() == [2 * halves()[int(row)] for row in rows]


@pytest.mark.parametrize("text", [object, "string", "category"] + ["str"] * (pd.__version__ >= "3"))
def test_a_data_frame(text):
    frame = pd.DataFrame(
        {
            "weight": table()[:, 0],
            "colour": pd.Series(["red", "blue"] * 10, dtype=text),
            "old": [True, False, False, True] * 5,
            "rank": pd.Series(range(20), dtype="Int64"),
            "size": pd.Series(pd.Categorical([1, 2, 3, 1] * 5)),
        }
    )
    frame["old too"] = frame["old"].astype("boolean")
    frame.index = range(100, 120)
    before = frame.copy(deep=True)
    y = pd.Series(["x", "y"] * 10, index=range(20), dtype=text)
    got = from_arrays(frame, y, standardize=False)
    assert got.feature_names == (
        "weight", "old", "rank", "old too",
        "colour_blue", "colour_red", "size_1", "size_2", "size_3",
    )  # fmt: skip
    expected = [
        (np.float32(w), old, rank, old, colour == "blue", colour == "red", s == 1, s == 2, s == 3)
        for w, colour, old, rank, s in zip(
            table()[:, 0], frame["colour"], frame["old"], range(20), frame["size"], strict=True
        )
    ]
    rows = Counter(tuple(map(float, row)) for row in expected)
    assert Counter(map(tuple, everything(got)[0].tolist())) == rows
    pd.testing.assert_frame_equal(frame, before)
    scaled = from_arrays(frame, y)
    assert_standard(scaled.x_train[:, :4])
    assert set(scaled.x_train[:, 4:].unique().tolist()) == {0.0, 1.0}


def test_numbers_among_objects_stay_numbers():
    frame = pd.DataFrame({"a": pd.Series(range(20), dtype=object)})
    assert from_arrays(frame, halves()).feature_names == ("a",)


def test_the_users_images():
    pixels = np.random.default_rng(0).uniform(size=(20, 2, 4, 3))
    got = from_arrays(pixels, halves())
    assert got.input_shape == (2, 4, 3)
    assert_standard(got.x_train, (0, 2, 3))
    assert got.feature_names[0] == "channel 0 row 0 column 0"
    assert got.feature_names[12] == "channel 1 row 0 column 0"
    assert got.feature_names[-1] == "channel 1 row 3 column 2" and len(got.feature_names) == 24
    assert from_arrays(pixels[:, :, :1, :1], halves(), feature_names="ab").feature_names == (
        "a",
        "b",
    )


def test_the_users_sequences():
    x = np.random.default_rng(0).normal(size=(20, 4, 2)) * [1.0, 10.0] + [0.0, 1.7e9]
    got = from_arrays(x, halves())
    assert got.input_shape == (4, 2) and got.x_train.dtype == torch.float32
    assert_standard(got.x_train, (0, 1))
    assert got.feature_names == tuple(f"step {t} feature {d}" for t in range(4) for d in range(2))
    raw = from_arrays(x, halves(), standardize=False)
    train = {tuple(np.float32(one[:, 0]).tolist()): one for one in x}
    kept = np.stack([train[tuple(one[:, 0].tolist())] for one in raw.x_train])
    test = np.stack([train[tuple(one[:, 0].tolist())] for one in raw.x_test])
    expected = (test - kept.mean((0, 1))) / kept.std((0, 1))
    np.testing.assert_allclose(got.x_test, expected, rtol=1e-4, atol=1e-4)
    named = from_arrays(x, halves(), feature_names="abcdefgh")
    assert named.feature_names == tuple("abcdefgh")
    data.check(got)


def test_a_recurrent_network_learns_from_the_users_sequences():
    x = np.random.default_rng(0).normal(size=(80, 5, 2))
    sequences = from_arrays(x, (x[:, :, 0].sum(1) > 0).astype(int))
    torch.manual_seed(0)
    network = models.SequenceClassifier("gru", 2, 8, sequences.n_classes)
    history = train.fit(network, sequences, epochs=30, lr=0.02, optimizer="adam")
    assert len(history.test_accuracy) and history.test_accuracy[-1] > 0.8


def test_inputs_are_neither_changed_nor_shared():
    x, y = table().astype(np.float32), table(20, 1)[:, 0].astype(np.float32)
    tensors = torch.from_numpy(x.copy()), torch.from_numpy(y.copy())
    for given_x, given_y in ((x, y), tensors):
        for standardize in (True, False):
            got = from_arrays(given_x, given_y, standardize=standardize)
            for part in (got.x_train, got.x_test, got.y_train, got.y_test):
                part += 100
    np.testing.assert_array_equal(x, table().astype(np.float32))
    np.testing.assert_array_equal(tensors[0], x)
    np.testing.assert_array_equal(y, table(20, 1)[:, 0].astype(np.float32))
    np.testing.assert_array_equal(tensors[1], y)


@given(
    st.floats(-9, 12), st.sampled_from([-1e9, -1.0, 0.0, 0.1, 1.7e9]), st.integers(0, 2**32 - 1)
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_standardising_knows_no_units(exponent, offset, seed):
    """Columns and targets of any unit and offset that float64 can tell apart."""
    unit = 10**exponent
    if unit < 1e-9 * abs(offset):
        unit = 1e-9 * abs(offset)
    x = table(40, 2, seed) * unit + offset
    got = from_arrays(x, x[:, 0], seed=seed)
    assert_standard(got.x_train)
    assert_standard(got.y_train)
    torch.testing.assert_close(got.x_train[:, 0], got.y_train)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e-7, 1.7e9, 1e30])
def test_a_constant_column_becomes_zero(constant):
    x = table(1000)
    x[:, 1] = constant
    got = from_arrays(x, halves(1000))
    # 64 roundings of the constant itself are more than its mean can be wrong by.
    assert got.x_train[:, 1].abs().max() <= 64 * 2.3e-16 * abs(constant)
    assert_standard(got.x_train[:, [0, 2]])


def bad_frame(**columns):
    return pd.DataFrame({"a": range(20), **columns})


NAN = np.where(np.arange(60).reshape(20, 3) == 7, math.nan, 1.0)
HUGE = np.where(np.arange(60).reshape(20, 3) == 7, 1e39, 1.0)
DAYS = pd.date_range("2024-01-01", periods=20)
TWICE = pd.DataFrame(table(), columns=["a", "b", "a"])
BAD = [
    (ValueError, "^x holds 20 examples, but y holds 19", dict(y=halves(19))),
    (ValueError, "^x holds 20 examples, but y holds 0", dict(y=[])),
    (ValueError, "^x must be finite, got 1 NaN or infinite values among 60", dict(x=NAN)),
    (ValueError, "^x must be finite, got 60 NaN", dict(x=torch.full((20, 3), math.inf))),
    (ValueError, "^x must be finite, got 20 NaN", dict(x=[[None, 1.0]] * 20)),
    (ValueError, "^y must be finite, got 20 NaN", dict(y=np.full(20, math.inf))),
    (ValueError, "^x has gaps in b, c; drop those rows",
     dict(x=bad_frame(b=[math.nan] * 20, c=["x", None] * 10, d=1))),
    (ValueError, "^x has gaps in b", dict(x=bad_frame(b=pd.array([1, None] * 10, dtype="Int64")))),
    (ValueError, "^x has more than one column named a", dict(x=TWICE)),
    (ValueError, "^x has more than one column named a", dict(x=TWICE.astype(str))),
    (ValueError, "^x has more than one column named b_c",
     dict(x=bad_frame(b=["c", "d"] * 10, b_c=1))),
    (TypeError, "^column b of x holds datetime64", dict(x=bad_frame(b=DAYS))),
    (TypeError, "^column b of x holds timedelta64", dict(x=bad_frame(b=DAYS - DAYS[0]))),
    (TypeError, "^x must hold numbers in an array of one shape", dict(x=[[1, 2], [3]] * 10)),
    (TypeError, "^x must hold numbers .*: could not convert", dict(x=[["a", "b"]] * 20)),
    (TypeError, "^x must hold numbers .*: complex", dict(x=table() + 1j)),
    (TypeError, "^x must hold numbers .*: complex", dict(x=torch.ones(20, 3) * 1j)),
    (ValueError, r"^x must be \[N, D\], \[N, T, D\] or \[N, C, H, W\] and not empty, got \[20\]",
     dict(x=table()[:, 0])),
    (ValueError, r"got \[20, 3, 1, 1, 1\]", dict(x=table()[:, :, None, None, None])),
    (ValueError, r"got \[20, 0, 3\]", dict(x=np.ones((20, 0, 3)))),
    (ValueError, "^x has 6 features, but 3 feature_names",
     dict(x=np.ones((20, 2, 3)), feature_names="abc")),
    (ValueError, r"got \[0, 3\]", dict(x=table(0), y=[])),
    (ValueError, r"got \[20, 0\]", dict(x=table(20, 0))),
    (ValueError, r"got \[\]", dict(x=3.0)),
    (ValueError, r"^y must be \[N\], one target for each example, got \[20, 1\]",
     dict(y=halves()[:, None])),
    (ValueError, r"^y must be \[N\]", dict(y=pd.DataFrame({"y": halves()}))),
    (ValueError, r"^y holds one class only \(0\)", dict(y=halves() * 0)),
    (ValueError, r"^y holds one class only \(1\)", dict(y=halves() * 0 + 1, class_names="abc")),
    (ValueError, "^every class needs at least two examples to split, one has 1",
     dict(y=[0] * 10 + [1] * 9 + [2])),
    (ValueError, "leaves 4 to train and 2 to test; each part needs at least 3, one for each class",
     dict(x=table(6), y=[0, 1, 2] * 2)),
    (ValueError, "leaves 1 to train and 5 to test; each part needs at least 2, one for each class",
     dict(x=table(6), y=[0, 1] * 3, test_fraction=0.8)),
    (ValueError, "leaves 0 to train and 3 to test; each part needs at least 1$",
     dict(x=table(3), y=[0.0, 1, 2], test_fraction=0.9)),
    (ValueError, "^at least two examples are needed to split, got 1", dict(x=table(1), y=[1.0])),
    (ValueError, r"labels out of range: \[2\]; expected 0 to 1",
     dict(y=halves() * 2, class_names=("a", "b"))),
    (ValueError, r"labels out of range: \[-1\]; expected 0 to 1",
     dict(y=halves() * 2 - 1, class_names=("a", "b"))),
    (ValueError, r"labels out of range: \['b'\]; expected a, c",
     dict(y=["a", "b"] * 10, class_names=("a", "c"))),
    (ValueError, r"labels out of range: \[2, 3, 4, 5, 6\]; expected 0 to 1",
     dict(y=[*range(2, 12)] * 2, class_names=("a", "b"))),
    (TypeError, "^class_names are for classes, but y holds floating-point numbers",
     dict(y=table()[:, 0], class_names=("a", "b"))),
    (ValueError, "^x has 3 features, but 2 feature_names", dict(feature_names=("a", "b"))),
    (ValueError, "^x has 3 features, but 0 feature_names", dict(feature_names=())),
    (ValueError, "^x has 12 features, but 1 feature_names",
     dict(x=np.ones((20, 3, 2, 2)), feature_names=("a",))),
    (ValueError, "^y has gaps", dict(y=["a", None] * 10)),
    (ValueError, "^y has gaps", dict(y=["a", math.nan] * 10)),
    (ValueError, "^y has gaps", dict(y=pd.Series(["a", None] * 10))),
    (ValueError, "^y has gaps", dict(y=pd.Series(["a", pd.NA] * 10, dtype="string"))),
    (ValueError, "^y must be finite|y has gaps",
     dict(y=pd.Series([1, None] * 10, dtype="Int64"))),
    (TypeError, "^y must hold numbers, text or booleans, got datetime64", dict(y=DAYS)),
    (ValueError, "^test_fraction must", dict(test_fraction=1.5)),
    (TypeError, "^seed must be", dict(seed=0.5)),
    (ValueError, r"^seed must be at most 2\*\*32 - 1, got 4294967296", dict(seed=2**32)),
    (ValueError, "^x holds .* too large for float32", dict(x=table() * 1e300, standardize=False)),
    (ValueError, "^x holds .* too large for float32", dict(x=table() * 1e300)),
    (ValueError, "^x holds .* too large for float32", dict(x=HUGE, standardize=False)),
    (ValueError, "^x holds .* too large for float32", dict(x=np.full((20, 1, 2, 2), 1e300))),
    (ValueError, "^x must be finite, got 80", dict(x=np.full((20, 1, 2, 2), math.inf))),
    (ValueError, "^y holds .* too large for float32", dict(y=[1e300] * 20, standardize=False)),
    (ValueError, "^y holds .* too large for float32", dict(y=table()[:, 0] * 1e300)),
]  # fmt: skip


@pytest.mark.parametrize("error, match, changed", BAD, ids=[match for _, match, _ in BAD])
def test_bad_arguments_of_from_arrays(error, match, changed):
    with pytest.raises(error, match=match):
        from_arrays(**({"x": table(), "y": halves()} | changed))


def test_the_smallest_set_that_can_be_split():
    got = from_arrays(table(4), [0, 1, 0, 1], test_fraction=0.5)
    assert sorted(got.y_train.tolist()) == sorted(got.y_test.tolist()) == [0, 1]
    assert len(from_arrays(table(2), [0.0, 1.0], test_fraction=0.5).x_train) == 1


# check, which `fit` calls.


def test_check_accepts_what_load_and_from_arrays_make():
    for name in ("wine", "diabetes", "faces"):
        data.check(load(name))


@pytest.mark.parametrize(
    "error, match, changed",
    [
        (ValueError, "^x_train and y_train must hold as many .* got 0 and 0",
         dict(x_train=torch.empty(0, 3), y_train=torch.empty(0))),
        (ValueError, "^x_test and y_test must hold as many .* got 5 and 1",
         dict(y_test=torch.tensor([1]))),
        (ValueError, "^x_train must be finite", dict(x_train=torch.full((15, 3), math.nan))),
        (ValueError, "^x_test must be finite", dict(x_test=torch.full((5, 3), math.inf))),
        (ValueError, "^y_test must be finite",
         dict(y_test=torch.full((5,), math.nan), class_names=())),
        (ValueError, "^y_train must lie in 0 to 1, got 2 to 2",
         dict(y_train=torch.full((15,), 2))),
        (ValueError, "^y_test must lie in 0 to 1, got -1 to -1",
         dict(y_test=torch.full((5,), -1))),
        (TypeError, "^x_train must be a tensor, got ndarray", dict(x_train=table(15))),
        (TypeError, "^y_test must be a tensor, got list", dict(y_test=[0, 1, 0, 1, 0])),
        (TypeError, "^y_test must hold integers, .* class_names .*, got torch.float32",
         dict(y_test=torch.ones(5))),
    ],
)  # fmt: skip
def test_check_refuses_broken_data(error, match, changed):
    broken = dataclasses.replace(from_arrays(table(), halves()), **changed)
    with pytest.raises(error, match=match):
        data.check(broken)


def test_check_refuses_what_is_no_dataset():
    with pytest.raises(TypeError, match=r"data must be a Dataset .*got ndarray"):
        data.check(table())
    assert isinstance(load("wine"), Dataset)
