"""Runs the study; writes ``docs/fault-injection.md`` and ``build/bench/faults.json``.

``python -m benchmarks.faults [DETECTOR …]``: with names, only these look again, and what the others found last is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.data import flights_file
from benchmarks.environments import BENCH, environment, own_environment
from benchmarks.faults.page import page
from benchmarks.faults.scores import DETECTORS, score

_DIRECTORY = BENCH / "faults"
_AT_ONCE = 2
_PAGE = Path("docs/fault-injection.md")


def main() -> None:
    """Makes the batches, lets the detectors look at them and writes what came of it."""
    parser = argparse.ArgumentParser(description="Measures which faults in data are noticed.")
    parser.add_argument("detectors", nargs="*", help=f"who looks again, of {', '.join(DETECTORS)}; all by default")
    chosen = parser.parse_args().detectors or list(DETECTORS)
    batches = _DIRECTORY / "batches"
    shutil.rmtree(batches, ignore_errors=True)
    batches.mkdir(parents=True)
    subprocess.run([environment("datasets"), "-m", "benchmarks.faults.batches", flights_file(), batches], check=True)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # The slowest first.
        list(pool.map(_look, chosen))
    results = {name: json.loads((_DIRECTORY / f"{name}.json").read_text()) for name in DETECTORS}
    index = json.loads((_DIRECTORY / "batches" / "index.json").read_text())
    scores = score(index, results)
    (BENCH / "faults.json").write_text(json.dumps(scores, indent=1))
    _PAGE.write_text(page(scores), encoding="utf-8")
    for name, detector in scores["detectors"].items():
        print(
            f"{name}: {detector['kinds_caught']} of {detector['kinds']} kinds; false alarms: {detector['false_alarms']}"
        )
    print(f"written to {_PAGE}")


def _look(detector: str) -> None:
    python = own_environment() if detector in ("shipway", "tfdv") else environment(detector)
    output = _DIRECTORY / f"{detector}.json"
    command: list[str | Path] = [
        python,
        "-m",
        f"benchmarks.faults.detectors.{detector}",
        _DIRECTORY / "batches" / "index.json",
        output,
    ]
    variables = {**os.environ, "PYTHONPATH": "build/tree", "PYTHONWARNINGS": "ignore"}
    started = time.monotonic()
    with (_DIRECTORY / f"{detector}.log").open("wb") as log:
        subprocess.run(command, check=True, env=variables, stdout=log, stderr=log)
    print(f"{detector}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
