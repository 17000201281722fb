from __future__ import annotations

import datetime
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shipway.components.common.errors import InputError
from shipway.components.data.tables import read_dataset

from .conftest import columns, parts


def test_penguins(prepare, split_penguins):
    metadata, out, summary = prepare(split_penguins, label="species", imbalance="weights", exclude_columns=["sex"])
    assert out["train"].column_names == ["island", "bill_length_mm", "body_mass_g", "species", "sample_weight"]
    assert len({table.schema for table in out.values()}) == 1
    assert [table.num_rows for table in out.values()] == [
        read_dataset(path).num_rows for path in split_penguins.values()
    ]
    assert metadata["train"]["features"] == 3
    assert metadata["test"] == {**metadata["test"], "split": "test", "label": "species", "rows": out["test"].num_rows}
    assert "Left out, times are no features: seen." in summary
    assert "Left out, excluded: sex." in summary
    assert "bill\\_length\\_mm (" in summary
    assert "| train | 210 | 210 | 105 (50.0%) | 42 (20.0%) | 63 (30.0%) |" in summary


def test_weights_balance_the_training_split(prepare, split_penguins):
    _, out, _ = prepare(split_penguins, label="species", imbalance="weights")
    weights = out["train"]["sample_weight"].to_numpy()
    sums = {
        name: weights[out["train"]["species"].to_numpy() == name].sum() for name in ("Adelie", "Gentoo", "Chinstrap")
    }
    assert weights.mean() == pytest.approx(1)
    assert list(sums.values()) == pytest.approx([len(weights) / 3] * 3)
    assert set(out["validation"]["sample_weight"].to_pylist()) == set(out["test"]["sample_weight"].to_pylist()) == {1.0}


def test_none_adds_nothing(prepare, split_penguins):
    _, out, _ = prepare(split_penguins, label="species", imbalance="none")
    assert "sample_weight" not in out["train"].column_names


@pytest.mark.parametrize("imbalance", ["none", "weights", "smote", "undersample"])
def test_repeats_and_leaves_validation_and_test_alone(prepare, split_penguins, imbalance):
    parameters = {"label": "species", "imbalance": imbalance, "missing_values": "impute"}
    first, out, _ = prepare(split_penguins, seed=1, **parameters)
    again, _, _ = prepare(split_penguins, "again", seed=1, **parameters)
    _, plain, _ = prepare(split_penguins, "plain", **{**parameters, "imbalance": "none"})
    assert first == again
    for name in ("validation", "test"):
        assert out[name].select(plain[name].column_names).equals(plain[name])


def test_undersample(prepare):
    train = columns()
    _, out, summary = prepare(parts(train), label="y", imbalance="undersample", seed=1)
    assert Counter(out["train"]["y"].to_pylist()) == {0: 25, 1: 25}
    places = [train["x"].index(x) for x in out["train"]["x"].to_pylist()]
    assert places == sorted(set(places))
    assert [train["y"][place] for place in places] == out["train"]["y"].to_pylist()
    _, other, _ = prepare(parts(train), "other", label="y", imbalance="undersample", seed=2)
    assert not other["train"].equals(out["train"])
    assert "kept 25 rows of each class" in summary


def test_smote_with_strings(prepare, split_penguins):
    _, out, summary = prepare(split_penguins, label="species", imbalance="smote", missing_values="impute")
    _, plain, _ = prepare(split_penguins, "plain", label="species", imbalance="none", missing_values="impute")
    train, before = out["train"], plain["train"]
    assert train.slice(0, before.num_rows).equals(before)
    assert Counter(train["species"].to_pylist()) == {"Adelie": 105, "Gentoo": 105, "Chinstrap": 105}
    synthetic = train.slice(before.num_rows)
    assert set(synthetic["species"].to_pylist()) == {"Gentoo", "Chinstrap"}
    assert set(synthetic["island"].to_pylist()) <= {"Biscoe", "Dream", "Torgersen"}
    assert train.schema == before.schema
    gentoo = before.filter(pc.equal(before["species"], "Gentoo"))["body_mass_g"]
    drawn = synthetic.filter(pc.equal(synthetic["species"], "Gentoo"))["body_mass_g"]
    assert min(gentoo.to_pylist()) <= min(drawn.to_pylist()) <= max(drawn.to_pylist()) <= max(gentoo.to_pylist())
    assert f"added {synthetic.num_rows} synthetic rows" in summary


