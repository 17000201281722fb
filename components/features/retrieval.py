"""Features for training: each row gets what was known at its own moment."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast.types import Bool, Float32, Float64, Int64, String, UnixTimestamp

from shipway.components.common.artifacts import dataset_files, directory_digest, new_directory
from shipway.components.common.errors import InputError
from shipway.components.features.store import open_repository, the_view

__all__ = ["retrieve_features"]

_LOG = logging.getLogger(__name__)
_ROW, _MOMENT = "shipway_row", "event_timestamp"
# Pandas, which Feast joins with, turns whole numbers with gaps into floats.
_ARROW = {
    Bool: pa.bool_(),
    Float32: pa.float32(),
    Float64: pa.float64(),
    Int64: pa.int64(),
    String: pa.string(),
    UnixTimestamp: pa.timestamp("us", tz="UTC"),
}


def retrieve_features(
    entities: str | Path, repository: str | Path, dataset: str | Path, *, time_column: str
) -> dict[str, Any]:
    """Writes the rows with their features behind: Feast's point-in-time join.

    Feast sees the keys, the moments and a row number alone; every other column stays as it is. The join runs in
    memory.

    Args:
        entities: A Dataset with the repository's keys and a time.
        repository: What ``create_feature_repository`` wrote.
        dataset: Where to write.
        time_column: The rows' moments: a timestamp without missing values.

    Returns:
        ``rows``, ``columns``, ``digest``, ``features`` (how many) and ``unmatched_rows`` (without a single feature).

    Raises:
        InputError: When a column is missing, is not of the repository's type, or has a feature's name.
    """
    store = open_repository(repository)
    view = the_view(store)
    names = [field.name for field in view.features]
    keys = [column.name for column in view.entity_columns]
    table = pa.concat_tables([pq.ParquetFile(file).read() for file in dataset_files(entities)])
    _check(table, keys, names, time_column)
    asked = table.select(keys).append_column(_MOMENT, _utc(table[time_column]))
    asked = asked.append_column(_ROW, pa.array(range(table.num_rows), pa.int64()))
    joined = store.get_historical_features(asked.to_pandas(), [f"{view.name}:{name}" for name in names]).to_arrow()
    # Feast leaves out rows whose keys have later, or too old, features only.
    places = pc.index_in(asked[_ROW], value_set=joined[_ROW].combine_chunks())
    types = {field.name: field.dtype for field in view.features}
    for name in names:
        table = table.append_column(name, joined[name].combine_chunks().take(places).cast(_ARROW[types[name]]))
    with new_directory(dataset) as aside:
        pq.write_table(table.replace_schema_metadata(None), aside / "part-00000.parquet", compression="zstd")
        digest = directory_digest(aside)
    unmatched = _without_any(table, names)
    _LOG.info("%s rows, %d features, %s rows without any", f"{table.num_rows:,}", len(names), f"{unmatched:,}")
    return {
        "rows": table.num_rows,
        "columns": table.num_columns,
        "digest": digest,
        "features": len(names),
        "unmatched_rows": unmatched,
    }


def _check(table: pa.Table, keys: list[str], names: list[str], time_column: str) -> None:
    for column in [*keys, time_column]:
        if column not in table.column_names:
            raise InputError(f"the rows have no column {column!r}; they have {', '.join(table.column_names)}")
        if table[column].null_count:
            raise InputError(f"column {column!r} lacks {table[column].null_count:,} values; a join needs all of them")
    if not pa.types.is_timestamp(table[time_column].type):
        raise InputError(f"time_column {time_column!r} is of the type {table[time_column].type}; give a timestamp")
    taken = [name for name in (*names, _ROW, _MOMENT) if name in table.column_names and name != time_column]
    if taken:
        raise InputError(f"the rows have columns with the names of features: {', '.join(taken)}; leave them out first")
    if not table.num_rows:
        raise InputError("there are no rows to join features to")


def _utc(moments: pa.ChunkedArray) -> pa.ChunkedArray:
    return moments.cast(pa.timestamp("us", tz="UTC"))


def _without_any(table: pa.Table, names: list[str]) -> int:
    known = table[names[0]].is_valid()
    for name in names[1:]:
        known = pc.or_(known, table[name].is_valid())
    unmatched: int = table.num_rows - (pc.sum(known).as_py() or 0)
    return unmatched
