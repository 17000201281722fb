"""Environments of what tests need from PyPI, below ``build``."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def made_environment(name: str, requirements: Sequence[str]) -> Path:
    """Returns an environment below ``build`` with these requirements, made by the first who asks."""
    digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    directory = ROOT / "build" / f"{name}-{digest}"
    complete = directory / ".complete"
    directory.parent.mkdir(exist_ok=True)
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            _make(name, directory, requirements)
            complete.touch()
    return directory


def _make(name: str, directory: Path, requirements: Sequence[str]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    # Only the command line's interpreter has uv.
    script = "import sys; from shipway.pipelines.environments import run_uv; run_uv(*sys.argv[1:])"
    uv = [str(ROOT / ".venv/bin/python"), "-c", script, f"the environment {name}"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(directory)], check=True)
    install = ["pip", "install", "--compile-bytecode", "--python", str(directory / "bin/python")]
    subprocess.run([*uv, *install, *requirements], check=True)
