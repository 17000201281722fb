"""Everything about the models of a run, side by side: candidates, champion and baselines."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from shipway.components.common.reports import (
    compare_training,
    confusion_matrix,
    element,
    finite,
    interval,
    interval_chart,
    number,
    roc_chart,
    table,
)
from shipway.pipelines.report.collect import Candidate, Findings, Json

__all__ = ["CHECK_TITLES", "Score", "curves", "leader", "overall", "quality", "rivals", "scores", "training_facts"]

METRIC_TITLES = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "Log loss",
    "accuracy": "Accuracy",
    "brier": "Brier score",
}
CHECK_TITLES = {
    "min_auc": "ROC AUC at least",
    "min_auc_gain_over_baseline": "gain over class shares more than",
    "max_loss_vs_champion": "loss against the champion at most",
}
_MOST_SLICES = 15
_MOST_RIVALS = 3


@dataclasses.dataclass(frozen=True)
class Score:
    """A row of the comparison: a model's name, what it is, its metrics and ROC curves."""

    title: str
    kind: str
    overall: Json
    roc_curves: Sequence[Json] = ()


def leader(candidates: Sequence[Candidate]) -> Candidate | None:
    """Returns the released candidate, else the selected one, else the one with the best ROC AUC."""

    def rank(candidate: Candidate) -> tuple[bool, bool, float]:
        return candidate.released, candidate.selected, _value(overall(candidate).get("roc_auc"))

    return max(candidates, key=rank, default=None)


def overall(candidate: Candidate) -> Json:
    """Returns a candidate's metrics over all rows of the test; empty where it was not evaluated."""
    return dict(candidate.metrics.get("overall") or {})


def scores(found: Findings) -> list[Score]:
    """Returns everything that was measured on the test: candidates, champion, baselines, class shares."""
    evaluated = [candidate for candidate in found.candidates if candidate.metrics]
    rows = [
        Score(c.title, _kind(c), overall(c), c.metrics.get("roc_curves") or ())
        for c in sorted(evaluated, key=lambda c: -_value(overall(c).get("roc_auc")))
    ]
    champion = next((c.metrics["champion"] for c in evaluated if c.metrics.get("champion")), None)
    if champion:
        known = {key: value for key, value in champion.items() if key in METRIC_TITLES}
        rows.append(Score("Champion", "champion", known))
    rows += [
        Score(str(b.get("title") or b.get("name")), "baseline", b.get("overall") or {}, b.get("roc_curves") or ())
        for b in found.baselines
    ]
    shares = next((c.metrics["baseline"] for c in evaluated if c.metrics.get("baseline")), None)
    if shares:
        rows.append(Score("Class shares", "baseline", {k: v for k, v in shares.items() if k in METRIC_TITLES}))
    return rows


def rivals(found: Findings) -> list[tuple[str, float]]:
    """Returns the best rivals of the leading candidate and their ROC AUC."""
    lead = leader(found.candidates)
    known = [(score.title, _auc(score)) for score in scores(found) if lead is None or score.title != lead.title]
    return sorted(((title, auc) for title, auc in known if auc is not None), key=lambda rival: -rival[1])[:_MOST_RIVALS]


def curves(trained: Sequence[Candidate]) -> Markup:
    """Returns the training curves of all candidates, each score in one picture."""
    return compare_training({candidate.title: candidate.model.get("history") or [] for candidate in trained})


def training_facts(trained: Sequence[Candidate]) -> Markup:
    """Returns a table with a row per fact of the training and a column per candidate."""
    facts: dict[str, list[Any]] = {}
    for index, candidate in enumerate(trained):
        history = candidate.model.get("history") or []
        told = {"task": candidate.task, "epochs": len(history), **(candidate.model.get("training") or {})}
        told["inputs"] = len(candidate.model.get("inputs") or [])
        for name, value in told.items():
            facts.setdefault(name, [None] * len(trained))[index] = value
    rows = [[name.replace("_", " "), *map(_fact, values)] for name, values in facts.items()]
    return table(["", *(candidate.title for candidate in trained)], rows)


