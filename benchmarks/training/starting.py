"""How long a training takes to its first step, and what it imports until then."""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path

from benchmarks.training.claims import Claim, claim
from benchmarks.training.processes import FRAMEWORKS, log_file, request, run

__all__ = ["start_claims"]

_SHOWN = 15
_IMPORT = re.compile(r"^import time:\s*(\d+) \|\s*\d+ \|\s*([\w.]+)$", re.M)


def start_claims(place: Path, quick: bool) -> list[Claim]:
    """Measures the starts and prints a table of them; returns the claims."""
    listed = []
    for framework in FRAMEWORKS:
        file = request(place / "start" / framework, "small")
        _started(framework, file)  # fills the system's cache of files, and writes this package's bytecode
        starts = [_started(framework, file) for _ in range(1 if quick else 5)]
        stages = {stage: [round(start[stage], 3) for start in starts] for stage in starts[0]}
        seconds, not_needed = _imports(framework, file)
        print(f"{framework}, seconds from the process's start to:")
        for stage, found in stages.items():
            print(f"  {stage}: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")
        print("  seconds of imports until then: " + ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()))
        first = statistics.median(stages["first step"])
        text = f"{framework}: seconds from the process's start to the first step"
        listed.append(claim(text, "s", first, 0, "", {"ours": stages["first step"], "stages": stages}))
        text = f"{framework}: modules imported until the first step that it does not need"
        samples = {"found": not_needed, "seconds_by_package": seconds}
        listed.append(claim(text, "modules", len(not_needed), 0, "at most 0", samples))
    return listed


def _started(framework: str, file: Path) -> dict[str, float]:
    name = f"{framework} start"
    done: dict[str, float] = run(name, framework, "start_case", framework, file, str(time.monotonic()))["done"]
    return done


def _imports(framework: str, file: Path) -> tuple[dict[str, float], list[str]]:
    """Returns the seconds that the largest packages' modules took to import, and which modules are not needed.

    The interpreter counts itself while it imports, which makes it slower.
    """
    name = f"{framework} imports"
    log_file(name).unlink(missing_ok=True)
    started = str(time.monotonic())
    said = run(name, framework, "start_case", framework, file, started, options=("-X", "importtime"))
    seconds: dict[str, float] = {}
    for microseconds, module in _IMPORT.findall(log_file(name).read_text()):
        package = module.partition(".")[0]
        seconds[package] = seconds.get(package, 0.0) + int(microseconds) / 1e6
    largest = sorted(seconds, key=lambda package: -seconds[package])[:_SHOWN]
    return {package: round(seconds[package], 3) for package in largest}, said["not_needed"]
