"""What the command line prints about columns, findings and checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # loading it takes a while
    from shipway.components.data.validation.settings import CheckSpec

__all__ = ["check_entries", "check_lines", "column_lines", "finding_lines"]

_SHOWN_VALUES = 3
_SHOWN_CHARACTERS = 80


def column_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each column: type, missing share, and its range or its most frequent values.

    Args:
        summary: What ``summary.json`` holds.
    """
    yield f"{'column':<28} {'type':<7} {'missing':>8}  values"
    for column in summary["columns"]:
        fraction = column["missing_fraction"]
        missing = "" if fraction is None else f"{fraction:.1%}"
        values = _line(_values(column))[:_SHOWN_CHARACTERS]
        yield f"{_line(column['name']):<28} {column['type']:<7} {missing:>8}  {values}".rstrip()


def finding_lines(anomalies: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each finding of ``anomalies.json``."""
    for found in anomalies["anomalies"]:
        what = found["description"] or found["short"]
        yield f"{found['severity']:<5} {found['check']:<20} {_line(found['feature']):<20} {_line(what)}"


def check_lines(catalogue: Iterable[CheckSpec]) -> Iterator[str]:
    """Yields lines for each check: what it is, and its parameters with their defaults."""
    for check in catalogue:
        needs = f"  (needs {', '.join(check.needs)})" if check.needs else ""
        yield f"{check.name:<20} {check.severity:<5} {check.description}{needs}"
        for name, parameter in check.parameters.items():
            yield f"{'':<26} {name}={json.dumps(parameter.default)}: {parameter.description}"


def check_entries(catalogue: Iterable[CheckSpec]) -> list[dict[str, Any]]:
    """Returns the same for machines."""
    return [
        {
            "name": check.name,
            "severity": check.severity,
            "description": check.description,
            "needs": list(check.needs),
            "parameters": {
                name: {"default": parameter.default, "description": parameter.description}
                for name, parameter in check.parameters.items()
            },
        }
        for check in catalogue
    ]


def _values(column: Mapping[str, Any]) -> str:
    if column["top_values"]:
        top = ", ".join(str(value["value"]) for value in column["top_values"][:_SHOWN_VALUES])
        return f"{column['unique']:,} distinct: {top}"
    if column["median"] is None:
        return ""
    low = "-infinity" if column["min"] is None else f"{column['min']:,.6g}"
    high = "infinity" if column["max"] is None else f"{column['max']:,.6g}"
    return f"{low} to {high}, median {column['median']:,.6g}"


def _line(text: str) -> str:
    return " ".join(text.split())
