from __future__ import annotations

import datetime
import json

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from shipway.components.common.artifacts import dataset_files
from shipway.components.data.validation.checks import SPECS, run_checks
from shipway.components.data.validation.checks.relations import relations
from shipway.components.data.validation.context import Context
from shipway.components.data.validation.settings import parse_settings

NOW = datetime.datetime(2014, 1, 1, tzinfo=datetime.UTC)
ROWS = 4000


@pytest.fixture
def clean():
    """Columns of 4,000 rows without a fault: numbers, texts, times, ties between them and a label they half explain."""
    generator = np.random.default_rng(5)
    day = np.sort(generator.integers(0, 60, ROWS))
    distance = generator.choice([96.0, 187.5, 502.25, 733.0, 1010.4, 1400.0, 2248.5, 2475.1], ROWS)
    distance += generator.integers(0, 40, ROWS) / 4
    temperature = generator.normal(55, 12, ROWS).round(2)
    return {
        "flight": np.arange(ROWS),
        "time": np.datetime64("2013-03-01", "us") + day * np.timedelta64(1, "D") + np.timedelta64(12, "h"),
        "origin": generator.choice(["EWR", "JFK", "LGA"], ROWS, p=[0.4, 0.35, 0.25]).tolist(),
        "carrier": generator.choice(["United", "Delta", "JetBlue", "American"], ROWS).tolist(),
        "distance": distance,
        "air_time": (distance / 7.5 + generator.normal(20, 4, ROWS)).round(1),
        "temperature": temperature,
        "dew_point": (temperature - np.abs(generator.normal(12, 4, ROWS))).round(2),
        "late": (generator.random(ROWS) < 0.15 + 0.2 * (temperature < 45)).astype(int),
    }


@pytest.fixture
def context(described, tmp_path):
    """Makes the context of a Dataset of some columns; ``previous`` are the columns of earlier data."""

    def make(columns, previous=None, **more):
        name = f"d{len(list(tmp_path.iterdir()))}"
        parts = _described(described(columns, name))
        files = dataset_files(tmp_path / f"{name}-data")
        before = (None, None)
        if previous is not None:
            before = _described(described(previous, f"{name}-previous"))
            before[1]["relations"] = relations(dataset_files(tmp_path / f"{name}-previous-data"))
        return Context(
            schema_pb2.Schema(),
            *parts,
            dataset=files,
            previous_summary=before[0],
            previous_distributions=before[1],
            **{"now": NOW, **more},
        )

    return make


def _described(statistics):
    return tuple(json.loads((statistics / f"{name}.json").read_text()) for name in ("summary", "distributions"))


@pytest.fixture
def check(context):
    """Runs the checks over columns and returns the findings by name of the check.

    ``previous`` mostly shares its rows with ``columns``, so stale_rows is off unless asked for.
    """

    def run(columns, previous=None, checks=None, **more):
        found = {}
        settings = parse_settings({"stale_rows": "off", **(checks or {})}, SPECS)
        for each in run_checks(context(columns, previous, **more), settings):
            if each.findings:
                found[each.name] = list(each.findings)
        return found

    return run
