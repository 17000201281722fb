"""Drift against earlier data and skew against serving data: every column's distance, held against a threshold.

Three things keep the default thresholds quiet on clean data: they grow to what two samples of this size differ by
chance, columns that run on (:func:`~shipway.components.data.validation.seasons.runs_on`) are not judged, and columns
that follow the time are held against ``time_threshold``. A threshold that somebody set, in the settings or in the
schema, is taken as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from shipway.components.common.errors import InputError
from shipway.components.data.tables import require_columns
from shipway.components.data.validation.context import Context
from shipway.components.data.validation.distances import MEASURES, distance, kolmogorov_smirnov, moved, noise
from shipway.components.data.validation.distributions import Shares, binned_shares, category_shares
from shipway.components.data.validation.findings import Comparison, Finding
from shipway.components.data.validation.seasons import follow_time, runs_on
from shipway.components.data.validation.settings import CheckSettings, CheckSpec, Parameter

__all__ = ["SPECS", "THRESHOLDS", "compare", "drift_findings"]

#: Columns of the demo that keep their shape move by at most 0.042 (l_infinity of strings), 0.19 (ks), 0.18 (psi) and
#: 0.03 (jensen_shannon) from month to month. 0.25 is where PSI is commonly called a major shift.
THRESHOLDS = {"l_infinity": 0.1, "jensen_shannon": 0.1, "kl": 0.2, "psi": 0.25, "ks": 0.25}
_BOUNDED = ("l_infinity", "jensen_shannon", "ks")
_BASELINES = {"previous": "the previous data", "serving": "the serving data"}
_PARAMETERS = {
    "measure": Parameter("", "distance; empty: l_infinity for strings, ks for numbers", choices=("", *MEASURES)),
    "threshold": Parameter(
        None, "distance that is let pass, taken as it is; the measure's own when not set", 0, kind=float
    ),
    # The weather of the demo's months reaches 0.82.
    "time_threshold": Parameter(0.9, "threshold for columns that follow the time column", 0, 1),
    "chance": Parameter(1e-4, "chance of a false alarm per column that sampling may have", 1e-12, 0.5),
}

SPECS = (
    CheckSpec(
        "drift",
        "fail",
        "Every column is distributed as in the previous data",
        needs=("previous",),
        parameters=_PARAMETERS,
        per_feature=True,
    ),
    CheckSpec(
        "skew",
        "fail",
        "Every column is distributed as in the serving data",
        needs=("serving",),
        parameters=_PARAMETERS,
        per_feature=True,
    ),
)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A column of both sides."""

    name: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    rows_before: int
    rows_after: int

    def shares(self, measure: str) -> Shares:
        sides = (self.before, self.after, self.rows_before, self.rows_after)
        return category_shares(*sides) if self.counted(measure) else binned_shares(*sides)

    def counted(self, measure: str) -> bool:
        """Whether categories are compared rather than bins."""
        return self.before["kind"] == "string" or (measure == "l_infinity" and self.listed)

    @property
    def listed(self) -> bool:
        return all(side["values"] is not None and not side["other"] for side in (self.before, self.after))

    def suits(self, measure: str) -> bool:
        text = self.before["kind"] == "string"
        return not text if measure == "ks" else text or measure != "l_infinity" or self.listed


def compare(
    context: Context,
    baseline: str,
    settings: CheckSettings,
    comparators: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Comparison]:
    """Measures every column that both sides have.

    Args:
        context: The data and its baselines.
        baseline: ``previous`` or ``serving``; with the latter the label is left out.
        settings: Those of ``drift`` or ``skew``.
        comparators: Thresholds by measure and column that the schema sets; settings of the column go before them.

    Raises:
        InputError: When a measure is asked of a column that it does not suit, or settings name an unknown column.
    """
    before = context.previous_distributions if baseline == "previous" else context.serving_distributions
    after = context.distributions
    if before is None:
        return []
    known = [*after["columns"], *(feature.name for feature in context.schema.feature)]
    require_columns(settings.features, list(dict.fromkeys(known)), f"checks.{settings.name}.features")
    found = []
    for name, column in after["columns"].items():
        earlier = before["columns"].get(name)
        left_out = name == context.label and baseline == "serving"
        if earlier is None or left_out or settings.of(name).severity == "off" or not (before["rows"] and after["rows"]):
            continue
        if name == context.time_column:
            found.append(Comparison(baseline, name, "", None, None, note="the time column runs on"))
        elif earlier["kind"] != column["kind"]:
            note = f"{earlier['kind']} before, {column['kind']} now"
            found.append(Comparison(baseline, name, "", None, None, note=note))
        else:
            pair = _Pair(name, earlier, column, before["rows"], after["rows"])
            found += _measured(pair, baseline, settings, (comparators or {}).get(name, {}))
    eased = {name for name in before["columns"] if _by_default(name, settings, (comparators or {}).get(name))}
    return _seasonal(found, context, before, settings, eased)