def test_smote_with_numbers(prepare, split_cancer):
    _, out, _ = prepare(split_cancer, label="benign", imbalance="smote")
    counts = Counter(out["train"]["benign"].to_pylist())
    assert counts[0] == counts[1] == 250
    assert str(out["train"].schema.field("benign").type) == "int64"
    assert out["train"].column_names[-1] == "benign"


def test_smote_with_strings_only_and_few_rows(prepare):
    train = {"s": ["a", "b", "a", "c"] * 5, "t": ["u", "v"] * 10, "y": [1, 1, *[0] * 18]}
    _, out, _ = prepare(parts(train), label="y", imbalance="smote")
    assert Counter(out["train"]["y"].to_pylist()) == {0: 18, 1: 18}
    with pytest.raises(InputError, match="two rows of each class"):
        prepare(parts({**train, "y": [1] + [0] * 19}), label="y", imbalance="smote")


def test_smote_refuses_missing_values(prepare, split_penguins):
    with pytest.raises(InputError, match=r"values of bill_length_mm, .* are missing; choose missing_values=impute"):
        prepare(split_penguins, label="species", imbalance="smote")


def test_what_is_learned_is_learned_on_the_training_split(prepare):
    train = columns(empty=[None] * 99 + ["x"], still=[1.0] * 100)
    train["empty"] = pa.array([None] * 100, pa.string())
    rest = columns(empty=["x"] * 100, still=[float(i) for i in range(100)])
    _, out, summary = prepare(parts(train, rest), label="y", imbalance="none")
    assert all(table.column_names == ["x", "s", "y"] for table in out.values())
    assert "Left out, empty in the training split: empty." in summary
    assert "Left out, constant in the training split: still." in summary


def test_constant_with_gaps_is_a_feature(prepare):
    _, out, _ = prepare(parts(columns(gaps=[None if i % 3 else 1.0 for i in range(100)])), label="y", imbalance="none")
    assert "gaps" in out["train"].column_names


def test_impute_learns_on_train(prepare):
    train = columns(n=101, i=[*range(100), None], b=[True] * 60 + [False] * 40 + [None])
    train["x"][0] = None
    train["s"] = ["a"] * 50 + ["b"] * 50 + [None]
    rest = columns(n=101, i=[None] * 101, b=[None] * 100 + [False])
    rest["b"] = pa.array(rest["b"], pa.bool_())
    rest["x"] = pa.array([None] * 101, pa.float64())
    rest["i"] = pa.array(rest["i"], pa.int64())
    _, out, summary = prepare(parts(train, rest), label="y", imbalance="none", missing_values="impute")
    expected = float(np.median([i / 7 for i in range(1, 101)]))
    assert out["train"]["x"][0].as_py() == expected
    assert set(out["test"]["x"].to_pylist()) == {expected}
    assert set(out["test"]["i"].to_pylist()) == {50}
    assert out["test"]["b"].to_pylist() == [True] * 100 + [False]
    assert out["train"]["s"][100].as_py() == "a"
    assert all(column.null_count == 0 for table in out.values() for column in table.columns)
    assert "i = 50 (203 values)" in summary


def test_drop_rows(prepare):
    train = columns()
    train["x"][0] = train["s"][0] = train["s"][5] = None
    _, out, summary = prepare(parts(train, columns()), label="y", imbalance="none", missing_values="drop_rows")
    assert [table.num_rows for table in out.values()] == [98, 100, 100]
    assert "train: dropped 2 rows with missing values." in summary


def test_model_leaves_gaps_and_infinity_becomes_one(prepare):
    train = columns()
    train["x"][0], train["x"][1], train["x"][2] = None, float("inf"), float("nan")
    _, out, summary = prepare(parts(train, columns()), label="y")
    assert out["train"]["x"].null_count == 3
    assert "train: 1 infinite values of x count as missing." in summary


