"""What preparation learned, as an artifact: a directory with ``preparation.json``, enough to prepare new rows alike.

The file's keys:

- ``format``: 1.
- ``label``: ``column``, ``type`` (Arrow's name) and ``classes``, those of the training split, in order.
- ``features``: the raw columns in order, each with ``name`` and ``type`` (Arrow's name; ``list<double>`` of lists).
- ``outliers``: ``treatment`` and ``rule`` as given, and ``bounds``: lowest and highest value by feature.
- ``missing``: ``treatment`` (``missing_values`` as given), ``fills``: by feature what a missing value is taken as, and
  ``indicators``: the features whose missing values a column of their own tells.
- ``encoders``: by string feature a :class:`.encoding.CategoryEncoder`.
- ``weighted``: whether the Datasets have ``sample_weight``.
- ``seed``, and ``versions`` of what computed it.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shipway.components.common.artifacts import new_directory, read_json, write_json
from shipway.components.common.errors import InputError
from shipway.components.data.preparation.balancing import SAMPLE_WEIGHT
from shipway.components.data.preparation.cleaning import finite, is_vector, labelled, of_known_classes
from shipway.components.data.preparation.encoding import CategoryEncoder, encoded
from shipway.components.data.preparation.imputation import complete_rows, filled
from shipway.components.data.preparation.notes import Notes
from shipway.components.data.preparation.outliers import Bounds, bounded
from shipway.components.data.tables import require_columns

__all__ = ["Preparation", "apply_preparation", "read_preparation", "type_name", "write_preparation"]

_FILE = "preparation.json"
_FORMAT = 1


@dataclass(frozen=True)
class Preparation:
    """What was learned on the training split.

    Attributes:
        label: The label's column.
        label_type: Its Arrow type's name.
        classes: Its classes, in order.
        features: The raw features' types by name, in order.
        outliers: What is done with outliers: ``keep``, ``clip``, ``drop`` (of training rows only) or ``missing``.
        outlier_bounds: The rule that gave the bounds.
        bounds: Lowest and highest value by numeric feature.
        missing_values: What is done with missing values that are not filled in: ``drop_rows``, or nothing.
        fills: What a missing value is taken as, by feature.
        indicators: Features whose missing values a column of their own tells.
        encoders: How string features become numbers.
        weighted: Whether there is a column of weights.
        seed: Of sampling and folds.
    """

    label: str
    label_type: str
    classes: tuple[Any, ...]
    features: dict[str, str]
    outliers: str
    outlier_bounds: str
    bounds: Bounds
    missing_values: str
    fills: dict[str, Any]
    indicators: tuple[str, ...]
    encoders: dict[str, CategoryEncoder]
    weighted: bool
    seed: int


def type_name(kind: pa.DataType) -> str:
    """Returns Arrow's name of a column's type; of every kind of list the same one."""
    return f"list<{kind.value_type}>" if is_vector(kind) else str(kind)


def write_preparation(preparation: Preparation, path: str | Path) -> None:
    """Writes the artifact."""
    p = preparation
    value = {
        "format": _FORMAT,
        "label": {"column": p.label, "type": p.label_type, "classes": p.classes},
        "features": [{"name": name, "type": kind} for name, kind in p.features.items()],
        "outliers": {"treatment": p.outliers, "rule": p.outlier_bounds, "bounds": p.bounds},
        "missing": {"treatment": p.missing_values, "fills": p.fills, "indicators": p.indicators},
        "encoders": {name: asdict(encoder) for name, encoder in p.encoders.items()},
        "weighted": p.weighted,
        "seed": p.seed,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "pyarrow": pa.__version__},
    }
    with new_directory(path) as aside:
        write_json(aside / _FILE, value)


def read_preparation(path: str | Path) -> Preparation:
    """Returns the artifact at ``path``.

    Raises:
        InputError: When there is none, or it is of another format.
    """
    file = Path(path) / _FILE
    value = read_json(file)
    try:
        if value["format"] != _FORMAT:
            raise InputError(f"{file} is of the format {value['format']}, this version reads {_FORMAT}; prepare again")
        label, outliers, missing = value["label"], value["outliers"], value["missing"]
        return Preparation(
            label=label["column"],
            label_type=label["type"],
            classes=tuple(label["classes"]),
            features={entry["name"]: entry["type"] for entry in value["features"]},
            outliers=outliers["treatment"],
            outlier_bounds=outliers["rule"],
            bounds={name: (low, high) for name, (low, high) in outliers["bounds"].items()},
            missing_values=missing["treatment"],
            fills=missing["fills"],
            indicators=tuple(missing["indicators"]),
            encoders={name: _encoder(entry) for name, entry in value["encoders"].items()},
            weighted=value["weighted"],
            seed=value["seed"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is no preparation: {error!r}; was it written by prepare_data?") from error


def _encoder(value: dict[str, Any]) -> CategoryEncoder:
    return CategoryEncoder(
        value["kind"],
        tuple(value["categories"]),
        tuple(value["columns"]),
        tuple(tuple(shares) for shares in value["shares"]),
        tuple(value["overall"]),
    )


def apply_preparation(table: pa.Table, preparation: Preparation) -> pa.Table:
    """Returns new rows as ``prepare_data`` would have made them of validation rows.

    Rows with values missing are left out where the preparation drops them. Where the table has the label's column,
    rows without a label or of an unknown class are left out, and the label stands behind the features.

    Args:
        table: Raw rows; columns that are no features are left out.
        preparation: What was learned.

    Raises:
        InputError: When a feature is missing or of a type that cannot become the training rows', or no row is left.
    """
    p, notes = preparation, Notes({})
    require_columns(p.features, table.column_names, "the preparation's features")
    with_label = p.label in table.column_names
    if with_label:
        classes = pa.array(p.classes, pa.type_for_alias(p.label_type))
        table = of_known_classes(labelled(table, p.label, "given", notes), p.label, classes, "given", notes)
    table = _typed(table.select([*p.features, *([p.label] if with_label else [])]), p.features)
    table = finite(table, p.label, "given", notes)
    if p.outliers in ("clip", "missing"):
        table = bounded(table, p.bounds, p.outliers)
    if p.missing_values == "drop_rows":
        table = complete_rows(table, [name for name in p.features if name not in p.fills], "given", notes)
    table = encoded(filled(table, p.label, p.fills, p.indicators), p.encoders)
    if p.weighted and with_label:
        table = table.append_column(SAMPLE_WEIGHT, pa.array(np.ones(table.num_rows)))
    return table


def _typed(table: pa.Table, types: dict[str, str]) -> pa.Table:
    for index, (name, kind) in enumerate(types.items()):
        column = table[name]
        if type_name(column.type) == kind:
            continue
        try:
            if kind.startswith("dictionary<"):
                column = column.cast(pa.string()).dictionary_encode()
            elif kind.startswith("list<"):
                column = column.cast(pa.list_(pa.type_for_alias(kind.removeprefix("list<").removesuffix(">"))))
            else:
                column = column.cast(pa.type_for_alias(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"the feature {name!r} is of the type {column.type}, and no {kind}: {error}") from error
        table = table.set_column(index, name, column)
    return table
