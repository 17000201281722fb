"""What the measurements are held against."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.measure import Measurement

__all__ = ["claims"]

_PEERS = ("evidently", "whylogs", "great_expectations", "ydata_profiling")
_LIMITS = ("polars", "duckdb")

Samples = dict[str, list[Measurement]]


def claims(samples: Samples, small: int, large: int) -> list[dict[str, Any]]:
    """Returns every claim with its numbers; those whose cases were not measured are left out.

    Args:
        samples: Measurements of each case, under ``"<contender> <format> <rows>"``.
        small: Rows of the small tables.
        large: Rows of the large tables.
    """
    ours, frame = "shipway parquet {}", "tfdv_dataframe parquet {}"
    listed = [
        _speed(f"CSV, {large:,} rows: times faster than TFDV on Beam", samples, f"shipway csv {large}",
               f"tfdv_csv csv {large}", 25),
        _speed(f"CSV, {large:,} rows: times faster than TFDV's dataframe path (which reads Parquet)", samples,
               f"shipway csv {large}", frame.format(large), 2.2),
        _speed(f"Parquet, {large:,} rows: times faster than TFDV's dataframe path", samples, ours.format(large),
               frame.format(large), 3),
        *(_memory(f"{kind}: peak memory at {large:,} rows to that at {small:,}", samples,
                  f"shipway {kind.lower()} {large}", f"shipway {kind.lower()} {small}", 1.15)
          for kind in ("Parquet", "CSV")),
        _process(f"Parquet, {small:,} rows, whole process: share of the time of TFDV's dataframe path", samples,
                 ours.format(small), frame.format(small), 0.7),
        *(_speed(f"Parquet, {small:,} rows: times faster than {peer}", samples, ours.format(small),
                 f"{peer} parquet {small}", 1) for peer in _PEERS),
        *(_process(f"Parquet, {small:,} rows, whole process: share of the time of {peer}", samples,
                   ours.format(small), f"{peer} parquet {small}", 1) for peer in _PEERS),
        *(_speed(f"Parquet, {rows:,} rows: speed to that of a bare aggregate by {limit}", samples, ours.format(rows),
                 f"{limit} parquet {rows}", None) for limit in _LIMITS for rows in (small, large)),
    ]  # fmt: skip
    return [claim for claim in listed if claim]


def _speed(claim: str, samples: Samples, ours: str, reference: str, goal: float | None) -> dict[str, Any] | None:
    """How many times less the reference's seconds inside are."""
    found = _compared(claim, samples, ours, reference, "inside", "s")
    if found is None:
        return None
    ratio = found["reference"] / found["ours"]
    met = None if goal is None else ratio >= goal
    return {**found, "ratio": ratio, "goal": "" if goal is None else f"at least {goal}", "met": met}


def _process(claim: str, samples: Samples, ours: str, reference: str, goal: float) -> dict[str, Any] | None:
    return _at_most(_compared(claim, samples, ours, reference, "seconds", "s"), goal)


def _memory(claim: str, samples: Samples, ours: str, reference: str, goal: float) -> dict[str, Any] | None:
    return _at_most(_compared(claim, samples, ours, reference, "peak_mib", "MiB"), goal)


def _at_most(found: dict[str, Any] | None, goal: float) -> dict[str, Any] | None:
    if found is None:
        return None
    ratio = found["ours"] / found["reference"]
    return {**found, "ratio": ratio, "goal": f"at most {goal}", "met": ratio <= goal}


def _compared(claim: str, samples: Samples, ours: str, reference: str, of: str, unit: str) -> dict[str, Any] | None:
    if not samples.get(ours) or not samples.get(reference):
        return None
    values = {"ours": _values(samples[ours], of), "reference": _values(samples[reference], of)}
    medians = {name: statistics.median(measured) for name, measured in values.items()}
    return {"claim": claim, **medians, "unit": unit, "samples": values}


def _values(runs: list[Measurement], of: str) -> list[float]:
    return [round(float(getattr(run, of)), 3) for run in runs]
