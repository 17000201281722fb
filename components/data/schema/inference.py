"""What the data must look like: inferred from statistics, or curated by people and taken as it is."""

from __future__ import annotations

import difflib
import fnmatch
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from shipway.components.common.artifacts import file_digest, new_directory
from shipway.components.common.errors import InputError
from shipway.components.data.schema.curated import curated_text
from shipway.components.data.schema.environments import add_environments
from shipway.components.data.schema.lint import lint_schema
from shipway.components.data.schema.protos import parse_schema, read_statistics
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

__all__ = ["infer_schema", "inferred_schema"]

_LOG = logging.getLogger(__name__)
_INT64 = np.iinfo(np.int64)


def infer_schema(
    statistics: str | Path,
    schema: str | Path,
    *,
    schema_uri: str = "",
    schema_digest: str = "",
    label: str = "",
    max_unseen_fraction: float = 0.01,
    range_columns: Sequence[str] = (),
    range_margin: float = 0.5,
) -> dict[str, Any]:
    """Writes ``schema.pbtxt``.

    An inferred schema asks for every column with its type, for a value in (nearly) every row where no row lacks one,
    and for known values in columns of few distinct strings. It knows the environments ``TRAINING`` and ``SERVING``;
    data of ``SERVING`` has no label.

    Args:
        statistics: What ``generate_statistics`` wrote.
        schema: Where to write.
        schema_uri: Path or URI of a curated schema (protobuf text), or of a directory with a ``schema.pbtxt``, which
            is taken as it is.
        schema_digest: What ``resolve_schema`` returned for it; empty does not ask.
        label: A column that the schema must have.
        max_unseen_fraction: Share of the values of a string column, from 0 to below 1, that later data may have
            beyond the known ones; only for inferred schemas.
        range_columns: Columns of numbers that an inferred schema keeps in their range; ``*_usd`` means all names of
            that form and ``*`` all columns. None by default: times and counters grow beyond any range seen so far.
        range_margin: How far beyond their least and largest number, as a share of the difference of these, later
            numbers may lie; 0 or more.

    Returns:
        ``features`` (how many), ``curated`` and ``digest``.

    Raises:
        InputError: When the curated schema is missing or broken or asks for what no data is held against, the label
            is not in the schema, the statistics are of no rows, or no column of numbers is called as
            ``range_columns`` say.
        ConflictError: When the curated schema is not the one that ``schema_digest`` was resolved from.
    """
    if schema_uri:
        proto = _curated(schema_uri, schema_digest)
        _require_label(proto, label)
    else:
        described = read_statistics(statistics)
        proto = inferred_schema(described, max_unseen_fraction)
        _require_label(proto, label)
        add_environments(proto, label)
        _add_ranges(proto, described.datasets[0], range_columns, range_margin)
    with new_directory(schema) as aside:
        file = aside / "schema.pbtxt"
        file.write_text(text_format.MessageToString(proto), encoding="utf-8")
        digest = file_digest(file)
    _LOG.info("%d features, %s", len(proto.feature), "curated" if schema_uri else "inferred")
    return {"features": len(proto.feature), "curated": bool(schema_uri), "digest": digest}


def inferred_schema(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, max_unseen_fraction: float
) -> schema_pb2.Schema:
    """Returns the schema that TFDV infers, with three changes against false alarms.

    Columns of known strings may have a share of others, and whole numbers that all are 0, or all 1, are no booleans.
    Where none of n rows lacks a value, up to 3 / n of later rows may: so large may the share be with a confidence of
    95 % (Hanley and Lippman-Hand 1983, "If nothing goes wrong, is everything all right?").

    Raises:
        InputError: When the statistics are of no rows, or ``max_unseen_fraction`` is out of its range.
    """
    if not 0 <= max_unseen_fraction < 1:
        raise InputError(f"max_unseen_fraction={max_unseen_fraction}: must lie from 0 to below 1")
    if not statistics.datasets[0].num_examples:
        raise InputError("the statistics are of no rows, which say nothing of later data; give those of more data")
    proto: schema_pb2.Schema = tfdv.infer_schema(statistics, infer_feature_shape=False)
    constant = {f.path.step[0] for f in statistics.datasets[0].features if f.num_stats.min == f.num_stats.max}
    rows = statistics.datasets[0].num_examples
    for feature in proto.feature:
        if feature.presence.min_fraction == 1:
            feature.presence.min_fraction = max(0.0, 1 - 3 / rows)
        if feature.WhichOneof("domain_info") == "domain":
            feature.distribution_constraints.min_domain_mass = 1 - max_unseen_fraction
        elif feature.type == schema_pb2.INT and feature.name in constant:
            feature.ClearField("bool_domain")
    return proto


def _add_ranges(
    proto: schema_pb2.Schema,
    described: statistics_pb2.DatasetFeatureStatistics,
    patterns: Sequence[str],
    margin: float,
) -> None:
    if not (math.isfinite(margin) and margin >= 0):
        raise InputError(f"range_margin={margin}: must be a number of 0 or more")
    numbers = {f.path.step[0]: f.num_stats for f in described.features if f.WhichOneof("stats") == "num_stats"}
    wanted: set[str] = set()
    for pattern in patterns:
        matched = {name for name in numbers if name == pattern or fnmatch.fnmatchcase(name, pattern)}
        if not matched:
            raise InputError(
                f"range_columns: no column of numbers is called {pattern!r}; they are {', '.join(numbers)}"
            )
        wanted |= matched
    for feature in proto.feature:
        if feature.name in wanted and feature.WhichOneof("domain_info") is None:
            _add_range(feature, numbers[feature.name], margin)


def _add_range(feature: schema_pb2.Feature, seen: statistics_pb2.NumericStatistics, margin: float) -> None:
    nans = max((histogram.num_nan for histogram in seen.histograms), default=0)
    if seen.common_stats.num_non_missing <= nans or not (math.isfinite(seen.min) and math.isfinite(seen.max)):
        return
    beyond = margin * ((seen.max - seen.min) or abs(seen.max) or 1)
    low, high = seen.min - beyond, seen.max + beyond
    if feature.type == schema_pb2.INT:
        feature.int_domain.min = max(math.floor(low), _INT64.min)
        feature.int_domain.max = min(math.ceil(high), _INT64.max)
    else:
        # A schema holds single precision, whose rounding must not cut off what was seen.
        feature.float_domain.min = np.nextafter(np.float32(low), np.float32(-np.inf))
        feature.float_domain.max = np.nextafter(np.float32(high), np.float32(np.inf))


def _curated(schema_uri: str, schema_digest: str) -> schema_pb2.Schema:
    text, where = curated_text(schema_uri, schema_digest)
    proto = parse_schema(text, f"schema_uri {where}")
    vain = lint_schema(proto)
    if vain:
        lines = "".join(f"\n  {line}" for line in vain)
        raise InputError(f"schema_uri {where} asks for what no data would be held against:{lines}")
    return proto


def _require_label(proto: schema_pb2.Schema, label: str) -> None:
    names = [feature.name for feature in proto.feature]
    if label and label not in names:
        close = difflib.get_close_matches(label, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"label: the schema has no feature {label!r}; {hint}It has {', '.join(names)}")
