"""A Feast repository generated from a schema: the definitions that training and serving share."""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from shipway.components.common.artifacts import dataset_files, new_directory
from shipway.components.common.errors import InputError
from shipway.components.features.store import REDIS_VARIABLE, open_repository

__all__ = ["ONLINE_STORES", "create_feature_repository"]

ONLINE_STORES = {
    "sqlite": "type: sqlite\n  path: online.db",
    "redis": f"type: redis\n  connection_string: ${{{REDIS_VARIABLE}}}",
}

_LOG = logging.getLogger(__name__)
_MAX_WHOLE = 1 << 53
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_KEY_TYPES = {"Int64": "INT64", "String": "STRING"}

_SETTINGS = """\
project: {project}
provider: local
registry: registry.db
offline_store:
  type: file
online_store:
  {online_store}
entity_key_serialization_version: 3
"""

_DEFINITIONS = '''\
"""Features of one schema, for `feast apply`: a field for each, keyed by {keys}."""

from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float32, Float64, Int64, String, UnixTimestamp

entities = [
{entities}
]

history = FileSource(name={source!r}, path="data/history.parquet", timestamp_field={time!r})

features = FeatureView(
    name={view!r},
    entities=entities,
    ttl=timedelta(seconds={max_age_seconds}),
    schema=[
{fields}
    ],
    source=history,
)
'''


def create_feature_repository(
    dataset: str | Path,
    schema: str | Path,
    repository: str | Path,
    *,
    key_columns: Sequence[str],
    time_column: str,
    label: str = "",
    feature_view: str = "features",
    max_age_seconds: int = 0,
    online_store: str = "sqlite",
) -> dict[str, Any]:
    """Writes ``feature_store.yaml``, ``definitions.py``, ``data/history.parquet`` and ``registry.db``.

    The paths inside are relative, so that the directory may be moved. The types of the fields are the Dataset's.

    Args:
        dataset: The features' history, one row per key and moment.
        schema: What ``infer_schema`` wrote.
        repository: Where to write.
        key_columns: The columns that say what a row is about.
        time_column: A timestamp: since when a row holds.
        label: Left out of the features.
        feature_view: The view's name, in letters, digits and ``_``; the project is named like it.
        max_age_seconds: Older values do not count in a join; 0 lets every age count.
        online_store: A key of :data:`ONLINE_STORES`.

    Returns:
        ``features`` (their names), ``entities``, ``feature_view`` and ``online_store``.

    Raises:
        InputError: When a column is missing or of a type that Feast does not keep, no feature is left, or a parameter
            is out of its range, or whole numbers lie beyond 2**53.
    """
    _check(key_columns, time_column, feature_view, max_age_seconds, online_store)
    files = dataset_files(dataset)
    columns = pq.ParquetFile(files[0]).schema_arrow
    names = _features(schema, [*key_columns, time_column, label])
    types = {name: _type(columns, name) for name in [*key_columns, time_column, *names]}
    if types[time_column] != "UnixTimestamp":
        raise InputError(f"time_column {time_column!r} is of the type {types[time_column]}; give a timestamp")
    for name in key_columns:
        if types[name] not in _KEY_TYPES:
            raise InputError(f"key_columns: {name!r} is of the type {types[name]}; a key is a string or a whole number")
    with new_directory(repository) as aside:
        settings = _SETTINGS.format(project=feature_view, online_store=ONLINE_STORES[online_store])
        (aside / "feature_store.yaml").write_text(settings, encoding="utf-8")
        definitions = _definitions(types, names, key_columns, time_column, feature_view, max_age_seconds)
        (aside / "definitions.py").write_text(definitions, encoding="utf-8")
        _write_history(files, aside / "data", list(types))
        _register(aside)
    _LOG.info("%d features by %s", len(names), ", ".join(key_columns))
    return {
        "features": names,
        "entities": list(key_columns),
        "feature_view": feature_view,
        "online_store": online_store,
    }


