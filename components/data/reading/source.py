"""A source: one file or a directory of files of one format, its columns, and the units to read it by."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from shipway.components.common.errors import InputError
from shipway.components.data.reading.csv_tables import csv_units
from shipway.components.data.reading.files import found_files, partitions
from shipway.components.data.reading.parquet_files import parquet_units
from shipway.components.data.reading.unit import Unit

__all__ = ["Source", "open_source"]


@dataclasses.dataclass(frozen=True)
class Source:
    """What :func:`open_source` found.

    Attributes:
        format: ``parquet``, ``csv`` or ``tfrecord``.
        files: In the order of their rows.
        schema: The columns of every batch, with plain types.
        units: The parts to read, in the order of their rows.
        bytes: The size of all files.
        rows: How many, where the files say so.
        exact: Whether ``schema`` is known to suit every row; else a unit may raise TypesChanged.
    """

    format: str
    files: tuple[Path, ...]
    schema: pa.Schema
    units: tuple[Unit, ...]
    bytes: int
    rows: int | None
    exact: bool

    def settled(
        self, run: Callable[[Callable[[Unit], pa.Schema], Sequence[Unit]], Iterable[pa.Schema]] | None = None
    ) -> Source:
        """Returns the source with the types that all its rows need; reads everything unless they are known.

        Args:
            run: A ``map`` over the units, for example a process pool's; None for a thread for each processor.

        Raises:
            InputError: When a file is broken.
        """
        if self.exact:
            return self
        if run is None:
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                found = list(pool.map(_settled, self.units))
        else:
            found = list(run(_settled, self.units))
        schema = functools.reduce(type(self.units[0]).widest, found)
        units = tuple(dataclasses.replace(unit, schema=schema) for unit in self.units)
        keys = [field for field, _ in self.units[0].partition]
        return dataclasses.replace(self, schema=pa.schema([*schema, *keys]), units=units, exact=True)


def open_source(path: str | Path, *, format: str = "", optimistic: bool = False) -> Source:  # noqa: A002
    """Looks at one file, or at all files below a directory.

    Directories named ``key=value`` add a column at the end: whole numbers when all its values are, else text, and
    ``__HIVE_DEFAULT_PARTITION__`` is missing. Files and directories whose names begin with ``.`` or ``_`` are left
    alone, and so is what is of no readable format.

    Args:
        path: A file, or a directory.
        format: ``parquet``, ``csv`` or ``tfrecord``; "" tells it from the files' names.
        optimistic: Take the types of CSV columns and the features of TFRecords from samples, instead of reading
            everything twice. Where a unit then raises TypesChanged, start again with :meth:`Source.settled`.

    Raises:
        InputError: When there is nothing readable, formats or columns are mixed, or a file is broken.
    """
    root = Path(path)
    name, files = found_files(root, format)
    keys = dict(zip(files, partitions(root, files), strict=True))
    units = _units(name, files)
    for field, _ in keys[files[0]]:
        if field.name in units[0].schema.names:
            raise InputError(f"{root}: {field.name!r} names a directory and a column; rename one of them")
    counts = [unit.rows for unit in units]
    source = Source(
        name,
        files,
        pa.schema([*units[0].schema, *(field for field, _ in keys[files[0]])]),
        tuple(dataclasses.replace(unit, partition=keys[unit.file]) for unit in units),
        sum(file.stat().st_size for file in files),
        None if None in counts else sum(count or 0 for count in counts),
        exact=name == "parquet",
    )
    return source if optimistic else source.settled()


def _units(name: str, files: Sequence[Path]) -> Sequence[Unit]:
    if name == "parquet":
        return parquet_units(files)
    if name == "csv":
        return csv_units(files)
    from shipway.components.data.reading.tfrecords import tfrecord_units  # what it imports takes a while

    return tfrecord_units(files)


def _settled(unit: Unit) -> pa.Schema:
    return unit.settled()
