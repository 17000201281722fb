"""What a check is, and what every check needs: its view of the data, and findings with its name and severity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from shipway.components.data.validation.checks.data import Aggregate, Column, Data
from shipway.components.data.validation.checks.ties import both_ways
from shipway.components.data.validation.context import Context
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.settings import CheckSettings, CheckSpec, Parameter

__all__ = ["Check", "View", "check", "share_of"]


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """What one check sees.

    Attributes:
        context: The dataset under validation.
        settings: The check's own.
        source: The rows; None when there is no Dataset.
    """

    context: Context
    settings: CheckSettings
    source: Data | None

    @property
    def data(self) -> Data:
        """The rows, for a check that needs them."""
        if self.source is None:
            raise LookupError(f"the check {self.settings.name} must name dataset among its needs")
        return self.source

    def finding(self, feature: str, short: str, description: str, **more: Any) -> Finding:
        """Returns a finding with the check's name and the severity set for the feature."""
        return Finding(self.settings.name, self.settings.of(feature).severity, feature, short, description, **more)

    def rows_caught(
        self, feature: str, short: str, description: str, rows: np.ndarray, severity: str = ""
    ) -> Iterator[Finding]:
        """Yields one finding about rows, if there are any; ``description`` follows their number."""
        if len(rows):
            text = f"{share_of(len(rows), self.data.rows)} {description}"
            found = self.finding(feature, short, text, value=len(rows) / self.data.rows, measure="share of rows")
            found = dataclasses.replace(found, severity=severity or found.severity)
            yield dataclasses.replace(found, rows=len(rows), row_numbers=rows)

    def columns(self, *kinds: str) -> Iterator[Column]:
        """Yields the columns of some kinds that the check is not off for."""
        for column in self.data.columns:
            if column.kind in kinds and self.settings.of(column.name).severity != "off":
                yield column

    @property
    def now(self) -> Mapping[str, Mapping[str, Any]]:
        """The columns' distributions (``distributions.json``) by name."""
        columns: Mapping[str, Mapping[str, Any]] = self.context.distributions.get("columns", {})
        return columns

    @property
    def before(self) -> Mapping[str, Mapping[str, Any]]:
        """The same of the previous data; empty without."""
        columns: Mapping[str, Mapping[str, Any]] = (self.context.previous_distributions or {}).get("columns", {})
        return columns

    @property
    def strengths_before(self) -> Mapping[str, Mapping[str, float]]:
        """How strongly the previous data's columns hung together, in both directions; empty when that is not known."""
        kept: Mapping[str, Any] = (self.context.previous_distributions or {}).get("relations", {})
        return both_ways(kept.get("strength", {}))

    @property
    def known_names(self) -> list[str]:
        """The Dataset's columns, then those that only the schema has."""
        return list(dict.fromkeys([*self.data.names, *(feature.name for feature in self.context.schema.feature)]))

    def shared(self, kind: str) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
        """Yields name, previous and present distribution of each column of a kind that both have, if it has values."""
        for name, after in self.now.items():
            before = self.before.get(name)
            if before and before["kind"] == after["kind"] == kind and self.settings.of(name).severity != "off":
                yield name, before, after


@dataclasses.dataclass(frozen=True)
class Check:
    """A check: what the catalogue says of it, how it finds, and what it wants from the one scan."""

    spec: CheckSpec
    find: Callable[[View], Iterable[Finding]]
    aggregates: tuple[Aggregate, ...] = ()


def check(
    name: str,
    severity: str,
    *,
    needs: Sequence[str] = (),
    parameters: Mapping[str, Parameter] | None = None,
    per_feature: bool = True,
    aggregates: Sequence[Aggregate] = (),
) -> Callable[[Callable[[View], Iterable[Finding]]], Check]:
    """Makes a :class:`Check` of the function that finds.

    The arguments are those of ``CheckSpec``; the description is the first line of the function's docstring.
    """

    def made(find: Callable[[View], Iterable[Finding]]) -> Check:
        description = (find.__doc__ or name).splitlines()[0].rstrip(".")
        spec = CheckSpec(name, severity, description, tuple(needs), dict(parameters or {}), per_feature)
        return Check(spec, find, tuple(aggregates))

    return made


def share_of(count: int, rows: int) -> str:
    """Returns a number of rows with its share, for people."""
    return f"{count:,} of {rows:,} rows ({count / rows:.2%})"
