"""CSV files as units: ranges of whole records, or a whole gzip file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv

from shipway.components.common.errors import InputError
from shipway.components.data.reading.csv_header import Header, read_header, require_same_names
from shipway.components.data.reading.csv_types import KINDS, converted, has_odd_numbers, kind_needed, suspicious
from shipway.components.data.reading.records import BLOCK_BYTES, broken_row, is_packed, line_at, record_blocks
from shipway.components.data.reading.unit import TypesChanged, Unit

__all__ = ["CsvUnit", "csv_units"]

_SAMPLES = 8
_SAMPLE_BYTES = 1 << 17
_UNIT_BLOCKS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsvUnit(Unit):
    """Whole records of a CSV file.

    Attributes:
        header: What the file's first line says.
        start: The first record's offset in the unpacked file.
        stop: Where the last record ends; None for the file's end.
    """

    header: Header
    start: int
    stop: int | None

    def sample(self) -> pa.Schema:
        """Returns ``schema`` with the types that the unit's first records need."""
        for piece in record_blocks(self.file, self.header.delimiter, self.start, self.stop, _SAMPLE_BYTES):
            return self.widened(piece, self.schema)
        return self.schema

    @staticmethod
    def widest(one: pa.Schema, other: pa.Schema) -> pa.Schema:
        """Returns the columns with the wider of both types."""
        return pa.schema(
            [max(a, b, key=lambda field: KINDS.index(field.type)) for a, b in zip(one, other, strict=True)]
        )

    def _undecided(self, schema: pa.Schema) -> list[str] | None:
        return [field.name for field in schema if field.type != KINDS[-1]] or None

    def _pieces(self, columns: Sequence[str], batch_rows: int) -> Iterator[tuple[int, bytes]]:
        del columns, batch_rows
        return record_blocks(self.file, self.header.delimiter, self.start, self.stop)

    def _decoded(self, piece: tuple[int, bytes], schema: pa.Schema, columns: Sequence[str]) -> pa.RecordBatch:
        self._check_text(*piece)
        wanted = pa.schema([schema.field(name) for name in columns])
        kinds = dict(zip(wanted.names, wanted.types, strict=True))
        arrays = self._trusted(piece[1], kinds)
        doubtful = [name for name in columns if name not in arrays]
        cells = self._cells(*piece, doubtful) if doubtful else {}
        wider = {}
        for name in doubtful:
            arrays[name] = converted(cells[name], kinds[name])
            if arrays[name] is None:
                wider[name] = KINDS[kind_needed(cells[name])]
        if wider:
            raise TypesChanged(pa.schema([(field.name, wider.get(field.name, field.type)) for field in schema]))
        return pa.RecordBatch.from_arrays([arrays[name] for name in columns], schema=wanted)

    def _trusted(self, block: bytes, kinds: dict[str, pa.DataType]) -> dict[str, pa.Array]:
        """Returns the columns that Arrow reads as Python does; none when a value suits no number."""
        if has_odd_numbers(block, set(kinds.values())):
            return {}
        try:
            table = self._parsed(
                block, {n: pa.float64() if kind == pa.float32() else kind for n, kind in kinds.items()}
            )
        except pa.ArrowInvalid:
            return {}
        return {
            name: _array(table[name]).cast(kind)
            for name, kind in kinds.items()
            if kind != pa.float32() or not suspicious(table[name])
        }

    def _cells(self, offset: int, block: bytes, columns: Sequence[str]) -> dict[str, pa.Array]:
        width = len(self.header.names)
        try:
            table = self._parsed(block, dict.fromkeys(columns, pa.string()))
        except pa.ArrowInvalid as error:
            line = line_at(self.file, offset)
            found = broken_row(block, self.header.delimiter, width)
            if found is None:
                raise InputError(f"{self.file}, in the rows from line {line}: {error}; mend them") from error
            fields = "1 field" if found.fields == 1 else f"{found.fields} fields"
            raise InputError(
                f"{self.file}, line {line + found.line}: {fields} where the first line names {width} columns; mend "
                "that line or leave it out; if it is the last one, the file may be cut off: fetch it again"
            ) from error
        return {name: _array(table[name]) for name in columns}

    def _parsed(self, block: bytes, types: dict[str, pa.DataType]) -> pa.Table:
        if block.isspace() and not block.strip(b"\r\n"):
            return pa.schema(types.items()).empty_table()
        return arrow_csv.read_csv(
            pa.BufferReader(block),
            arrow_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=self.header.names),
            arrow_csv.ParseOptions(delimiter=self.header.delimiter, newlines_in_values=True),
            arrow_csv.ConvertOptions(
                check_utf8=False,
                column_types=types,
                include_columns=list(types),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )

    def _check_text(self, offset: int, block: bytes) -> None:
        if block.isascii():
            return
        try:
            block.decode()
        except UnicodeDecodeError as error:
            line = line_at(self.file, offset) + block.count(b"\n", 0, error.start)
            raise InputError(
                f"{self.file}, line {line}: is not UTF-8; convert it, for example: iconv -f latin1 -t utf-8"
            ) from error


def csv_units(files: Sequence[Path]) -> list[CsvUnit]:
    """Returns the files' parts, their schema as wide as a sample of the rows needs.

    Raises:
        InputError: When a file has no first line of names, or another one than the first file, or a plain file's
            quotation marks do not match.
    """
    headers = [read_header(file) for file in files]
    for file, header in zip(files[1:], headers[1:], strict=True):
        require_same_names(file, header.names, files[0], headers[0].names)
    schema = pa.schema([pa.field(name, pa.null()) for name in headers[0].names])
    units = [
        CsvUnit(file=file, bytes=size, schema=schema, header=header, start=start, stop=stop)
        for file, header in zip(files, headers, strict=True)
        for start, stop, size in _parts(file, header)
    ]
    for unit in units[:: max(1, len(units) // _SAMPLES)]:
        schema = dataclasses.replace(unit, schema=schema).sample()
    return [dataclasses.replace(unit, schema=schema) for unit in units]


def _parts(file: Path, header: Header) -> Iterator[tuple[int, int | None, int]]:
    """Yields begin, end and packed size of a file's parts."""
    if is_packed(file):
        yield header.end, None, file.stat().st_size
        return
    start = stop = header.end
    for offset, block in record_blocks(file, header.delimiter, start, None):
        stop = offset + len(block)
        if stop - start >= _UNIT_BLOCKS * BLOCK_BYTES:
            yield start, stop, stop - start
            start = stop
    if stop > start or start == header.end:
        yield start, stop, stop - start


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], column.type), *column.chunks])
