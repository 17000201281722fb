"""Writes the clean and the faulty batches: ``python -m benchmarks.faults.batches FLIGHTS.CSV DIRECTORY``.

``index.json`` in the directory lists the sets, and of each its clean and faulty batches.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.faults.injectors import FAULTS, SHARES, Batch, CannotHappen
from benchmarks.faults.sets import SETS, DataSet


def main(flights: Path, directory: Path) -> None:
    """Writes everything."""
    index = {data_set.name: _write_set(data_set, flights, directory) for data_set in SETS}
    descriptions = {fault.name: {"description": fault.description, "severities": fault.severities} for fault in FAULTS}
    (directory / "index.json").write_text(json.dumps({"sets": index, "faults": descriptions}, indent=1))


def _write_set(data_set: DataSet, flights: Path, directory: Path) -> dict[str, Any]:
    reference, clean = data_set.tables(flights)
    described: dict[str, Any] = {
        "reference": _write(reference, directory / f"{data_set.name}-reference.parquet"),
        "label": data_set.label,
        "key_columns": data_set.key_columns,
        "time_column": data_set.time_column,
        "rules": data_set.rules,
        "batches": [],
    }
    for name, (table, previous) in clean.items():
        file = _write(table, directory / f"{data_set.name}-{name}.parquet")
        before = _write(previous, directory / f"{data_set.name}-before-{name}.parquet")
        described["batches"].append({"clean": name, "file": file, "previous": before})
    first, (table, previous) = next(iter(clean.items()))
    batch = Batch(table, previous, data_set.label, data_set.key_columns, data_set.time_column, data_set.contradict)
    before = described["batches"][0]["previous"]
    for fault in FAULTS:
        for number, severity in enumerate(fault.severities):
            # The same column at every severity.
            rng = np.random.default_rng(zlib.crc32(f"{data_set.name} {fault.name}".encode()))
            try:
                faulty = fault.inject(batch, severity, rng)
            except CannotHappen:
                continue
            file = _write(faulty, directory / f"{data_set.name}-{fault.name.replace(' ', '-')}-{number}.parquet")
            case = {
                "fault": fault.name,
                "severity": severity,
                "is_share": fault.severities == SHARES,
                "severest": severity == fault.severities[-1],
                "changed": not faulty.equals(table),
            }
            described["batches"].append({**case, "file": file, "previous": before, "clean_batch": first})
    return described


def _write(table: pa.Table, file: Path) -> str:
    pq.write_table(table.replace_schema_metadata(None), file, compression="zstd")
    return str(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
