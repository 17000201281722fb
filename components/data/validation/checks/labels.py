"""Labels that are missing, have one class or other shares of the classes, or stand in the features."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from shipway.components.data.validation.checks.bins import binned, table_of
from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.shapes import shares
from shipway.components.data.validation.findings import MOVED_SHOWN, Finding, Moved
from shipway.components.data.validation.seasons import clock
from shipway.components.data.validation.settings import Parameter

__all__ = ["label_classes", "label_leakage", "label_missing", "label_shift"]

_FEW = 20
_MOST_CLASSES = 100
_BINS = 256
_LEAST_OF_A_CLASS = 10


@check(
    "label_missing",
    "fail",
    needs=["dataset", "label"],
    parameters={"max_share": Parameter(0.0, "share of rows that is let pass", 0, 1)},
    per_feature=False,
)
def label_missing(view: View) -> Iterator[Finding]:
    """Rows without a label, or no such column."""
    label = view.context.label
    column = view.data.column(label)
    if column is None:
        yield view.finding(label, "No label", f"There is no column {label!r}.")
        return
    blank = f" OR trim({column.sql}) = ''" if column.kind == "text" else ""
    rows = view.data.row_numbers(f"{column.sql} IS NULL{blank}")
    if len(rows) > view.settings["max_share"] * view.data.rows:
        yield from view.rows_caught(label, "Label missing", "have no label.", rows)


@check(
    "label_classes",
    "fail",
    needs=["label"],
    parameters={"min_expected": Parameter(20, "rows expected from the previous share, from which a class counts", 1)},
    per_feature=False,
)
def label_classes(view: View) -> Iterator[Finding]:
    """A label with one class, or without a class that the previous data had."""
    label = view.context.label
    column, values = view.now.get(label, {}), shares(view.now.get(label))
    points = column.get("quantiles")
    if len(values) == 1 or (not values and points and points[0] == points[-1]):
        only = next(iter(values), points[0] if points else "")
        yield view.finding(label, "A label with one class", f"Every row's label is {only}.")
    before = shares(view.before.get(label))
    if not values or len(before) > _MOST_CLASSES or column.get("other"):
        return
    least = view.settings["min_expected"] / sum(column["values"].values())
    gone = {value: share for value, share in before.items() if value not in values and share > least}
    if gone:
        shown = ", ".join(f"{value} ({share:.2%})" for value, share in gone.items())
        description = f"No row has the label {shown} any more; the previous shares are in brackets."
        yield view.finding(label, "A class of the label is gone", description, value=len(gone), measure="classes")


@check(
    "label_shift",
    "warn",
    needs=["previous", "label"],
    parameters={
        "max_change": Parameter(0.1, "change of a class's share that is let pass", 0, 1),
        # In 2013 the share of late flights changes by up to 0.12 from month to month.
        "max_change_in_time": Parameter(0.2, "the same of data with times that run on", 0, 1),
        "chance": Parameter(2e-3, "chance of a false alarm that sampling may have", 1e-12, 0.5),
    },
    per_feature=False,
)
def label_shift(view: View) -> Iterator[Finding]:
    """The label's classes have about the shares that they had in the previous data."""
    label = view.context.label
    sides = [shares(columns.get(label)) for columns in (view.before, view.now)]
    classes = sides[0].keys() | sides[1].keys()
    if not all(sides) or len(classes) > _MOST_CLASSES:
        return
    counts = [sum(columns[label]["values"].values()) for columns in (view.before, view.now)]
    moves = [Moved(each, *(side.get(each, 0.0) for side in sides)) for each in sorted(classes)]
    moved = sorted(moves, key=lambda move: -abs(move.after - move.before))[:MOVED_SHOWN]
    most = moved[0]
    pooled = (most.before * counts[0] + most.after * counts[1]) / sum(counts)
    errors = NormalDist().inv_cdf(1 - view.settings["chance"] / (2 * len(classes)))
    noise = errors * (pooled * (1 - pooled) * (1 / counts[0] + 1 / counts[1])) ** 0.5
    limit = max(noise, view.settings["max_change_in_time" if clock(view.context) else "max_change"])
    change = abs(most.after - most.before)
    if change > limit:
        description = (
            f"{most.bin} was {most.before:.2%} of the labels and is {most.after:.2%}; {limit:.2%} is let pass."
        )
        yield view.finding(
            label,
            "Other shares of the classes",
            description,
            value=change,
            threshold=limit,
            measure="change of the share",
            moved=tuple(moved),
        )


