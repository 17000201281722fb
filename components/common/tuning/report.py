"""The page about a tuning."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from shipway.components.common.artifacts import dataset_files
from shipway.components.common.preprocessing import label_strings
from shipway.components.common.reports import (
    bar_chart,
    duration,
    element,
    html_page,
    interval_chart,
    line_chart,
    table,
)
from shipway.components.common.reports.fit_charts import fit_curves
from shipway.components.common.training.diagnosis import diagnose
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.tuning.charts import Dot, dot_chart
from shipway.components.common.tuning.comparison import Comparison
from shipway.components.common.tuning.learning_curve import LearningCurve
from shipway.components.common.tuning.records import Trial
from shipway.components.common.tuning.results import FEWEST_TRIALS, IMPORTANCE_METHOD, TuningResult
from shipway.components.common.tuning.search_space import Parameter
from shipway.components.common.tuning.settings import TuningSettings

__all__ = ["report_page"]

Section = tuple[str, str | Markup | Sequence[str | Markup]]


def report_page(result: TuningResult, request: TrainingRequest, settings: TuningSettings) -> str:
    """Returns the page as HTML.

    Args:
        result: What was found.
        request: What was tuned.
        settings: How.
    """
    sections: list[Section] = [
        ("Result", _summary(result)),
        ("Best against given hyperparameters", _compared(result, settings)),
        ("Trials", _history(result)),
        ("What mattered", _importances(result)),
        ("Each hyperparameter", _slices(result, settings)),
        ("The best trial", _best_trial(result, request)),
    ]
    if result.learning_curve:
        sections.append(("More rows", _rows(result.learning_curve, result)))
    sections.append(("All trials", _all_trials(result, settings)))
    return html_page(f"Tuning of {request.model_name}", sections, subtitle=_subtitle(result, settings))


def _subtitle(result: TuningResult, settings: TuningSettings) -> str:
    seconds = sum(trial.seconds or 0.0 for trial in result.trials)
    return f"{len(result.trials)} trials, sampler {settings.sampler}, pruning {settings.pruning}, {duration(seconds)}"


def _summary(result: TuningResult) -> list[str | Markup]:
    best, given = result.trials[result.best_trial], result.trials[0]
    words = result.goal.words
    first = f"Trial {best.number} is the best: {words} {best.value:.4f} on the validation split."
    if best is given:
        first += " It has the given hyperparameters: no trial was better than they are."
    elif given.value is not None:
        first += f" The given hyperparameters, trial 0, reach {given.value:.4f} there."
    else:
        first += f" The given hyperparameters, trial 0, failed: {given.error}"
    rows = [[name, _shown(given.values[name]), _shown(value)] for name, value in best.values.items()]
    text = json.dumps(result.best_json, sort_keys=True)
    return [first, table(["hyperparameter", "given", "best"], rows), element("p", element("code", text))]


def _compared(result: TuningResult, settings: TuningSettings) -> list[str | Markup]:
    if not settings.test:
        return [
            "There was no test split. The validation split has chosen the best trial among many, so its value there is"
            " too good by an unknown amount: give a test split, which no trial sees, to know what tuning brought."
        ]
    if result.best_trial == 0:
        return ["The given hyperparameters are the best of all trials: tuning brought nothing here."]
    if result.comparison is None:
        return ["The given hyperparameters have no model, or the test split no ROC AUC: there is nothing to compare."]
    found = result.comparison
    meaning = {
        "better": "The best hyperparameters are better than the given ones on rows that no trial has seen.",
        "worse": "The best hyperparameters are worse than the given ones on rows that no trial has seen: keep those.",
        "no difference": "The interval holds 0: on rows that no trial has seen, no difference is certain.",
    }
    bars: list[tuple[str, Any]] = [("gain in ROC AUC", asdict(found) | {"value": found.difference})]
    return [meaning[found.verdict], _sentence(found), interval_chart(bars, title="Best less given", reference=0.0)]


def _sentence(found: Comparison) -> str:
    return (
        f"ROC AUC {found.roc_auc:.4f} against {found.other_roc_auc:.4f} on {found.rows:,} rows: a difference of"
        f" {found.difference:+.4f}, with a 95 % interval from {found.low:+.4f} to {found.high:+.4f} (bootstrap over"
        " rows, the same ones for both). The interval tells of other rows, not of other seeds of the training."
    )


def _history(result: TuningResult) -> list[str | Markup]:
    best: list[tuple[float, float | None]] = []
    for trial in result.trials:
        before = best[-1][1] if best else None
        value = trial.value
        better = value is not None and (before is None or result.goal.better(value, before))
        best.append((float(trial.number), value if better else before))
    dots = dot_chart(_dots(result, None), title="Every trial", x_label="trial", y_label=result.goal.words)
    line = line_chart({"best so far": best}, title="Best so far", x_label="trial", y_label=result.goal.words)
    states = [trial.state for trial in result.trials]
    counts = ", ".join(
        f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed") if state in states
    )
    pruned = " A pruned trial is shown at the value that it had when it was ended." if "pruned" in states else ""
    return [f"{counts[:1].upper()}{counts[1:]}.{pruned}", element("div", dots, line, class_="charts")]


def _dots(result: TuningResult, name: str | None) -> dict[str, list[Dot]]:
    """Returns a dot for each trial with a value, over its number or a hyperparameter's value."""
    series: dict[str, list[Dot]] = {"complete": [], "pruned": [], "best": []}
    for trial in result.trials:
        y = trial.value if trial.value is not None else trial.curve[-1][1] if trial.curve else None
        if y is None or trial.state not in ("complete", "pruned"):
            continue
        x = trial.number if name is None else trial.values[name]
        kind = "best" if trial.number == result.best_trial else trial.state
        shown = x if isinstance(x, int | float) and not isinstance(x, bool) else _shown(x)
        series[kind].append((shown, y, f"trial {trial.number}: {y:.4f}" + (f" at {_shown(x)}" if name else "")))
    return series


