"""DuckDB as this family uses it: no network, no extensions from outside, UTC, text quoted by the book."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

__all__ = ["connect", "copy_to_parquet", "identifier", "literal", "literals"]


def connect(threads: int = 0) -> duckdb.DuckDBPyConnection:
    """Returns a new in-memory database.

    Args:
        threads: How many to use; 0 for one per processor.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if threads:
        settings["threads"] = threads
    connection = duckdb.connect(config=settings)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def copy_to_parquet(connection: duckdb.DuckDBPyConnection, query: str, target: Path) -> int:
    """Writes a query's rows in their order to a Parquet file (zstd) and returns how many they are."""
    copy = f"COPY ({query}) TO {literal(target)} (FORMAT parquet, COMPRESSION zstd)"
    ((rows,),) = connection.execute(copy).fetchall()
    return int(rows)


def identifier(name: str) -> str:
    """Returns ``name`` quoted as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: object) -> str:
    """Returns ``text`` quoted as an SQL string."""
    return "'" + str(text).replace("'", "''") + "'"


def literals(texts: Iterable[object]) -> str:
    """Returns ``texts`` as an SQL list of strings."""
    return "[" + ", ".join(literal(text) for text in texts) + "]"
