"""Conditions of the user's own that hold in every row, within a column or across columns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
from tensorflow_metadata.proto.v0 import schema_pb2

from shipway.components.common.errors import InputError
from shipway.components.data.validation.checks.check import View, check
from shipway.components.data.validation.checks.data import Data
from shipway.components.data.validation.findings import Finding

__all__ = ["Rule", "parse_rules", "row_rules"]

_KEYS = ("name", "expression", "severity")


@dataclasses.dataclass(frozen=True)
class Rule:
    """A condition in SQL over the columns; a row where it is false breaks the rule, one where it is NULL does not."""

    name: str
    expression: str
    severity: str = ""


def parse_rules(rules: Sequence[str | Mapping[str, Any]]) -> list[Rule]:
    """Returns the rules of ``["arr_time > dep_time", {"name": …, "expression": …, "severity": "fail|warn|off"}]``.

    Raises:
        InputError: When a rule has another form, or two have one name.
    """
    parsed = [_parsed(rule, f"rules[{index}]") for index, rule in enumerate(rules)]
    names = [rule.name for rule in parsed]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"rules: {name!r} is there {names.count(name)} times; name each rule differently")
    return parsed


def _parsed(rule: str | Mapping[str, Any], where: str) -> Rule:
    given = {"expression": rule} if isinstance(rule, str) else rule
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        raise InputError(f"{where}={rule!r}: must be a condition in SQL, or a mapping of texts with {', '.join(_KEYS)}")
    unknown = [key for key in given if key not in _KEYS]
    if unknown or not given.get("expression", "").strip():
        wrong = f"there is no {unknown[0]!r}" if unknown else "expression is missing"
        raise InputError(f"{where}: {wrong}; a rule has {', '.join(_KEYS)}")
    severity = given.get("severity", "")
    if severity not in ("", "fail", "warn", "off"):
        raise InputError(f"{where}.severity={severity!r}: must be one of fail, warn, off")
    return Rule(given.get("name") or given["expression"].strip(), given["expression"].strip(), severity)


@check("row_rules", "fail", needs=["dataset", "rules"], per_feature=False)
def row_rules(view: View) -> Iterator[Finding]:
    """Rows that break one of the rules, and rules that cannot be checked because a column is not as the schema says."""
    for rule in parse_rules(view.context.rules):
        if rule.severity == "off":
            continue
        try:
            _require_condition(view.data, rule)
            rows = view.data.row_numbers(f"NOT ({rule.expression}\n)")
        except duckdb.Error as error:
            lost = _lost(view, rule)
            if not lost:
                columns = ", ".join(view.data.names[:50])
                raise InputError(f"rules: {rule.name!r}: {error}\nThe columns are {columns}") from error
            text = f"The rule {rule.expression} cannot be checked: {'; '.join(lost.values())}."
            found = view.finding(next(iter(lost)), rule.name, text)
            yield dataclasses.replace(found, severity=rule.severity or found.severity)
        else:
            column = _only_column(view.data.names, rule)
            yield from view.rows_caught(column, rule.name, f"break the rule {rule.expression}.", rows, rule.severity)


def _require_condition(data: Data, rule: Rule) -> None:
    query = f"SELECT ({rule.expression}\n) AS kept FROM data"  # noqa: S608
    statements = data.database.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InputError(f"rules: {rule.name!r} must be one condition; other statements are not run")
    described = data.query(f"DESCRIBE {query}")
    if len(described) != 1 or described[0][1] != "BOOLEAN":
        kind = described[0][1] if described else "nothing"
        raise InputError(f"rules: {rule.name!r} gives {kind}; it must be a condition, true or false in each row")


def _lost(view: View, rule: Rule) -> dict[str, str]:
    """Returns what is wrong with the columns of the schema that a rule names: gone, or of another type."""
    lost = {}
    for feature in view.context.schema.feature:
        column, numbers = view.data.column(feature.name), feature.type in (schema_pb2.INT, schema_pb2.FLOAT)
        if not _named([feature.name], rule):
            continue
        if column is None:
            lost[feature.name] = f"there is no column {feature.name}"
        elif numbers is (column.kind == "text"):
            kinds = ("text", "numbers") if numbers else ("numbers", "text")
            lost[feature.name] = f"{feature.name} holds {kinds[0]} rather than {kinds[1]}"
    return lost


def _only_column(names: Sequence[str], rule: Rule) -> str:
    """Returns the column that a rule is about; empty when there are several."""
    named = _named(names, rule)
    return named[0] if len(named) == 1 else ""


def _named(names: Sequence[str], rule: Rule) -> list[str]:
    words = set(re.findall(r"\w+", rule.expression))
    return [name for name in names if name in words or f'"{name}"' in rule.expression]
