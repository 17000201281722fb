"""Rows that a pandera schema does not let pass, judged batch by batch.

The schema is a file as pandera's ``to_yaml`` and ``to_json`` write it, by hand or by pandera. Of it are used the
columns with ``dtype``, ``nullable``, ``required``, ``coerce``, ``regex`` and pandera's built-in ``checks``, and
``strict``. pandera itself judges; only reading the file is done here, since its older releases need further packages
for that.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from shipway.components.common.errors import InputError
from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.findings import Finding

__all__ = ["pandera_check", "read_pandera"]

_BATCH_ROWS = 1 << 16
_COLUMN_KEYS = ("dtype", "nullable", "required", "coerce", "regex")
# What a schema may hold without a meaning here.
_WORDS = {"title", "description", "metadata", "version", "schema_type", "name", "report_duplicates"}


@check(
    "pandera",
    "fail",
    needs=["dataset", "pandera_schema"],
    per_feature=False,
)
def pandera_check(view: View) -> Iterator[Finding]:
    """Rows that the pandera schema does not let pass."""
    caught, whole = _failures(view, read_pandera(view.context.pandera_schema))
    for (column, rule), rows in sorted(caught.items()):
        numbers = np.unique(np.concatenate(rows))
        yield from view.rows_caught(column, f"pandera: {rule}"[:120], f"do not meet {rule}.", numbers)
    for column, rule, case in sorted(whole):
        yield view.finding(column, f"pandera: {rule}"[:120], f"The column does not meet {rule}: {case}.")


def read_pandera(path: str | Path) -> Any:
    """Returns the ``pandera.DataFrameSchema`` of a YAML or JSON file.

    Raises:
        InputError: When pandera is missing, the file is no schema, or it asks for what single batches cannot tell.
    """
    module = _pandera()
    try:
        text = Path(path).read_text(encoding="utf-8")
        given = json.loads(text) if str(path).endswith(".json") else yaml.safe_load(text)
        columns = given["columns"]
        _refuse_unknown(path, given, {"columns", "strict", "coerce"})
        return module.DataFrameSchema(
            {name: _column(module, f"{path}: {name}", column or {}) for name, column in columns.items()},
            strict=bool(given.get("strict")),
            coerce=bool(given.get("coerce")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is no pandera schema as to_yaml or to_json writes it: {error!r}") from error


def _pandera() -> Any:
    """Returns the module with ``DataFrameSchema``: ``pandera.pandas``, or ``pandera`` in releases before 0.24."""
    try:
        return importlib.import_module("pandera.pandas" if importlib.util.find_spec("pandera.pandas") else "pandera")
    except ImportError as error:
        raise InputError(f"pandera_schema: {error}; with pandas before 2.1 pandera must be before 0.24") from error


def _refuse_unknown(where: Any, given: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(key for key in given.keys() - known - _WORDS if given[key])
    if unknown:
        raise InputError(
            f"{where}: {', '.join(unknown)} cannot be judged in single batches; use rules or key_columns instead"
        )


def _column(module: Any, where: str, column: Mapping[str, Any]) -> Any:
    _refuse_unknown(where, column, {*_COLUMN_KEYS, "checks"})
    given = column.get("checks") or {}
    entries = given.items() if isinstance(given, Mapping) else ((_name_of(entry), entry) for entry in given)
    checks = [_check(module, where, name, value) for name, value in entries]
    options = {key: column[key] for key in _COLUMN_KEYS if column.get(key) is not None}
    return module.Column(checks=checks, **options)


def _name_of(entry: Mapping[str, Any]) -> str:
    return str((entry.get("options") or {})["check_name"])


def _check(module: Any, where: str, name: str, value: Any) -> Any:
    """Makes a built-in check of ``greater_than: 0``, ``{value: 0, options: …}`` or ``{min_value: 0, …}``."""
    if not hasattr(module.Check, name):
        raise InputError(f"{where}: pandera has no built-in check {name!r}; checks in Python cannot be in a file")
    make = getattr(module.Check, name)
    if not isinstance(value, Mapping):
        return make(value)
    options = {key: v for key, v in (value.get("options") or {}).items() if key in ("ignore_na", "raise_warning")}
    arguments = {key: v for key, v in value.items() if key != "options"}
    return make(arguments["value"], **options) if set(arguments) == {"value"} else make(**arguments, **options)


def _failures(view: View, schema: Any) -> tuple[dict[tuple[str, str], list[np.ndarray]], set[tuple[str, str, str]]]:
    """Returns the rows that failed by column and rule, and what failed of whole columns."""
    errors = _pandera().errors
    caught: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    whole: set[tuple[str, str, str]] = set()
    start = 0
    for file in view.data.files:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS):
            frame = batch.to_pandas()
            frame.index = range(start, start + len(frame))
            start += len(frame)
            try:
                schema.validate(frame, lazy=True)
            except errors.SchemaErrors as error:
                _collect(error.failure_cases, caught, whole)
    return caught, whole


def _collect(cases: Any, caught: dict[tuple[str, str], list[np.ndarray]], whole: set[tuple[str, str, str]]) -> None:
    cases = cases.assign(column=cases["column"].fillna("").astype(str), check=cases["check"].astype(str))
    about_rows = cases["index"].notna()
    for key, part in cases[about_rows].groupby(["column", "check"]):
        caught[key].append(part["index"].to_numpy(np.int64))
    for row in cases[~about_rows].itertuples():
        name = row.failure_case if row.check in ("column_in_dataframe", "column_in_schema") else row.column
        whole.add((str(name), row.check, str(row.failure_case)[:200]))
