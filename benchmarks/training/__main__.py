"""Measures training: ``make bench-training``, or ``python -m benchmarks.training [--quick] [--only PARTS]``.

Prints tables and writes ``build/bench/training.json``: a list of ``{"claim", "ours", "reference", "ratio", "goal",
"met", "unit", "samples"}``. Ends well whether the goals are met or not: it tells how it is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.environments import BENCH
from benchmarks.training.claims import Claim
from benchmarks.training.memory import memory_claims
from benchmarks.training.processes import datasets
from benchmarks.training.resuming import resume_claims
from benchmarks.training.speed import speed_claims
from benchmarks.training.starting import start_claims
from benchmarks.training.tuning import tuning_claims

_PARTS: dict[str, Callable[[Path, bool], list[Claim]]] = {
    "speed": speed_claims,
    "memory": memory_claims,
    "start": start_claims,
    "resume": resume_claims,
    "tuning": tuning_claims,
}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description="Measures training.")
    parser.add_argument("--quick", action="store_true", help="once each, and little of it")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS), help="the parts to measure")
    options = parser.parse_args()
    datasets()
    listed: list[Claim] = []
    file = BENCH / "training.json"
    with tempfile.TemporaryDirectory(dir=BENCH.absolute(), prefix="training-") as directory:
        for name in options.only:
            started = time.monotonic()
            listed += _PARTS[name](Path(directory), options.quick)
            print(f"{name} took {time.monotonic() - started:.0f} s", flush=True)
            file.write_text(json.dumps(listed, indent=1))
    for claim in listed:
        verdict = {True: "met", False: "NOT MET", None: "no goal"}[claim["met"]]
        print(f"{claim['claim']}: {claim['ratio']:.3f} ({claim['goal'] or 'no goal'}): {verdict}")
    print(f"written to {file}")


if __name__ == "__main__":
    main()
