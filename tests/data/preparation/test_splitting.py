from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from shipway.components.common.errors import DataRejected, InputError
from shipway.components.data.preparation.partition import moments_of
from shipway.components.data.preparation.splitting import split_data
from shipway.components.data.tables import read_dataset

from ..conftest import SPLITS

DAY = datetime.datetime(2013, 1, 1)


@pytest.fixture
def split(tmp_path):
    def run(dataset, name="out", **parameters):
        outputs = {split: tmp_path / name / split for split in SPLITS}
        metadata = split_data(dataset, outputs, **parameters)
        return metadata, {split: read_dataset(path) for split, path in outputs.items()}

    return run


@pytest.fixture
def hourly(dataset):
    """1,000 rows in shuffled order of time, ten of each hour, five without a time."""
    order = np.random.default_rng(3).permutation(1000)
    times = [DAY + datetime.timedelta(hours=int(i) // 10) for i in order] + [None] * 5
    return dataset(
        {"time": times, "i": [*order.tolist(), *range(1000, 1005)], "late": [int(i % 3 == 0) for i in order] + [0] * 5}
    )


def test_by_time_never_overlaps(split, hourly):
    metadata, parts = split(hourly, time_column="time", label="late")
    ranges = [(min(part["time"].to_pylist()), max(part["time"].to_pylist())) for part in parts.values()]
    assert ranges[0][1] < ranges[1][0]
    assert ranges[1][1] < ranges[2][0]
    assert [part.num_rows for part in parts.values()] == [700, 100, 200]
    assert metadata["train"]["rows_without_time"] == 5
    assert [metadata[name]["from"] for name in SPLITS] == [
        "2013-01-01T00:00:00+00:00", "2013-01-03T22:00:00+00:00", "2013-01-04T08:00:00+00:00",
    ]  # fmt: skip
    assert [metadata[name]["split"] for name in SPLITS] == list(SPLITS)


def test_ties_stay_together(split, dataset):
    _, parts = split(dataset({"time": [1] * 65 + [2] * 20 + [3] * 15}), time_column="time")
    assert [part["time"].to_pylist() for part in parts.values()] == [[1] * 65, [2] * 20, [3] * 15]


def test_rows_keep_their_order(split, hourly):
    _, parts = split(hourly, time_column="time")
    whole = read_dataset(hourly)["i"].to_pylist()
    for part in parts.values():
        rows = part["i"].to_pylist()
        assert rows == [i for i in whole if i in set(rows)]


def test_boundaries_belong_to_the_later_split(split, hourly):
    _, parts = split(hourly, time_column="time", validation_from="2013-01-02", test_from="2013-01-03T12:00:00+02:00")
    assert max(parts["train"]["time"].to_pylist()) == DAY + datetime.timedelta(hours=23)
    assert min(parts["validation"]["time"].to_pylist()) == DAY + datetime.timedelta(hours=24)
    assert min(parts["test"]["time"].to_pylist()) == DAY + datetime.timedelta(hours=58)
    assert max(parts["validation"]["time"].to_pylist()) == DAY + datetime.timedelta(hours=57)


def test_one_boundary_and_one_fraction(split, hourly):
    _, parts = split(hourly, time_column="time", test_from="2013-01-03", validation_fraction=0.2)
    assert [part.num_rows for part in parts.values()] == [280, 200, 520]


def test_rows_without_a_number_are_counted(split, dataset):
    values = [float(i) for i in range(98)] + [float("nan"), None]
    metadata, parts = split(dataset({"t": values}), time_column="t")
    assert metadata["train"]["rows_without_time"] == 2
    assert sum(part.num_rows for part in parts.values()) == 98


def test_nanoseconds():
    moments, known = moments_of(pa.chunked_array([pa.array([1001, None, 2999], pa.timestamp("ns"))]), "t")
    assert moments.tolist() == [1, 0, 2]
    assert known.tolist() == [True, False, True]


@pytest.mark.parametrize("values", [range(100), [i / 7 for i in range(100)]])
def test_numbers_are_times_too(split, dataset, values):
    values = list(values)
    _, parts = split(
        dataset({"t": values}), time_column="t", test_from=str(values[90]), validation_from=str(values[50])
    )
    assert [part.num_rows for part in parts.values()] == [50, 40, 10]


def test_random_is_stratified_and_repeats(split, dataset):
    label = ["rare"] * 50 + ["common"] * 940 + [None] * 10
    source = dataset({"i": range(1000), "label": label})
    first, parts = split(source, label="label", seed=1)
    assert [part["label"].to_pylist().count("rare") for part in parts.values()] == [35, 5, 10]
    assert [part["label"].to_pylist().count("common") for part in parts.values()] == [658, 94, 188]
    rows = [part["i"].to_pylist() for part in parts.values()]
    assert sorted(row for part in rows for row in part) == list(range(1000))
    assert all(part == sorted(part) for part in rows)
    assert split(source, "again", label="label", seed=1)[0] == first
    assert split(source, "other", label="label", seed=2)[0] != first


def test_random_without_label(split, dataset):
    _, parts = split(dataset({"i": range(100)}))
    assert [part.num_rows for part in parts.values()] == [70, 10, 20]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"label": "lat"}, "no column 'lat'; did you mean 'late'"),
        ({"time_column": "tme"}, "no column 'tme'; did you mean 'time'.*time, i, late"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "sum below 1"),
        ({"validation_fraction": 0.0}, "above 0"),
        ({"test_from": "2013-01-02"}, "need a time_column"),
        ({"time_column": "time", "test_from": "in March"}, "test_from='in March' cannot be read"),
        ({"time_column": "time", "test_from": "2014-01-01"}, "test split is empty"),
        ({"time_column": "time", "validation_from": "2012-01-01"}, "train split is empty"),
        (
            {"time_column": "time", "validation_from": "2013-01-03", "test_from": "2013-01-03"},
            "validation split is empty",
        ),
        ({"time_column": "time", "validation_from": "2013-01-03", "test_from": "2013-01-02"}, "swap them"),
    ],
)
def test_refused(split, hourly, tmp_path, parameters, message):
    with pytest.raises(InputError, match=message):
        split(hourly, **parameters)
    assert not (tmp_path / "out").exists()


