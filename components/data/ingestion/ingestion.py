"""From raw files to typed tables: one folder of Parquet per file, types inferred over all of its rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from shipway.components.common.artifacts import directory_digest, new_directory
from shipway.components.common.errors import InputError
from shipway.components.data.database import connect, copy_to_parquet, literal, literals
from shipway.components.data.ingestion.csv_text import delimiter_of, explain
from shipway.components.data.ingestion.sources import fetched, table_name

__all__ = ["MISSING_MARKERS", "ingest_data"]

MISSING_MARKERS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null")
"""Fields of a text table that stand for a missing value, quoted or not."""

_TYPES = ("BOOLEAN", "BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMPTZ", "VARCHAR")
_LOG = logging.getLogger(__name__)


def ingest_data(
    data_uri: str, data_digest: str, tables: str | Path, missing_markers: Sequence[str] = MISSING_MARKERS
) -> dict[str, Any]:
    """Writes ``<tables>/<name>/part-00000.parquet`` for each file behind ``data_uri``; rows keep their order.

    The same bytes give the same Parquet files.

    Args:
        data_uri: Path or URI of a CSV, TSV or Parquet file, or of a directory of such: see :mod:`.sources`.
        data_digest: What ``resolve_data`` returned.
        tables: Where to write.
        missing_markers: Fields of text tables that mean a missing value.

    Returns:
        ``tables`` (rows by name), ``rows``, ``digest`` (of the tables) and ``source_digest``.

    Raises:
        InputError: When a file is missing, empty, broken (its line is named) or in no known format.
        ConflictError: When the source changed since ``data_digest`` was resolved.
        StorageError: When a store does not give what ``data_uri`` names, or the bytes arrive damaged.
    """
    with new_directory(tables) as aside:
        with fetched(data_uri, data_digest) as files, connect() as database:
            rows = {table_name(file): _convert(database, file, aside, missing_markers) for file in files}
        digest = directory_digest(aside)
    _LOG.info("read %s", ", ".join(f"{name}: {count:,} rows" for name, count in rows.items()))
    return {"tables": rows, "rows": sum(rows.values()), "digest": digest, "source_digest": data_digest}


def _convert(database: duckdb.DuckDBPyConnection, file: Path, root: Path, missing_markers: Sequence[str]) -> int:
    folder = root / table_name(file)
    folder.mkdir()
    target = folder / "part-00000.parquet"
    if file.name.lower().endswith(".parquet"):
        rows = _copy_parquet(database, file, target)
    else:
        rows = _copy_text(database, file, target, missing_markers)
    if not rows:
        raise InputError(f"{file}: holds column names and no rows; give a file with rows")
    return rows


def _copy_parquet(database: duckdb.DuckDBPyConnection, file: Path, target: Path) -> int:
    try:
        query = f"SELECT * FROM read_parquet({literal(file)}, hive_partitioning=false)"  # noqa: S608
        return copy_to_parquet(database, query, target)
    except duckdb.Error as error:
        raise InputError(
            f"{file}: is no complete Parquet file ({_first_line(error)}); write or fetch it again"
        ) from error


def _copy_text(database: duckdb.DuckDBPyConnection, file: Path, target: Path, missing_markers: Sequence[str]) -> int:
    delimiter = delimiter_of(file)
    reader = (
        f"read_csv({literal(file)}, header=true, delim={literal(delimiter)}, quote='\"', escape='\"', comment='', "
        f"skip=0, strict_mode=true, null_padding=false, sample_size=-1, dateformat='%Y-%m-%d', "
        f"hive_partitioning=false, nullstr={literals(missing_markers)}, auto_type_candidates={literals(_TYPES)})"
    )
    try:
        return copy_to_parquet(database, f"SELECT * FROM {reader}", target)  # noqa: S608
    except duckdb.Error as error:
        fault = explain(file, delimiter)
        if not fault:
            fault = f"{file}: cannot be read as a table ({_first_line(error)}); are its line endings all the same?"
        raise InputError(fault) from error


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]
