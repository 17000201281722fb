"""Rows that were caught go to a Dataset of their own with the reason; the clean rest stays one.

Both are written batch by batch, so memory does not grow with the rows.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shipway.components.common.artifacts import directory_digest, new_directory
from shipway.components.common.errors import InputError
from shipway.components.data.tables import PARQUET
from shipway.components.data.validation.findings import Finding, merge

__all__ = ["Quarantined", "quarantine", "quarantined_lines"]

_FILE = "part-00000.parquet"
_ROW, _RULE, _COLUMN, _VALUE = "quarantine_row", "quarantine_rule", "quarantine_column", "quarantine_value"
_REASON = pa.schema([(_ROW, pa.int64()), (_RULE, pa.string()), (_COLUMN, pa.string()), (_VALUE, pa.string())])
_VALUE_CHARACTERS = 200
_BATCH_ROWS = 1 << 16
_ROW_GROUP_ROWS = 1 << 17
_ROW_GROUP_CELLS = 1 << 24


@dataclasses.dataclass(frozen=True)
class Quarantined:
    """What a quarantine did.

    Attributes:
        rows: How many rows were taken out.
        clean: How many stayed.
        columns: How many columns the Dataset has.
        digest: That of the clean Dataset.
        by_rule: How many rows each rule caught; a row that several caught counts for each.
    """

    rows: int
    clean: int
    columns: int
    digest: str
    by_rule: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Returns what ``anomalies.json`` holds of it."""
        return {"rows": self.rows, "by_rule": self.by_rule}


def quarantine(
    files: Sequence[Path], findings: Sequence[Finding], anomalies: str | Path, clean: str | Path
) -> Quarantined:
    """Splits a Dataset into the rows that failing findings caught and the others.

    ``<anomalies>/quarantine/part-00000.parquet`` has a line for each row and reason, sorted by row: ``quarantine_row``
    (counted from zero over the files in order), ``quarantine_rule``, ``quarantine_column`` (empty when the reason is
    not one column), ``quarantine_value`` (that column's value as text, at most 200 characters; null when it was
    missing) and the row's own columns. It has no lines when nothing was caught.

    Args:
        files: The Dataset's Parquet files in order.
        findings: Those with row numbers and the severity ``fail`` count; others are passed over.
        anomalies: A directory in the making, which the caller publishes when it is complete.
        clean: Where to write the Dataset of the other rows: in their order, in one file.

    Raises:
        InputError: When a file cannot be read or has other columns than the first, when a column is called like one of
            the four, or when findings name rows that the Dataset does not have.
    """
    reasons = _reasons(findings)
    caught = merge([numbers for *_, numbers in reasons])
    schema = _schema(files)
    folder = Path(anomalies) / "quarantine"
    folder.mkdir(exist_ok=True)
    with new_directory(clean) as aside:
        with _Writer(aside / _FILE, schema) as rest, _Writer(folder / _FILE, _with_reason(schema)) as bad:
            start = 0
            for batch in _batches(files):
                end = start + batch.num_rows
                inside = caught[np.searchsorted(caught, start) : np.searchsorted(caught, end)]
                mask = np.full(batch.num_rows, True)
                mask[inside - start] = False
                rest.write(batch.filter(pa.array(mask)) if len(inside) else batch)
                if len(inside):
                    bad.write(_lines(batch, start, reasons))
                start = end
        if rest.rows + len(caught) != start:
            raise InputError(
                f"a finding names row {caught[-1]} of {start}; its statistics are of other data: make them anew"
            )
        digest = directory_digest(aside)
    by_rule = Counter[str]()
    for rule, *_, numbers in reasons:
        by_rule[rule] += len(numbers)
    return Quarantined(len(caught), rest.rows, len(schema), digest, dict(by_rule))


