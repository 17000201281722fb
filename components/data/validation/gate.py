"""Whether data may go on, and what the log and the error say about it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from shipway.components.common.errors import DataRejected, InputError
from shipway.components.data.validation.findings import Finding, merge

__all__ = ["ON_ANOMALY", "Verdict", "announce", "judge", "require_policy"]

ON_ANOMALY = ("fail", "warn", "quarantine")

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """What the gate decided.

    Attributes:
        rejected: Whether the data stops here.
        reason: Why, in a few words; empty when it goes on.
        caught: The findings whose rows are set aside.
        rows: The numbers of those rows, sorted.
    """

    rejected: bool
    reason: str = ""
    caught: tuple[Finding, ...] = ()
    rows: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))


def require_policy(on_anomaly: str, min_clean_fraction: float, *, rows_given: bool) -> None:
    """Checks the gate's parameters.

    Raises:
        InputError: When one of them is out of range, or rows cannot be set aside because there are none.
    """
    if on_anomaly not in ON_ANOMALY:
        raise InputError(f"on_anomaly={on_anomaly!r}: must be one of {', '.join(ON_ANOMALY)}")
    if not 0 <= min_clean_fraction <= 1:
        raise InputError(f"min_clean_fraction={min_clean_fraction}: must lie from 0 to 1")
    if on_anomaly == "quarantine" and not rows_given:
        raise InputError("on_anomaly=quarantine sets rows aside, so it needs them: give dataset and clean")


def judge(findings: Sequence[Finding], rows: int, on_anomaly: str, min_clean_fraction: float) -> Verdict:
    """Returns the verdict on findings; only those of severity ``fail`` count.

    With ``quarantine`` the rows that findings name are set aside, and the data goes on when no finding is left that
    is not about rows, and at least ``min_clean_fraction`` of the rows, and one of them, remains.
    """
    failed = [finding for finding in findings if finding.severity == "fail"]
    if not failed or on_anomaly == "warn":
        return Verdict(rejected=False)
    if on_anomaly == "fail":
        return Verdict(rejected=True, reason=f"{_counted(len(failed))} of severity fail")
    caught = tuple(finding for finding in failed if finding.row_numbers is not None)
    aside = merge([finding.row_numbers for finding in caught if finding.row_numbers is not None])
    left = rows - len(aside)
    if len(caught) < len(failed):
        reason = f"{_counted(len(failed) - len(caught))} that setting rows aside does not mend"
    elif left <= 0 or left < min_clean_fraction * rows:
        reason = (
            f"{left:,} of {rows:,} rows would be left, fewer than min_clean_fraction={min_clean_fraction:g} asks for"
        )
    else:
        reason = ""
    return Verdict(rejected=bool(reason), reason=reason, caught=caught, rows=aside)


def announce(findings: Sequence[Finding], verdict: Verdict) -> None:
    """Logs what does not stop the data, and stops the data that is rejected.

    Raises:
        DataRejected: Naming every finding of severity ``fail``.
    """
    for finding in findings:
        if finding.severity == "warn" or not verdict.rejected:
            _LOG.warning("%s", _line(finding))
    if verdict.rejected:
        lines = [_line(finding) for finding in findings if finding.severity == "fail"]
        raise DataRejected(
            f"the data is rejected: {verdict.reason}:\n  "
            + "\n  ".join(lines)
            + "\nMend the data, or the schema if the change is meant; on_anomaly=warn goes on regardless, and "
            "checks={name: warn} makes one check less strict"
        )


def _line(finding: Finding) -> str:
    place = finding.feature or "(dataset)"
    return f"{place}: {finding.short}: {finding.description} [{finding.check}]"


def _counted(number: int) -> str:
    return f"{number} anomaly" if number == 1 else f"{number} anomalies"