@pytest.mark.parametrize(
    ("label", "kind", "values"),
    [
        ([True, False, None, True], "int64", [1, 0, 1]),
        ([1.0, 0.0, None, float("nan")], "int64", [1, 0]),
        ([0.5, 1.5, None, 0.5], "double", [0.5, 1.5, 0.5]),
        (["a", "", None, "b"], "string", ["a", "b"]),
        ([7, None, 8, 9], "int64", [7, 8, 9]),
    ],
)
def test_labels(prepare, label, kind, values):
    _, out, summary = prepare(parts({"x": [1, 2, 3, 4], "y": label}), label="y", imbalance="none")
    assert str(out["train"].schema.field("y").type) == kind
    assert out["train"]["y"].to_pylist() == values
    assert f"train: dropped {4 - len(values)} rows without a label." in summary


def test_classes_unknown_to_the_training_split_are_dropped(prepare):
    rest = {**columns(), "y": [0, 1, 2, 2] * 25}
    _, out, summary = prepare(parts(columns(), rest), label="y")
    assert out["test"].num_rows == 50
    assert "test: dropped 50 rows of classes that the training split does not have (2)." in summary


@pytest.mark.parametrize(
    ("change", "parameters", "message"),
    [
        ({}, {"label": "yy"}, "no column 'yy'; did you mean 'y'"),
        ({}, {"label": ""}, "label is empty; name a column: x, s, y"),
        ({}, {"exclude_columns": ["x", "y"]}, "holds the label 'y'"),
        ({}, {"exclude_columns": ["xx"]}, "exclude_columns: there is no column 'xx'"),
        ({}, {"time_column": "when"}, "time_column: there is no column 'when'"),
        ({}, {"time_column": "y"}, "cannot be the time_column"),
        ({}, {"exclude_columns": ["x", "s"]}, "no feature is left: excluded: x, s"),
        ({}, {"imbalance": "smite"}, "imbalance='smite': must be one of none, weights, smote, undersample"),
        ({}, {"missing_values": "zero"}, "missing_values='zero': must be one of"),
        ({"y": [1] * 100}, {}, "one class 1 in the training split"),
        ({"y": pa.array([None] * 100, pa.string())}, {}, "missing in every row of the train split"),
        ({"y": [datetime.date(2020, 1, 1)] * 100}, {}, "is of the type date32"),
        ({"y": [i / 3 for i in range(100)] * 11}, {}, None),
        ({"sample_weight": [float(i) for i in range(100)]}, {"imbalance": "weights"}, "'sample_weight' already"),
        ({"x": pa.array([None] * 100, pa.float64()), "s": ["a"] * 100}, {}, "no feature is left"),
    ],
)
def test_refused(prepare, tmp_path, change, parameters, message):
    if message is None:
        change, message = (
            {"x": range(1100), "s": ["a"] * 1100, "y": [i / 3 for i in range(1100)]},
            "1,100 different values",
        )
    with pytest.raises(InputError, match=message):
        prepare(parts({**columns(), **change}), **{"label": "y", **parameters})
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "summary.md").exists()


def test_refuses_splits_that_differ_or_are_emptied(prepare):
    with pytest.raises(InputError, match="the test split's columns differ"):
        prepare({**parts(columns()), "test": {**columns(), "z": [1] * 100}}, label="y")
    with pytest.raises(InputError, match="no class of the validation split"):
        prepare(parts(columns(), {**columns(), "y": [5] * 100}), label="y")
    rest = {**columns(), "x": pa.array([None] * 100, pa.float64())}
    with pytest.raises(InputError, match="no row of the validation split is complete"):
        prepare(parts(columns(), rest), label="y", missing_values="drop_rows")


def test_refuses_one_class_after_rows_are_dropped(prepare):
    train = columns()
    train["x"] = [None if y else x for x, y in zip(train["x"], train["y"], strict=True)]
    with pytest.raises(InputError, match="one class 0 in the training split"):
        prepare(parts(train), label="y", missing_values="drop_rows")


def test_own_weights_pass_with_none(prepare):
    weights = [float(i) for i in range(100)]
    _, out, _ = prepare(parts(columns(sample_weight=weights)), label="y", imbalance="none")
    assert out["train"]["sample_weight"].to_pylist() == weights