def quality(found: Findings) -> dict[str, Any]:
    """Returns the charts and tables of the section on quality."""
    rows = scores(found)
    evaluated = sorted((c for c in found.candidates if c.metrics), key=lambda c: -_value(overall(c).get("roc_auc")))
    keys = list(dict.fromkeys(key for key in METRIC_TITLES for row in rows if key in row.overall))
    lead = leader(evaluated)
    return {
        "rows": lead.metrics.get("rows") if lead else None,
        "comparison": interval_chart(
            [(row.title, row.overall["roc_auc"]) for row in rows if isinstance(row.overall.get("roc_auc"), dict)],
            title="ROC AUC on the test split, with 95 % intervals",
        ),
        "rocs": _rocs(rows),
        "metrics": table(
            ["", *(METRIC_TITLES[key] for key in keys)],
            [[_named(row), *(_metric(row.overall.get(key)) for key in keys)] for row in rows],
        ),
        "gains": [
            (c.title, interval(c.metrics["champion"].get("gain")))
            for c in evaluated
            if (c.metrics.get("champion") or {}).get("gain")
        ],
        "matrices": [_confusion(c) for c in evaluated if c.metrics.get("confusion_matrix")],
        **_slices(evaluated, lead),
    }


def _rocs(rows: Sequence[Score]) -> list[Markup]:
    """Returns one chart for all models of two classes; a chart per model where each has a curve per class."""
    drawn = [row for row in rows if row.roc_curves]
    if all(len(row.roc_curves) == 1 for row in drawn):
        lines = [{**row.roc_curves[0], "label": row.title, "roc_auc": _auc(row)} for row in drawn]
        return [roc_chart(lines, title="ROC curves")] if lines else []
    return [roc_chart(row.roc_curves, title=f"{row.title}: ROC curve of each class") for row in drawn]


def _slices(evaluated: Sequence[Candidate], lead: Candidate | None) -> dict[str, Any]:
    """Returns the table of slices, those where the leading candidate does worst first, and a picture of the weakest."""
    if lead is None or not lead.metrics.get("slices"):
        return {"slices": None}
    others = [candidate for candidate in evaluated if candidate is not lead]
    aucs = [{_slice_name(part): _slice_auc(part) for part in c.metrics.get("slices") or []} for c in others]
    known = sorted(lead.metrics["slices"], key=lambda part: (_value(_slice_auc(part), math.inf), _slice_name(part)))
    rows = [
        [
            _slice_name(part),
            part.get("rows"),
            interval(_slice_auc(part)),
            *(interval(_number(auc.get(_slice_name(part)))) for auc in aucs),
        ]
        for part in known[:_MOST_SLICES]
    ]
    return {
        "slices": table(["Slice", "Rows", *(f"ROC AUC, {c.title}" for c in (lead, *others))], rows),
        "more_slices": len(known) - len(rows),
        "weakest": interval_chart(
            [(_slice_name(part), _slice_auc(part)) for part in known[:_MOST_SLICES]],
            title=f"ROC AUC of {lead.title}; dotted: over all rows",
            reference=_auc(lead),
        ),
    }


def _slice_name(part: Json) -> str:
    return f"{part.get('column')} = {part.get('value')}"


def _slice_auc(part: Json) -> Any:
    return (part.get("metrics") or {}).get("roc_auc")


def _confusion(candidate: Candidate) -> Markup:
    matrix = candidate.metrics["confusion_matrix"]
    threshold = finite(matrix.get("threshold"))
    note = "" if threshold is None else f", threshold {number(threshold)}"
    return confusion_matrix(
        [str(label) for label in matrix["labels"]], matrix["matrix"], title=f"{candidate.title}{note}"
    )


def _named(row: Score) -> Markup:
    return escape(row.title) + element("span", row.kind, class_=f"tag {row.kind}")


def _kind(candidate: Candidate) -> str:
    return "released" if candidate.released else "selected" if candidate.selected else "candidate"


def _metric(metric: Any) -> Markup:
    return element("span", interval(metric), class_="metric")


def _fact(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, int | float | str | None) else str(value)


def _auc(scored: Score | Candidate) -> float | None:
    return _number((overall(scored) if isinstance(scored, Candidate) else scored.overall).get("roc_auc"))


def _value(metric: Any, default: float = -math.inf) -> float:
    known = _number(metric)
    return default if known is None else known


def _number(metric: Any) -> float | None:
    return finite(metric.get("value") if isinstance(metric, dict) else metric)
