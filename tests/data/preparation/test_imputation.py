from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shipway.components.common.errors import InputError

from .conftest import columns, parts


def gappy(**more):
    """Rows whose every third value of each feature is missing."""
    table = pa.table(
        columns(
            n=99,
            i=[i % 10 for i in range(99)],
            f=pa.array([i / 10 for i in range(99)], pa.float32()),
            b=[i % 5 > 0 for i in range(99)],
            **more,
        )
    )
    present = pa.array([i % 3 > 0 for i in range(99)])
    return {
        name: column if name == "y" else pc.if_else(present, column, pa.scalar(None, column.type))
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def known(table, name):
    return [value for value in table[name].to_pylist() if value is not None]


@pytest.mark.parametrize("missing_values", ["model", "impute", "drop_rows"])
def test_each_column_its_own(prepare, missing_values):
    imputation = {"x": "mean", "i": "most_frequent", "f": "constant:-1.5", "s": "constant:none", "b": "constant:true"}
    table = gappy()
    _, out, summary = prepare(parts(table), label="y", missing_values=missing_values, imputation=imputation)
    test = out["test"]
    assert test.num_rows == 99
    assert test["x"][0].as_py() == float(np.mean(known(table, "x")))
    assert test["i"][0].as_py() == min(range(10), key=lambda v: (-known(table, "i").count(v), str(v)))
    assert test["f"][0].as_py() == -1.5
    assert test["s"][0].as_py() == "none"
    assert test["b"][0].as_py() is True
    assert [test[name].type for name in imputation] == [table[name].type for name in imputation]
    assert "Filled in: " in summary


@pytest.mark.parametrize(
    ("missing_values", "rows", "gaps"), [("model", 99, 33), ("impute", 99, 0), ("drop_rows", 66, 0)]
)
def test_other_columns_follow_missing_values(prepare, missing_values, rows, gaps):
    _, out, summary = prepare(parts(gappy()), label="y", missing_values=missing_values, imputation={"x": "median"})
    assert [(table.num_rows, table["s"].null_count) for table in out.values()] == [(rows, gaps)] * 3
    assert out["test"]["x"].null_count == 0
    assert ("left to the model: i (99)" in summary.replace("s (99), ", "")) == (missing_values == "model")


def test_whole_numbers_stay_whole(prepare):
    table = {"i": [1, 2, 2, None] * 10, "y": [0, 1] * 20}
    _, out, _ = prepare(parts(table), label="y", imputation={"i": "mean"})
    assert out["train"]["i"].to_pylist() == [1, 2, 2, 2] * 10


def test_indicators_tell_what_training_rows_lack(prepare):
    rest = gappy(z=[None, *range(98)])
    train = {**gappy(), "z": pa.array(range(99), pa.int64())}
    _, out, summary = prepare(
        parts(train, rest), label="y", imputation={"x": "mean", "z": "mean"}, missing_indicators=True
    )
    for table in out.values():
        assert table.column_names == ["x", "s", "i", "f", "b", "z", "x_missing", "y"]
        assert table["x_missing"].to_pylist() == [i % 3 == 0 for i in range(99)]
    assert "x\\_missing" in summary


def test_dictionaries_are_filled_in(prepare):
    values = pa.array(["u", "v", "u", None] * 25).dictionary_encode()
    _, out, _ = prepare(parts({**columns(), "d": values}), label="y", missing_values="impute")
    assert out["test"]["d"].to_pylist() == ["u", "v", "u", "u"] * 25


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"imputation": {"xx": "mean"}}, "imputation: there is no column 'xx'; did you mean 'x'"),
        ({"imputation": {"y": "mean"}}, "imputation holds the label 'y'"),
        ({"imputation": {"x": "average"}}, "'average' for 'x': must be one of median, mean"),
        ({"imputation": {"x": 3}}, "3 for 'x': must be one of median, mean"),
        ({"imputation": {"s": "median"}}, "'s' is of the type string, which has no median"),
        ({"imputation": {"b": "mean"}}, "'b' is of the type bool, which has no mean"),
        ({"imputation": {"x": "constant:many"}}, "'many' is no value for 'x', which is of the type double"),
        ({"imputation": {"i": "constant:1.5"}}, "'1.5' is no value for 'i'"),
        ({"imputation": {"x": "constant:inf"}}, "a constant must be finite"),
    ],
)
def test_refused(prepare, tmp_path, parameters, message):
    with pytest.raises(InputError, match=message):
        prepare(parts(gappy()), label="y", **parameters)
    assert not (tmp_path / "out").exists()


def test_refuses_an_indicator_over_a_column(prepare):
    with pytest.raises(InputError, match="there is a column 'x_missing' already"):
        prepare(parts(gappy(x_missing=range(99))), label="y", imputation={"x": "mean"}, missing_indicators=True)


def test_refuses_what_dropped_rows_took_away(prepare):
    table = {"x": [float(i % 20) for i in range(100)], "s": ["a", "b"] + [None] * 98, "y": [0, 1] * 50}
    table["x"][:2] = [1e6, -1e6]
    with pytest.raises(InputError, match="no training row that is left has a value of 's'"):
        prepare(parts(table), label="y", missing_values="impute", outliers="drop")
