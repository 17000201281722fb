"""TFDV's own results, and what may differ from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf import json_format
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx_bsl.arrow import array_util

from shipway.components.data.statistics.columns import plain_batch
from shipway.components.data.tfdv import stats_impl, whole_tfdv
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

List = statistics_pb2.DatasetFeatureStatisticsList

# 1 % of the rows, TFDV's default for its quantile sketch.
EPSILON = 0.01

_SUMS = re.compile(r"\.(mean|stdDev|weightedMean|weightedStdDev|totNumValues|avgNumValues|numMissing|numNonMissing"
                   r"|weightedNumExamples|sampleCount|frequency)$")  # fmt: skip
_ESTIMATES = re.compile(r"\.(median|histograms\[\d+\]\.buckets\[\d+\]\.(sampleCount|lowValue|highValue))$")
_TOPS = re.compile(r"\.stringStats\.(topValues|rankHistogram)")


def written(directory: Path) -> List:
    """The statistics that a step wrote."""
    return List.FromString((directory / "statistics.pb").read_bytes())


def tfdv_in_memory(table: pa.Table, weight_column: str = "") -> List:
    """TFDV's own over the rows at once; its top values are exact up to about 1000 distinct ones."""
    options = tfdv.StatsOptions(weight_feature=weight_column or None)
    return stats_impl.generate_statistics_in_memory(_listed(table.combine_chunks().to_batches()[0]), options)


def tfdv_on_beam(table: pa.Table, target: Path, slice_columns: Sequence[str] = (), **options: Any) -> List:
    """TFDV's own from Beam, in small batches, with exact top values."""
    with whole_tfdv() as whole:
        import apache_beam as beam

        slicers = [whole.experimental_get_feature_value_slicer({column: None}) for column in slice_columns]
        options["experimental_slice_functions"] = slicers or None

        batches = [_listed(batch) for batch in table.to_batches(max_chunksize=1000)]
        return _run_beam(whole, beam.Create(batches), target, options)


def tfdv_from_csv(file: Path, target: Path) -> List:
    """What ``tfdv.generate_statistics_from_csv`` does, but for the copy that it writes as TFRecords."""
    with whole_tfdv() as whole:
        import apache_beam as beam
        from tensorflow_data_validation.coders import csv_decoder

        names = file.read_text(encoding="utf-8").splitlines()[0].split(",")
        read = beam.io.textio.ReadFromText(file_pattern=str(file), skip_header_lines=1)
        return _run_beam(whole, read, target, {}, csv_decoder.DecodeCSV(column_names=names))


def _listed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Lists of the columns' own types, as TFDV reads CSV and TFRecords.

    Only from a DataFrame it makes 64-bit floats of 32-bit ones first. With numpy 2 their histogram then has other
    bounds, as numpy 1 computes with both in 64 bits, numpy 2 with each in its own.
    """
    plain = plain_batch(batch)
    lists = [
        column if pa.types.is_nested(column.type) else array_util.ToSingletonListArray(column)
        for column in plain.columns
    ]
    return pa.RecordBatch.from_arrays(lists, plain.schema.names)


def _run_beam(whole: Any, read: Any, target: Path, options: dict[str, Any], decode: Any = None) -> List:
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | "Read" >> read
        rows = rows if decode is None else rows | "Decode" >> decode
        stats = rows | "Generate" >> whole.GenerateStatistics(whole.StatsOptions(**options))
        _ = stats | "Write" >> whole.WriteStatisticsToBinaryFile(str(target))
    return List.FromString(target.read_bytes())


def differences(ours: List, theirs: List, table: pa.Table, *, in_memory: bool = False) -> list[str]:
    """Names every field that differs by more than it may.

    Allowed are

    - sums of floats (means, deviations, sums of weights): 1e-9 of the value, as their order differs;
    - quantiles and histograms of numbers with very many distinct values: what an error of 1 % of the rows in both
      makes of them; with fewer, or fewer than 8192 rows, they are equal;
    - top values that are no UTF-8, where TFDV counted ``in_memory``: it takes all of them as one there; on Beam it
      counts each by itself, as this does.
    """
    found = []
    mine, other = _fields(ours, table), _fields(theirs, table)
    for path in sorted(mine.keys() | other.keys()):
        one, two = mine.get(path), other.get(path)
        if one == two or _nearly(path, one, two):
            continue
        column = path.split("/")[1] if "/" in path else ""
        if _ESTIMATES.search(path) and _many_values(table, column):
            if not _within_error(path, one, two, table, column):
                found.append(f"{path}: {one} instead of {two}, beyond the sketch's error")
        elif not (in_memory and _TOPS.search(path) and _not_utf8(table, column)):
            found.append(f"{path}: {one} instead of {two}")
    return found


def _nearly(path: str, one: Any, two: Any) -> bool:
    if not _SUMS.search(path) or isinstance(one, str) or isinstance(two, str):
        return False
    return bool(np.isclose(one or 0.0, two or 0.0, rtol=1e-9, atol=1e-9))


def _many_values(table: pa.Table, column: str) -> bool:
    return len(_values(table, column)) > 8192


def _values(table: pa.Table, column: str) -> np.ndarray:
    """The finite numbers of a column, in order; none of strings."""
    plain = plain_batch(table.select([column]).combine_chunks().to_batches()[0]).column(0)
    flat = (plain.flatten() if pa.types.is_list(plain.type) else plain).drop_null()
    if not (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)):
        return np.array([])
    values = np.sort(np.asarray(flat))
    return values[np.isfinite(values)]


def _within_error(path: str, one: Any, two: Any, table: pa.Table, column: str) -> bool:
    """Whether counts differ by at most four times the error, or values by at most twice as many rows."""
    values = _values(table, column)
    allowed = 2 * EPSILON * len(values) + 1
    if path.endswith("sampleCount"):
        return abs(one - two) <= 2 * allowed
    return abs(np.searchsorted(values, one) - np.searchsorted(values, two)) <= allowed


def _not_utf8(table: pa.Table, column: str) -> bool:
    return pa.types.is_binary(table.schema.field(column).type)


def _fields(statistics: List, table: pa.Table) -> dict[str, Any]:
    """Every leaf field by a path with the dataset's and the feature's name in it."""
    result = {}
    for dataset in json_format.MessageToDict(statistics)["datasets"]:
        name = dataset.pop("name", "")
        for place, feature in enumerate(dataset.pop("features", [])):
            step = feature["path"]["step"][0]
            result.update({f"{name}/{step}/{path}": value for path, value in _leaves(feature)})
            result[f"{name}/{step}/place"] = place
        result.update({f"{name}{path}": value for path, value in _leaves(dataset)})
    return result


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    else:
        yield path, value
