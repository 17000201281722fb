"""Training, validation and test rows: by time, by whole groups, else at random and stratified by the label.

By time, the order is training, validation, test; a boundary belongs to the later split (its start is inclusive,
the end of the split before it exclusive), so rows of one moment are never on both sides.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.artifacts import dataset_files
from shipway.components.common.errors import InputError
from shipway.components.data.preparation.leaks import ON_LEAK, Leaks, leaked_keys, leaked_rows, settle_leaks
from shipway.components.data.preparation.partition import at_random, by_group, by_time, class_codes, group_codes
from shipway.components.data.tables import read_dataset, require_columns, write_dataset

__all__ = ["SPLITS", "split_data"]

SPLITS = ("train", "validation", "test")

_LOG = logging.getLogger(__name__)


def split_data(
    dataset: str | Path,
    outputs: dict[str, str | Path],
    *,
    label: str = "",
    time_column: str = "",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    validation_from: str = "",
    test_from: str = "",
    seed: int = 0,
    group_column: str = "",
    key_columns: Sequence[str] = (),
    on_leak: str = "warn",
) -> dict[str, dict[str, Any]]:
    """Writes three Datasets; every row keeps its place in the order of the input.

    Args:
        dataset: The Dataset.
        outputs: Where to write ``train``, ``validation`` and ``test``.
        label: The label's column; the random split keeps the classes' shares equal, the split by group nearly.
        time_column: A timestamp, date or number to split by; rows without one are left out and counted.
        validation_fraction: Share of the rows, above 0 and below 1.
        test_fraction: Share of the rows, above 0 and below 1; both together below 1.
        validation_from: Start of the validation rows instead of a fraction: an ISO date or time (UTC where it
            names no zone), or a number where ``time_column`` holds numbers.
        test_from: Start of the test rows, likewise.
        seed: Of the random split, and of the order in which groups are dealt.
        group_column: Rows of one value (a patient, a household) stay in one split, chosen at random; rows without a
            value are one group. Shares are as near to the fractions as whole groups allow.
        key_columns: Together the key of a thing; keys in several splits are counted.
        on_leak: ``warn``, or ``fail`` when a split holds rows or keys of an earlier one.

    Returns:
        By split: ``rows``, ``columns``, ``digest``, ``split``; by time ``from`` (its first moment) and of the training
        split ``rows_without_time`` where there are any; by group ``groups`` (how many); of validation and test
        ``leaked_rows`` (copies of rows of an earlier split) and with ``key_columns`` ``leaked_keys``.

    Raises:
        InputError: When a column is missing, a split would be empty, the training rows have one class only, or
            parameters exclude each other.
        DataRejected: When ``on_leak`` is ``fail`` and there is a leak.
    """
    _check_fractions(validation_fraction, test_fraction)
    _check_choices(label, time_column, bool(validation_from or test_from), group_column, on_leak)
    table = read_dataset(dataset)
    for parameter, names in (
        ("label", [label]),
        ("time_column", [time_column]),
        ("group_column", [group_column]),
        ("key_columns", key_columns),
    ):
        require_columns(filter(None, names), table.column_names, parameter)
    extra: dict[str, dict[str, Any]] = {name: {} for name in SPLITS}
    codes = class_codes(table[label]) if label else np.zeros(table.num_rows, dtype=np.int64)
    if time_column:
        chosen, starts, untimed = by_time(
            table[time_column], time_column, validation_fraction, test_fraction, validation_from, test_from
        )
        extra = {name: {"from": start} for name, start in zip(SPLITS, starts, strict=True)}
        if untimed:
            _LOG.warning("left out %s rows without %s", f"{untimed:,}", time_column)
            extra["train"]["rows_without_time"] = untimed
    elif group_column:
        groups = group_codes(table[group_column], group_column)
        chosen = by_group(groups, codes, validation_fraction, test_fraction, seed)
        extra = {name: {"groups": len(np.unique(groups[rows]))} for name, rows in zip(SPLITS, chosen, strict=True)}
    else:
        chosen = at_random(codes, validation_fraction, test_fraction, seed)
    parts = dict(zip(SPLITS, chosen, strict=True))
    _check_parts(parts, table, label, time_column, group_column)
    # Copies share their moment and their group: only a random split can part them.
    copied = [] if time_column or group_column else table.column_names
    leaks = _find_leaks(dataset_files(dataset), parts, copied, key_columns)
    settle_leaks(leaks, on_leak)
    return {
        name: write_dataset(table.take(pa.array(rows)), outputs[name], split=name, **extra[name], **leaks.get(name, {}))
        for name, rows in parts.items()
    }


def _check_fractions(validation: float, test: float) -> None:
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise InputError(
            f"validation_fraction={validation} and test_fraction={test}: each must be above 0, and their sum below 1"
        )


def _check_choices(label: str, time_column: str, boundaries: bool, group_column: str, on_leak: str) -> None:
    if boundaries and not time_column:
        raise InputError("validation_from and test_from need a time_column")
    if on_leak not in ON_LEAK:
        raise InputError(f"on_leak={on_leak!r}: must be one of {', '.join(ON_LEAK)}")
    if group_column and time_column:
        raise InputError(
            "time_column and group_column exclude each other, as a group can lie on both sides of a moment: "
            "split by one of them; key_columns counts the groups that a split by time parts"
        )
    if group_column and group_column == label:
        raise InputError(f"group_column is the label {label!r}: each class would be in one split only; name another")


def _check_parts(
    parts: dict[str, np.ndarray[Any, Any]], table: pa.Table, label: str, time_column: str, group_column: str
) -> None:
    for name, rows in parts.items():
        if not len(rows):
            remedy = "give more groups, or larger fractions" if group_column else "give more rows"
            remedy = "change validation_from, test_from or the fractions" if time_column else remedy
            raise InputError(f"the {name} split is empty ({table.num_rows:,} rows in all); {remedy}")
    if label:
        classes = pc.unique(table[label].take(pa.array(parts["train"])).drop_null())
        if len(classes) < 2:
            only = f"the one value {classes[0].as_py()!r}" if len(classes) else "no value"
            raise InputError(
                f"the label {label!r} has {only} in the training split; a model needs two classes to learn from"
            )


def _find_leaks(
    files: Sequence[Path], parts: dict[str, np.ndarray[Any, Any]], copied: Sequence[str], key_columns: Sequence[str]
) -> Leaks:
    rows = leaked_rows(files, copied, parts) if copied else dict.fromkeys(SPLITS[1:], 0)
    keys = leaked_keys(files, key_columns, parts) if key_columns else {}
    return {
        name: {"leaked_rows": rows[name], **({"leaked_keys": keys[name]} if key_columns else {})} for name in SPLITS[1:]
    }
