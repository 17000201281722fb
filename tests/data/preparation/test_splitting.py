from __future__ import annotations

import datetime

import numpy as np
import pytest

from shipway.components.common.errors import InputError
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
