"""``summary.json``: statistics for people."""

from __future__ import annotations

import datetime
import json
import math

import pyarrow as pa
import pytest
from statistics_comparison import written

from shipway.components.data.statistics.generation import generate_statistics

COLUMNS = {
    "count": pa.array([*range(98), None, 0]),
    "share": pa.array([math.inf if i == 5 else i / 4 for i in range(100)]),
    "flag": pa.array([i % 2 == 0 for i in range(100)]),
    "seen": pa.array([datetime.datetime(2020, 1, 1) + datetime.timedelta(days=i) for i in range(100)]),
    "day": pa.array([datetime.date(2020, 1, 1)] * 100),
    "kind": pa.array(["a"] * 60 + ["b"] * 30 + [None] * 10),
    "coded": pa.array(["x", "y"] * 50).dictionary_encode(),
    "none": pa.array([None] * 100, pa.string()),
}


@pytest.fixture
def summary(dataset, tmp_path):
    generate_statistics(dataset(COLUMNS), tmp_path / "statistics")
    return json.loads((tmp_path / "statistics" / "summary.json").read_text())


def test_types_and_order(summary, tmp_path):
    assert summary["rows"] == 100
    assert {column["name"]: column["type"] for column in summary["columns"]} == {
        "count": "INT", "share": "FLOAT", "flag": "INT", "seen": "INT", "day": "INT",
        "kind": "STRING", "coded": "STRING", "none": "STRING",
    }  # fmt: skip
    features = written(tmp_path / "statistics").datasets[0].features
    assert [feature.path.step[0] for feature in features] == [column["name"] for column in summary["columns"]]
    assert [column["name"] for column in summary["columns"]] == list(COLUMNS)


def test_values(summary):
    columns = {column["name"]: column for column in summary["columns"]}
    count = columns["count"]
    assert (count["missing"], count["missing_fraction"], count["zeros"]) == (1, 0.01, 2)
    assert (count["min"], count["max"], count["median"]) == (0, 97, 48)
    assert count["mean"] == pytest.approx(sum(range(98)) / 99)
    assert sum(bucket["count"] for bucket in count["histogram"]) == pytest.approx(99, abs=2)
    assert (count["unique"], count["top_values"]) == (None, None)
    assert columns["share"]["max"] is None
    assert columns["flag"]["mean"] == 0.5
    assert columns["seen"]["min"] == columns["day"]["max"] == 1577836800
    assert columns["kind"]["top_values"] == [{"value": "a", "count": 60}, {"value": "b", "count": 30}]
    assert (columns["kind"]["unique"], columns["kind"]["missing"], columns["kind"]["mean"]) == (2, 10, None)
    assert (columns["none"]["missing"], columns["none"]["top_values"]) == (100, [])
