"""Every check of the catalogue over one dataset."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping

from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from shipway.components.data.validation import column_changes, counts, drift, schema_anomalies
from shipway.components.data.validation.checks import run_checks
from shipway.components.data.validation.checks.schema_rows import schema_rows
from shipway.components.data.validation.context import Context
from shipway.components.data.validation.findings import CheckRun, Comparison, Finding
from shipway.components.data.validation.running import run_check
from shipway.components.data.validation.settings import CheckSettings, CheckSpec

__all__ = ["Examination", "examine"]

_AGAINST = {"drift": "previous", "skew": "serving"}
_COUNTED = (
    (counts.NUM_EXAMPLES, counts.num_examples),
    (counts.ROW_COUNT_CHANGE, counts.row_count_change),
    (column_changes.NEW_VALUES, column_changes.new_values),
    (column_changes.MISSING_CHANGE, column_changes.missing_change),
    (column_changes.DISTINCT_CHANGE, column_changes.distinct_change),
)
_TYPES = {
    "No rows": anomalies_pb2.AnomalyInfo.DATASET_LOW_NUM_EXAMPLES,
    "Too few rows": anomalies_pb2.AnomalyInfo.DATASET_LOW_NUM_EXAMPLES,
    "Too many rows": anomalies_pb2.AnomalyInfo.DATASET_HIGH_NUM_EXAMPLES,
    "l_infinity": anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH,
    "jensen_shannon": anomalies_pb2.AnomalyInfo.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH,
}


@dataclasses.dataclass(frozen=True)
class Examination:
    """What all checks found.

    Attributes:
        runs: Every check of the catalogue.
        comparisons: Every column against every baseline.
        anomalies: TFDV's anomalies, with our own of severity ``fail`` added.
    """

    runs: tuple[CheckRun, ...]
    comparisons: tuple[Comparison, ...]
    anomalies: anomalies_pb2.Anomalies

    @property
    def findings(self) -> list[Finding]:
        """All findings: those of severity ``fail`` first, then by column, in the order of the checks."""
        found = [finding for run in self.runs for finding in run.findings]
        return sorted(found, key=lambda finding: (finding.severity != "fail", finding.feature))


def examine(
    context: Context,
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    environment: str,
    settings: Mapping[str, CheckSettings],
) -> Examination:
    """Runs every check that is not off and has what it needs.

    Args:
        context: The dataset and its baselines.
        statistics: TFDV's statistics of it.
        environment: The schema's environment to hold it against; empty for none.
        settings: Those of every check of the catalogue.

    Raises:
        InputError: When a check cannot be applied as the settings or the schema ask.
    """
    proto = anomalies_pb2.Anomalies()
    comparisons: list[Comparison] = []

    def against_schema() -> Iterator[Finding]:
        proto.CopyFrom(schema_anomalies.validated(statistics, context.schema, environment))
        found = list(schema_anomalies.schema_findings(proto, settings["schema"]))
        rows = schema_rows(context, [(finding.feature, finding.measure) for finding in found])
        for finding in found:
            numbers = rows.get((finding.feature, finding.measure))
            count = None if numbers is None else len(numbers)
            yield dataclasses.replace(finding, row_numbers=numbers, rows=count)

    def against(check: str) -> Callable[[], Iterable[Finding]]:
        def find() -> Iterable[Finding]:
            asked = schema_anomalies.comparators(context.schema, check)
            measured = drift.compare(context, _AGAINST[check], settings[check], asked)
            comparisons.extend(measured)
            return drift.drift_findings(measured, settings[check])

        return find

    def run(spec: CheckSpec, find: Callable[[], Iterable[Finding]]) -> CheckRun:
        return run_check(spec, context, settings[spec.name], find)

    runs = [run(schema_anomalies.SPEC, against_schema)]
    runs += [run(spec, against(spec.name)) for spec in drift.SPECS]
    for spec, find in _COUNTED:
        runs.append(run(spec, functools.partial(find, context, settings[spec.name])))
    runs += run_checks(context, settings)
    _add(proto, [finding for each in runs[1:] for finding in each.findings if finding.severity == "fail"])
    return Examination(tuple(runs), tuple(comparisons), proto)


def _add(proto: anomalies_pb2.Anomalies, findings: Iterable[Finding]) -> None:
    """Adds our own findings as TFDV writes anomalies; kinds that it does not know have ``UNKNOWN_TYPE``."""
    for finding in findings:
        info = proto.anomaly_info[finding.feature] if finding.feature else proto.dataset_anomaly_info
        info.severity = anomalies_pb2.AnomalyInfo.ERROR
        first = not info.reason
        info.short_description = finding.short if first else "Multiple errors"
        info.description = finding.description if first else f"{info.description} {finding.description}"
        kind = _TYPES.get(finding.short, _TYPES.get(finding.measure, anomalies_pb2.AnomalyInfo.UNKNOWN_TYPE))
        info.reason.add(type=kind, short_description=finding.short, description=finding.description)
        if finding.feature and not info.path.step:
            info.path.step.append(finding.feature)
