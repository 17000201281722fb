"""The project's code as steps see it: a copy named by its content, so that an edit never reaches a run under way."""

from __future__ import annotations

import compileall
import hashlib
import py_compile
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from shipway.components.common.errors import EnvironmentFailed
from shipway.components.common.state import cache_directory
from shipway.pipelines.families import Family, package_directory

__all__ = ["code_snapshot", "family_code_digest"]

_ROOT_PACKAGES = ("shipway.components", "shipway.examples", "shipway.pipelines", "shipway.serving")


def family_code_digest(family: Family, snapshot: Path) -> str:
    """Returns the digest of the code that a family's steps run from a snapshot; part of every step's cache key."""
    return _digest(snapshot, family.code)


def code_snapshot() -> Path:
    """Copies the project's packages, compiled, to a directory named by their digest; returns it.

    The directory is a ``PYTHONPATH`` entry: it holds ``shipway/components`` and so on. The copy is what is
    hashed, so that an edit meanwhile is in both the name and the content, or in neither.

    Raises:
        EnvironmentFailed: When it cannot be written.
    """
    home = cache_directory() / "code"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=home) as temporary:
            return _published(_copied(Path(temporary)), home)
    except OSError as error:
        raise EnvironmentFailed(f"no place for the code's copy at {home}: {error}; set SHIPWAY_CACHE_DIR") from error


def _copied(temporary: Path) -> Path:
    copy = temporary / "code"
    for package in _ROOT_PACKAGES:
        target = copy.joinpath(*package.split("."))
        shutil.copytree(package_directory(package), target, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def _published(copy: Path, home: Path) -> Path:
    target = home / _digest(copy, _ROOT_PACKAGES)[:16]
    if not target.is_dir():
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(copy, quiet=1, invalidation_mode=mode, stripdir=str(copy), prependdir=str(target))
        try:
            copy.rename(target)
        except OSError:
            if not target.is_dir():  # else another run was faster; its copy has the same content
                raise
    return target


def _digest(root: Path, packages: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for package in packages:
        for name, file in _source_files(root.joinpath(*package.split("."))):
            digest.update(f"{package}/{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _source_files(directory: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(directory.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file.relative_to(directory).as_posix(), file
