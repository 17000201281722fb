"""From split rows to rows a model can learn from; whatever is learned is learned from the training split alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from shipway.components.common.errors import InputError
from shipway.components.data.preparation.balancing import IMBALANCE, SAMPLE_WEIGHT, balance
from shipway.components.data.preparation.cleaning import (
    MISSING_VALUES,
    Notes,
    check_classes,
    drop_unseen_classes,
    labelled,
    select_features,
    treat_missing,
)
from shipway.components.data.preparation.splitting import SPLITS
from shipway.components.data.tables import read_dataset, require_columns, write_dataset

__all__ = ["prepare_data"]

_LOG = logging.getLogger(__name__)


def prepare_data(
    inputs: dict[str, str | Path],
    outputs: dict[str, str | Path],
    summary: str | Path,
    *,
    label: str,
    time_column: str = "",
    exclude_columns: Sequence[str] = (),
    imbalance: str = "none",
    missing_values: str = "model",
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Writes three Datasets of one schema: features in their order, the label, and ``sample_weight`` when weighted.

    Rows without a label are dropped; infinite numbers become missing values; boolean and integral labels become
    integers. Columns of times, and those that are constant or empty in the training split, are left out.

    Args:
        inputs: The Datasets ``train``, ``validation`` and ``test``.
        outputs: Where to write them.
        summary: Where to write what was done, as Markdown.
        label: The label's column.
        time_column: Left out of the features.
        exclude_columns: Further columns to leave out, such as those that leak the label.
        imbalance: For the training split: ``none``, ``weights`` (``sample_weight`` balances the classes, mean 1;
            it is 1 in the other splits), ``smote`` (synthetic rows up to the largest class; needs complete rows) or
            ``undersample`` (random rows down to the smallest class).
        missing_values: ``model`` (left to the model), ``impute`` (the training split's median, or most frequent
            value of strings and booleans) or ``drop_rows`` (in every split).
        seed: Of sampling.

    Returns:
        By split: ``rows``, ``columns``, ``digest``, ``split``, ``label``, ``features`` (how many).

    Raises:
        InputError: When a column is missing, the label is excluded or has one class, or nothing is left.
    """
    _check_choice("imbalance", imbalance, IMBALANCE)
    _check_choice("missing_values", missing_values, MISSING_VALUES)
    tables = {name: read_dataset(inputs[name]) for name in SPLITS}
    _check_columns(tables, label, time_column, exclude_columns)
    notes = Notes({name: table.num_rows for name, table in tables.items()})

    tables = {name: labelled(table, label, name, notes) for name, table in tables.items()}
    check_classes(tables["train"], label)
    tables = drop_unseen_classes(tables, label, notes)
    tables = select_features(tables, label, [*exclude_columns, *([time_column] if time_column else [])], notes)
    if imbalance == "weights" and SAMPLE_WEIGHT in tables["train"].column_names:
        raise InputError(f"there is a column {SAMPLE_WEIGHT!r} already; exclude it, or choose imbalance=none to use it")
    tables = treat_missing(tables, label, missing_values, notes)
    check_classes(tables["train"], label)
    tables = balance(tables, label, imbalance, seed, notes)

    features = [name for name in tables["train"].column_names if name not in (label, SAMPLE_WEIGHT)]
    written = {
        name: write_dataset(table, outputs[name], split=name, label=label, features=len(features))
        for name, table in tables.items()
    }
    Path(summary).write_text(notes.markdown(tables, label), encoding="utf-8")
    _LOG.info("%d features; %s", len(features), ", ".join(f"{n}: {t.num_rows:,} rows" for n, t in tables.items()))
    return written


def _check_choice(parameter: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{parameter}={value!r}: must be one of {', '.join(choices)}")


def _check_columns(tables: dict[str, pa.Table], label: str, time_column: str, exclude_columns: Sequence[str]) -> None:
    train = tables["train"]
    for name, table in tables.items():
        if not table.schema.equals(train.schema):
            raise InputError(f"the {name} split's columns differ from the training split's; make both with split_data")
    if not label:
        raise InputError(f"label is empty; name a column: {', '.join(train.column_names)}")
    require_columns([label], train.column_names, "label")
    require_columns([time_column] if time_column else [], train.column_names, "time_column")
    require_columns(exclude_columns, train.column_names, "exclude_columns")
    if label in exclude_columns:
        raise InputError(f"exclude_columns holds the label {label!r}; take it out of the list")
    if label in (time_column, SAMPLE_WEIGHT):
        raise InputError(f"the label {label!r} cannot be the time_column or {SAMPLE_WEIGHT}; name another column")
