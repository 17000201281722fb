"""One virtual environment per image, made by uv from the image's lock and cached by the lock's hash.

An environment is finished when it holds the file ``.complete``, written last. What a killed run left
behind is removed by the next one; what it had downloaded is in uv's own cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uv

from shipway.components.common.errors import EnvironmentFailed, InputError
from shipway.components.common.state import cache_directory
from shipway.pipelines.families import EXECUTOR, FAMILIES, Family

__all__ = ["Environment", "environment_of", "make_environments", "remove_unused_environments", "run_uv"]

_UV = uv.find_uv_bin()  # once: the look-up is not safe in threads
_MARKER = ".complete"
_PARALLEL_INSTALLATIONS = 2
_QUOTED_LINES = 12

Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Environment:
    """A family's environment on this machine, whether made yet or not."""

    family: Family
    directory: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    @property
    def ready(self) -> bool:
        """Whether it is complete."""
        return (self.directory / _MARKER).exists()


def environment_of(family: Family) -> Environment:
    """Returns where a family's environment lies or would lie.

    Raises:
        InputError: When this platform has no lock, or the path cannot be used by kfp.
    """
    if not family.lock.is_file():
        raise InputError(f"the family {family.name} has no lock at {family.lock}; run `make lock`")
    directory = cache_directory() / "environments" / f"{family.name}-{family.lock_digest[:16]}"
    return Environment(family, directory)


def make_environments(families: Iterable[Family], progress: Progress) -> dict[str, Environment]:
    """Makes what is missing of the families' environments, two at a time.

    Args:
        families: Which ones.
        progress: Receives a line when an installation starts and when it ends.

    Returns:
        Family names and their environments, all ready.

    Raises:
        EnvironmentFailed: With the installer's last lines. Finished environments stay; run again to go on.
    """
    environments = {family.name: environment_of(family) for family in families}
    missing = [environment for environment in environments.values() if not environment.ready]
    with ThreadPoolExecutor(_PARALLEL_INSTALLATIONS) as pool:
        for done in [pool.submit(_make, environment, progress) for environment in missing]:
            done.result()
    return environments


def remove_unused_environments() -> list[Path]:
    """Removes environments of locks that this checkout no longer has; returns their directories."""
    wanted = {environment_of(family).directory for family in FAMILIES.values()}
    removed = []
    for directory in sorted((cache_directory() / "environments").glob("*-*")):
        if directory.is_dir() and directory not in wanted:
            with _locked(directory):
                shutil.rmtree(directory)
            removed.append(directory)
    return removed


def run_uv(what: str, *arguments: str, keep_open: int | None = None) -> None:
    """Runs uv.

    Args:
        what: What it makes, for the message when it fails.
        arguments: The rest of its command line.
        keep_open: A file descriptor that it inherits.

    Raises:
        EnvironmentFailed: With its last lines and what to do.
    """
    done = subprocess.run(
        [_UV, "--quiet", *arguments],
        env=_uv_variables(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        pass_fds=() if keep_open is None else (keep_open,),
    )
    if done.returncode == 0:
        return
    said = "\n".join(f"  {line}" for line in done.stdout.strip().splitlines()[-_QUOTED_LINES:])
    what_next = "run the same command again to go on where this stopped"
    if "No space left" in said or "os error 28" in said:
        free_gib = shutil.disk_usage(cache_directory()).free / 2**30
        what_next = (
            f"the disk is full ({free_gib:.1f} GiB free at {cache_directory()}): make room, or set"
            " SHIPWAY_CACHE_DIR and UV_CACHE_DIR to a larger disk, and run again"
        )
    raise EnvironmentFailed(f"{what} could not be made; uv said:\n{said}\n{what_next}")


def _uv_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment for uv: this one, with pip's settings where uv, which reads none of them, has none."""
    pairs = (
        ("UV_FIND_LINKS", "PIP_FIND_LINKS"),
        ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"),
        ("UV_INDEX", "PIP_EXTRA_INDEX_URL"),
    )
    taken = {new: environ[old] for new, old in pairs if old in environ and new not in environ}
    # The interpreter that runs this is the one wanted; uv shall not download another.
    return {**environ, **taken, "UV_PYTHON_DOWNLOADS": "never"}


def _make(environment: Environment, progress: Progress) -> None:
    with _locked(environment.directory) as lock:
        if environment.ready:
            return
        name = environment.family.name
        progress(f"environment {name}: installing from {environment.family.lock.name} (first time only) …")
        started = time.monotonic()
        try:
            _install(environment, lock)
        except BaseException:
            shutil.rmtree(environment.directory, ignore_errors=True)
            raise
        progress(f"environment {name}: ready after {time.monotonic() - started:.0f} s")


def _install(environment: Environment, lock: int) -> None:
    # uv holds the lock too: one that outlives this process keeps the next from working in the same directory.
    python = str(environment.python)
    name = f"the environment {environment.family.name}"
    shutil.rmtree(environment.directory, ignore_errors=True)
    run_uv(name, "venv", "--python", sys.executable, str(environment.directory), keep_open=lock)
    install = ("pip", "install", "--python", python, "--compile-bytecode")
    # Without --no-deps: a lock cannot list what only one build of torch needs (the CUDA libraries).
    run_uv(
        name, *install, "--requirement", str(environment.family.lock), *_overrides(environment.family), keep_open=lock
    )
    run_uv(name, *install, "--no-deps", EXECUTOR, keep_open=lock)
    (environment.directory / _MARKER).touch()


def _overrides(family: Family) -> tuple[str, ...]:
    return ("--override", str(family.overrides)) if family.overrides.is_file() else ()


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[int]:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        file = directory.with_name(f"{directory.name}.lock").open("w")
    except OSError as error:
        raise EnvironmentFailed(
            f"no place for environments at {directory.parent}: {error}; set SHIPWAY_CACHE_DIR"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
