"""Evidently: its drift and summary presets with the tests that it makes by itself, against the batch before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from evidently import Dataset, Report
from evidently.presets import DataDriftPreset, DataSummaryPreset

from benchmarks.faults.detectors.running import Alarm, Look, run


def _prepare(_: Mapping[str, Any]) -> Look:
    report = Report([DataDriftPreset(), DataSummaryPreset()], include_tests=True)

    def look(file: str, previous: str) -> Iterator[Alarm]:
        current, before = (Dataset.from_pandas(pd.read_parquet(path)) for path in (file, previous))
        for test in report.run(current, before).dict()["tests"]:
            if test["status"] != "SUCCESS":
                yield tuple(test["name"].split(":")[:1])

    return look


def _sees(data_set: str, batch: Mapping[str, Any]) -> bool:
    """Few batches, as each takes seconds."""
    return data_set in ("flights", "penguins") and ("clean" in batch or batch["severest"])


if __name__ == "__main__":
    run(_prepare, _sees)
