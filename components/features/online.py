"""Features for serving: the newest values of every key in an online store, and how they are read."""

from __future__ import annotations

import datetime
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from redis.exceptions import RedisError

from shipway.components.common.artifacts import new_directory
from shipway.components.common.errors import InputError, TransientError
from shipway.components.features.store import open_repository, the_view

__all__ = ["FeatureReader", "materialize_features"]

_LOG = logging.getLogger(__name__)
_MOMENT = datetime.timedelta(microseconds=1)


def materialize_features(repository: str | Path, online_repository: str | Path, *, until: str = "") -> dict[str, Any]:
    """Writes every key's newest features to the online store, and the repository with it.

    Args:
        repository: What ``create_feature_repository`` wrote; it stays as it is.
        online_repository: Where to write the repository that knows its online store.
        until: Rows behind this moment are left out; an ISO date or time, UTC where it names no zone; empty takes all.

    Returns:
        ``until``: the last moment that was taken.

    Raises:
        InputError: When ``until`` cannot be read or lies before all rows.
        TransientError: When redis does not answer.
    """
    source = Path(repository)
    open_repository(source)
    with new_directory(online_repository) as aside:
        shutil.copytree(source, aside, dirs_exist_ok=True)
        store = open_repository(aside)
        first, last = _span(aside / "data" / "history.parquet", the_view(store).batch_source.timestamp_field)
        end = _moment(until) if until else last
        if end < first:
            raise InputError(f"until={until!r} lies before all rows; the first is of {first.isoformat()}")
        try:
            store.materialize(first - _MOMENT, end, feature_views=[the_view(store).name])
        except RedisError as error:
            raise TransientError(f"redis does not take the features: {error}; is it running? try again") from error
    _LOG.info("materialized up to %s", end.isoformat())
    return {"until": end.isoformat()}


class FeatureReader:
    """Reads features by key, as a server does before it asks the model.

    >>> FeatureReader("online_repository").read([{"carrier": "UA"}])  # doctest: +SKIP
    [{'carrier': 'UA', 'distance': 1400.0, 'delay_before': None}]
    """

    def __init__(self, repository: str | Path):
        self._store = open_repository(repository)
        view = the_view(self._store)
        self._keys = [column.name for column in view.entity_columns]
        self._names = [f"{view.name}:{field.name}" for field in view.features]

    def read(self, keys: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns a row of keys and features for each of ``keys``, in their order; None for what is not known.

        Raises:
            InputError: When a row lacks a key, or has something else.
            TransientError: When redis does not answer.
        """
        for row in keys:
            if sorted(row) != sorted(self._keys):
                raise InputError(f"{row}: a row is asked for by {', '.join(self._keys)}, and by nothing else")
        if not keys:
            return []
        try:
            answer = self._store.get_online_features(features=self._names, entity_rows=list(keys)).to_dict()
        except RedisError as error:
            raise TransientError(f"redis does not answer: {error}; is it running? try again") from error
        return [{name: values[place] for name, values in answer.items()} for place in range(len(keys))]


def _span(history: Path, time_column: str) -> tuple[datetime.datetime, datetime.datetime]:
    moments = pc.min_max(pq.read_table(history, columns=[time_column])[time_column]).as_py()
    return _zoned(moments["min"]), _zoned(moments["max"])


def _moment(text: str) -> datetime.datetime:
    try:
        return _zoned(datetime.datetime.fromisoformat(text))
    except ValueError as error:
        raise InputError(f"until={text!r} cannot be read: {error}; write 2013-11-01 or 2013-11-01T12:00:00") from error


def _zoned(moment: datetime.datetime) -> datetime.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
