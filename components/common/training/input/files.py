"""A Dataset's files and row groups, and columns read from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shipway.components.common.artifacts import dataset_files
from shipway.components.common.errors import InputError

__all__ = ["ParquetRows", "RowGroup"]

_SCAN_ROWS = 1 << 16
_BUFFER_BYTES = 1 << 18

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class RowGroup:
    """One row group of a Dataset.

    Attributes:
        file: Its file.
        position: Its number in the file.
        rows: How many rows it has.
        size_bytes: Its size when decoded.
    """

    file: Path
    position: int
    rows: int
    size_bytes: int


class ParquetRows:
    """The rows of a Dataset, of which only the metadata is held.

    Args:
        name: What the split is called in errors.
        directory: The Dataset.

    Raises:
        InputError: When there is no Dataset, a file is no Parquet, the files' columns differ or there are no rows.
    """

    def __init__(self, name: str, directory: str | Path) -> None:
        self.name, self.directory = name, directory
        self._files = dataset_files(directory)
        with self._readable():
            self._metadata = {file: pq.read_metadata(file) for file in self._files}
        schemas = [found.schema.to_arrow_schema().remove_metadata() for found in self._metadata.values()]
        self.schema: pa.Schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in schemas[0]])
        for file, schema in zip(self._files, schemas, strict=True):
            if not schema.equals(schemas[0]):
                raise InputError(f"{file} has other columns than {self._files[0]}: write the Dataset again")
        self.groups = tuple(
            RowGroup(file, position, found.row_group(position).num_rows, found.row_group(position).total_byte_size)
            for file, found in self._metadata.items()
            for position in range(found.num_row_groups)
            if found.row_group(position).num_rows
        )
        if not self.rows:
            raise InputError(
                f"the {name} split at {directory} has no rows; change the fractions or boundaries of the split"
            )

    @cached_property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(group.rows for group in self.groups)

    def read(self, group: RowGroup, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yields a row group in batches of at most so many rows; strings come as dictionaries where they can.

        Raises:
            InputError: When the file is damaged.
        """
        strings = [name for name in columns if pa.types.is_string(self.schema.field(name).type)]
        settings = {"metadata": self._metadata[group.file], "read_dictionary": strings, "buffer_size": _BUFFER_BYTES}
        with self._readable(), pq.ParquetFile(group.file, **settings) as file:
            yield from file.iter_batches(rows, row_groups=[group.position], columns=list(columns), use_threads=False)

    def scan(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields some columns of all rows in order, in batches.

        Raises:
            InputError: When a file is damaged.
        """
        for group in self.groups:
            yield from self.read(group, columns, _SCAN_ROWS)

    def column(self, name: str, most_rows: int) -> pa.ChunkedArray:
        """Returns a column, or evenly spaced rows of it where it has more than so many."""
        stride, start, chunks = -(-self.rows // most_rows), 0, []
        for batch in self.scan([name]):
            chunk = batch.column(0)
            if pa.types.is_dictionary(chunk.type):
                chunk = chunk.dictionary_decode()
            if stride > 1:
                chunk = chunk.take(pa.array(np.arange(-start % stride, len(chunk), stride)))
            chunks.append(chunk)
            start += batch.num_rows
        return pa.chunked_array(chunks, self.schema.field(name).type)

    def at(self, positions: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Returns some columns of the rows at these positions, which must rise."""
        wanted, start, found = np.asarray(positions), 0, []
        for group in self.groups:
            if ((wanted >= start) & (wanted < start + group.rows)).any():
                found += self._picked(group, columns, wanted - start)
            start += group.rows
        return pa.Table.from_batches(found).cast(pa.schema([self.schema.field(name) for name in columns]))

    def _picked(self, group: RowGroup, columns: Sequence[str], wanted: Array) -> list[pa.RecordBatch]:
        start, found = 0, []
        for batch in self.read(group, columns, _SCAN_ROWS):
            inside = wanted[(wanted >= start) & (wanted < start + batch.num_rows)] - start
            if len(inside):
                table = pa.Table.from_batches([batch.take(pa.array(inside))])
                found += table.cast(pa.schema([self.schema.field(name) for name in columns])).to_batches()
            start += batch.num_rows
        return found

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowInvalid, pa.ArrowIOError, OSError) as error:
            raise InputError(
                f"the {self.name} split at {self.directory} cannot be read: {error}; make it again"
            ) from error


def _plain(datatype: pa.DataType) -> pa.DataType:
    return datatype.value_type if pa.types.is_dictionary(datatype) else datatype
