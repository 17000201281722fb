"""What the checks may look at."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

__all__ = ["Context"]


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """One dataset under validation.

    ``checks/`` offers ``SPECS: tuple[CheckSpec, ...]`` and ``run_checks(context, settings) -> list[CheckRun]``, which
    returns one ``CheckRun`` for every check of ``SPECS``, also for those that are off or lack what they need.

    Attributes:
        schema: What the data must look like.
        summary: What ``summary.json`` holds.
        distributions: What ``distributions.json`` holds.
        dataset: The Parquet files in order; None when only statistics are at hand.
        previous_summary: The same as ``summary`` of earlier data; None without.
        previous_distributions: The same as ``distributions`` of earlier data; None without.
        serving_distributions: The same of serving data; None without.
        label: The column to be predicted; empty when there is none.
        key_columns: The columns that together name a row.
        time_column: The column with each row's time; empty when there is none.
        rules: Conditions that hold in every row; see the check ``row_rules``.
        pandera_schema: Path of a pandera schema; see the check ``pandera``.
        now: The time to hold times against, in UTC.
    """

    schema: schema_pb2.Schema
    summary: dict[str, Any]
    distributions: dict[str, Any]
    dataset: Sequence[Path] | None = None
    previous_summary: dict[str, Any] | None = None
    previous_distributions: dict[str, Any] | None = None
    serving_distributions: dict[str, Any] | None = None
    label: str = ""
    key_columns: Sequence[str] = ()
    time_column: str = ""
    rules: Sequence[str | Mapping[str, Any]] = ()
    pandera_schema: str = ""
    now: datetime.datetime = dataclasses.field(default_factory=lambda: datetime.datetime.now(datetime.UTC))

    def lacks(self, needs: Sequence[str]) -> list[str]:
        """Returns those of a check's needs (keys of ``settings.NEEDS``) that are not at hand."""
        given = {
            "dataset": self.dataset is not None,
            "previous": self.previous_distributions is not None,
            "serving": self.serving_distributions is not None,
            **{name: bool(getattr(self, name)) for name in ("label", "key_columns", "time_column", "rules")},
            "pandera_schema": bool(self.pandera_schema),
        }
        return [need for need in needs if not given[need]]
