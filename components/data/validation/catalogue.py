"""Every check that there is, in the order that it runs and is listed."""

from __future__ import annotations

from shipway.components.data.validation import checks, column_changes, counts, drift, schema_anomalies
from shipway.components.data.validation.settings import CheckSpec

__all__ = ["CATALOGUE"]

CATALOGUE: tuple[CheckSpec, ...] = (
    schema_anomalies.SPEC,
    counts.NUM_EXAMPLES,
    counts.ROW_COUNT_CHANGE,
    *drift.SPECS,
    column_changes.NEW_VALUES,
    column_changes.MISSING_CHANGE,
    column_changes.DISTINCT_CHANGE,
    *checks.SPECS,
)
