"""How strongly the columns hang together, and those that no longer do: shuffled, or paired with other rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import Data
from shipway.components.data.validation.checks.rows import repeated_share
from shipway.components.data.validation.checks.ties import ORDER, both_ways
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.seasons import follow_time
from shipway.components.data.validation.settings import Parameter

__all__ = ["broken_relations", "crossed_relations", "relations", "sorted_label"]

# Ties between columns of weather change with the season by up to 0.6.
_LOSS_IN_TIME = 0.75


def relations(files: Sequence[Path]) -> dict[str, Any]:
    """Returns what a later check compares: to be kept as ``relations`` in ``distributions.json``.

    ``{"duplicate_share": share of rows that repeat an earlier one, "strength": {column: {column: number}}}``, the
    strengths as :func:`ties.strengths` describes. Of more than 200,000 rows a part is compared, chosen by content, so
    that memory does not grow with the rows.

    Args:
        files: The Dataset's Parquet files in order.
    """
    with Data(files) as data:
        return {"duplicate_share": repeated_share(data), "strength": data.strengths}


@check(
    "broken_relations",
    "warn",
    needs=["dataset", "previous"],
    parameters={
        "min_strength": Parameter(0.4, "previous strength of a tie, from 0 to 1, from which it counts", 0.1, 1),
        "max_loss": Parameter(0.35, "share of its strength that a tie may lose", 0, 1),
    },
)
def broken_relations(view: View) -> Iterator[Finding]:
    """Columns whose ties to all others got lost: shuffled, or joined to the wrong rows."""
    before, after = view.strengths_before, both_ways(view.data.strengths)
    times = {column.name for column in view.data.columns if column.kind == "time"} | {ORDER}
    known = before.keys() & after.keys() - times
    lost = {}
    for name in sorted(known):
        settings = view.settings.of(name)
        ties = {o: s for o, s in before[name].items() if s >= settings["min_strength"] and o in known - {name}}
        losses = {other: 1 - after.get(name, {}).get(other, 0.0) / strength for other, strength in ties.items()}
        if losses and float(np.median(list(losses.values()))) > settings["max_loss"]:
            lost[name] = losses
    for name in follow_time(view.context, list(lost)):
        if float(np.median(list(lost[name].values()))) < _LOSS_IN_TIME:
            del lost[name]
    yield from _broken(view, lost, before, after)


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
