"""Reading and writing Datasets, and speaking of their columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shipway.components.common.artifacts import dataset_files, directory_digest, new_directory
from shipway.components.common.errors import InputError

__all__ = ["PARQUET", "read_dataset", "require_columns", "write_dataset"]

PARQUET: dict[str, Any] = {"compression": "zstd", "use_compliant_nested_type": False}
"""How Arrow writes Datasets: with their lists' elements called as they are, so that read ones are written alike."""

_ROW_GROUP_ROWS = 1 << 17


def read_dataset(path: str | Path) -> pa.Table:
    """Returns a Dataset as one table.

    Raises:
        InputError: When there is none, a file is broken, or the files' columns differ.
    """
    files = dataset_files(path)
    try:
        return pa.concat_tables([pq.ParquetFile(file).read() for file in files]).replace_schema_metadata(None)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is no readable Dataset: {error}; write it again") from error


def write_dataset(table: pa.Table, path: str | Path, **metadata: Any) -> dict[str, Any]:
    """Writes a Dataset of one Parquet file, the same bytes for the same table.

    Returns:
        ``rows``, ``columns`` (how many) and ``digest``, with ``metadata`` added.
    """
    with new_directory(path) as aside:
        pq.write_table(table, aside / "part-00000.parquet", row_group_size=_ROW_GROUP_ROWS, **PARQUET)
        digest = directory_digest(aside)
    return {"rows": table.num_rows, "columns": table.num_columns, "digest": digest, **metadata}


def require_columns(wanted: Iterable[str], available: Sequence[str], parameter: str) -> None:
    """Checks that every wanted column exists.

    Raises:
        InputError: Naming the column, its likely spelling and what there is.
    """
    for name in wanted:
        if name not in available:
            close = difflib.get_close_matches(name, available, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(f"{parameter}: there is no column {name!r}; {hint}The columns are {', '.join(available)}")