def _check(
    key_columns: Sequence[str], time_column: str, feature_view: str, max_age_seconds: int, online_store: str
) -> None:
    if not key_columns or not time_column:
        raise InputError("key_columns and time_column are needed: a feature belongs to a key and holds since a moment")
    if not _NAME.fullmatch(feature_view) or "__" in feature_view:
        raise InputError(f"feature_view={feature_view!r}: a name is of letters, digits and single _")
    if max_age_seconds < 0:
        raise InputError(f"max_age_seconds={max_age_seconds}: must be 0 or more")
    if online_store not in ONLINE_STORES:
        raise InputError(f"online_store={online_store!r}: must be one of {', '.join(ONLINE_STORES)}")


def _features(schema: str | Path, excluded: Sequence[str]) -> list[str]:
    file = Path(schema) / "schema.pbtxt"
    proto = schema_pb2.Schema()
    try:
        text_format.Parse(file.read_text(encoding="utf-8"), proto)
    except (OSError, text_format.ParseError) as error:
        raise InputError(f"{file} holds no schema: {error}; was it written by infer_schema?") from error
    names = [
        feature.name
        for feature in proto.feature
        if feature.name not in excluded and "SERVING" not in feature.not_in_environment
    ]
    if not names:
        raise InputError(f"{file} has no feature besides the keys, the time and the label; nothing is left to share")
    return names


def _type(columns: pa.Schema, name: str) -> str:
    if name not in columns.names:
        raise InputError(f"the Dataset has no column {name!r}; it has {', '.join(columns.names)}")
    kind = columns.field(name).type
    for test, feast_type in (
        (pa.types.is_boolean, "Bool"),
        (pa.types.is_integer, "Int64"),
        (pa.types.is_float32, "Float32"),
        (pa.types.is_floating, "Float64"),
        (pa.types.is_string, "String"),
        (pa.types.is_timestamp, "UnixTimestamp"),
    ):
        if test(kind):
            return feast_type
    raise InputError(
        f"column {name!r} is of the type {kind}, which a feature store does not keep; cast it, or leave it out"
    )


def _definitions(
    types: dict[str, str], names: list[str], keys: Sequence[str], time: str, view: str, max_age_seconds: int
) -> str:
    entities = [f"    Entity(name={key!r}, value_type=ValueType.{_KEY_TYPES[types[key]]})," for key in keys]
    fields = [f"        Field(name={name!r}, dtype={types[name]})," for name in [*keys, *names]]
    return _DEFINITIONS.format(
        keys=", ".join(keys),
        entities="\n".join(entities),
        source=f"{view}_history",
        time=time,
        view=view,
        max_age_seconds=max_age_seconds,
        fields="\n".join(fields),
    )


def _write_history(files: list[Path], directory: Path, names: list[str]) -> None:
    directory.mkdir()
    writer = None
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(columns=names):
            table = pa.Table.from_batches([batch]).select(names).replace_schema_metadata(None)
            _check_whole_numbers(table, file)
            writer = writer or pq.ParquetWriter(directory / "history.parquet", table.schema, compression="zstd")
            writer.write_table(table)
    if writer is None:
        raise InputError(f"{files[0].parent} has no rows; features need a history")
    writer.close()


def _check_whole_numbers(table: pa.Table, file: Path) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_integer(column.type):
            low, high = pc.min_max(column).as_py().values()
            if low is not None and max(-low, high) > _MAX_WHOLE:
                raise InputError(
                    f"{file}: column {name!r} holds whole numbers beyond 2**53, which a join in Feast would round; "
                    "cast them to strings"
                )


def _register(repository: Path) -> None:
    specification = importlib.util.spec_from_file_location("definitions", repository / "definitions.py")
    if specification is None or specification.loader is None:
        raise InputError(f"{repository / 'definitions.py'} cannot be loaded")
    definitions = importlib.util.module_from_spec(specification)
    write_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        specification.loader.exec_module(definitions)
    finally:
        sys.dont_write_bytecode = write_bytecode
    open_repository(repository).apply([*definitions.entities, definitions.history, definitions.features])