def test_refuses_strings_as_time(split, dataset):
    with pytest.raises(InputError, match="cast it to TIMESTAMP"):
        split(dataset({"t": ["2013-01-01"] * 10}), time_column="t")
    with pytest.raises(InputError, match="holds no values"):
        split(dataset({"t": np.full(10, None, dtype="datetime64[us]")}), time_column="t")


def test_refuses_one_class_in_training(split, dataset):
    source = dataset({"t": range(100), "y": [0] * 90 + [1] * 10})
    with pytest.raises(InputError, match="'y' has the one value 0 in the training split"):
        split(source, time_column="t", label="y")
    assert split(source, "random", label="y")[0]["train"]["rows"] == 70
    with pytest.raises(InputError, match="has no value"):
        split(dataset({"y": [None] * 100}), label="y")


def test_too_few_rows(split, dataset):
    with pytest.raises(InputError, match="validation split is empty"):
        split(dataset({"i": [1, 2, 3]}))


def grouped(rows=2000, groups=150, seed=0):
    generator = np.random.default_rng(seed)
    owner = generator.integers(0, groups, rows)
    rare = np.isin(owner, generator.choice(groups, groups // 5, replace=False))
    return {
        "i": range(rows),
        "patient": [f"p{o}" for o in owner],
        "ill": [int(flag and lot < 0.5) for flag, lot in zip(rare, generator.random(rows), strict=True)],
    }


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_classes_in_balance(split, dataset, seed):
    table = grouped()
    metadata, parts = split(dataset(table), label="ill", group_column="patient", seed=seed)
    patients = [set(part["patient"].to_pylist()) for part in parts.values()]
    assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]
    assert [metadata[name]["groups"] for name in SPLITS] == [len(found) for found in patients]
    assert sorted(i for part in parts.values() for i in part["i"].to_pylist()) == list(range(2000))
    assert all(part["i"].to_pylist() == sorted(part["i"].to_pylist()) for part in parts.values())
    for part, share in zip(parts.values(), (0.7, 0.1, 0.2), strict=True):
        assert part.num_rows / 2000 == pytest.approx(share, abs=0.03)
        assert sum(part["ill"].to_pylist()) / sum(table["ill"]) == pytest.approx(share, abs=0.06)


def test_groups_are_dealt_by_seed(split, dataset):
    source = dataset(grouped())
    first = split(source, group_column="patient")[0]
    assert split(source, "again", group_column="patient")[0] == first
    assert split(source, "other", group_column="patient", seed=1)[0] != first


@pytest.mark.parametrize("kind", ["int", "date", "float", "dictionary"])
def test_groups_of_any_plain_type(split, dataset, kind):
    owner = [i % 50 for i in range(500)]
    values = {
        "int": owner,
        "date": [DAY.date() + datetime.timedelta(days=o) for o in owner],
        "float": [o / 3 if o else float("nan") for o in owner],
        "dictionary": pa.array([f"g{o}" for o in owner]).dictionary_encode(),
    }
    metadata, parts = split(dataset({"g": values[kind], "o": owner}), group_column="g")
    assert sum(metadata[name]["groups"] for name in SPLITS) == 50
    assert sum(len(set(part["o"].to_pylist())) for part in parts.values()) == 50


def test_rows_without_a_group_are_one(split, dataset):
    groups = [None] * 20 + list(range(80))
    _, parts = split(dataset({"g": groups}), group_column="g")
    assert sorted(part["g"].null_count for part in parts.values()) == [0, 0, 20]


def test_a_random_split_counts_copies(split, dataset):
    metadata, _ = split(dataset({"x": [i % 10 for i in range(1000)]}))
    assert [metadata[name].get("leaked_rows") for name in SPLITS] == [None, 100, 200]
    with pytest.raises(DataRejected, match="100 rows of validation are exact copies"):
        split(dataset({"x": [i % 10 for i in range(1000)]}), "fail", on_leak="fail")


def test_keys_are_counted(split, hourly, tmp_path):
    metadata, _ = split(hourly, time_column="time", key_columns=["late"])
    assert [metadata[name].get("leaked_keys") for name in SPLITS] == [None, 2, 2]
    assert [metadata[name].get("leaked_rows") for name in SPLITS] == [None, 0, 0]
    assert split(hourly, "pair", time_column="time", key_columns=["late", "i"])[0]["test"]["leaked_keys"] == 0
    with pytest.raises(DataRejected, match="2 keys of validation occur in an earlier split too"):
        split(hourly, "fail", time_column="time", key_columns=["late"], on_leak="fail")
    assert not (tmp_path / "fail").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"group_column": "i", "time_column": "time"}, "time_column and group_column exclude each other"),
        ({"group_column": "late", "label": "late"}, "group_column is the label 'late'"),
        ({"group_column": "ii"}, "group_column: there is no column 'ii'; did you mean 'i'"),
        ({"key_columns": ["i", "lat"]}, "key_columns: there is no column 'lat'"),
        ({"group_column": "late"}, "validation split is empty .*; give more groups"),
        ({"on_leak": "off"}, "on_leak='off': must be one of fail, warn"),
        ({"group_column": "i", "test_from": "2013-01-02"}, "need a time_column"),
    ],
)
def test_refuses_combinations(split, hourly, parameters, message):
    with pytest.raises(InputError, match=message):
        split(hourly, **parameters)


def test_refuses_lists_as_groups(split, dataset):
    with pytest.raises(InputError, match="choose a column of plain values"):
        split(dataset({"g": [[1]] * 10}), group_column="g")
