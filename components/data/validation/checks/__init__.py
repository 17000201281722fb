"""Checks of what TFDV does not see: one small function each, listed here.

A new check is one function with the decorator ``check`` and one line in ``CHECKS``.
"""

from __future__ import annotations

from collections.abc import Mapping

from shipway.components.data.validation.checks import (
    changes,
    columns,
    labels,
    numbers,
    pandera_rows,
    periods,
    ranges,
    relations,
    rows,
    rules,
    texts,
    times,
)
from shipway.components.data.validation.checks.check import Check, View
from shipway.components.data.validation.checks.data import Data
from shipway.components.data.validation.context import Context
from shipway.components.data.validation.findings import CheckRun, Finding
from shipway.components.data.validation.running import run_check
from shipway.components.data.validation.settings import CheckSettings, CheckSpec

__all__ = ["CHECKS", "SPECS", "run_checks"]

CHECKS: tuple[Check, ...] = (
    rows.row_count,
    rows.duplicate_rows,
    rows.duplicate_keys,
    rows.stale_rows,
    numbers.not_finite,
    numbers.sentinels,
    ranges.far_values,
    numbers.more_zeros,
    numbers.value_spikes,
    numbers.lost_precision,
    texts.empty_strings,
    texts.placeholders,
    texts.untrimmed_text,
    texts.damaged_text,
    texts.numbers_as_text,
    texts.category_variants,
    texts.truncated_text,
    columns.constant_columns,
    columns.identical_columns,
    columns.lost_categories,
    changes.unit_change,
    changes.swapped_columns,
    relations.broken_relations,
    relations.crossed_relations,
    relations.lost_time_order,
    relations.sorted_label,
    labels.label_missing,
    labels.label_classes,
    labels.label_shift,
    labels.label_leakage,
    times.future_times,
    times.implausible_times,
    times.time_gaps,
    periods.partial_period,
    periods.shifted_hours,
    rules.row_rules,
    pandera_rows.pandera_check,
)
SPECS: tuple[CheckSpec, ...] = tuple(check.spec for check in CHECKS)


def run_checks(context: Context, settings: Mapping[str, CheckSettings]) -> list[CheckRun]:
    """Returns how each check of ``SPECS`` went, also those that are off or lack what they need.

    Args:
        context: The dataset under validation.
        settings: What ``parse_settings`` returned for a catalogue with ``SPECS``.

    Raises:
        InputError: When the Dataset cannot be read, or a rule or a pandera schema is wrong.
    """
    if context.dataset is None:
        return [_run(check, View(context, settings[check.spec.name], None)) for check in CHECKS]
    running = [check for check in CHECKS if settings[check.spec.name].runs and not context.lacks(check.spec.needs)]
    with Data(context.dataset, [aggregate for check in running for aggregate in check.aggregates]) as data:
        return [_run(check, View(context, settings[check.spec.name], data)) for check in CHECKS]


def _run(check: Check, view: View) -> CheckRun:
    def find() -> list[Finding]:
        return [finding for finding in check.find(view) if finding.severity != "off"]

    return run_check(check.spec, view.context, view.settings, find)
