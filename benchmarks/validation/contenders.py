"""What is measured, each in a process and an environment of its own.

``python -m benchmarks.validation.contenders NAME FILE OUTPUT`` prints what it took inside the process as JSON: seconds
to import, to read the file into memory (where that is a step of its own) and to make the statistics.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


class Clock:
    """Seconds of one step after another."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._last = time.perf_counter()

    def step(self, name: str) -> None:
        """Ends a step."""
        now = time.perf_counter()
        self.steps[name] = now - self._last
        self._last = now


def shipway(file: str, output: Path, clock: Clock) -> None:
    """Shipway's generate_statistics."""
    from shipway.components.data.statistics.generation import generate_statistics

    clock.step("import")
    generate_statistics(file, output)
    clock.step("statistics")


def tfdv_dataframe(file: str, output: Path, clock: Clock) -> None:
    """TFDV over a pandas frame."""
    import pandas as pd
    import tensorflow_data_validation as tfdv

    clock.step("import")
    frame = pd.read_parquet(file)
    clock.step("read")
    output.write_bytes(tfdv.generate_statistics_from_dataframe(frame).SerializeToString())
    clock.step("statistics")


def tfdv_csv(file: str, output: Path, clock: Clock) -> None:
    """TFDV over a CSV file, with Beam's own runner in one process."""
    import tensorflow_data_validation as tfdv
    from apache_beam.options.pipeline_options import PipelineOptions

    clock.step("import")
    # Left alone, Beam first tries to download another runner.
    runner = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    tfdv.generate_statistics_from_csv(file, output_path=str(output), pipeline_options=PipelineOptions(runner=runner))
    clock.step("statistics")


def evidently(file: str, output: Path, clock: Clock) -> None:
    """Evidently's data summary, as JSON."""
    import pandas as pd
    from evidently import Dataset, Report
    from evidently.presets import DataSummaryPreset

    clock.step("import")
    frame = pd.read_parquet(file)
    clock.step("read")
    Report([DataSummaryPreset()]).run(Dataset.from_pandas(frame), None).save_json(str(output))
    clock.step("statistics")


def whylogs(file: str, output: Path, clock: Clock) -> None:
    """A whylogs profile."""
    import pandas as pd
    import whylogs as why

    clock.step("import")
    frame = pd.read_parquet(file)
    clock.step("read")
    why.log(frame).view().write(str(output))
    clock.step("statistics")


def great_expectations(file: str, output: Path, clock: Clock) -> None:
    """Great Expectations: two to five expectations for each column, whose results hold what was observed."""
    import great_expectations as gx
    import pandas as pd
    from great_expectations import expectations as expect

    clock.step("import")
    frame = pd.read_parquet(file)
    clock.step("read")
    source = gx.get_context(mode="ephemeral").data_sources.add_pandas("pandas")
    definition = source.add_dataframe_asset("frame").add_batch_definition_whole_dataframe("all")
    suite = gx.ExpectationSuite("suite")
    for name, column in frame.items():
        suite.add_expectation(expect.ExpectColumnValuesToNotBeNull(column=name, mostly=0.5))
        suite.add_expectation(expect.ExpectColumnUniqueValueCountToBeBetween(column=name, min_value=1))
        if pd.api.types.is_numeric_dtype(column):
            suite.add_expectation(expect.ExpectColumnMinToBeBetween(column=name, min_value=-1e9))
            suite.add_expectation(expect.ExpectColumnMaxToBeBetween(column=name, max_value=1e9))
            suite.add_expectation(expect.ExpectColumnMeanToBeBetween(column=name, min_value=-1e9, max_value=1e9))
    results = definition.get_batch({"dataframe": frame}).validate(suite)
    output.write_text(json.dumps(results.to_json_dict()))
    clock.step("statistics")


def ydata_profiling(file: str, output: Path, clock: Clock) -> None:
    """ydata-profiling's minimal profile as JSON, without its page."""
    import pandas as pd
    from ydata_profiling import ProfileReport

    clock.step("import")
    frame = pd.read_parquet(file)
    clock.step("read")
    output.write_text(ProfileReport(frame, minimal=True, progress_bar=False).to_json())
    clock.step("statistics")


def polars(file: str, output: Path, clock: Clock) -> None:
    """Polars: describe, and the values of the text columns counted."""
    import polars as pl

    clock.step("import")
    frame = pl.read_parquet(file)
    clock.step("read")
    texts = frame.select(pl.col(pl.String)).columns
    tables = [frame.describe(), *(frame[column].value_counts(sort=True) for column in texts)]
    output.write_text("\n".join(map(str, tables)))
    clock.step("statistics")


def duckdb(file: str, output: Path, clock: Clock) -> None:
    """DuckDB's SUMMARIZE."""
    import duckdb

    clock.step("import")
    output.write_text(str(duckdb.sql(f"SUMMARIZE FROM '{file}'").fetchall()))
    clock.step("statistics")


CONTENDERS: dict[str, Callable[[str, Path, Clock], None]] = {
    function.__name__: function
    for function in (
        shipway, tfdv_dataframe, tfdv_csv, evidently, whylogs, great_expectations, ydata_profiling, polars, duckdb,
    )
}  # fmt: skip


def main(name: str, file: str, output: str) -> dict[str, float]:
    """Runs one; returns the seconds of its steps."""
    clock = Clock()
    CONTENDERS[name](file, Path(output), clock)
    return clock.steps


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