def drift_findings(comparisons: list[Comparison], settings: CheckSettings) -> Iterator[Finding]:
    """Yields a finding for every distance above its threshold."""
    for each in comparisons:
        if each.value is None or each.threshold is None or each.value <= each.threshold:
            continue
        shown = "; ".join(f"{m.bin}: {m.before:.1%} to {m.after:.1%}" for m in each.moved[:3])
        name = each.measure.replace("_", "-")
        text = f"{name} against {_BASELINES[each.baseline]} is {each.value:.4g}, above {each.threshold:.4g}"
        yield Finding(
            check=settings.name,
            severity=settings.of(each.feature).severity,
            feature=each.feature,
            short="Drift from the previous data" if each.baseline == "previous" else "Skew to the serving data",
            description=text + (f"; moved most: {shown}" if shown else "") + (f" ({each.note})" if each.note else ""),
            value=each.value,
            threshold=each.threshold,
            measure=each.measure,
            moved=each.moved,
        )


def _measured(pair: _Pair, baseline: str, settings: CheckSettings, asked: Mapping[str, float]) -> Iterator[Comparison]:
    own = settings.of(pair.name)
    if asked and not _set_for(pair.name, settings):
        for measure, threshold in asked.items():
            _require_suitable(pair, measure, f"the schema's {settings.name}_comparator of {pair.name}")
            yield _compared(pair, baseline, measure, threshold)
        return
    measure = own["measure"]
    if _set_for(pair.name, settings):
        _require_suitable(pair, measure, f"checks.{settings.name}.features.{pair.name}.measure={measure}")
    if not measure or not pair.suits(measure):
        measure = "l_infinity" if pair.before["kind"] == "string" else "ks"
    if own["threshold"] is not None:
        yield _compared(pair, baseline, measure, own["threshold"])
        return
    chance = noise(measure, pair.shares(measure), pair.rows_before, pair.rows_after, own["chance"])
    note = "threshold raised to what so few rows differ by chance" if chance > THRESHOLDS[measure] else ""
    yield _compared(pair, baseline, measure, max(chance, THRESHOLDS[measure]), note)


def _set_for(name: str, settings: CheckSettings) -> bool:
    """Says whether the settings name this very column with a measure or threshold."""
    return name in settings.features and bool(settings.of(name).given & {"measure", "threshold"})


def _by_default(name: str, settings: CheckSettings, asked: Mapping[str, float] | None) -> bool:
    from_schema = asked and not _set_for(name, settings)
    return not from_schema and settings.of(name)["threshold"] is None


def _compared(pair: _Pair, baseline: str, measure: str, threshold: float, note: str = "") -> Comparison:
    shares = pair.shares(measure)
    if measure == "ks":
        value = kolmogorov_smirnov(pair.before, pair.after, pair.rows_before, pair.rows_after)
    else:
        value = distance(measure, shares, pair.rows_before, pair.rows_after)
    return Comparison(baseline, pair.name, measure, value, threshold, moved(shares), note)


def _require_suitable(pair: _Pair, measure: str, where: str) -> None:
    if not measure or pair.suits(measure):
        return
    if measure == "ks":
        raise InputError(
            f"{where}: ks is for numbers, and {pair.name} holds strings; use l_infinity, jensen_shannon or psi"
        )
    raise InputError(
        f"{where}: l_infinity is for categories, and {pair.name} holds numbers of too many distinct values to count "
        "one by one; use ks, jensen_shannon or psi"
    )


def _seasonal(
    found: list[Comparison], context: Context, before: Mapping[str, Any], settings: CheckSettings, by_default: set[str]
) -> list[Comparison]:
    """Eases default thresholds that are exceeded, where the time explains it."""
    above = {
        each.feature
        for each in found
        if each.value is not None and each.threshold is not None and each.value > each.threshold
    } & by_default
    columns = context.distributions["columns"]
    running = {name for name in above if runs_on(before["columns"][name], columns[name])}
    following = follow_time(context, sorted(above - running))
    return [
        dataclasses.replace(each, threshold=None, note="runs on where the other data ends")
        if each.feature in running
        else _eased(each, settings)
        if each.feature in following
        else each
        for each in found
    ]


def _eased(comparison: Comparison, settings: CheckSettings) -> Comparison:
    bound = settings.of(comparison.feature)["time_threshold"]
    threshold = max(bound, comparison.threshold or 0.0) if comparison.measure in _BOUNDED else None
    return dataclasses.replace(comparison, threshold=threshold, note="follows the time")
