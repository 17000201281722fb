"""Columns of lists of numbers: the pixels of images, embeddings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

from shipway.components.common.errors import InputError
from shipway.components.data.preparation.artifact import apply_preparation, read_preparation
from shipway.components.data.preparation.splitting import split_data

from ..conftest import SPLITS
from .conftest import parts

DIGITS = load_digits(n_class=3)
IMAGES = DIGITS.data.tolist()


def columns(images=IMAGES, kind=None, **more):
    rows = len(images)
    image = pa.array(images, kind or pa.list_(pa.float64()))
    return {"image": image, "x": [i / 7 for i in range(rows)], "y": DIGITS.target[:rows], **more}


def with_gaps():
    images = [list(image) for image in IMAGES]
    images[3], images[5][7], images[9][1] = None, None, float("nan")
    return images


def test_lists_are_features_beside_others(prepare):
    metadata, tables, _ = prepare(parts(columns()), label="y")
    assert metadata["train"]["features"] == 2
    assert tables["train"]["image"].to_pylist() == IMAGES


def test_copies_of_images_are_leaks(dataset, tmp_path):
    table = pa.table({"image": IMAGES * 2, "y": [*DIGITS.target] * 2})
    outputs = {split: tmp_path / "split" / split for split in SPLITS}
    found = split_data(dataset(table), outputs, label="y")
    assert found["test"]["leaked_rows"] > 100


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float64(), 64), pa.list_(pa.int16())]
)
def test_applied_to_other_lists_gives_the_same_numbers(prepare, tmp_path, kind):
    _, tables, _ = prepare(parts(columns()), label="y", encoders=tmp_path / "encoders")
    made = apply_preparation(pa.table(columns(kind=kind)), read_preparation(tmp_path / "encoders"))
    assert made["image"].to_pylist() == tables["test"]["image"].to_pylist()
    strings = pa.table({**columns(), "image": ["a"] * len(IMAGES)})
    with pytest.raises(InputError, match="the feature 'image' is of the type string, and no list<double>"):
        apply_preparation(strings, read_preparation(tmp_path / "encoders"))


@pytest.mark.parametrize("choice", ["model", "impute"])
def test_missing_lists_and_values_are_left_to_the_model(prepare, choice):
    given = columns(with_gaps(), x=[None, *range(len(IMAGES) - 1)])
    _, tables, summary = prepare(parts(given), label="y", missing_values=choice, missing_indicators=True)
    assert tables["train"]["image"].null_count == 1
    assert (tables["train"]["x"].null_count == 0) is (choice == "impute")
    assert "image (9)" in summary


def test_rows_with_gaps_in_lists_are_dropped_if_asked(prepare):
    _, tables, _ = prepare(parts(columns(with_gaps())), label="y", missing_values="drop_rows")
    kept = [image for i, image in enumerate(IMAGES) if i not in (3, 5, 9)]
    assert tables["test"]["image"].to_pylist() == kept


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([[1.0, 2.0, 3.0]] * len(IMAGES), "constant in the training split: image"),
        ([[1.0, None]] * len(IMAGES), "constant in the training split: image"),
        ([None] * len(IMAGES), "empty in the training split: image"),
        ([[None] * 4, None] * (len(IMAGES) // 2) + [None], "empty in the training split: image"),
        ([[]] * len(IMAGES), "empty in the training split: image"),
    ],
)
def test_lists_that_say_nothing_are_left_out(prepare, images, reason):
    metadata, _, summary = prepare(parts(columns(images)), label="y")
    assert (metadata["train"]["features"], f"Left out, {reason}." in summary) == (1, True)


@pytest.mark.parametrize("split", SPLITS)
def test_lists_of_several_lengths_are_an_error(prepare, split):
    ragged = [image[: 63 if i == 7 else 64] for i, image in enumerate(IMAGES)]
    given = {**parts(columns()), split: columns(ragged)}
    with pytest.raises(InputError, match=rf"lists of 'image' have several lengths \(.*{split}: 63, 64.*len\(image\)"):
        prepare(given, label="y")
    _, tables, _ = prepare(given, label="y", exclude_columns=["image"])
    assert tables["train"].column_names == ["x", "y"]


def test_lists_of_strings_are_no_features(prepare):
    _, _, summary = prepare(parts(columns(words=[["a"], ["b", "c"], []] * (len(IMAGES) // 3))), label="y")
    assert "no feature: words" in summary


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"imbalance": "smote"}, "smote draws between numbers, and image holds lists"),
        ({"imputation": {"image": "median"}}, "imputation: 'image' holds lists"),
        ({"imputation": {"image": "constant:0"}}, "imputation: 'image' holds lists"),
    ],
)
def test_what_lists_do_not_allow(prepare, choices, message):
    with pytest.raises(InputError, match=message):
        prepare(parts(columns()), label="y", **choices)


@pytest.mark.parametrize(
    "choices",
    [
        {"imbalance": "weights"},
        {"imbalance": "undersample"},
        {"encoding": "onehot"},
        {"encoding": "target"},
        {"outliers": "clip", "outlier_bounds": "iqr:0.1"},
        {"outliers": "drop", "outlier_bounds": "iqr:0.4"},
    ],
)
def test_other_choices_leave_lists_as_they_are(prepare, choices):
    _, tables, _ = prepare(parts(columns(s=["ab"[i % 2] for i in range(len(IMAGES))])), label="y", **choices)
    assert tables["test"]["image"].to_pylist() == IMAGES
    train = {tuple(image) for image in tables["train"]["image"].to_pylist()}
    assert train <= set(map(tuple, IMAGES))


def test_a_vector_is_no_label(prepare):
    with pytest.raises(InputError, match="label 'image' is of the type list"):
        prepare(parts(columns()), label="image")


def test_a_feature_of_lists_alone(prepare):
    metadata, _, _ = prepare(parts({"image": IMAGES, "y": np.asarray(DIGITS.target)}), label="y")
    assert metadata["test"]["features"] == 1
