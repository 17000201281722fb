"""TFRecord files of ``tf.train.Example`` as units, read without TensorFlow.

Both checksums of every record are verified.

A feature is a list of ``int64``, ``float`` or bytes; one that a record lacks is missing there. Columns are sorted
by name.
"""

from __future__ import annotations

import dataclasses
import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import google_crc32c
import pyarrow as pa
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from shipway.components.common.errors import InputError
from shipway.components.data.reading.records import BLOCK_BYTES, is_packed, opened
from shipway.components.data.reading.unit import TypesChanged, Unit

__all__ = ["TfrecordUnit", "tfrecord_units"]

_HEAD = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_PIECE_BYTES = 1 << 24
_EXAMPLE_BYTES = 1 << 31
_SAMPLES = 8
_SAMPLE_RECORDS = 256
_UNITS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfrecordUnit(Unit):
    """Whole records of a TFRecord file.

    Attributes:
        start: The first record's offset.
        stop: Where the last record ends; None for the file's end.
    """

    start: int
    stop: int | None

    def sample(self) -> pa.Schema:
        """Returns ``schema`` with the features of the unit's first records."""
        for piece in self._pieces((), _SAMPLE_RECORDS):
            return self.widened(piece, self.schema)
        return self.schema

    @staticmethod
    def widest(one: pa.Schema, other: pa.Schema) -> pa.Schema:
        """Returns the features of both.

        Raises:
            InputError: When a feature has two types.
        """
        types = {field.name: field.type for field in one}
        for field in other:
            known = types.setdefault(field.name, field.type)
            if pa.types.is_null(known):
                types[field.name] = field.type
            elif known != field.type and not pa.types.is_null(field.type):
                raise InputError(
                    f"feature {field.name!r} holds {known.value_type} in some records and {field.type.value_type} in "
                    "others; write it with one type"
                )
        return pa.schema(sorted(types.items()))

    def _undecided(self, schema: pa.Schema) -> list[str]:
        return list(schema.names)

    def _pieces(self, columns: Sequence[str], batch_rows: int) -> Iterator[tuple[int, list[bytes]]]:
        del columns
        first, size, records = self.start, 0, list[bytes]()
        for offset, record in _records(self.file, self.start, self.stop):
            if len(records) == batch_rows or (records and size + len(record) > _PIECE_BYTES):
                yield first, records
                first, size, records = offset, 0, []
            records.append(record)
            size += len(record)
        if records:
            yield first, records

    def _decoded(self, piece: tuple[int, list[bytes]], schema: pa.Schema, columns: Sequence[str]) -> pa.RecordBatch:
        offset, records = piece
        try:
            found = ExamplesToRecordBatchDecoder().DecodeBatch(records)
            wider = self.widest(schema, found.schema)
        except (RuntimeError, ValueError, InputError) as error:
            raise InputError(f"{self.file}, in the {len(records)} records from byte {offset}: {error}") from error
        if wider != schema:
            raise TypesChanged(wider)
        wanted = pa.schema([schema.field(name) for name in columns])
        arrays = []
        for field in wanted:
            at = found.schema.get_field_index(field.name)
            known = at >= 0 and not pa.types.is_null(found.schema.types[at])
            arrays.append(found.column(at) if known else pa.nulls(len(records), field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def tfrecord_units(files: Sequence[Path]) -> list[TfrecordUnit]:
    """Returns the files' parts, with the features that a sample of the records has.

    Raises:
        InputError: When no file holds a record, or a file breaks off.
    """
    aim = min(max(sum(file.stat().st_size for file in files) // _UNITS, BLOCK_BYTES), 8 * BLOCK_BYTES)
    units = [
        TfrecordUnit(file=file, bytes=size, schema=pa.schema([]), start=start, stop=stop)
        for file in files
        for start, stop, size in _parts(file, aim)
    ]
    if not units:
        raise InputError(f"{files[0]}: is empty; expected records")
    schema = pa.schema([])
    for unit in units[:: max(1, len(units) // _SAMPLES)]:
        schema = dataclasses.replace(unit, schema=schema).sample()
    return [dataclasses.replace(unit, schema=schema) for unit in units]


def _parts(file: Path, aim: int) -> Iterator[tuple[int, int | None, int]]:
    """Yields begin, end and packed size of a file's parts; nothing for an empty file."""
    size = file.stat().st_size
    if not size:
        return
    if is_packed(file):
        yield 0, None, size
        return
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = stop = 0
        while stop < size:
            if stop + _HEAD.size > size:
                _broken(file, stop, "ends within a record")
            length, checksum = _HEAD.unpack_from(content, stop)
            if _masked(content[stop : stop + 8]) != checksum:
                _broken(file, stop, "the length's checksum does not match")
            if stop + _HEAD.size + length + _CHECKSUM.size > size:
                _broken(file, stop, "ends within a record")
            stop += _HEAD.size + length + _CHECKSUM.size
            if stop - start >= aim or stop == size:
                yield start, stop, stop - start
                start = stop


def _records(file: Path, start: int, stop: int | None) -> Iterator[tuple[int, bytes]]:
    """Yields every record's offset in the unpacked file, and its bytes."""
    with opened(file) as stream:
        stream.seek(start)
        offset = start
        while offset != stop and (head := stream.read(_HEAD.size)):
            if len(head) < _HEAD.size:
                _broken(file, offset, "ends within a record")
            length, checksum = _HEAD.unpack(head)
            if _masked(head[:8]) != checksum:
                _broken(file, offset, "the length's checksum does not match")
            if length > _EXAMPLE_BYTES:
                _broken(file, offset, f"of {length:,} bytes is longer than an example can be")
            record = stream.read(length)
            tail = stream.read(_CHECKSUM.size)
            if len(record) < length or len(tail) < _CHECKSUM.size:
                _broken(file, offset, "ends within a record")
            if _masked(record) != _CHECKSUM.unpack(tail)[0]:
                _broken(file, offset, "the record's checksum does not match")
            yield offset, record
            offset += _HEAD.size + length + _CHECKSUM.size
        if stop is not None and offset != stop:
            _broken(file, offset, "became shorter while it was read")


def _broken(file: Path, offset: int, what: str) -> NoReturn:
    raise InputError(f"{file}, record at byte {offset}: {what}; is the file complete, and a TFRecord? fetch it again")


def _masked(content: bytes) -> int:
    checksum: int = google_crc32c.value(content)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
