"""What the measurements are held against."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.measure import Measurement

__all__ = ["PART_MIB", "WORKERS", "Claim", "claims"]

PART_MIB = 16
WORKERS = 8
_BASE_MIB = 192
_LARGE = ("gs down, shipway", "s3 down, shipway", "gs up, shipway", "s3 up, shipway", "s3 to s3, shipway")

Claim = dict[str, Any]
Samples = dict[str, list[Measurement]]


def claims(samples: Samples, large_bytes: int) -> list[Claim]:
    """Returns every claim about seconds and memory with its numbers."""
    size = f"{large_bytes >> 20:,} MiB"
    return [
        _at_most(f"gs {size} down, verified: time to that of google-cloud-storage", samples,
                 "gs down, shipway", "gs down, google-cloud-storage", 1.1),
        _at_most(f"s3 {size} down, verified: time to that of boto3, unverified", samples,
                 "s3 down, shipway", "s3 down, boto3", 1.2),
        _at_most(f"s3 {size} down, verified by the ETag of boto3's upload: time to that of boto3, unverified", samples,
                 "s3 down, uploaded by boto3, shipway", "s3 down, boto3", None),
        _at_most(f"s3 {size} down to disk and durable: time to that of boto3, neither", samples,
                 "s3 down to disk and durable, shipway", "s3 down to disk, boto3", None),
        _at_most(f"gs {size} up: time to that of google-cloud-storage", samples,
                 "gs up, shipway", "gs up, google-cloud-storage", 1.1),
        _at_most(f"s3 {size} up: time to that of boto3", samples, "s3 up, shipway", "s3 up, boto3", 1.1),
        _at_most("s3 1,000 x 100 KiB down: time to that of boto3", samples,
                 "many down, shipway", "many down, boto3", 0.35),
        _at_most("s3 1,000 x 100 KiB down without obstore: time to that of boto3", samples,
                 "many down, shipway without obstore", "many down, boto3", 1.1),
        _faster("s3 1,000 x 100 KiB behind 20 ms, 32 workers: times faster than one after another", samples,
                "many down from afar, shipway, 32 workers", "many down from afar, shipway, 1 worker", 15),
        *(_memory(f"{name}: peak MiB to {_BASE_MIB} + workers x part", samples[name])
          for name in _LARGE),
    ]  # fmt: skip


def _at_most(claim: str, samples: Samples, ours: str, reference: str, goal: float | None) -> Claim:
    found = _compared(claim, samples, ours, reference)
    ratio = found["ours"] / found["reference"]
    met = None if goal is None else ratio <= goal
    return {**found, "ratio": ratio, "goal": "" if goal is None else f"at most {goal}", "met": met}


def _faster(claim: str, samples: Samples, ours: str, reference: str, goal: float) -> Claim:
    found = _compared(claim, samples, ours, reference)
    ratio = found["reference"] / found["ours"]
    return {**found, "ratio": ratio, "goal": f"at least {goal}", "met": ratio >= goal}


def _compared(claim: str, samples: Samples, ours: str, reference: str) -> Claim:
    values = {
        name: [round(run.said["transfer"], 3) for run in samples[case]]
        for name, case in (("ours", ours), ("reference", reference))
    }
    medians = {name: statistics.median(measured) for name, measured in values.items()}
    return {"claim": claim, **medians, "unit": "s", "samples": values}


def _memory(claim: str, runs: list[Measurement]) -> Claim:
    allowed = _BASE_MIB + WORKERS * PART_MIB
    peaks = [round(run.peak_mib) for run in runs]
    ratio = max(peaks) / allowed
    return {
        "claim": claim, "ours": max(peaks), "reference": allowed, "ratio": ratio, "goal": "at most 1",
        "met": ratio <= 1, "unit": "MiB", "samples": {"ours": peaks},
    }  # fmt: skip
