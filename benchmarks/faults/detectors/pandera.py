"""pandera: the schema it infers from the reference, made strict, with the key, the rules and the values of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from benchmarks.faults.detectors.running import Alarm, Look, run

MOST_VALUES = 100


def _prepare(described: Mapping[str, Any]) -> Look:
    reference = pd.read_parquet(described["reference"])
    schema = pa.infer_schema(reference)
    schema.strict, schema.unique = True, list(described["key_columns"]) or None
    schema.checks = [pa.Check(_rule(text), name=name) for name, text in described["rules"].items()]
    for name, column in schema.columns.items():
        if name == described["time_column"]:
            column.checks = []
        elif reference[name].dtype == object and reference[name].nunique() <= MOST_VALUES:
            column.checks = [pa.Check.isin(list(reference[name].dropna().unique()))]

    def look(file: str, _: str) -> Iterator[Alarm]:
        try:
            schema.validate(pd.read_parquet(file), lazy=True)
        except SchemaErrors as errors:
            for error in errors.schema_errors:
                yield (
                    str(error.reason_code and error.reason_code.name),
                    str(error.check),
                    str(getattr(error.schema, "name", "")),
                )

    return look


def _rule(text: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda frame: eval(text, {"frame": frame})  # noqa: S307  the study's own text


if __name__ == "__main__":
    run(_prepare)
