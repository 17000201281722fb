"""What people name on the command line and in parameters, as the logic takes it: files, Datasets, statistics."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from shipway.components.common.errors import InputError

__all__ = [
    "local_dataset",
    "local_source",
    "output_directory",
    "output_page",
    "progress",
    "settings_file",
    "statistics_of",
]

_LINE_SECONDS = 15.0


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
    """Yields what ``source`` names as the steps take it; an ``http(s)://`` address is downloaded aside for the while.

    Raises:
        InputError, TransientError: When it cannot be had.
    """
    if not source:
        raise InputError("no data is given; name a Dataset, a path or a URI")
    scheme, separator, _ = source.partition("://")
    if not separator:
        yield str(Path(source).expanduser())
    elif scheme.lower() == "file":
        yield unquote(urlsplit(source).path)
    else:
        from shipway.components.data.ingestion.sources import fetched, resolve_data

        with fetched(source, resolve_data(source)) as files:
            yield str(files[0] if len(files) == 1 else files[0].parent)


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


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """Yields what takes the share done, from 0 to 1, and shows it on stderr.

    That is a bar on a terminal, and elsewhere a line every 15 seconds.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread beside processes that fork
        form = "{desc} {percentage:3.0f} % |{bar}| {elapsed}, {remaining} left"
        with tqdm(total=1.0, desc=what, bar_format=form, leave=False, file=sys.stderr) as bar:

            def draw(share: float) -> None:
                bar.update(min(share, 1.0) - bar.n)
                if share >= 1:
                    bar.refresh()

            yield draw
        return
    told = time.monotonic()

    def tell(share: float) -> None:
        nonlocal told
        if time.monotonic() - told >= _LINE_SECONDS:
            told = time.monotonic()
            print(f"{what}: {share:.0%}", file=sys.stderr, flush=True)

    yield tell
