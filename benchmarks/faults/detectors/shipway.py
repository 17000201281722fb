"""Shipway: the schema inferred from the reference, every check at its default, the batch before as previous data."""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.faults.detectors.running import Alarm, Look, run
from shipway.components.common.artifacts import read_json
from shipway.components.data.schema.inference import infer_schema
from shipway.components.data.statistics.generation import generate_statistics
from shipway.components.data.validation.validation import validate_data


def _prepare(described: Mapping[str, Any], work: Path) -> Look:
    numbers = itertools.count()

    def new() -> Path:
        return work / str(next(numbers))

    @functools.lru_cache
    def statistics(file: str) -> Path:
        directory = new()
        generate_statistics(file, directory)
        return directory

    schema = new()
    infer_schema(statistics(described["reference"]), schema, label=described["label"])

    def look(file: str, previous: str) -> Iterator[Alarm]:
        dataset, anomalies = new(), new()
        dataset.mkdir()
        os.link(file, dataset / "part-00000.parquet")
        validate_data(
            statistics(file),
            schema,
            anomalies,
            new(),
            dataset=dataset,
            previous_statistics=statistics(previous),
            label=described["label"],
            key_columns=described["key_columns"],
            time_column=described["time_column"],
            rules=list(described["rules"]),
            on_anomaly="warn",
        )
        for found in read_json(anomalies / "anomalies.json")["anomalies"]:
            yield found["check"], found["feature"], found["short"], found["severity"]

    return look


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        run(lambda described: _prepare(described, Path(tempfile.mkdtemp(dir=directory))))
