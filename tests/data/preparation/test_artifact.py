from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shipway.components.common.errors import InputError
from shipway.components.data.preparation.artifact import apply_preparation, read_preparation
from shipway.components.data.tables import read_dataset, write_dataset

from .conftest import columns, parts

CHOICES = [
    {},
    {"imbalance": "weights", "exclude_columns": ["sex"]},
    {"missing_values": "impute", "missing_indicators": True, "imbalance": "smote", "encoding": "onehot"},
    {"missing_values": "drop_rows", "outliers": "missing", "outlier_bounds": "quantile:0.05", "encoding": "ordinal"},
    {"imputation": {"sex": "constant:unknown", "body_mass_g": "mean"}, "outliers": "clip", "outlier_bounds": "iqr:0.5"},
    {"missing_values": "impute", "outliers": "drop", "outlier_bounds": "robust_z:2", "encoding": "target"},
    {"encoding": "target", "imbalance": "undersample", "time_column": "seen", "seed": 5},
]


@pytest.mark.parametrize("choices", CHOICES)
def test_applied_to_the_raw_splits_gives_the_prepared_ones(prepare, split_penguins, tmp_path, choices):
    _, out, _ = prepare(split_penguins, label="species", encoders=tmp_path / "encoders", **choices)
    preparation = read_preparation(tmp_path / "encoders")
    for split in ("validation", "test"):
        made = apply_preparation(read_dataset(split_penguins[split]), preparation)
        assert made.equals(out[split])
        assert (
            write_dataset(made, tmp_path / "made")["digest"] == write_dataset(out[split], tmp_path / "again")["digest"]
        )


@pytest.mark.parametrize("choices", CHOICES)
def test_nothing_is_learned_from_validation_and_test(prepare, split_penguins, tmp_path, choices):
    """Validation and test rows of another world change neither the training rows nor what was learned."""
    first, _, _ = prepare(split_penguins, "one", label="species", encoders=tmp_path / "e1", **choices)
    other = {"train": split_penguins["train"]}
    changes = {
        "body_mass_g": lambda column: pc.if_else(pc.greater(column, 4000), 4001, column),
        "bill_length_mm": lambda column: pc.if_else(pc.less(column, 40), None, column),
        "island": lambda column: pc.utf8_upper(column),
    }
    for split in ("validation", "test"):
        table = read_dataset(split_penguins[split])
        for name, change in changes.items():
            index = table.column_names.index(name)
            table = table.set_column(index, table.schema.field(index), change(table[name]))
        other[split] = table
    second, _, _ = prepare(other, "two", label="species", encoders=tmp_path / "e2", **choices)
    assert first["train"]["digest"] == second["train"]["digest"]
    assert first["test"]["digest"] != second["test"]["digest"]
    texts = [(tmp_path / name / "preparation.json").read_bytes() for name in ("e1", "e2")]
    assert texts[0] == texts[1]


def test_new_rows_without_a_label(prepare, split_penguins, tmp_path):
    _, out, _ = prepare(
        split_penguins, label="species", imbalance="weights", missing_values="impute", encoders=tmp_path / "encoders"
    )
    raw = read_dataset(split_penguins["test"]).drop(["species", "seen"])
    made = apply_preparation(raw, read_preparation(tmp_path / "encoders"))
    assert made.equals(out["test"].drop(["species", "sample_weight"]))


