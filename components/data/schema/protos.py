"""Reading the TFDV artifacts of other steps: statistics and schemas."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from shipway.components.common.errors import InputError

__all__ = ["parse_schema", "read_schema", "read_statistics", "schema_file"]

_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "(\w+)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "([\w.]+)" has no value (?:named|with number) (\w+)')


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


def schema_file(schema: str | Path) -> Path:
    """Returns the file of a schema, which is given as the file itself or as the directory of a Schema artifact."""
    path = Path(schema)
    return path if path.is_file() else path / "schema.pbtxt"


def read_schema(schema: str | Path) -> schema_pb2.Schema:
    """Returns what is in a Schema artifact, or in a file of protobuf text.

    Raises:
        InputError: When it holds no schema.
    """
    file = schema_file(schema)
    try:
        return parse_schema(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} holds no schema: {error}; was it written by infer_schema?") from error


def parse_schema(text: str, source: str) -> schema_pb2.Schema:
    """Returns the schema in protobuf text.

    A field or value that the installed TFDV does not know is refused, since data would never be held against it.

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
        unknown = _unknown(error)
        if unknown:
            place = f"{error.GetLine()}:{error.GetColumn()}"
            raise InputError(f"{source} is no schema (line:column {place}): {unknown}") from error
        raise InputError(f"{source} is no schema (line:column {error}); mend it, or let it be inferred") from error
    if not schema.feature:
        raise InputError(f"{source} is a schema without features; mend it, or let it be inferred")
    return schema


def _unknown(error: text_format.ParseError) -> str:
    """Returns what a text names that this TFDV does not have, and what to do; empty for other faults."""
    pool = schema_pb2.DESCRIPTOR.pool
    if match := _UNKNOWN_FIELD.search(str(error)):
        message = pool.FindMessageTypeByName(match[1])
        what, known = f"{message.name} has no field {match[2]!r}", [field.name for field in message.fields]
    elif match := _UNKNOWN_VALUE.search(str(error)):
        enum = pool.FindEnumTypeByName(match[1])
        what, known = f"{enum.name} has no value {match[2]!r}", [value.name for value in enum.values]
    else:
        return ""
    close = difflib.get_close_matches(match[2], known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return (
        f"{what}{hint} If the schema was made by a newer TFDV than the one installed, data cannot be held against it "
        "here: install that version, or remove the line and with it the constraint"
    )
