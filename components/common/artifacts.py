"""How artifacts lie on disk: whole directories, published at once, named by their content.

A step writes an artifact aside and renames it into place when it is complete, so that a killed step
leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from shipway.components.common.errors import InputError

__all__ = [
    "dataset_files",
    "directory_digest",
    "file_digest",
    "new_directory",
    "read_json",
    "write_json",
]

_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def new_directory(path: str | Path) -> Iterator[Path]:
    """Yields an empty directory beside ``path`` and renames it to ``path`` when the block ends well.

    When the block raises, the directory is removed and ``path`` is as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{target.name}.{os.getpid()}.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if target.is_dir():
            shutil.rmtree(target)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def file_digest(path: str | Path) -> str:
    """Returns ``sha256:<hex>`` of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def directory_digest(path: str | Path, exclude: Collection[str] = ()) -> str:
    """Returns ``sha256:<hex>`` over the sorted list of relative path and sha256 of every file below ``path``.

    Args:
        path: The directory.
        exclude: Relative POSIX paths left out; a model's digest leaves ``model.json`` out.
    """
    root = Path(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in root.rglob("*") if p.is_file()):
        name = file.relative_to(root).as_posix()
        if name not in exclude:
            digest.update(f"{name}\0{file_digest(file)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def dataset_files(path: str | Path) -> list[Path]:
    """Returns the Parquet files of a Dataset (``part-*.parquet``) in order.

    Raises:
        InputError: When ``path`` holds none.
    """
    files = sorted(Path(path).glob("part-*.parquet"))
    if not files:
        raise InputError(f"no Dataset at {path}: it holds no part-*.parquet; was it written by a Shipway component?")
    return files


def read_json(path: str | Path) -> Any:
    """Returns the value in a JSON file.

    Raises:
        InputError: When the file is missing or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; is its directory the artifact that the step expects?") from None
    except ValueError as error:
        raise InputError(f"{path} is no JSON file: {error}") from error


def write_json(path: str | Path, value: Any) -> None:
    """Writes ``value`` as JSON, keys sorted, replacing the file at once."""
    target = Path(path)
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    aside.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    aside.replace(target)
