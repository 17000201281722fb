from __future__ import annotations

import datetime
import logging

import numpy as np
import pyarrow as pa
import pytest

from shipway.components.common.errors import DataRejected, InputError
from shipway.components.data.preparation.leaks import leaked_keys, leaked_rows

from .conftest import columns, parts


def spread(**more):
    """Three tables of different rows."""
    return {
        split: {"x": [base + i / 7 for i in range(100)], "k": range(base, base + 100), "y": [0, 1] * 50, **more}
        for split, base in (("train", 0), ("validation", 1000), ("test", 2000))
    }


def test_clean_splits_have_none(prepare, caplog):
    metadata, _, summary = prepare(spread(), label="y", key_columns=["k"], on_leak="fail")
    assert metadata["test"]["leaked_rows"] == metadata["test"]["leaked_keys"] == 0
    assert "leaked_rows" not in metadata["train"]
    assert "No row of a split is in an earlier one." in summary
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_copies_and_keys_are_counted(prepare, caplog):
    tables = spread()
    for name in ("x", "k"):
        tables["test"][name] = [*list(tables["test"][name])[:95], *list(tables["train"][name])[95:]]
        tables["validation"][name] = [*list(tables["validation"][name])[:98], *list(tables["train"][name])[98:]]
    tables["test"]["k"][0] = 1001
    metadata, out, summary = prepare(tables, label="y", key_columns=["k"])
    assert metadata["validation"] == {**metadata["validation"], "leaked_rows": 2, "leaked_keys": 2}
    assert metadata["test"] == {**metadata["test"], "leaked_rows": 5, "leaked_keys": 6}
    assert out["test"].column_names == ["x", "y"]
    assert "5 rows of test are exact copies of rows of an earlier split" in summary
    assert "6 keys of test occur in an earlier split too; split by group\\_column" in caplog.text.replace("_", "\\_")


@pytest.mark.parametrize("on_leak", ["fail", "warn"])
def test_on_leak(prepare, tmp_path, on_leak):
    table = columns()
    if on_leak == "fail":
        with pytest.raises(DataRejected, match=r"100 rows of validation are exact copies .*; 100 rows of test"):
            prepare(parts(table), label="y", on_leak=on_leak)
        assert not (tmp_path / "out").exists()
    else:
        assert prepare(parts(table), label="y", on_leak=on_leak)[0]["test"]["leaked_rows"] == 100


def test_moments_must_follow(prepare):
    day = datetime.datetime(2020, 1, 1)
    tables = spread()
    for place, table in enumerate(tables.values()):
        table["t"] = [day + datetime.timedelta(days=100 * place + i) for i in range(100)]
    tables["test"]["t"][:3] = [day, None, day + datetime.timedelta(days=199)]
    metadata, _, summary = prepare(tables, label="y", time_column="t")
    assert metadata["validation"]["leaked_moments"] == 0
    assert metadata["test"]["leaked_moments"] == 2
    assert "2 rows of test are not later than the last row of the splits before" in summary
    numbers = {split: {**table, "t": pa.array(range(100))} for split, table in spread().items()}
    assert prepare(numbers, "numbers", label="y", time_column="t")[0]["test"]["leaked_moments"] == 100
    words = {split: {**table, "t": ["a", "b"] * 50} for split, table in spread().items()}
    assert "leaked_moments" not in prepare(words, "words", label="y", time_column="t")[0]["test"]


def test_missing_values_and_nan_are_equal_but_no_keys(dataset):
    table = {
        "rows": [None, float("nan"), 1.0, None, float("nan"), 2.0, -0.0, 0.0],
        "s": pa.array(["a", "b", None, "a", "b", None, "c", "c"]).dictionary_encode(),
        "l": pa.array([[1], [2], None, [1], [2], None, [], []]),
    }
    files = sorted(dataset(table).glob("*"))
    two = {"train": np.array([0, 1, 2, 6]), "test": np.array([3, 4, 5, 7])}
    assert leaked_rows(files, list(table), two) == {"test": 3}
    assert leaked_keys(files, ["rows"], two) == {"test": 2}
    assert leaked_keys(files, ["rows", "s"], two) == {"test": 2}


def test_names_of_any_kind(dataset):
    table = {"a": [0] * 4, "A": [1, 2, 1, 3], 'c "0"': ["x"] * 4, "c0": [5, 5, 5, 5]}
    files, two = sorted(dataset(table).glob("*")), {"train": np.array([0, 1]), "test": np.array([2, 3])}
    assert leaked_rows(files, list(table), two) == {"test": 1}
    assert leaked_keys(files, ["A"], two) == {"test": 1}


def test_different_rows_are_not_taken_for_copies(dataset):
    grid = np.arange(200_000)
    table = {"a": grid % 100, "b": grid // 100 % 100, "c": grid // 10_000, "d": grid % 2 == 0, "e": grid / 8}
    two = {"train": grid[::2], "test": grid[1::2]}
    assert leaked_rows(sorted(dataset(table).glob("*")), ["a", "b", "c"], two) == {"test": 0}


def test_refused(prepare):
    with pytest.raises(InputError, match="on_leak='ignore': must be one of fail, warn"):
        prepare(spread(), label="y", on_leak="ignore")
    with pytest.raises(InputError, match="key_columns: there is no column 'kk'; did you mean 'k'"):
        prepare(spread(), label="y", key_columns=["kk"])
    with pytest.raises(InputError, match="key_columns holds the label"):
        prepare(spread(), label="y", key_columns=["k", "y"])