def quarantined_lines(anomalies: str | Path, limit: int = 200) -> list[dict[str, Any]]:
    """Returns some lines of a quarantine for people, as many of each rule as there is room for.

    Args:
        anomalies: The directory that :func:`quarantine` wrote to; without a quarantine there are no lines.
        limit: At most how many.
    """
    file = Path(anomalies) / "quarantine" / _FILE
    if not file.exists():
        return []
    source = pq.ParquetFile(file)
    rules = pc.value_counts(source.read(columns=[_RULE])[_RULE])
    left = {rule.as_py(): -(-limit // len(rules)) for rule in rules.field(0)} if len(rules) else {}
    lines: list[dict[str, Any]] = []
    for batch in source.iter_batches(4096):
        for index, rule in enumerate(batch.column(_RULE).to_pylist()):
            if left[rule]:
                left[rule] -= 1
                lines.extend(batch.slice(index, 1).to_pylist())
        if not any(left.values()):
            break
    return lines[:limit]


_Reason = tuple[str, str, np.ndarray]


def _reasons(findings: Sequence[Finding]) -> list[_Reason]:
    """Returns rule, column and row numbers of what counts; the rule is the check, for rules of the user their name."""
    return [
        (
            finding.short if finding.check in ("row_rules", "pandera") else finding.check,
            finding.feature,
            finding.row_numbers,
        )
        for finding in findings
        if finding.severity == "fail" and finding.row_numbers is not None and len(finding.row_numbers)
    ]


def _schema(files: Sequence[Path]) -> pa.Schema:
    try:
        schema = pq.ParquetFile(files[0]).schema_arrow.remove_metadata()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{files[0]} is no readable Parquet file: {error}; write the Dataset again") from error
    if taken := set(schema.names) & set(_REASON.names):
        raise InputError(f"the Dataset has a column {min(taken)}, which the quarantine needs; rename it")
    return schema


def _with_reason(schema: pa.Schema) -> pa.Schema:
    return pa.schema([*_REASON, *schema])


def _batches(files: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for file in files:
        try:
            source = pq.ParquetFile(file)
            for batch in source.iter_batches(min(_BATCH_ROWS, _group_rows(source.schema_arrow))):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=batch.schema.remove_metadata())
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{file} is no readable Parquet file: {error}; write the Dataset again") from error


def _group_rows(schema: pa.Schema) -> int:
    """Returns the rows of a row group: fewer of a table with hundreds of columns, which would take gigabytes."""
    return max(1024, min(_ROW_GROUP_ROWS, _ROW_GROUP_CELLS // max(1, len(schema))))


def _lines(batch: pa.RecordBatch, start: int, reasons: Sequence[_Reason]) -> pa.RecordBatch:
    """Returns the lines of the rows of a batch that begins at the row ``start``, sorted by row, then as reasons are."""
    inside = [
        numbers[np.searchsorted(numbers, start) : np.searchsorted(numbers, start + batch.num_rows)]
        for *_, numbers in reasons
    ]
    rows = np.concatenate(inside)
    order = np.argsort(rows, kind="stable")
    places = pa.array(order)
    texts = [_texts(batch, column, numbers - start) for (_, column, _), numbers in zip(reasons, inside, strict=True)]
    lengths = [len(numbers) for numbers in inside]
    rules, columns = (
        pa.array(np.repeat(np.array([reason[i] for reason in reasons], object), lengths), pa.string()).take(places)
        for i in (0, 1)
    )
    own = [column.take(pa.array(rows[order] - start)) for column in batch.columns]
    arrays = [pa.array(rows[order]), rules, columns, pa.concat_arrays(texts).take(places), *own]
    return pa.RecordBatch.from_arrays(arrays, schema=_with_reason(batch.schema))


def _texts(batch: pa.RecordBatch, column: str, rows: np.ndarray) -> pa.Array:
    if column not in batch.schema.names:
        return pa.array([""] * len(rows), pa.string())
    values = batch.column(batch.schema.names.index(column)).take(pa.array(rows))
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp(values.type.unit))
    try:
        texts = values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        texts = pa.array([None if value is None else str(value) for value in values.to_pylist()], pa.string())
    return pc.utf8_slice_codeunits(texts, 0, _VALUE_CHARACTERS)


class _Writer:
    """A Parquet file of row groups of one size, whatever the batches' size, so that equal rows give equal bytes."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._group_rows = _group_rows(schema)
        self._waiting: list[pa.RecordBatch] = []
        self._writer = pq.ParquetWriter(file, schema, **PARQUET)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        if not error[0]:
            self._flush(whole=False)
        self._writer.close()

    def write(self, batch: pa.RecordBatch) -> None:
        if not batch.schema.equals(self._schema):
            raise InputError(
                f"the Dataset's files have different columns: {batch.schema} and {self._schema}; write it again"
            )
        self.rows += batch.num_rows
        self._waiting.append(batch)
        if sum(each.num_rows for each in self._waiting) >= self._group_rows:
            self._flush(whole=True)

    def _flush(self, *, whole: bool) -> None:
        table = pa.Table.from_batches(self._waiting, self._schema)
        end = table.num_rows // self._group_rows * self._group_rows if whole else table.num_rows
        if end:
            self._writer.write_table(table.slice(0, end), row_group_size=self._group_rows)
        self._waiting = table.slice(end).to_batches()
