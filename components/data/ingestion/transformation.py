"""One SELECT over the ingested tables makes the Dataset: joins, cleaning, derived columns."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb

from shipway.components.common.artifacts import dataset_files, directory_digest, new_directory
from shipway.components.common.errors import InputError
from shipway.components.data.database import connect, copy_to_parquet, identifier, literals

__all__ = ["transform_data"]

_LOG = logging.getLogger(__name__)
_KEPT = {
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "VARCHAR",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE",
}
_CASTS = {
    "UTINYINT": "BIGINT", "USMALLINT": "BIGINT", "UINTEGER": "BIGINT", "UBIGINT": "DOUBLE", "HUGEINT": "DOUBLE",
    "UHUGEINT": "DOUBLE", "DECIMAL": "DOUBLE", "ENUM": "VARCHAR", "UUID": "VARCHAR", "TIME": "VARCHAR",
    "JSON": "VARCHAR", "\"NULL\"": "VARCHAR", "TIMESTAMP_S": "TIMESTAMP", "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_NS": "TIMESTAMP",
}  # fmt: skip
_FLOATS = {"FLOAT", "DOUBLE"}
_LISTED = {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", *_FLOATS}
_LIST = re.compile(r"(\w+)(?:\(\d+,\d+\))?\[\d*\]")


def transform_data(tables: str | Path, dataset: str | Path, sql: str = "") -> dict[str, Any]:
    """Writes the rows of one SELECT as a Dataset, in the order the query gives.

    Each table is a view named by its file's stem. The query reads these and nothing else: no files, no network,
    no settings. It runs in one thread, so that rows that ``ORDER BY`` leaves open come in the same order every
    time. Decimals and huge integers become doubles, NaN becomes a missing value; in lists of numbers, too.

    Args:
        tables: What ``ingest_data`` wrote.
        dataset: Where to write.
        sql: DuckDB's SQL; empty takes the only table as it is.

    Returns:
        ``rows``, ``columns`` and ``digest``.

    Raises:
        InputError: When the query is wrong (with DuckDB's message, the tables and their columns), gives no rows,
            or gives columns that are repeated or cannot be features.
    """
    folders = {folder.name: dataset_files(folder) for folder in sorted(Path(tables).glob("*/"))}
    if not folders:
        raise InputError(f"{tables} holds no tables; was it written by ingest_data?")
    with connect(threads=1) as database, new_directory(dataset) as aside:
        columns = {name: _create_view(database, name, files) for name, files in folders.items()}
        _confine(database, [file for files in folders.values() for file in files], aside)
        statement = sql.strip() or _only_table(columns)
        try:
            selection = _selection(database, statement)
            query = f"SELECT {', '.join(selection)} FROM shipway_result"  # noqa: S608
            rows = copy_to_parquet(database, query, aside / "part-00000.parquet")
        except duckdb.Error as error:
            raise InputError(f"the SQL failed: {error}\n{_catalogue(columns)}") from error
        if not rows:
            raise InputError(f"the SQL gave no rows; are its joins and conditions right?\n{_catalogue(columns)}")
        digest = directory_digest(aside)
    _LOG.info("wrote %s rows", f"{rows:,}")
    return {"rows": rows, "columns": len(selection), "digest": digest}


def _create_view(database: duckdb.DuckDBPyConnection, name: str, files: list[Path]) -> list[str]:
    view = identifier(name)
    table = f"read_parquet({literals(files)}, hive_partitioning=false)"  # a path is no column
    database.execute(f"CREATE VIEW {view} AS SELECT * FROM {table}")  # noqa: S608
    return [column for column, *_ in database.execute(f"DESCRIBE {view}").fetchall()]


def _confine(database: duckdb.DuckDBPyConnection, readable: list[Path], writable: Path) -> None:
    database.execute(f"SET allowed_paths = {literals(readable)}")
    database.execute(f"SET allowed_directories = {literals([writable])}")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")


def _only_table(columns: dict[str, list[str]]) -> str:
    if len(columns) != 1:
        raise InputError(f"sql is empty and there are {len(columns)} tables; write a SELECT.\n{_catalogue(columns)}")
    return f"SELECT * FROM {identifier(next(iter(columns)))}"  # noqa: S608


def _selection(database: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    """Makes the view ``shipway_result`` of the query and returns its columns, cast to what a Dataset holds."""
    statements = database.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InputError("sql must be one SELECT statement; other statements are not run")
    types = [(row[0], row[1]) for row in database.execute(f"DESCRIBE {query}").fetchall()]
    repeated = [name for name, count in Counter(name.casefold() for name, _ in types).items() if count > 1]
    if repeated:
        raise InputError(
            f"the SQL gives more than one column {', '.join(map(repr, repeated))}; "
            "join with USING, or leave copies out with * EXCLUDE (…)"
        )
    database.execute(f"CREATE VIEW shipway_result AS {query}")
    return [_cast(name, type_name) for name, type_name in types]


def _cast(name: str, type_name: str) -> str:
    column = identifier(name)
    plain = type_name.partition("(")[0]
    if type_name in _KEPT:
        return f"{column} AS {column}"
    if type_name in _FLOATS:
        return f"{_without_nan(column)} AS {column}"
    if (listed := _LIST.fullmatch(type_name)) and (value := _CASTS.get(listed[1], listed[1])) in _LISTED:
        values = f"CAST({column} AS {value}[])"
        if value in _FLOATS:
            values = f"list_transform({values}, lambda shipway_value: {_without_nan('shipway_value')})"
        return f"{values} AS {column}"
    if plain in _CASTS and not type_name.endswith("]"):
        return f"CAST({column} AS {_CASTS[plain]}) AS {column}"
    raise InputError(
        f"column {name!r} has the type {type_name}, which is no feature: only plain values and lists of numbers are; "
        "cast or unnest it in the SQL, or leave it out with * EXCLUDE (…)"
    )


def _without_nan(value: str) -> str:
    return f"CASE WHEN isnan({value}) THEN NULL ELSE {value} END"


def _catalogue(columns: dict[str, list[str]]) -> str:
    return "The tables are:\n" + "\n".join(
        f"  {identifier(name)}: {', '.join(names)}" for name, names in columns.items()
    )