@check(
    "label_leakage",
    "fail",
    needs=["dataset", "label"],
    parameters={
        # The best single feature of breast_cancer reaches 0.97.
        "max_score": Parameter(0.99, "score of a feature: ROC AUC of two classes, else the share explained", 0.5, 1)
    },
)
def label_leakage(view: View) -> Iterator[Finding]:
    """Features that alone predict the label too well, copies of it among them."""
    label, sample = view.context.label, view.data.sample
    if label not in sample.values:
        return
    known = ~np.isnan(sample.values[label]) if label not in sample.texts else np.full(len(sample.values[label]), True)
    target = sample.values[label][known]
    classes, codes = np.unique(target, return_inverse=True)
    whole = label in sample.texts or bool(np.all(target == np.round(target)))
    by_class = whole and 2 <= len(classes) <= (_MOST_CLASSES if label in sample.texts else _FEW)
    if len(classes) < 2 or (label in sample.texts and not by_class):
        return
    if by_class and int(np.sort(np.bincount(codes.reshape(-1)))[-2]) < _LEAST_OF_A_CLASS:
        return
    for column in view.columns("integer", "float", "text", "boolean", "time"):
        if column.name == label:
            continue
        values = sample.values[column.name][known]
        bins = binned(values, text=column.name in sample.texts, bins=_BINS)
        score, words = _score(bins, target, codes.reshape(-1) if by_class else None)
        threshold = view.settings.of(column.name)["max_score"]
        if score > threshold:
            description = (
                f"{column.name} alone predicts {label} with {words} of {score:.4f}; "
                "is it known before the label is? Leave it out if not."
            )
            yield view.finding(
                column.name, "Leaks the label", description, value=score, threshold=threshold, measure=words
            )


def _score(bins: np.ndarray, target: np.ndarray, codes: np.ndarray | None) -> tuple[float, str]:
    """Returns how well bins learned on one half of the rows predict the other half, and what the number is."""
    halves = [np.arange(len(bins)) % 2 == half for half in (0, 1)]
    if codes is None:
        ranks = np.searchsorted(np.sort(target), target) / len(target)
        parts = [_explained(bins, ranks, learn, ~learn) for learn in halves]
        return float(np.mean(parts)), "share of the ranks' variance"
    classes = int(codes.max()) + 1
    tables = [table_of(bins[half], codes[half], _BINS + 1, classes) for half in halves]
    pairs = [(tables[0], tables[1]), (tables[1], tables[0])]
    if classes == 2:
        return float(np.mean([_auc(*pair) for pair in pairs])), "ROC AUC"
    return float(np.mean([_errors_removed(*pair) for pair in pairs])), "share of errors removed"


def _auc(learned: np.ndarray, judged: np.ndarray) -> float:
    prior = learned[:, 1].sum() / max(1, learned.sum())
    scores = (learned[:, 1] + prior) / (learned.sum(axis=1) + 1)
    levels = np.unique(scores, return_inverse=True)[1].reshape(-1)
    negative, positive = (np.bincount(levels, weights=judged[:, side]) for side in (0, 1))
    below = np.cumsum(negative) - negative
    pairs = negative.sum() * positive.sum()
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs else 0.5


def _errors_removed(learned: np.ndarray, judged: np.ndarray) -> float:
    usual = int(learned.sum(axis=0).argmax())
    guess = np.where(learned.sum(axis=1) > 0, learned.argmax(axis=1), usual)
    rows = judged.sum()
    wrong = rows - judged[np.arange(len(judged)), guess].sum()
    wrong_without = rows - judged[:, usual].sum()
    return float(1 - wrong / wrong_without) if wrong_without else 0.0


def _explained(bins: np.ndarray, ranks: np.ndarray, learn: np.ndarray, judge: np.ndarray) -> float:
    mean = float(ranks[learn].mean())
    counts = np.bincount(bins[learn], minlength=_BINS + 1)
    sums = np.bincount(bins[learn], weights=ranks[learn], minlength=_BINS + 1)
    guess = np.where(counts > 0, sums / np.maximum(1, counts), mean)
    spread = float(((ranks[judge] - mean) ** 2).sum())
    return float(1 - ((ranks[judge] - guess[bins[judge]]) ** 2).sum() / spread) if spread else 0.0
