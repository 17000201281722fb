"""A unit: a part of a file, read by whoever holds it."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from shipway.components.data.tables import require_columns

__all__ = ["BATCH_ROWS", "TypesChanged", "Unit"]

BATCH_ROWS = 1 << 16
"""Rows at once, unless asked otherwise: a column of them lies in a processor's cache."""


class TypesChanged(Exception):
    """A value needs another type than the source was opened with; only an ``optimistic`` source raises it.

    Attributes:
        schema: The file's columns with types wide enough for what was read so far.
    """

    def __init__(self, schema: pa.Schema) -> None:
        super().__init__(schema)
        self.schema = schema


@dataclasses.dataclass(frozen=True)
class Unit(ABC):
    """A part of a file: picklable, and independent of every other unit.

    Attributes:
        file: The file.
        bytes: The size of the part as it lies in the file.
        schema: The columns that the source's files hold, with plain types.
        partition: The columns that the file's directories name (``key=value``), and their values.
        rows: How many, where the file says so.
    """

    file: Path
    bytes: int
    schema: pa.Schema
    partition: tuple[tuple[pa.Field, str | int | None], ...] = ()
    rows: int | None = None

    def batches(self, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yields the unit's rows in their order, with the columns of the source; an empty part yields nothing.

        Args:
            columns: The wanted ones, in the wanted order; None for all.
            batch_rows: At most so many rows at once.

        Raises:
            InputError: When the file is broken, naming the place, or a column is unknown.
            TypesChanged: When the source is optimistic and a value does not fit the type of its column.
        """
        values = {field.name: value for field, value in self.partition}
        fields = {field.name: field for field in (*self.schema, *(field for field, _ in self.partition))}
        names = list(fields if columns is None else columns)
        if columns is not None:
            require_columns(names, list(fields), "columns")
        wanted = pa.schema([fields[name] for name in names])
        own = [name for name in names if name not in values] or self.schema.names[:1]
        # Nothing decoded is held here while the next piece is read.
        for piece in self._pieces(own, batch_rows):
            yield from _batches(self._decoded(piece, self.schema, own), batch_rows, wanted, values)

    def settled(self) -> pa.Schema:
        """Returns ``schema`` with the types that all the unit's values need.

        Raises:
            InputError: When the file is broken.
        """
        schema = self.schema
        if self._undecided(schema) is not None:
            for piece in self._pieces(schema.names, BATCH_ROWS):
                schema = self.widened(piece, schema)
        return schema

    def widened(self, piece: Any, schema: pa.Schema) -> pa.Schema:
        """Returns ``schema`` with the types that a piece's values need."""
        while (names := self._undecided(schema)) is not None:
            try:
                self._decoded(piece, schema, names)
            except TypesChanged as change:
                schema = change.schema
            else:
                break
        return schema

    @staticmethod
    @abstractmethod
    def widest(one: pa.Schema, other: pa.Schema) -> pa.Schema:
        """Returns what suits the values behind both schemas.

        Raises:
            InputError: When nothing does.
        """

    @abstractmethod
    def _undecided(self, schema: pa.Schema) -> Sequence[str] | None:
        """Returns the columns whose types other values may change; None when nothing can change ``schema``."""

    @abstractmethod
    def _pieces(self, columns: Sequence[str], batch_rows: int) -> Iterator[Any]:
        """Yields undecoded pieces of the part, each small enough for memory."""

    @abstractmethod
    def _decoded(self, piece: Any, schema: pa.Schema, columns: Sequence[str]) -> pa.RecordBatch:
        """Returns a piece's columns with the types of ``schema``, or raises TypesChanged."""


def _batches(
    decoded: pa.RecordBatch, batch_rows: int, wanted: pa.Schema, values: Mapping[str, str | int | None]
) -> Iterator[pa.RecordBatch]:
    """Yields the rows, so many at once, with the columns that directories name."""
    places = {name: place for place, name in enumerate(decoded.schema.names)}
    for start in range(0, decoded.num_rows, batch_rows):
        batch = decoded.slice(start, batch_rows)
        arrays = [
            pa.repeat(pa.scalar(values[field.name], field.type), batch.num_rows)
            if field.name in values
            else batch.column(places[field.name])
            for field in wanted
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=wanted)
