"""The Dataset as the checks see it: SQL over its files, one scan for what many checks count, and a sample."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shipway.components.common.errors import InputError
from shipway.components.data.database import connect, identifier, literal, literals
from shipway.components.data.reading.csv_header import require_same_names
from shipway.components.data.validation.checks.ties import strengths

__all__ = ["NUMBERS", "ROW", "Aggregate", "Column", "Data", "Sample"]

ROW = "shipway_row"
NUMBERS = ("integer", "float")

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
# DuckDB plans a query of many expressions in the square of their number.
_EXPRESSIONS_PER_SCAN = 300
_SAMPLE_ROWS = 50_000
_SAMPLE_CELLS = 20_000_000


@dataclasses.dataclass(frozen=True)
class Column:
    """A column: its name, how SQL calls it, and its kind: integer, float, text, boolean, time or other."""

    name: str
    sql: str
    kind: str


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """What a check wants to know of every column of some kinds: SQL with ``{c}`` for the column."""

    kinds: tuple[str, ...]
    sql: str


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """The same rows of every column, in order: numbers with NaN for missing, or the codes of texts."""

    values: Mapping[str, np.ndarray]
    texts: frozenset[str]


class Data:
    """A Dataset under check; a context manager.

    The view ``data`` has the Dataset's columns and ``shipway_row``, each row's number over the files in order. SQL
    reads the Dataset's files and nothing else.

    Raises:
        InputError: When a file cannot be read, or the files' columns differ.
    """

    def __init__(self, files: Sequence[Path], aggregates: Sequence[Aggregate] = ()) -> None:
        self.files = list(files)
        self._aggregates = list(aggregates)
        self._aggregated: dict[Aggregate, dict[str, Any]] = {}
        try:
            footers = [pq.read_metadata(file) for file in self.files]
            names = [footer.schema.to_arrow_schema().names for footer in footers]
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"the Dataset cannot be read: {error}; write it again") from error
        self.names = names[0]
        for file, others in zip(self.files, names, strict=True):
            require_same_names(file, others, self.files[0], self.names)
        starts = np.cumsum([0, *(footer.num_rows for footer in footers)])
        self.rows = int(starts[-1])
        self._spill = tempfile.TemporaryDirectory()
        self.database = connect()
        try:
            self._open(starts[:-1])
        except duckdb.Error as error:
            self.close()
            raise InputError(f"the Dataset's files do not fit together: {error}; write it again") from error

    def _open(self, starts: np.ndarray) -> None:
        self.database.execute(f"SET temp_directory = {literal(self._spill.name)}")
        self.database.execute(f"SET allowed_paths = {literals(self.files)}")
        self.database.execute("SET enable_external_access = false")
        offset = f"[{', '.join(map(str, starts))}][(file_index + 1)::BIGINT]"
        source = f"read_parquet({literals(self.files)}, hive_partitioning = false, union_by_name = true)"
        row = "file_row_number" if len(starts) == 1 else f"file_row_number + {offset}"
        self.database.execute(f"CREATE VIEW data AS SELECT *, {row} AS {ROW} FROM {source}")  # noqa: S608
        described = self.database.execute("DESCRIBE data").fetchall()[:-1]
        self.columns = [
            Column(name, identifier(view_name), _kind(type_name))
            for name, (view_name, type_name, *_) in zip(self.names, described, strict=True)
        ]
        self.database.execute("SET lock_configuration = true")

    def __enter__(self) -> Data:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the database and removes what it spilled."""
        self.database.close()
        self._spill.cleanup()

    def column(self, name: str) -> Column | None:
        """Returns the column of a name, if there is one."""
        return self._by_name.get(name)

    @functools.cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Returns the rows of a query over ``data``."""
        rows: list[tuple[Any, ...]] = self.database.execute(sql).fetchall()
        return rows

    def row_numbers(self, condition: str) -> np.ndarray:
        """Returns the sorted numbers of the rows that meet a condition."""
        query = f"SELECT {ROW} FROM data WHERE {condition}"  # noqa: S608
        return np.sort(self.database.execute(query).fetchnumpy()[ROW].astype(np.int64))

    def of(self, aggregate: Aggregate) -> dict[str, Any]:
        """Returns an aggregate's value by column; the first call computes it together with all the others."""
        if aggregate not in self._aggregated:
            wanted = dict.fromkeys([aggregate, *self._aggregates])
            self._aggregated = {each: {} for each in wanted}
            pairs = [(each, column) for column in self.columns for each in wanted if column.kind in each.kinds]
            for part in _parts(pairs, _EXPRESSIONS_PER_SCAN):
                selection = ", ".join(each.sql.replace("{c}", column.sql) for each, column in part)
                values = self.query(f"SELECT {selection} FROM data")[0]  # noqa: S608
                for (each, column), value in zip(part, values, strict=True):
                    self._aggregated[each][column.name] = value
        return self._aggregated[aggregate]

    @functools.cached_property
    def sample(self) -> Sample:
        """At most about 50,000 rows, always the same ones; fewer of a table with more than 400 columns."""
        columns = [column for column in self.columns if column.kind != "other"]
        wanted = min(_SAMPLE_ROWS, max(1000, _SAMPLE_CELLS // max(1, len(columns))))
        step = -(-self.rows // wanted) or 1
        selection = ", ".join(
            f"{_SAMPLED[column.kind].replace('{c}', column.sql)} AS c{i}" for i, column in enumerate(columns)
        )
        condition = f"hash({ROW}) % {step} = 0" if step > 1 else "true"
        query = f"SELECT {ROW}, {selection or 'NULL'} FROM data WHERE {condition}"  # noqa: S608
        fetched = self.database.execute(query).fetchnumpy()
        order = np.argsort(fetched[ROW])
        values = {}
        for index, column in enumerate(columns):
            array = fetched[f"c{index}"][order]
            text = column.kind == "text"
            values[column.name] = np.asarray(array) if text else np.ma.filled(array.astype(float), np.nan)
        return Sample(values, frozenset(column.name for column in columns if column.kind == "text"))

    @functools.cached_property
    def strengths(self) -> dict[str, dict[str, float]]:
        """How strongly the columns hang together, as :func:`ties.strengths` returns."""
        sample = self.sample
        return strengths({name: (values, name in sample.texts) for name, values in sample.values.items()})


_SAMPLED = {
    "integer": "CAST({c} AS DOUBLE)",
    "float": "CAST({c} AS DOUBLE)",
    "boolean": "CAST({c} AS DOUBLE)",
    "time": "CAST(epoch({c}) AS DOUBLE)",
    "text": "hash({c})",
}


def _kind(type_name: str) -> str:
    plain = type_name.partition("(")[0]
    if type_name.endswith("]"):
        return "other"
    if plain in _INTEGERS:
        return "integer"
    if plain in ("FLOAT", "DOUBLE", "DECIMAL"):
        return "float"
    if plain == "DATE" or plain.startswith("TIMESTAMP"):
        return "time"
    return {"VARCHAR": "text", "ENUM": "text", "BOOLEAN": "boolean"}.get(plain, "other")


def _parts(pairs: list[Any], size: int) -> Iterator[list[Any]]:
    return (pairs[start : start + size] for start in range(0, len(pairs), size))
