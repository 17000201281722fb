"""Measures the statistics side by side: ``python -m benchmarks.validation [--quick]``.

Prints tables and writes ``build/bench/validation.json``: a list of ``{"claim", "ours", "reference", "ratio", "goal",
"met", "unit", "samples"}``. Ends well whether the goals are met or not: it tells how it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
from pathlib import Path

from benchmarks.data import ROWS, TIMES, flights
from benchmarks.environments import BENCH, environment, own_environment, packages
from benchmarks.measure import Measurement, measured
from benchmarks.validation.claims import claims

REPETITIONS = 5
LARGE = ROWS * TIMES


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        contender: Its name in ``contenders.py``.
        rows: Of the file.
        suffix: Of the file.
        produces: What comes of it.
        repetitions: How often at most.
    """

    contender: str
    rows: int
    suffix: str
    produces: str
    repetitions: int = REPETITIONS

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.contender} {self.suffix[1:]} {self.rows}"


_TFDV = "every statistic of TFDV"
_FRAME = "counts, missing, distinct, mean, deviation, extremes and quantiles"
_CASES = (
    Case("shipway", ROWS, ".parquet", f"{_TFDV}, distributions and a summary"),
    Case("shipway", ROWS, ".csv", f"{_TFDV}, distributions and a summary"),
    Case("tfdv_dataframe", ROWS, ".parquet", _TFDV),
    Case("tfdv_csv", ROWS, ".csv", _TFDV),
    Case("evidently", ROWS, ".parquet", f"{_FRAME}, histograms"),
    Case("whylogs", ROWS, ".parquet", "sketches of types, missing, distinct, quantiles, frequent values"),
    Case("great_expectations", ROWS, ".parquet", "missing, distinct, least, largest, mean; nothing else"),
    Case("ydata_profiling", ROWS, ".parquet", f"{_FRAME}, histograms, frequent values"),
    Case("polars", ROWS, ".parquet", f"{_FRAME}; counts of texts"),
    Case("duckdb", ROWS, ".parquet", f"{_FRAME} (estimates)"),
    Case("shipway", LARGE, ".parquet", f"{_TFDV}, distributions and a summary"),
    Case("shipway", LARGE, ".csv", f"{_TFDV}, distributions and a summary"),
    Case("tfdv_dataframe", LARGE, ".parquet", _TFDV),
    Case("polars", LARGE, ".parquet", f"{_FRAME}; counts of texts"),
    Case("duckdb", LARGE, ".parquet", f"{_FRAME} (estimates)"),
    Case("tfdv_csv", LARGE, ".csv", _TFDV, repetitions=1),
)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description="Measures how fast statistics are made, beside other libraries.")
    parser.add_argument("--quick", action="store_true", help="once each, and Beam at the small size only")
    quick = parser.parse_args().quick
    cases = [case for case in _CASES if not quick or case.repetitions > 1]
    samples = _measured(cases, 1 if quick else REPETITIONS)
    print(_table(cases, samples))
    found = claims(samples, ROWS, LARGE)
    for claim in found:
        verdict = {True: "met", False: "NOT MET", None: "no goal"}[claim["met"]]
        print(f"{claim['claim']}: {claim['ratio']:.2f} ({claim['goal'] or 'no goal'}): {verdict}")
    file = BENCH / "validation.json"
    file.write_text(json.dumps(found, indent=1))
    print(f"written to {file}")


def _measured(cases: list[Case], repetitions: int) -> dict[str, list[Measurement]]:
    """Every case in turn, and then again, so that what disturbs the machine disturbs all alike.

    A first turn at the small size is not counted: it writes bytecode and fills the system's cache of files.
    """
    samples: dict[str, list[Measurement]] = {case.key: [] for case in cases}
    for case in cases:
        if case.rows == ROWS:
            _once(case)
    for turn in range(repetitions):
        for case in cases:
            if turn < case.repetitions:
                measurement = _once(case)
                samples[case.key].append(measurement)
                print(f"{turn + 1}/{repetitions} {case.key}: {measurement.seconds:.1f} s", flush=True)
    return samples


def _once(case: Case) -> Measurement:
    in_ours = case.contender == "shipway" or case.contender.startswith("tfdv")
    python = own_environment() if in_ours else environment(case.contender)
    paths = [packages("crc32c")] if case.contender == "tfdv_csv" else [Path("build/tree")]
    os.environ["PYTHONPATH"] = os.pathsep.join(str(path.absolute()) for path in paths)
    file = flights(case.rows, case.suffix).absolute()
    with tempfile.TemporaryDirectory() as directory:
        command: list[str | Path] = [
            python,
            "-m",
            "benchmarks.validation.contenders",
            case.contender,
            file,
            Path(directory) / "output",
        ]
        return measured(command, BENCH / "logs" / f"{case.key.replace(' ', '-')}.log")


def _table(cases: list[Case], samples: dict[str, list[Measurement]]) -> str:
    lines = [
        "| what | file | rows | runs | whole s | inside s | reading s | import s | CPU s | peak MiB | makes |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for case in cases:
        runs = samples[case.key]

        def median(of: str, runs: list[Measurement] = runs) -> float:
            return statistics.median(float(getattr(run, of)) for run in runs)

        lines.append(
            f"| {case.contender} | {case.suffix[1:]} | {case.rows:,} | {len(runs)} | {median('seconds'):.2f}"
            f" | {median('inside'):.2f} | {median('reading'):.2f} | {median('importing'):.2f}"
            f" | {median('cpu_seconds'):.1f} | {median('peak_mib'):,.0f} | {case.produces} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