def _importances(result: TuningResult) -> list[str | Markup]:
    if not result.importances:
        return [f"Too few complete trials to say: {FEWEST_TRIALS} are needed."]
    bars = [(name, round(share, 4)) for name, share in result.importances.items()]
    few = " With few trials this is a hint, no measurement." if len(result.trials) < 40 else ""
    return [bar_chart(bars, title="Importance, in all 1"), IMPORTANCE_METHOD + few]


def _slices(result: TuningResult, settings: TuningSettings) -> Markup:
    return element("div", *(_slice(result, parameter) for parameter in settings.space.parameters), class_="charts")


def _slice(result: TuningResult, parameter: Parameter) -> Markup:
    series = _dots(result, parameter.name)
    categories = None
    if parameter.kind == "categorical":
        categories = [_shown(value) for value in parameter.values]
        series = {name: [(_shown(x), y, tip) for x, y, tip in part] for name, part in series.items()}
    return dot_chart(
        series, title=parameter.name, x_label=parameter.name, y_label=result.goal.words,
        log=parameter.log, categories=categories,
    )  # fmt: skip


def _best_trial(result: TuningResult, request: TrainingRequest) -> list[str | Markup]:
    counts = _label_counts(request.train, request.label)
    shares = [counts[name] / counts.total() for name in result.description.label_names]
    rows = sum(pq.ParquetFile(file).metadata.num_rows for file in dataset_files(request.validation))
    verdict = diagnose(result.description.history, shares, rows)
    history = [asdict(epoch) for epoch in result.description.history]
    return [verdict.text, fit_curves(history, result.description.training["best_epoch"])]


def _label_counts(dataset: str, label: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for file in dataset_files(dataset):
        found = pc.value_counts(pq.read_table(file, columns=[label]).column(label))
        for name, count in zip(label_strings(pa.chunked_array([found.field(0)])), found.field(1), strict=True):
            counts[name] += count.as_py()
    return counts


def _rows(curve: LearningCurve, result: TuningResult) -> list[str | Markup]:
    series = {
        "validation": [(float(point.rows), point.value) for point in curve.points],
        "training": [(float(point.rows), point.training_value) for point in curve.points],
    }
    failed = [f"Training on {point.rows:,} rows failed: {point.error}" for point in curve.points if point.error]
    chart = line_chart(series, title="Learning curve", x_label="training rows", y_label=result.goal.words)
    return [curve.verdict, chart, *failed]


def _all_trials(result: TuningResult, settings: TuningSettings) -> Markup:
    names = [parameter.name for parameter in settings.space.parameters]
    return table(
        ["trial", "state", result.goal.words, "epochs", "time", *names, "error"],
        [_row(trial, names) for trial in result.trials],
    )


def _row(trial: Trial, names: Sequence[str]) -> list[Any]:
    value = trial.value if trial.value is not None else trial.curve[-1][1] if trial.curve else None
    values = [_shown(trial.values[name]) for name in names]
    epochs = trial.curve[-1][0] if trial.curve else None
    return [trial.number, trial.state, value, epochs, duration(trial.seconds), *values, trial.error]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
