"""What people name on the command line and in parameters, as the logic takes it: files, Datasets, statistics."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shipway.components.common.errors import InputError
from shipway.components.common.progress import bytes_progress, progress

__all__ = [
    "local_dataset",
    "local_source",
    "output_directory",
    "output_page",
    "settings_file",
    "statistics_of",
]


def output_directory(output: Path, mark: str, inputs: Sequence[str | Path | None]) -> None:
    """Checks that ``output`` may be replaced: nothing is lost but an earlier output of the same kind.

    Args:
        output: The directory.
        mark: What an earlier output has in it.
        inputs: What will be read; none of it may lie in ``output``.

    Raises:
        InputError: When it may not.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"-o {output} is a file; name a directory")
    if output.is_dir() and not (output / mark).exists() and any(output.iterdir()):
        raise InputError(f"-o {output} holds something else (no {mark}); name another directory, or empty this one")
    for given in inputs:
        if given and "://" not in str(given) and Path(given).resolve().is_relative_to(output.resolve()):
            raise InputError(f"-o {output} would replace {given}, which is to be read; name another directory")


@contextlib.contextmanager
def output_page(output: Path) -> Iterator[Path]:
    """Yields a file beside ``output``, which takes its place when the block ends well.

    Raises:
        InputError: When ``output`` is a directory.
    """
    if output.is_dir():
        raise InputError(f"-o {output} is a directory; name a file, such as {output / 'report.html'}")
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        yield aside
        aside.replace(output)
    finally:
        aside.unlink(missing_ok=True)


def settings_file(file: Path | None) -> dict[str, Any] | None:
    """Returns the settings of checks in a YAML or JSON file; None for no file.

    Raises:
        InputError: When it cannot be read, or holds no mapping.
    """
    if file is None:
        return None
    import yaml

    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"--checks {file} cannot be read: {error}") from error
    if not isinstance(loaded, dict):
        raise InputError(f"--checks {file} must map names of checks to a severity or to settings")
    return loaded


@contextlib.contextmanager
def local_source(source: str) -> Iterator[str]:
    """Yields what ``source`` names as the steps take it; what lies in a store is downloaded aside for the while.

    Raises:
        InputError, StorageError: When it cannot be had.
    """
    if not source:
        raise InputError("no data is given; name a Dataset, a path or a URI")
    from shipway.components.common import storage
    from shipway.components.data.ingestion.sources import file_name, local_path

    path = local_path(source)
    if path:
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / file_name(source)
        with bytes_progress("downloading") as tell:
            storage.download(source, path, storage.Options(progress=tell))
        yield str(path)


def statistics_of(source: str, scratch: Path, name: str, **options: Any) -> Path:
    """Returns the directory of ``source``'s statistics: ``source`` itself where it is one, else made in ``scratch``.

    Args:
        source: A directory that ``generate_statistics`` wrote, or data.
        scratch: Where to write.
        name: What the data is, for the progress bar: ``previous data``, for instance.
        options: As for ``generate_statistics``.

    Raises:
        InputError: As ``generate_statistics``.
    """
    if (Path(source) / "statistics.pb").is_file():
        return Path(source)
    from shipway.components.data.statistics.generation import generate_statistics

    with local_source(source) as path, progress(f"describing {name}") as tell:
        generate_statistics(path, scratch, progress=tell, **options)
    return scratch


@contextlib.contextmanager
def local_dataset(source: str, scratch: Path) -> Iterator[tuple[Path, Path]]:
    """Yields a Dataset of the rows of ``source``, in their order, and where to read them so that errors name it.

    A directory of ``part-*.parquet`` is one, and a Parquet file is taken as it is. Anything else is written to
    ``scratch`` in Parquet, batch by batch.

    Raises:
        InputError: When the source cannot be read.
    """
    with local_source(source) as name:
        path = Path(name)
        if any(path.glob("part-*.parquet")):
            yield path, path
            return
        scratch.mkdir()
        part = scratch / "part-00000.parquet"
        if path.is_file() and path.suffix.lower() == ".parquet":
            part.symlink_to(path.resolve())
            yield scratch, path
        else:
            _convert(path, part)
            yield scratch, scratch


def _convert(path: Path, part: Path) -> None:
    import pyarrow.parquet as pq

    from shipway.components.data.reading import open_source

    with progress("reading") as tell:
        source = open_source(path)
        with pq.ParquetWriter(part, source.schema, compression="zstd") as writer:
            done = 0
            for unit in source.units:
                for batch in unit.batches():
                    writer.write_batch(batch)
                done += unit.bytes
                tell(done / max(source.bytes, 1))
