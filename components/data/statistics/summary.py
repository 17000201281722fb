"""Statistics for people: ``summary.json`` and ``distributions.json``, from what TFDV computed and what was counted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from shipway.components.data.statistics.engine import Gathered
from shipway.components.data.statistics.numbers import Numbers
from shipway.components.data.statistics.strings import Top

__all__ = ["all_distributions", "distributions", "summary"]

_LISTED_VALUES = 1000
_SHOWN_VALUES = 20
_PERCENT = 100


def summary(dataset: statistics_pb2.DatasetFeatureStatistics) -> dict[str, Any]:
    """Returns the contents of ``summary.json``."""
    rows = int(dataset.num_examples)
    return {"rows": rows, "columns": [_column_summary(feature, rows) for feature in dataset.features]}


def distributions(gathered: Gathered) -> dict[str, dict[str, Any]]:
    """Returns quantiles and most frequent values by column, of columns with at most one number or string a row.

    Call it before :meth:`Gathered.proto`, which uses up the counts.
    """
    known = {name: _of_numbers(numbers) for name, numbers in gathered.numbers.items()}
    for name, strings in gathered.strings.items():
        known[name] = _of_top(strings.top(_LISTED_VALUES), strings.total)
    return known


def all_distributions(
    dataset: statistics_pb2.DatasetFeatureStatistics, known: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Returns the contents of ``distributions.json``, where nothing better is known from TFDV's histograms.

    Args:
        dataset: TFDV's statistics.
        known: What :func:`distributions` found.
    """
    rows = int(dataset.num_examples)
    columns = {}
    for feature in dataset.features:
        name, stats = feature.path.step[0], _stats(feature)
        textual = feature.WhichOneof("stats") == "string_stats"
        numeric = feature.WhichOneof("stats") == "num_stats"
        columns[name] = {
            "kind": "string" if textual else "number",
            "missing": rows - int(stats.common_stats.num_non_missing),
            "nan": _nan_rows(stats) if numeric and stats.histograms else 0,
            **_NOTHING,
            **(known.get(name) or (_of_histogram(stats) if numeric else _of_ranks(stats) if textual else {})),
        }
    return {"rows": rows, "columns": columns}


def _nan_rows(stats: statistics_pb2.NumericStatistics) -> float:
    """Returns how many values are NaN; of lists, how many lists the values that are NaN or missing would fill."""
    nan, common = int(stats.histograms[0].num_nan), stats.common_stats
    plain = common.tot_num_values == common.num_non_missing
    return nan if plain else nan * common.num_non_missing / common.tot_num_values


_NOTHING = {"quantiles": None, "values": None, "other": 0, "distinct": None}


def _of_numbers(numbers: Numbers) -> dict[str, Any]:
    found: dict[str, Any] = {"quantiles": numbers.quantiles(_PERCENT), "values": None, "other": 0, "distinct": None}
    counted = numbers.values()
    if counted is None:
        return found
    values, counts = counted
    found["distinct"] = len(values)
    if np.issubdtype(values.dtype, np.integer) and len(values) <= _LISTED_VALUES:
        found["values"] = {str(value): int(count) for value, count in zip(values, counts, strict=True)}
    return found


def _of_top(top: Top | None, total: int) -> dict[str, Any]:
    if top is None:
        return {**_NOTHING, "values": {}, "distinct": 0}
    # The sketch adds about the same to each count, which is most of what it says of the rarest.
    excess = 0.0 if top.exact else top.counts[-1][1]
    values: dict[str, int] = {}
    for value, count in top.counts:
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        if count > excess:
            values[text] = values.get(text, 0) + round(count - excess)
    return {**_NOTHING, "values": values, "other": max(0, total - sum(values.values())), "distinct": top.distinct}


def _of_ranks(stats: statistics_pb2.StringStatistics) -> dict[str, Any]:
    """From TFDV's most frequent values."""
    values = {bucket.label: round(bucket.sample_count) for bucket in stats.rank_histogram.buckets}
    other = max(0, int(stats.common_stats.tot_num_values) - sum(values.values()))
    return {"values": values, "other": other, "distinct": int(stats.unique)}


def _of_histogram(stats: statistics_pb2.NumericStatistics) -> dict[str, Any]:
    """Quantiles between the bounds of buckets of equal numbers."""
    buckets = next((h.buckets for h in stats.histograms if h.type == statistics_pb2.Histogram.QUANTILES), ())
    finite = [b for b in buckets if math.isfinite(b.low_value) and math.isfinite(b.high_value)]
    if not finite:
        return {}
    bounds = [finite[0].low_value, *(bucket.high_value for bucket in finite)]
    shares = np.cumsum([0.0, *(bucket.sample_count for bucket in finite)])
    wanted = np.arange(_PERCENT + 1) / _PERCENT * shares[-1]
    return {"quantiles": [float(value) for value in np.interp(wanted, shares, bounds)]}


def _stats(feature: statistics_pb2.FeatureNameStatistics) -> Any:
    return getattr(feature, feature.WhichOneof("stats") or "num_stats")


def _column_summary(feature: statistics_pb2.FeatureNameStatistics, rows: int) -> dict[str, Any]:
    stats = _stats(feature)
    missing = rows - int(stats.common_stats.num_non_missing)
    found: dict[str, Any] = {
        "name": feature.path.step[0],
        "type": statistics_pb2.FeatureNameStatistics.Type.Name(feature.type),
        "missing": missing,
        "missing_fraction": missing / rows if rows else None,
        **dict.fromkeys(("unique", "mean", "std", "min", "median", "max", "zeros", "histogram", "top_values")),
    }
    kind = feature.WhichOneof("stats")
    if kind == "string_stats":
        found["unique"] = int(stats.unique)
        found["top_values"] = [
            {"value": top.value, "count": int(top.frequency)} for top in stats.top_values[:_SHOWN_VALUES]
        ]
    elif kind == "num_stats" and stats.common_stats.num_non_missing:
        numbers = {
            "mean": stats.mean, "std": stats.std_dev, "min": stats.min, "median": stats.median, "max": stats.max,
        }  # fmt: skip
        found |= {name: _finite(value) for name, value in numbers.items()}
        found["zeros"] = int(stats.num_zeros)
        found["histogram"] = _histogram(stats)
    return found


def _histogram(stats: statistics_pb2.NumericStatistics) -> list[dict[str, Any]]:
    standard = next((h for h in stats.histograms if h.type == statistics_pb2.Histogram.STANDARD), None)
    return [
        {"low": _finite(bucket.low_value), "high": _finite(bucket.high_value), "count": round(bucket.sample_count)}
        for bucket in (standard.buckets if standard else ())
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
