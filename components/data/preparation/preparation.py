"""From split rows to rows a model can learn from; whatever is learned is learned from the training split alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shipway.components.common.artifacts import dataset_files
from shipway.components.common.errors import InputError
from shipway.components.data.preparation.artifact import Preparation, type_name, write_preparation
from shipway.components.data.preparation.balancing import IMBALANCE, SAMPLE_WEIGHT, balance
from shipway.components.data.preparation.cleaning import (
    check_classes,
    drop_unseen_classes,
    labelled,
    select_features,
)
from shipway.components.data.preparation.encoding import ENCODINGS, encode
from shipway.components.data.preparation.imputation import MISSING_VALUES, treat_missing
from shipway.components.data.preparation.leaks import (
    ON_LEAK,
    leaked_keys,
    leaked_moments,
    leaked_rows,
    settle_leaks,
)
from shipway.components.data.preparation.notes import Notes, Tables, escaped
from shipway.components.data.preparation.outliers import OUTLIERS, treat_outliers
from shipway.components.data.preparation.partition import is_moment, moments_of
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
    imputation: Mapping[str, str] | None = None,
    missing_indicators: bool = False,
    outliers: str = "keep",
    outlier_bounds: str = "iqr:3",
    encoding: str = "none",
    key_columns: Sequence[str] = (),
    on_leak: str = "warn",
    encoders: str | Path = "",
) -> dict[str, dict[str, Any]]:
    """Writes three Datasets of one schema: features in their order, the label, and ``sample_weight`` when weighted.

    Rows without a label are dropped; infinite numbers become missing values; boolean and integral labels become
    integers. Columns of times, and those that are constant or empty in the training split, are left out. Then
    outliers are treated, missing values, the classes' sizes, and strings are encoded, in this order.

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
        missing_values: ``model`` (left to the model, as those of lists always are), ``impute`` (the training split's
            median, or most frequent value of strings and booleans) or ``drop_rows`` (in every split).
        seed: Of sampling and folds.
        imputation: By feature ``median``, ``mean``, ``most_frequent`` or ``constant:<value>``, learned on the training
            split; goes before ``missing_values``, which is for the other features.
        missing_indicators: Adds a column ``<feature>_missing`` for each feature that is filled in and that lacks
            values in the training split.
        outliers: Of numeric features: ``keep``, ``clip`` (to the bounds), ``drop`` (training rows only) or
            ``missing`` (count as missing values).
        outlier_bounds: Where outliers begin: ``iqr:<k>``, ``quantile:<q>`` or ``robust_z:<z>``; see :mod:`.outliers`.
        encoding: Of string features: ``none``, ``onehot``, ``ordinal`` or ``target``; see :mod:`.encoding`.
        key_columns: Together the key of a thing; left out of the features. Keys in several splits are counted.
        on_leak: ``warn``, or ``fail`` when a split holds rows, keys or moments of an earlier one.
        encoders: Where to write what was learned, see :mod:`.artifact`; empty writes nothing.

    Returns:
        By split: ``rows``, ``columns``, ``digest``, ``split``, ``label``, ``features`` (how many); of validation and
        test also ``leaked_rows``, with ``key_columns`` ``leaked_keys`` and with ``time_column`` ``leaked_moments``.

    Raises:
        InputError: When a column is missing, the label is excluded or has one class, a choice does not exist or does
            not fit, or nothing is left.
        DataRejected: When ``on_leak`` is ``fail`` and there is a leak.
    """
    _check_choices(imbalance, missing_values, outliers, encoding, on_leak)
    tables = {name: read_dataset(inputs[name]) for name in SPLITS}
    _check_columns(tables["train"], label, time_column, exclude_columns, key_columns, imputation or {})
    _check_schemas(tables)
    notes = Notes({name: table.num_rows for name, table in tables.items()})
    leaks = _find_leaks(inputs, tables, time_column, key_columns)
    for sentence in settle_leaks(leaks, on_leak) or ["No row of a split is in an earlier one."]:
        notes.add(escaped(sentence))

    tables, preparation = _learn(
        tables,
        notes,
        label=label,
        excluded=[*exclude_columns, *key_columns, *([time_column] if time_column else [])],
        imbalance=imbalance,
        missing_values=missing_values,
        seed=seed,
        imputation=imputation or {},
        missing_indicators=missing_indicators,
        outliers=outliers,
        outlier_bounds=outlier_bounds,
        encoding=encoding,
    )
    if encoders:
        write_preparation(preparation, encoders)
    features = len(set(tables["train"].column_names) - {label, SAMPLE_WEIGHT})
    written = {
        name: write_dataset(table, outputs[name], split=name, label=label, features=features, **leaks.get(name, {}))
        for name, table in tables.items()
    }
    Path(summary).write_text(notes.markdown(tables, label), encoding="utf-8")
    _LOG.info("%d features; %s", features, ", ".join(f"{n}: {t.num_rows:,} rows" for n, t in tables.items()))
    return written


def _learn(
    tables: Tables,
    notes: Notes,
    *,
    label: str,
    excluded: Sequence[str],
    imbalance: str,
    missing_values: str,
    seed: int,
    imputation: Mapping[str, str],
    missing_indicators: bool,
    outliers: str,
    outlier_bounds: str,
    encoding: str,
) -> tuple[Tables, Preparation]:
    """Returns the prepared splits and what was learned on the training split."""
    tables = {name: labelled(table, label, name, notes) for name, table in tables.items()}
    check_classes(tables["train"], label)
    tables = drop_unseen_classes(tables, label, notes)
    tables = select_features(tables, label, excluded, notes)
    if imbalance == "weights" and SAMPLE_WEIGHT in tables["train"].column_names:
        raise InputError(f"there is a column {SAMPLE_WEIGHT!r} already; exclude it, or choose imbalance=none to use it")
    raw = tables["train"].schema
    tables, bounds = treat_outliers(tables, label, outliers, outlier_bounds, notes)
    tables, fills, indicators = treat_missing(
        tables, label, missing_values, notes, imputation=imputation, missing_indicators=missing_indicators
    )
    check_classes(tables["train"], label)
    tables = drop_unseen_classes(tables, label, notes)
    classes = sorted(pc.unique(tables["train"][label]).to_pylist())
    tables = balance(tables, label, imbalance, seed, notes)
    tables, encoders = encode(tables, label, encoding, seed, notes)
    return tables, Preparation(
        label=label,
        label_type=str(raw.field(label).type),
        classes=tuple(classes),
        features={field.name: type_name(field.type) for field in raw if field.name != label},
        outliers=outliers,
        outlier_bounds=outlier_bounds,
        bounds=bounds,
        missing_values=missing_values,
        fills=fills,
        indicators=indicators,
        encoders=encoders,
        weighted=imbalance == "weights",
        seed=seed,
    )


def _check_choices(imbalance: str, missing_values: str, outliers: str, encoding: str, on_leak: str) -> None:
    for parameter, value, choices in (
        ("imbalance", imbalance, IMBALANCE),
        ("missing_values", missing_values, MISSING_VALUES),
        ("outliers", outliers, OUTLIERS),
        ("encoding", encoding, ENCODINGS),
        ("on_leak", on_leak, ON_LEAK),
    ):
        if value not in choices:
            raise InputError(f"{parameter}={value!r}: must be one of {', '.join(choices)}")
    if imbalance == "smote" and encoding == "target":
        raise InputError(
            "encoding=target would tell SMOTE's synthetic rows their label; choose imbalance=weights or undersample"
        )


def _check_schemas(tables: Tables) -> None:
    for name, table in tables.items():
        if not table.schema.equals(tables["train"].schema):
            raise InputError(f"the {name} split's columns differ from the training split's; make both with split_data")


def _check_columns(
    train: pa.Table,
    label: str,
    time_column: str,
    exclude_columns: Sequence[str],
    key_columns: Sequence[str],
    imputation: Mapping[str, str],
) -> None:
    if not label:
        raise InputError(f"label is empty; name a column: {', '.join(train.column_names)}")
    require_columns([label], train.column_names, "label")
    require_columns([time_column] if time_column else [], train.column_names, "time_column")
    lists = {"exclude_columns": exclude_columns, "key_columns": key_columns, "imputation": list(imputation)}
    for parameter, names in lists.items():
        require_columns(names, train.column_names, parameter)
        if label in names:
            raise InputError(f"{parameter} holds the label {label!r}; take it out")
    if label in (time_column, SAMPLE_WEIGHT):
        raise InputError(f"the label {label!r} cannot be the time_column or {SAMPLE_WEIGHT}; name another column")


def _find_leaks(
    inputs: dict[str, str | Path], tables: Tables, time_column: str, key_columns: Sequence[str]
) -> dict[str, dict[str, int]]:
    files = [file for name in SPLITS for file in dataset_files(inputs[name])]
    ends = np.cumsum([0, *(tables[name].num_rows for name in SPLITS)])
    parts = {name: np.arange(ends[place], ends[place + 1]) for place, name in enumerate(SPLITS)}
    found = {"leaked_rows": leaked_rows(files, tables["train"].column_names, parts)}
    if key_columns:
        found["leaked_keys"] = leaked_keys(files, key_columns, parts)
    if time_column and is_moment(tables["train"].schema.field(time_column).type):
        moments = {}
        for name, table in tables.items():
            values, known = moments_of(table[time_column], time_column)
            moments[name] = values[known]
        found["leaked_moments"] = leaked_moments(moments)
    return {name: {kind: counts[name] for kind, counts in found.items()} for name in SPLITS[1:]}
