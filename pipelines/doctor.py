"""What this machine has and lacks for running Shipway."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from shipway.components.common.errors import InputError
from shipway.components.common.state import cache_directory
from shipway.pipelines.environments import environment_of
from shipway.pipelines.families import FAMILIES
from shipway.pipelines.images import LOCK, read_lock

__all__ = ["Finding", "examine_machine"]

_ENVIRONMENTS_GIB = 8.0


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: What was looked at.
        level: ``ok``, ``note`` (works, but know this) or ``lack`` (something will fail).
        message: What was found, and what to do where it lacks.
    """

    name: str
    level: str
    message: str


def examine_machine() -> list[Finding]:
    """Returns the findings, in the order in which they matter."""
    return [*_platform(), _disk(), *_environments(), _gpu(), _kubectl(), *_images()]


def _platform() -> Iterator[Finding]:
    supported = platform.system() == "Linux" and platform.machine() == "x86_64"
    told = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    yield Finding(
        "platform", "ok" if supported else "lack", told if supported else f"{told}: Linux x86_64 is supported"
    )
    version = platform.python_version()
    fits = sys.version_info[:2] == (3, 11)
    advice = "" if fits else ": the locks of this platform are for Python 3.11; run `make setup PYTHON=python3.11`"
    yield Finding("python", "ok" if fits else "lack", version + advice)


def _disk() -> Finding:
    directory = cache_directory()
    while not directory.exists():
        directory = directory.parent
    free_gib = shutil.disk_usage(directory).free / 2**30
    ready = all(environment_of(family).ready for family in FAMILIES.values())
    enough = ready or free_gib >= _ENVIRONMENTS_GIB
    message = f"{free_gib:.0f} GiB free at {directory}"
    if not enough:
        message += f"; the environments need {_ENVIRONMENTS_GIB:.0f} GiB: make room or set SHIPWAY_CACHE_DIR"
    return Finding("disk", "ok" if enough else "lack", message)


def _environments() -> Iterator[Finding]:
    for family in FAMILIES.values():
        environment = environment_of(family)
        if environment.ready:
            yield Finding(f"environment {family.name}", "ok", str(environment.directory))
        else:
            yield Finding(f"environment {family.name}", "note", "not made yet; the first run makes it")


def _gpu() -> Finding:
    devices = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if devices:
        return Finding("gpu", "ok", f"{len(devices)} NVIDIA device(s)")
    return Finding("gpu", "note", "none: training runs on the CPU")


def _kubectl() -> Finding:
    path = shutil.which("kubectl")
    return Finding("kubectl", "ok" if path else "note", path or "not found; only needed for reaching a cluster by hand")


def _images() -> Iterator[Finding]:
    if not LOCK.is_file():  # only a checkout has manifests
        return
    try:
        images = read_lock(LOCK)
    except InputError as error:
        yield Finding("images", "lack", str(error))
        return
    for name, image in images.items():
        if image.digest:
            yield Finding(f"image {name}", "ok", str(image))
        else:
            message = f"{image} has a tag only, which may come to mean another image; `make pin-images` pins it"
            yield Finding(f"image {name}", "note", message)
