"""TFDV's statistics of a Dataset, computed in this process batch by batch, without Beam.

Top values and numbers of distinct strings are exact up to :data:`EXACT_DISTINCT` distinct values of a column, and
the estimates of TFDV's sketch beyond. Booleans are counted as the integers 0 and 1, timestamps and dates as whole
seconds since 1970-01-01 UTC.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tensorflow_metadata.proto.v0 import statistics_pb2

from shipway.components.common.artifacts import dataset_files, new_directory, write_json
from shipway.components.common.errors import InputError
from shipway.components.data.tfdv import stats_impl, table_util, top_k_uniques_stats_util
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

__all__ = ["EXACT_DISTINCT", "generate_statistics"]

EXACT_DISTINCT = 100_000

_LOG = logging.getLogger(__name__)
_BATCH_ROWS = 1 << 16
_SHOWN_VALUES = 20


def generate_statistics(dataset: str | Path, statistics: str | Path) -> dict[str, Any]:
    """Writes ``statistics.pb`` (a ``DatasetFeatureStatisticsList``) and ``summary.json``, its essence for people.

    ``summary.json`` is ``{"rows", "columns": [{"name", "type": "INT|FLOAT|STRING", "missing", "missing_fraction",
    "unique", "mean", "std", "min", "median", "max", "zeros", "histogram": [{"low", "high", "count"}],
    "top_values": [{"value", "count"}]}]}``; what a column does not have is null. Histogram counts are estimates.

    Returns:
        ``rows`` and ``columns`` (how many).

    Raises:
        InputError: When there is no readable Dataset.
    """
    files = dataset_files(dataset)
    proto = _exact(_generated(_batches(files)), files)
    summary = _summary(proto.datasets[0])
    with new_directory(statistics) as aside:
        (aside / "statistics.pb").write_bytes(proto.SerializeToString(deterministic=True))
        write_json(aside / "summary.json", summary)
    _LOG.info("%s rows, %d columns", f"{summary['rows']:,}", len(summary["columns"]))
    return {"rows": summary["rows"], "columns": len(summary["columns"])}


def _batches(files: list[Path]) -> Iterator[pa.RecordBatch]:
    """Yields the rows as TFDV wants them; at least one batch, so that columns without rows are known."""
    for file in files:
        try:
            source = pq.ParquetFile(file)
            yield _plain(source.schema_arrow.empty_table().combine_chunks(), 0)
            for batch in source.iter_batches(_BATCH_ROWS):
                yield _plain(pa.Table.from_batches([batch]), batch.num_rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{file} is no readable Parquet file: {error}; write the Dataset again") from error


def _plain(table: pa.Table, rows: int) -> pa.RecordBatch:
    columns = [_plain_column(column, rows) for column in table.columns]
    return table_util.CanonicalizeRecordBatch(pa.RecordBatch.from_arrays(columns, table.column_names))


def _plain_column(column: pa.ChunkedArray, rows: int) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int64())
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        column = column.cast(pa.timestamp("us", tz=getattr(kind, "tz", None))).cast(pa.int64())
        column = pc.divide(column, 1_000_000)
    elif pa.types.is_null(kind):
        column = column.cast(pa.string())
    return column.chunk(0) if rows else pa.array([], column.type)


def _generated(batches: Iterator[pa.RecordBatch]) -> statistics_pb2.DatasetFeatureStatisticsList:
    generators = stats_impl.get_generators(tfdv.StatsOptions(), in_memory=True)
    for generator in generators:
        generator.setup()
    accumulators = [generator.create_accumulator() for generator in generators]
    for batch in batches:
        accumulators = [g.add_input(a, batch) for g, a in zip(generators, accumulators, strict=True)]
    return stats_impl.extract_statistics_output(accumulators, generators)


def _exact(
    proto: statistics_pb2.DatasetFeatureStatisticsList, files: list[Path]
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Replaces the sketch's top values and numbers of distinct strings by counts."""
    options = tfdv.StatsOptions()
    for feature in proto.datasets[0].features:
        if feature.WhichOneof("stats") != "string_stats":
            continue
        name = feature.path.step[0]
        chunks = [chunk for file in files for chunk in pq.ParquetFile(file).read(columns=[name])[name].chunks]
        column = pa.chunked_array([chunk.cast(pa.string()) for chunk in chunks], pa.string())
        counts = pc.value_counts(column.drop_null())
        if not 0 < len(counts) <= EXACT_DISTINCT:
            continue
        pairs = zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)
        exact = top_k_uniques_stats_util.make_feature_stats_proto_topk_uniques(
            tfdv.types.FeaturePath([name]),
            num_top_values=options.num_top_values,
            num_rank_histogram_buckets=options.num_rank_histogram_buckets,
            num_unique=len(counts),
            value_count_list=[top_k_uniques_stats_util.FeatureValueCount(value, count) for value, count in pairs],
        )
        for field in ("top_values", "rank_histogram", "unique"):
            feature.string_stats.ClearField(field)
        feature.string_stats.MergeFrom(exact.string_stats)
    return proto


def _summary(dataset: statistics_pb2.DatasetFeatureStatistics) -> dict[str, Any]:
    rows = int(dataset.num_examples)
    return {"rows": rows, "columns": [_column_summary(feature, rows) for feature in dataset.features]}


def _column_summary(feature: statistics_pb2.FeatureNameStatistics, rows: int) -> dict[str, Any]:
    textual = feature.WhichOneof("stats") == "string_stats"
    stats = feature.string_stats if textual else feature.num_stats
    missing = rows - int(stats.common_stats.num_non_missing)
    summary: dict[str, Any] = {
        "name": feature.path.step[0],
        "type": statistics_pb2.FeatureNameStatistics.Type.Name(feature.type),
        "missing": missing,
        "missing_fraction": missing / rows if rows else None,
        **dict.fromkeys(("unique", "mean", "std", "min", "median", "max", "zeros", "histogram", "top_values")),
    }
    if textual:
        summary["unique"] = int(stats.unique)
        summary["top_values"] = [
            {"value": top.value, "count": int(top.frequency)} for top in stats.top_values[:_SHOWN_VALUES]
        ]
    elif stats.common_stats.num_non_missing:
        numbers = {
            "mean": stats.mean, "std": stats.std_dev, "min": stats.min, "median": stats.median, "max": stats.max,
        }  # fmt: skip
        summary |= {name: _finite(value) for name, value in numbers.items()}
        summary["zeros"] = int(stats.num_zeros)
        summary["histogram"] = _histogram(stats)
    return summary


def _histogram(stats: statistics_pb2.NumericStatistics) -> list[dict[str, Any]]:
    standard = next((h for h in stats.histograms if h.type == statistics_pb2.Histogram.STANDARD), None)
    return [
        {"low": _finite(bucket.low_value), "high": _finite(bucket.high_value), "count": round(bucket.sample_count)}
        for bucket in (standard.buckets if standard else ())
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
