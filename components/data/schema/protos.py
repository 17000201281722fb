"""Reading the TFDV artifacts of other steps: statistics and schemas."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from shipway.components.common.errors import InputError

__all__ = ["parse_schema", "read_schema", "read_statistics"]


def read_statistics(statistics: str | Path) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns what is in a Statistics artifact.

    Raises:
        InputError: When it holds no statistics.
    """
    file = Path(statistics) / "statistics.pb"
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    try:
        proto.ParseFromString(file.read_bytes())
    except (OSError, DecodeError) as error:
        raise InputError(f"{file} holds no statistics: {error}; was it written by generate_statistics?") from error
    if not proto.datasets:
        raise InputError(f"{file} holds no statistics; was it written by generate_statistics?")
    return proto


def read_schema(schema: str | Path) -> schema_pb2.Schema:
    """Returns what is in a Schema artifact.

    Raises:
        InputError: When it holds no schema.
    """
    file = Path(schema) / "schema.pbtxt"
    try:
        return parse_schema(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} holds no schema: {error}; was it written by infer_schema?") from error


def parse_schema(text: str, source: str) -> schema_pb2.Schema:
    """Returns the schema in protobuf text.

    Args:
        text: The text.
        source: Where it is from, for messages.

    Raises:
        InputError: When it is no schema, or one without features; the line is named.
    """
    schema = schema_pb2.Schema()
    try:
        text_format.Parse(text, schema)
    except text_format.ParseError as error:
        raise InputError(f"{source} is no schema (line:column {error}); mend it, or let it be inferred") from error
    if not schema.feature:
        raise InputError(f"{source} is a schema without features; mend it, or let it be inferred")
    return schema
