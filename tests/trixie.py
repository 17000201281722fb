"""Debian trixie in a directory, for what this machine's C library is too old for: TFDV 1.21.

``python tests/trixie.py COMMAND …`` runs a command there, with the project at its own path and its ``python`` the one
of an environment made from ``components/data/requirements-trixie.txt``; ``--lock`` writes that file anew. Needs root
and debootstrap. The directory is kept below ``build`` and named by the lock.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "components/data/requirements-trixie.txt"
SOURCES = (LOCK.with_suffix(".in"), LOCK.with_name("overrides-trixie.txt"))
PACKAGES = "python3,python3-venv,python3-dev,gcc,g++,ca-certificates"
EXECUTOR = ("kfp==2.17.0", "pytest==9.2.0", "iniconfig", "pluggy", "packaging", "pygments")
PYTHON = "/opt/environment/bin/python"


def lacking() -> str:
    """Returns what this machine lacks for it; empty when nothing."""
    if os.geteuid():
        return "root"
    return "" if shutil.which("debootstrap") else "debootstrap"


def debian() -> Path:
    """Returns a directory with Debian trixie and the lock's environment, made where it is missing."""
    name = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16] if LOCK.exists() else "unlocked"
    directory = ROOT / "build" / f"trixie-{name}"
    if (directory / "opt/complete").exists():
        return directory
    base = ROOT / "build" / "trixie-base"
    if not base.exists():
        aside = base.with_suffix(".part")
        shutil.rmtree(aside, ignore_errors=True)
        print("making Debian trixie …", flush=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", str(aside)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        aside.rename(base)
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run(["cp", "--archive", str(base), str(directory)], check=True)
    uv = Path(sys.executable).with_name("uv")
    shutil.copy2(uv, directory / "usr/local/bin/uv")
    if LOCK.exists():
        print("installing requirements-trixie.txt …", flush=True)
        install = f"uv pip install -q --compile-bytecode --python {PYTHON} --no-deps"
        failed = inside(
            directory,
            f"uv venv -q --python /usr/bin/python3 /opt/environment && {install} -r {LOCK} && "
            f"{install} {' '.join(EXECUTOR)} && touch /opt/complete",
        )
        if failed:
            sys.exit(f"{LOCK} could not be installed on Debian trixie; the lines above say why")
    return directory


def inside(directory: Path, script: str) -> int:
    """Runs a shell script in the directory; the mounts are seen by nobody else and end with it.

    Returns:
        The script's exit code.
    """
    mounts = " && ".join(
        f"mkdir -p {directory}{place} && mount --{kind}bind {place} {directory}{place}"
        for kind, place in (("", "/proc"), ("r", "/dev"), ("", "/etc/ssl/certs"), ("", str(ROOT)))
    )
    network = f"cp /etc/resolv.conf /etc/hosts {directory}/etc/"
    given = {
        "HOME": "/root",
        "UV_NO_CACHE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/opt/environment/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT / "build/tree"),
        "SHIPWAY_PYTHON_DATA": PYTHON,
    }
    given |= {name: value for name, value in os.environ.items() if "CERT" in name or "CA_BUNDLE" in name}
    there = ["chroot", str(directory), "env", "-i", *(f"{name}={value}" for name, value in given.items())]
    command = f'{mounts} && {network} && exec "$@"'
    there += ["bash", "-c", f"cd {ROOT} && {script}"]
    return subprocess.run(["unshare", "--mount", "bash", "-c", command, "bash", *there], check=False).returncode


def lock() -> int:
    """Writes the lock anew from its sources."""
    requirements, overrides = SOURCES
    compile_lock = "uv pip compile --quiet --no-header --no-annotate --python /usr/bin/python3"
    return inside(debian(), f"{compile_lock} --override {overrides} {requirements} --output-file {LOCK}")


if __name__ == "__main__":
    if missing := lacking():
        sys.exit(f"Debian trixie cannot be made here: this needs {missing}")
    sys.exit(lock() if sys.argv[1:] == ["--lock"] else inside(debian(), shlex.join(sys.argv[1:])))
