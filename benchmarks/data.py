"""The flights of 2013 in the sizes and formats that are measured, made once below ``build/bench/data``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.environments import BENCH, environment
from shipway.components.common.artifacts import new_directory
from shipway.pipelines.demo import write_tables

__all__ = ["ROWS", "TIMES", "flights", "flights_file"]

ROWS = 336_776
TIMES = 10

# time_hour as text, so that both formats hold what TFDV sees in a CSV file. Row groups as large as DuckDB makes them.
_TO_PARQUET = """
import sys
import pyarrow as pa, pyarrow.csv as csv, pyarrow.parquet as pq
for source in sys.argv[1:]:
    options = csv.ConvertOptions(column_types={"time_hour": pa.string()}, strings_can_be_null=True)
    table = csv.read_csv(source, convert_options=options)
    pq.write_table(table, source.replace(".csv", ".parquet"), row_group_size=122_880)
"""


def flights_file() -> Path:
    """Returns the CSV file of all 336,776 flights.

    Raises:
        EnvironmentFailed: When its package cannot be installed.
    """
    write_tables(BENCH / "tables")
    return BENCH / "tables" / "flights.csv"


def flights(rows: int, suffix: str) -> Path:
    """Returns the file with this number of rows, ``ROWS`` or ``ROWS * TIMES``, as ``.csv`` or ``.parquet``.

    Raises:
        EnvironmentFailed: When the data's package or pyarrow cannot be installed.
    """
    directory = BENCH / "data"
    if not directory.is_dir():
        with new_directory(directory) as aside:
            small, large = aside / f"flights-{ROWS}.csv", aside / f"flights-{ROWS * TIMES}.csv"
            shutil.copyfile(flights_file(), small)
            header, _, body = small.read_bytes().partition(b"\n")
            with large.open("wb") as file:
                file.write(header + b"\n")
                for _ in range(TIMES):
                    file.write(body)
            subprocess.run([environment("datasets"), "-c", _TO_PARQUET, small, large], check=True)
    return directory / f"flights-{rows}{suffix}"