def test_types_become_those_of_the_training_rows(prepare, tmp_path):
    d = pa.array(["u", "v"] * 50).dictionary_encode()
    train = {**columns(), "i": range(100), "d": d, "y": [0.5, 1.5] * 50}
    _, out, _ = prepare(parts(train), label="y", encoders=tmp_path / "encoders")
    preparation = read_preparation(tmp_path / "encoders")
    rows = {"y": [1.5, 2.0], "s": ["a", "z"], "i": [1.0, 2.0], "d": ["u", "w"], "x": [1, 2], "more": [0, 0]}
    made = apply_preparation(pa.table(rows), preparation)
    assert made.schema == out["train"].schema
    assert made.to_pylist() == [{"x": 1.0, "s": "a", "i": 1, "d": "u", "y": 1.5}]
    whole = apply_preparation(pa.table({**rows, "y": [0.5, 1.5]}), preparation)
    assert whole.num_rows == 2
    with pytest.raises(InputError, match="the feature 'i' is of the type double, and no int64"):
        apply_preparation(pa.table({**rows, "i": [1.5, 2.0]}), preparation)
    with pytest.raises(InputError, match="there is no column 's'"):
        apply_preparation(pa.table(rows).drop(["s"]), preparation)
    with pytest.raises(InputError, match="no class of the given split"):
        apply_preparation(pa.table({**rows, "y": [7.5, 8.5]}), preparation)
    with pytest.raises(InputError, match="the label 'y' is string in the given split and double"):
        apply_preparation(pa.table({**rows, "y": ["late", "early"]}), preparation)


def test_labels_whole_in_one_split_only(prepare):
    train, rest = {**columns(), "y": [0.0, 1.0] * 50}, {**columns(), "y": [0.0, 0.5] * 50}
    _, out, _ = prepare(parts(train, rest), "whole", label="y")
    assert out["test"]["y"].to_pylist() == [0] * 50
    assert out["test"].schema == out["train"].schema
    _, out, _ = prepare({**parts(rest), "test": train}, "half", label="y")
    assert out["test"]["y"].to_pylist() == [0.0] * 50
    assert out["test"].schema == out["train"].schema


def test_classes_lost_with_dropped_rows_are_dropped_everywhere(prepare, tmp_path):
    train = {**columns(), "y": [0, 1, 2, 0] * 25}
    train["x"] = [None if y == 2 else x for x, y in zip(train["x"], train["y"], strict=True)]
    rest = {**columns(), "y": [0, 1, 2, 0] * 25}
    _, out, _ = prepare(parts(train, rest), label="y", missing_values="drop_rows", encoders=tmp_path / "encoders")
    assert set(out["test"]["y"].to_pylist()) == {0, 1}
    assert apply_preparation(pa.table(rest), read_preparation(tmp_path / "encoders")).equals(out["test"])


def test_the_file(prepare, split_penguins, tmp_path):
    prepare(
        split_penguins,
        label="species",
        outliers="clip",
        missing_values="impute",
        missing_indicators=True,
        encoding="ordinal",
        seed=3,
        encoders=tmp_path / "encoders",
    )
    assert [file.name for file in (tmp_path / "encoders").iterdir()] == ["preparation.json"]
    value = json.loads((tmp_path / "encoders" / "preparation.json").read_text())
    assert value["format"] == 1
    assert value["label"] == {"column": "species", "type": "string", "classes": ["Adelie", "Chinstrap", "Gentoo"]}
    assert [entry["name"] for entry in value["features"]] == ["island", "bill_length_mm", "body_mass_g", "sex"]
    assert list(value["outliers"]["bounds"]) == ["bill_length_mm", "body_mass_g"]
    assert value["missing"]["indicators"] == ["bill_length_mm", "body_mass_g", "sex"]
    assert value["encoders"]["island"]["categories"] == ["Biscoe", "Dream", "Torgersen"]
    assert value["seed"] == 3
    assert set(value["versions"]) == {"python", "numpy", "pyarrow"}


def test_refuses_what_is_no_preparation(prepare, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_preparation(tmp_path)
    prepare(parts(columns()), label="y", encoders=tmp_path / "encoders")
    file = tmp_path / "encoders" / "preparation.json"
    value = json.loads(file.read_text())
    file.write_text(json.dumps({**value, "format": 2}))
    with pytest.raises(InputError, match="of the format 2, this version reads 1"):
        read_preparation(tmp_path / "encoders")
    for broken in ({"format": 1}, [], {**value, "encoders": {"s": {}}}):
        file.write_text(json.dumps(broken))
        with pytest.raises(InputError, match="is no preparation"):
            read_preparation(tmp_path / "encoders")
