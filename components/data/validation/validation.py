"""Does the data look as it must? Every check, the gate that stops a run, and what both leave behind."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from shipway.components.common.artifacts import dataset_files, directory_digest, new_directory, read_json, write_json
from shipway.components.data.schema.protos import read_schema, read_statistics
from shipway.components.data.tables import require_columns
from shipway.components.data.validation.catalogue import CATALOGUE
from shipway.components.data.validation.context import Context
from shipway.components.data.validation.distributions import read_distributions
from shipway.components.data.validation.examination import Examination, examine
from shipway.components.data.validation.findings import as_json
from shipway.components.data.validation.gate import ON_ANOMALY, Verdict, announce, judge, require_policy
from shipway.components.data.validation.quarantine import quarantine, quarantined_lines
from shipway.components.data.validation.report import markdown, render
from shipway.components.data.validation.settings import parse_settings

__all__ = ["ON_ANOMALY", "validate_data"]


def validate_data(
    statistics: str | Path,
    schema: str | Path,
    anomalies: str | Path,
    report: str | Path,
    on_anomaly: str = "fail",
    *,
    dataset: str | Path | None = None,
    clean: str | Path | None = None,
    previous_statistics: str | Path | None = None,
    serving_statistics: str | Path | None = None,
    label: str = "",
    key_columns: Sequence[str] = (),
    time_column: str = "",
    environment: str = "",
    checks: Mapping[str, Any] | None = None,
    rules: Sequence[str | Mapping[str, Any]] = (),
    pandera_schema: str = "",
    min_clean_fraction: float = 0.9,
    summary: str | Path | None = None,
    now: datetime.datetime | None = None,
) -> dict[str, Any]:
    """Runs every check, writes what they found, then lets the data pass, in part or not at all.

    ``anomalies`` gets ``anomalies.pbtxt``, ``anomalies.json``, ``report.html`` and, with ``on_anomaly="quarantine"``,
    ``quarantine/part-*.parquet``; all of it also when the data is rejected. ``anomalies.json`` is ``{"rows",
    "rejected", "reason", "on_anomaly", "anomalies": [finding], "checks": [{"name", "severity", "findings", "seconds",
    "not_run"}], "comparisons": [comparison], "quarantine": {"rows", "by_rule"} | null}``; findings and comparisons have
    the fields of ``Finding`` and ``Comparison``.

    Args:
        statistics: What ``generate_statistics`` wrote.
        schema: What ``infer_schema`` wrote.
        anomalies: Where to write the directory.
        report: Where to write a second copy of the page.
        on_anomaly: What findings of severity ``fail`` do: ``fail`` rejects the data, ``warn`` lets it go on, and
            ``quarantine`` sets the rows aside that the findings name.
        dataset: The rows that ``statistics`` describe; without them, checks that need rows do not run.
        clean: Where to write the Dataset that goes on: all rows, or those that are left.
        previous_statistics: Statistics of earlier data, for drift.
        serving_statistics: Statistics of serving data, for skew.
        label: The column to be predicted.
        key_columns: The columns that together name a row.
        time_column: The column with each row's time.
        environment: Which of the schema's environments the data is from, such as ``SERVING``.
        checks: Settings by the name of a check; see ``settings``.
        rules: Conditions that must hold in every row; see the check ``row_rules``.
        pandera_schema: A pandera schema; see the check ``pandera``.
        min_clean_fraction: Share of the rows, from 0 to 1, that must be left for the data to go on.
        summary: Where to write the verdict as Markdown.
        now: The time to hold times against; the present one without.

    Returns:
        ``rows``, ``anomalies`` (findings of severity ``fail``), ``warnings``, ``quarantined`` (rows), and with
        ``clean`` also ``clean_rows`` and ``clean_digest``.

    Raises:
        DataRejected: Naming every finding of severity ``fail``; everything but ``clean`` is written by then.
        InputError: When an input cannot be read, or a parameter is wrong.
    """
    rows_given = dataset is not None and clean is not None
    require_policy(on_anomaly, min_clean_fraction, rows_given=rows_given)
    settings = parse_settings(checks, CATALOGUE)
    context = Context(
        schema=read_schema(schema),
        summary=read_json(Path(statistics) / "summary.json"),
        distributions=read_distributions(statistics),
        dataset=dataset_files(dataset) if dataset is not None else None,
        previous_summary=read_json(Path(previous_statistics) / "summary.json") if previous_statistics else None,
        previous_distributions=read_distributions(previous_statistics) if previous_statistics else None,
        serving_distributions=read_distributions(serving_statistics) if serving_statistics else None,
        label=label,
        key_columns=tuple(key_columns),
        time_column=time_column,
        rules=tuple(rules),
        pandera_schema=pandera_schema,
        now=now or datetime.datetime.now(datetime.UTC),
    )
    _require_known(context)
    examination = examine(context, read_statistics(statistics), environment, settings)
    verdict = judge(examination.findings, context.summary["rows"], on_anomaly, min_clean_fraction)
    goes_on = None if verdict.rejected else clean
    with new_directory(anomalies) as aside, new_directory(goes_on) if goes_on else nullcontext() as kept:
        aside_rows = _set_aside(context, verdict, aside, kept)
        told = _told(context, examination, verdict, on_anomaly, aside_rows)
        write_json(aside / "anomalies.json", told)
        (aside / "anomalies.pbtxt").write_text(text_format.MessageToString(examination.anomalies), encoding="utf-8")
        page = render(
            told,
            context.summary,
            context.distributions,
            context.previous_distributions,
            context.serving_distributions,
            quarantined_lines(aside),
        )
        (aside / "report.html").write_text(page, encoding="utf-8")
    Path(report).write_text(page, encoding="utf-8")
    if summary is not None:
        Path(summary).write_text(markdown(told, context.summary), encoding="utf-8")
    announce(examination.findings, verdict)
    return _counts(told, goes_on)


def _require_known(context: Context) -> None:
    names = dict.fromkeys([*context.distributions["columns"], *(feature.name for feature in context.schema.feature)])
    for parameter in ("label", "time_column"):
        require_columns(filter(None, [getattr(context, parameter)]), list(names), parameter)
    require_columns(context.key_columns, list(names), "key_columns")


def _set_aside(context: Context, verdict: Verdict, anomalies: Path, clean: Path | None) -> dict[str, Any] | None:
    """Writes the rows set aside and those that go on; returns how many are set aside, in all and by check."""
    files = list(context.dataset or ())
    if verdict.caught:
        rest = clean or anomalies / "rest"
        aside = quarantine(files, verdict.caught, anomalies, rest).as_json()
        if clean is None:
            shutil.rmtree(rest)
        return aside
    if clean is not None:
        for file in files:
            _link(file, clean / file.name)
    return None


def _link(source: Path, target: Path) -> None:
    """Gives a file a second name, or copies it where that cannot be."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _counts(told: dict[str, Any], clean: str | Path | None) -> dict[str, Any]:
    severities = [finding["severity"] for finding in told["anomalies"]]
    counted = {
        "rows": told["rows"],
        "anomalies": severities.count("fail"),
        "warnings": severities.count("warn"),
        "quarantined": (told["quarantine"] or {"rows": 0})["rows"],
    }
    if clean is None:
        return counted
    return {**counted, "clean_rows": told["rows"] - counted["quarantined"], "clean_digest": directory_digest(clean)}


def _told(
    context: Context, examination: Examination, verdict: Verdict, on_anomaly: str, aside: dict[str, Any] | None
) -> dict[str, Any]:
    """Returns what ``anomalies.json`` holds."""
    return {
        "rows": context.summary["rows"],
        "rejected": verdict.rejected,
        "reason": verdict.reason,
        "on_anomaly": on_anomaly,
        "anomalies": [as_json(finding) for finding in examination.findings],
        "checks": [
            {
                "name": run.name,
                "severity": run.severity,
                "findings": len(run.findings),
                "seconds": round(run.seconds, 6),
                "not_run": run.not_run,
            }
            for run in examination.runs
        ],
        "comparisons": [as_json(comparison) for comparison in examination.comparisons],
        "quarantine": aside,
    }
