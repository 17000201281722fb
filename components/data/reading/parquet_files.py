"""Parquet files as units: row groups, several small ones together, and a few large ones in slices.

Reading a slice decodes the rows before it as well, which costs far less than what is done with the rows; without
slices the single row group that some writers make would keep one process busy and the others idle.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shipway.components.common.errors import InputError
from shipway.components.data.reading.csv_header import require_same_names
from shipway.components.data.reading.plain_types import plain_array, plain_type, wider_type
from shipway.components.data.reading.unit import Unit

__all__ = ["ParquetUnit", "parquet_units"]

_UNITS = 32
_LEAST_BYTES, _MOST_BYTES = 1 << 20, 1 << 25
_SLICE_ROWS = 1 << 19
_FEW_GROUPS, _MOST_SLICES = 8, 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParquetUnit(Unit):
    """Row groups of a Parquet file.

    Attributes:
        groups: Their numbers.
        skip: How many of their first rows belong to another unit.
        rows: How many rows the unit holds.
    """

    groups: tuple[int, ...]
    skip: int
    rows: int

    @staticmethod
    def widest(one: pa.Schema, other: pa.Schema) -> pa.Schema:
        """Returns ``one``: every unit has the types that all files say."""
        del other
        return one

    def _undecided(self, schema: pa.Schema) -> None:
        del schema

    def _pieces(self, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        seen, end = 0, self.skip + self.rows
        with _readable(self.file):
            source = pq.ParquetFile(self.file)
            for batch in source.iter_batches(batch_rows, list(self.groups), list(columns), use_threads=False):
                wanted = batch.slice(min(max(self.skip - seen, 0), batch.num_rows), end - max(self.skip, seen))
                seen += batch.num_rows
                if wanted.num_rows:
                    yield wanted
                if seen >= end:
                    return
            if seen < end:
                raise pa.ArrowInvalid(f"{seen} rows where {end} are declared")

    def _decoded(self, piece: pa.RecordBatch, schema: pa.Schema, columns: Sequence[str]) -> pa.RecordBatch:
        wanted = pa.schema([schema.field(name) for name in columns])
        arrays = []
        for field in wanted:
            try:
                arrays.append(plain_array(piece.column(piece.schema.get_field_index(field.name)), field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise InputError(
                    f"{self.file}, column {field.name!r}: cannot become {field.type}: {error}; convert it before"
                ) from error
        return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def parquet_units(files: Sequence[Path]) -> list[ParquetUnit]:
    """Returns the files' parts; a column's type is wide enough for every file.

    Raises:
        InputError: When a file is no Parquet file, the files' columns differ, or a column's type has no place in a
            table of features.
    """
    schema = pa.schema([])
    found: list[tuple[Path, pq.FileMetaData]] = []
    for file in files:
        with _readable(file):
            source = pq.ParquetFile(file)
            columns, metadata = source.schema_arrow, source.metadata
        plain = _plain_schema(file, columns)
        schema = _merged(file, plain, files[0], schema) if found else plain
        found.append((file, metadata))
    aim = min(max(sum(file.stat().st_size for file in files) // _UNITS, _LEAST_BYTES), _MOST_BYTES)
    groups = sum(metadata.num_row_groups for _, metadata in found)
    slices = min(max(_FEW_GROUPS // max(1, groups), 1), _MOST_SLICES)
    return [unit for file, metadata in found for unit in _parts(file, metadata, schema, aim, slices)]


def _parts(file: Path, metadata: pq.FileMetaData, schema: pa.Schema, aim: int, slices: int) -> Iterator[ParquetUnit]:
    per_row = file.stat().st_size / max(1, metadata.num_rows)
    counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    taken: list[int] = []
    held = 0
    for group, rows in enumerate(counts):
        taken.append(group)
        held += rows
        if held * per_row < aim and group + 1 < len(counts):
            continue
        size = max(-(-held // slices), _SLICE_ROWS) if len(taken) == 1 else held
        for skip in range(0, held, size) or [0]:
            part = min(size, held - skip)
            yield ParquetUnit(
                file=file, bytes=int(part * per_row), schema=schema, groups=tuple(taken), skip=skip, rows=part
            )
        taken, held = [], 0
    if not counts:
        yield ParquetUnit(file=file, bytes=0, schema=schema, groups=(), skip=0, rows=0)


def _plain_schema(file: Path, columns: pa.Schema) -> pa.Schema:
    repeated = (
        [name for name in columns.names if columns.names.count(name) > 1]
        if len(set(columns.names)) < len(columns)
        else []
    )
    if repeated:
        raise InputError(f"{file}: column {repeated[0]!r} is there more than once; give every column a name of its own")
    fields = []
    for field in columns:
        kind = plain_type(field.type)
        if kind is None:
            raise InputError(
                f"{file}, column {field.name!r}: {field.type} cannot be read; give plain values or lists of them, "
                "one column for each field of a struct"
            )
        fields.append(pa.field(field.name, kind))
    return pa.schema(fields)


def _merged(file: Path, plain: pa.Schema, first: Path, schema: pa.Schema) -> pa.Schema:
    require_same_names(file, plain.names, first, schema.names)
    fields = []
    for field in schema:
        kind = plain.field(field.name).type
        wider = wider_type(field.type, kind)
        if wider is None:
            raise InputError(
                f"{file}, column {field.name!r}: is {kind}, but {field.type} in {first}; give it one type in all files"
            )
        fields.append(pa.field(field.name, wider))
    return pa.schema(fields)


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise InputError(f"{file} may not be read: {error.strerror}; let the step's user read it") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is no readable Parquet file: {error}; is it complete? fetch it again") from error
