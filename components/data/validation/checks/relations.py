"""How strongly the columns hang together, and those that no longer do: shuffled, or paired with other rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import Data
from shipway.components.data.validation.checks.periods import hours_of_day
from shipway.components.data.validation.checks.rows import described_rows
from shipway.components.data.validation.checks.shapes import quantiles
from shipway.components.data.validation.checks.ties import LEAST, ORDER, ROWS, both_ways
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.seasons import clock, follow_time
from shipway.components.data.validation.settings import Parameter

__all__ = ["broken_relations", "crossed_relations", "lost_time_order", "relations", "sorted_label"]

# Ties between columns of weather are looser in a month than in the year by up to 0.82.
_LOSS_IN_TIME = 0.85
_SPANS = 1.5
_ERRORS = 2.0
_CLEAR = 0.15


def relations(files: Sequence[Path]) -> dict[str, Any]:
    """Returns what a later check compares: to be kept as ``relations`` in ``distributions.json``.

    ``{"duplicate_share", "rows", "hours", "strength": {column: {column: number}}}``: the first two as
    :func:`rows.described_rows` describes, the hours as :func:`periods.hours_of_day`, the strengths as
    :func:`ties.strengths`. Of more than 200,000 rows a part is compared, chosen by content, so that memory does not
    grow with the rows.

    Args:
        files: The Dataset's Parquet files in order.
    """
    with Data(files) as data:
        return {**described_rows(data), "hours": hours_of_day(data), "strength": data.strengths}


@check(
    "broken_relations",
    "warn",
    needs=["dataset", "previous"],
    parameters={
        "min_strength": Parameter(
            0.4,
            "previous strength of a tie, from 0 to 1, from which it counts; less of many rows without times",
            0.1,
            1,
        ),
        "max_loss": Parameter(0.25, "share of its strength that a tie may lose", 0, 1),
    },
)
def broken_relations(view: View) -> Iterator[Finding]:
    """Columns whose ties to all others got lost: shuffled, or joined to the wrong rows."""
    before, after = view.strengths_before, both_ways(view.data.strengths)
    times = {column.name for column in view.data.columns if column.kind == "time"} | {ORDER}
    known = before.keys() & after.keys() - times
    noise = _noise(view)
    clear = 1.0 if clock(view.context) else max(_CLEAR, 10 * noise)
    lost = {}
    for name in sorted(known):
        least = min(clear, view.settings.of(name)["min_strength"])
        ties = {o: s for o, s in before[name].items() if s >= least and o in known - {name}}
        losses = {o: 1 - (max(LEAST, after.get(name, {}).get(o, 0.0)) + noise) / s for o, s in ties.items()}
        if losses and float(np.median(list(losses.values()))) > view.settings.of(name)["max_loss"]:
            lost[name] = losses
    for name in follow_time(view.context, list(lost)):
        if float(np.median(list(lost[name].values()))) < _LOSS_IN_TIME:
            del lost[name]
    yield from _broken(view, lost, before, after)


def _noise(view: View) -> float:
    """Returns by how much the strength of a tie may differ between samples of these sizes."""
    rows: list[int] = [
        (side or {}).get("rows", 0) for side in (view.context.previous_distributions, view.context.distributions)
    ]
    return _ERRORS / math.sqrt(max(1, min(*rows, ROWS)))


@check(
    "lost_time_order",
    "warn",
    needs=["dataset", "previous", "time_column"],
    parameters={
        "min_strength": Parameter(0.8, "previous strength of the tie to time_column, from which it counts", 0.1, 1),
        "max_loss": Parameter(0.25, "share of that strength that may get lost", 0, 1),
    },
)
def lost_time_order(view: View) -> Iterator[Finding]:
    """Columns that went with time_column, as a date or a running number does, and no longer do."""
    times = view.context.time_column
    spans = [
        np.ptp(points) if (points := quantiles(side.get(times))) is not None else 0 for side in (view.before, view.now)
    ]
    # In a month its days go with the time, in a year they do not.
    if not all(spans) or max(spans) > _SPANS * min(spans):
        return
    after = both_ways(view.data.strengths).get(times, {})
    for name, was in sorted(view.strengths_before.get(times, {}).items()):
        settings, now = view.settings.of(name), after.get(name, 0.0)
        known = name not in (times, ORDER) and view.data.column(name) is not None and settings.severity != "off"
        loss = 1 - (now + _noise(view)) / was
        if known and was >= settings["min_strength"] and loss > settings["max_loss"]:
            description = f"{name} went with {times} (strength {was:.2f} of 1), now {now:.2f}. Were the rows shuffled?"
            yield view.finding(
                name, "Order in time lost", description, value=loss, threshold=settings["max_loss"], measure="loss"
            )


def _broken(
    view: View,
    lost: Mapping[str, Mapping[str, float]],
    before: Mapping[str, Mapping[str, float]],
    after: Mapping[str, Mapping[str, float]],
) -> Iterator[Finding]:
    """Yields a finding for each column that lost its strongest tie, unless the other column lost more ties."""
    for name, losses in sorted(lost.items()):
        strongest = max(losses, key=lambda other: before[name][other])
        limit = view.settings.of(name)["max_loss"]
        if view.settings.of(name).severity == "off" or losses[strongest] <= limit:
            continue
        if strongest in lost and len(lost[strongest]) > len(losses):
            continue
        was, now = before[name][strongest], after.get(name, {}).get(strongest, 0.0)
        description = (
            f"{name} hung together with {strongest} (strength {was:.2f} of 1), now {now:.2f}; "
            f"of {len(losses)} ties the middle one lost {np.median(list(losses.values())):.0%}. "
            "Were the rows shuffled or joined wrongly?"
        )
        yield view.finding(
            name, "Ties to other columns lost", description, value=losses[strongest], threshold=limit, measure="loss"
        )


@check(
    "crossed_relations",
    "warn",
    needs=["dataset", "previous"],
    parameters={
        "min_change": Parameter(0.3, "change of a column's strengths, as the root of their sum of squares", 0.05),
        "max_ratio": Parameter(0.5, "distance from the other's previous strengths, as a share of that change", 0, 1),
    },
    per_feature=False,
)
def crossed_relations(view: View) -> Iterator[Finding]:
    """Pairs of columns each tied to the others as the other was: swapped, even where both look alike."""
    before, after = view.strengths_before, both_ways(view.data.strengths)
    names = sorted(before.keys() & after.keys() - {ORDER})
    was, now = (np.array([[ties[a].get(b, 0.0) for b in names] for a in names]) for ties in (before, after))
    least = view.settings["min_change"]
    moved = [i for i in range(len(names)) if np.linalg.norm(now[i] - was[i]) >= least]
    for i, j in itertools.combinations(moved, 2):
        others = [k for k in range(len(names)) if k not in (i, j)]
        own = min(np.linalg.norm((now[k] - was[k])[others]) for k in (i, j))
        crossed = max(np.linalg.norm((now[i] - was[j])[others]), np.linalg.norm((now[j] - was[i])[others]))
        if own >= least and crossed < view.settings["max_ratio"] * own:
            description = f"{names[i]} is tied to the other columns as {names[j]} was, and the other way round."
            yield view.finding(
                names[i], "Swapped columns", description, value=float(own), threshold=least, measure="change"
            )


@check(
    "sorted_label",
    "warn",
    needs=["dataset", "previous", "label"],
    parameters={"min_strength": Parameter(0.5, "strength of the tie to the row order, from 0 to 1", 0.1, 1)},
    per_feature=False,
)
def sorted_label(view: View) -> Iterator[Finding]:
    """A label that goes with the order of the rows, and did not in the previous data."""
    label = view.context.label
    if not view.strengths_before or label not in view.data.names:
        return
    was = view.strengths_before.get(label, {}).get(ORDER, 0.0)
    strength = both_ways(view.data.strengths).get(label, {}).get(ORDER, 0.0)
    threshold = view.settings["min_strength"]
    if strength >= threshold > 2 * was:
        description = f"The label goes with the order of the rows (strength {strength:.2f} of 1, before {was:.2f})."
        yield view.finding(
            label, "Rows sorted by label", description, value=strength, threshold=threshold, measure="strength"
        )
