"""The project's code as steps see it: a copy named by its content, so that an edit never reaches a run under way."""

from __future__ import annotations

import compileall
import hashlib
import os
import py_compile
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from shipway.pipelines.families import Family, package_directory

__all__ = ["cache_directory", "code_snapshot", "family_code_digest"]

_ROOT_PACKAGES = ("shipway.components", "shipway.examples", "shipway.pipelines", "shipway.serving")


def cache_directory() -> Path:
    """Returns where environments and code copies are kept.

    ``SHIPWAY_CACHE_DIR``, else ``shipway`` below ``XDG_CACHE_HOME``, else ``~/.cache/shipway``.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shipway"
    return Path(os.environ.get("SHIPWAY_CACHE_DIR") or default).absolute()


def family_code_digest(family: Family) -> str:
    """Returns the digest of the code that a family's steps run; it is part of every step's cache key."""
    return _digest(family.code)


def code_snapshot() -> Path:
    """Copies the project's packages, compiled, to a directory named by their digest; returns it.

    The directory is a ``PYTHONPATH`` entry: it holds ``shipway/components`` and so on.
    """
    target = cache_directory() / "code" / _digest(_ROOT_PACKAGES)[:16]
    if target.is_dir():
        return target
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    for package in _ROOT_PACKAGES:
        source = package_directory(package)
        shutil.copytree(
            source, aside.joinpath(*package.split(".")), ignore=shutil.ignore_patterns("__pycache__"), symlinks=True
        )
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(aside, quiet=1, invalidation_mode=mode, stripdir=str(aside), prependdir=str(target))
    try:
        aside.rename(target)
    except OSError:  # another run was faster; its copy has the same content
        shutil.rmtree(aside)
    return target


def _digest(packages: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for package in packages:
        for name, file in _source_files(package_directory(package)):
            digest.update(f"{package}/{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _source_files(directory: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(directory.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file.relative_to(directory).as_posix(), file
