"""Measures serving: ``make bench-serving``, or ``python -m benchmarks.serving [--quick] [--only PARTS]``.

``make soak-serving`` has it loaded for ten minutes instead.

Prints tables and writes ``build/bench/serving.json``: a list of ``{"claim", "ours", "reference", "ratio", "goal",
"met", "unit", "samples"}``. Ends well whether the goals are met or not: it tells how it is.

Servers run on this machine's first core and the client on its last.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

from benchmarks.environments import BENCH
from benchmarks.serving.batching import batching_claims
from benchmarks.serving.cpu import cpu_claims
from benchmarks.serving.soak import soak_claims
from benchmarks.serving.starting import start_claims
from benchmarks.training.claims import Claim

_PARTS: dict[str, Callable[[argparse.Namespace], list[Claim]]] = {
    "cpu": lambda options: cpu_claims(options.quick),
    "batching": lambda options: batching_claims(options.quick),
    "start": lambda options: start_claims(options.quick),
    "soak": lambda options: soak_claims(options.minutes),
}
_USUAL = ("cpu", "batching", "start")


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description="Measures serving.")
    parser.add_argument("--quick", action="store_true", help="once each, and shortly")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_USUAL, help="the parts to measure")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak (default: %(default)s)")
    options = parser.parse_args()
    os.environ["SHIPWAY_STATE_DIR"] = str(BENCH.absolute() / "state")
    listed: list[Claim] = []
    file = BENCH / ("soak-serving.json" if options.only == ["soak"] else "serving.json")
    for name in options.only:
        begun = time.monotonic()
        listed += _PARTS[name](options)
        print(f"{name} took {time.monotonic() - begun:.0f} s", flush=True)
        file.write_text(json.dumps(listed, indent=1))
    for claim in listed:
        verdict = {True: "met", False: "NOT MET", None: "no goal"}[claim["met"]]
        print(f"{claim['claim']}: {claim['ratio']:.3f} ({claim['goal'] or 'no goal'}): {verdict}")
    print(f"written to {file}")


if __name__ == "__main__":
    main()
