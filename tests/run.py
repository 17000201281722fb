"""Runs every suite in the environment that it belongs to, and ends with one line of totals.

``python tests/run.py [SUITE …]``; a suite is a directory below ``tests``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import trixie

from shipway.pipelines.environments import make_environments, run_uv
from shipway.pipelines.families import FAMILIES

TESTS = Path(__file__).parent
BUILD = TESTS.parent / "build"
TOOLS = ("pytest==9.2.0", "hypothesis==6.170.15")
RESULTS = BUILD / "test-results"

# Suites, directories or files, and the families in whose environments they run; "" is the command line's own, "trixie"
# the data family's on Debian trixie, with the newest TFDV.
SUITES = {
    "contract": ("",),
    "common": ("", "data", "pytorch", "tensorflow"),
    "data": ("data", "trixie"),
    "features": ("features",),
    "pytorch": ("pytorch",),
    "tensorflow": ("tensorflow",),
    "lifecycle": ("lifecycle",),
    "storage": ("lifecycle",),
    "storage/test_data_sources.py": ("data",),
    "serving": ("serving",),
    "routing": ("serving",),
    "torchserve": ("torchserve",),
    "engines": ("serving", "pytorch", "tensorflow"),
    "tfserving": ("tensorflow",),
    "integrations": ("",),
    "manifests": ("",),
    "pipelines": ("",),
}

# One hung test must not hold up everything.
TIMEOUT_SECONDS = 1800


def may_mount() -> bool:
    """Returns whether this user may mount a file system; in a container even root often may not."""
    with tempfile.TemporaryDirectory() as directory:
        mount = ["mount", "-t", "tmpfs", "tmpfs", directory]
        if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", directory], check=True)
    return True


# What a marked test needs; where it is missing the test is deselected, and that is said.
NEEDS = {
    "chromium": shutil.which("chromium") is not None,
    "gpu": any(Path("/dev").glob("nvidia[0-9]*")),
    "redis": shutil.which("redis-server") is not None,
    "tmpfs": may_mount(),
}


def main(chosen: list[str]) -> int:
    """Runs the chosen suites, or all; returns the exit code."""
    environments = make_environments(FAMILIES.values(), print)
    variables = {e.family.interpreter_variable: str(e.python) for e in environments.values()}
    variables["PYTHONPATH"] = str(tools())
    missing = [name for name, there in NEEDS.items() if not there]
    if lack := trixie.lacking():
        print(f"not run: the data suite on Debian trixie, which needs {lack}")
    passed = failed = 0
    for suite in chosen or SUITES:
        for family in SUITES[suite]:
            if family == "trixie" and trixie.lacking():
                continue
            print(f"── {suite} in {family or 'the command line'}'s environment", flush=True)
            results = run_suite(suite, family, variables, missing)
            passed, failed = passed + results[0], failed + results[1]
    for name in missing:
        print(f"not run: tests marked {name}, which this machine lacks")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def tools() -> Path:
    """Returns the directory of what tests are run with, made now if it is not there."""
    directory = BUILD / f"test-tools-{'-'.join(TOOLS)}"
    if not directory.is_dir():
        aside = directory.with_suffix(".part")
        shutil.rmtree(aside, ignore_errors=True)
        run_uv("pytest", "pip", "install", "--python", sys.executable, "--target", str(aside), *TOOLS)
        aside.rename(directory)
    return directory


def run_suite(suite: str, family: str, variables: dict[str, str], missing: list[str]) -> tuple[int, int]:
    """Runs one suite in one environment; returns how many tests passed and failed."""
    report = RESULTS / f"{Path(suite).stem}-{family or 'cli'}.xml"
    report.unlink(missing_ok=True)
    shipway = Path(sys.executable).with_name("shipway")
    interpreter = [str(shipway), "env", "python", family] if family else [sys.executable]
    if family == "trixie":
        interpreter, missing = [sys.executable, trixie.__file__, "python"], [*missing, "chromium"]
    command = [*interpreter, "-m", "pytest", str(TESTS / suite), "-q", f"--junitxml={report}"]
    if missing:
        command += ["-m", " and ".join(f"not {name}" for name in missing)]
    try:
        code = subprocess.run(command, env={**os.environ, **variables}, check=False, timeout=TIMEOUT_SECONDS).returncode
    except subprocess.TimeoutExpired:
        print(f"{suite} was ended after {TIMEOUT_SECONDS} s")
        return 0, 1
    if not report.exists():
        return 0, 1
    counts = next(ElementTree.parse(report).iter("testsuite")).attrib
    bad = int(counts["failures"]) + int(counts["errors"])
    good = int(counts["tests"]) - bad - int(counts["skipped"])
    return good, max(bad, 1 if code not in (0, 5) else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
