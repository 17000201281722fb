"""What the data must look like: inferred from statistics, or curated by people and taken as it is."""

from __future__ import annotations

import difflib
import logging
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from shipway.components.common.artifacts import file_digest, new_directory
from shipway.components.common.errors import InputError
from shipway.components.data.schema.curated import curated_file
from shipway.components.data.schema.protos import parse_schema, read_statistics
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

__all__ = ["infer_schema"]

_LOG = logging.getLogger(__name__)


def infer_schema(
    statistics: str | Path,
    schema: str | Path,
    *,
    schema_uri: str = "",
    schema_digest: str = "",
    label: str = "",
    max_unseen_fraction: float = 0.01,
) -> dict[str, Any]:
    """Writes ``schema.pbtxt``.

    An inferred schema asks for every column with its type, for a value in every row where no row lacks one, and
    for known values in columns of few distinct strings.

    Args:
        statistics: What ``generate_statistics`` wrote.
        schema: Where to write.
        schema_uri: Path or ``file://`` URI of a curated schema (protobuf text), which is taken as it is.
        schema_digest: What ``resolve_schema`` returned for it; empty does not ask.
        label: A column that the schema must have.
        max_unseen_fraction: Share of the values of a string column, from 0 to below 1, that later data may have
            beyond the known ones; only for inferred schemas.

    Returns:
        ``features`` (how many), ``curated`` and ``digest``.

    Raises:
        InputError: When the curated schema is missing or broken, or the label is not in the schema.
        ConflictError: When the curated schema is not the one that ``schema_digest`` was resolved from.
    """
    if not 0 <= max_unseen_fraction < 1:
        raise InputError(f"max_unseen_fraction={max_unseen_fraction}: must lie from 0 to below 1")
    proto = _curated(schema_uri, schema_digest) if schema_uri else _inferred(statistics, max_unseen_fraction)
    _require_label(proto, label)
    with new_directory(schema) as aside:
        file = aside / "schema.pbtxt"
        file.write_text(text_format.MessageToString(proto), encoding="utf-8")
        digest = file_digest(file)
    _LOG.info("%d features, %s", len(proto.feature), "curated" if schema_uri else "inferred")
    return {"features": len(proto.feature), "curated": bool(schema_uri), "digest": digest}


def _inferred(statistics: str | Path, max_unseen_fraction: float) -> schema_pb2.Schema:
    proto: schema_pb2.Schema = tfdv.infer_schema(read_statistics(statistics), infer_feature_shape=False)
    for feature in proto.feature:
        if feature.WhichOneof("domain_info") == "domain":
            feature.distribution_constraints.min_domain_mass = 1 - max_unseen_fraction
    return proto


def _curated(schema_uri: str, schema_digest: str) -> schema_pb2.Schema:
    file = curated_file(schema_uri, schema_digest)
    try:
        return parse_schema(file.read_text(encoding="utf-8"), f"schema_uri {file}")
    except UnicodeDecodeError as error:
        raise InputError(f"schema_uri {file} cannot be read: {error}; give a schema in protobuf text") from error


def _require_label(proto: schema_pb2.Schema, label: str) -> None:
    names = [feature.name for feature in proto.feature]
    if label and label not in names:
        close = difflib.get_close_matches(label, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"label: the schema has no feature {label!r}; {hint}It has {', '.join(names)}")
