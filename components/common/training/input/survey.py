"""One look at the labels and weights of a split before anything is learned from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.errors import InputError
from shipway.components.common.preprocessing import label_strings
from shipway.components.common.training.input.files import ParquetRows

__all__ = ["WEIGHT_COLUMN", "LabelCoder", "Survey", "survey"]

WEIGHT_COLUMN = "sample_weight"

Array = np.ndarray[Any, Any]


class LabelCoder:
    """Turns the values of a label's column into positions in the names of the classes."""

    def __init__(self, values: pa.Array) -> None:
        names = label_strings(pa.chunked_array([values]))
        self.names: tuple[str, ...] = tuple(sorted(set(names)))
        place = {name: position for position, name in enumerate(self.names)}
        self._values = values
        self._positions = np.asarray([place[name] for name in names], np.int64)

    def renamed(self, names: tuple[str, ...]) -> LabelCoder:
        """Returns a coder of the same values to positions in other names; -1 for a value without one."""
        coder = LabelCoder(self._values)
        place = {name: position for position, name in enumerate(names)}
        coder._positions = np.asarray([place.get(self.names[position], -1) for position in self._positions], np.int64)
        coder.names = names
        return coder

    def positions(self, column: pa.Array) -> Array:
        """Returns int64 ``[rows]``."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        places = pc.index_in(column, value_set=self._values).to_numpy(zero_copy_only=False)
        return np.asarray(self._positions[places])


@dataclass(frozen=True)
class Survey:
    """What a split's labels and weights are.

    Attributes:
        labels: The classes that are there.
        counts: int64: rows of each of them.
        mean_weight: Mean of ``sample_weight``; 1 where there is none.
    """

    labels: LabelCoder
    counts: Array
    mean_weight: float


def survey(rows: ParquetRows, label: str) -> Survey:
    """Reads the label and the weights of every row.

    Raises:
        InputError: When a label is missing or infinite, or a weight is no number, negative or not finite, or all are 0.
    """
    weighted = WEIGHT_COLUMN in rows.schema.names
    columns = [label, WEIGHT_COLUMN] if weighted else [label]
    parts, missing, total = [], 0, 0.0
    for batch in rows.scan(columns):
        values = batch.column(0)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        missing += values.null_count
        if pa.types.is_floating(values.type):
            missing += int((~np.isfinite(values.drop_null().to_numpy(zero_copy_only=False))).sum())
        parts.append(pc.value_counts(values))
        if weighted:
            total += _sum_of_weights(rows.name, batch.column(1))
    if missing:
        raise InputError(
            f"{missing} of {rows.rows} rows have no label, or an infinite one, in {label!r} of the {rows.name} split;"
            " prepare_data drops rows without a label: run it first"
        )
    if weighted and not total:
        raise _bad_weights(rows.name)
    together = pa.chunked_array(parts).combine_chunks().flatten()
    grouped = pa.table({"value": together[0], "rows": together[1]}).group_by("value").aggregate([("rows", "sum")])
    coder = LabelCoder(grouped.column("value").combine_chunks())
    counts = np.zeros(len(coder.names), np.int64)
    np.add.at(counts, coder.positions(grouped.column("value").combine_chunks()), grouped.column("rows_sum").to_numpy())
    return Survey(coder, counts, total / rows.rows if weighted else 1.0)


def _sum_of_weights(split: str, column: pa.Array) -> float:
    try:
        weights = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise _bad_weights(split) from error
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise _bad_weights(split)
    return float(weights.sum())


def _bad_weights(split: str) -> InputError:
    return InputError(f"sample_weight of the {split} split must hold numbers of at least 0, not all of them 0")
