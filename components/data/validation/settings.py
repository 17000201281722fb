"""What a check is called, what can be set about it, and the settings that a user gives.

Settings are a mapping from a check's name to a severity, or to a mapping with ``severity``, the check's own
parameters, and ``features``: the same again for single columns, where the check takes it::

    {"duplicate_rows": "off", "drift": {"severity": "fail", "features": {"distance": {"measure": "ks"}}}}
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from shipway.components.common.errors import InputError

__all__ = ["NEEDS", "SEVERITIES", "CheckSettings", "CheckSpec", "Parameter", "parse_settings"]

SEVERITIES = ("fail", "warn", "off")
NEEDS = {
    "dataset": "the rows themselves (dataset)",
    "previous": "the statistics of earlier data (previous_statistics)",
    "serving": "the statistics of serving data (serving_statistics)",
    "label": "the name of the label (label)",
    "key_columns": "the columns that name a row (key_columns)",
    "time_column": "the column with each row's time (time_column)",
    "rules": "rules (rules)",
    "pandera_schema": "a pandera schema (pandera_schema)",
}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One thing that can be set about a check.

    Attributes:
        default: What holds when nothing is set; None where the check finds its own.
        description: A phrase for people, with the unit.
        low: The least number allowed.
        high: The largest.
        choices: The words allowed, where these are few.
        kind: ``float``, ``int``, ``bool``, ``str`` or ``list`` (of strings); that of ``default`` when not given.
    """

    default: Any
    description: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    kind: type = dataclasses.field(default=type(None))

    def __post_init__(self) -> None:
        if self.kind is type(None):
            object.__setattr__(self, "kind", type(self.default))

    def parsed(self, value: Any, where: str) -> Any:
        """Returns the value in the parameter's type.

        Raises:
            InputError: When it is of another type or out of range.
        """
        if value is None and self.default is None:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if self.kind in (int, float):
            if not number or (self.kind is int and value != int(value)):
                raise InputError(f"{where}={value!r}: must be {'a whole' if self.kind is int else 'a'} number")
            if not self.low <= value <= self.high:
                raise InputError(f"{where}={value!r}: must lie {_range(self.low, self.high)}")
            return self.kind(value)
        if self.kind is list:
            if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
                raise InputError(f"{where}={value!r}: must be a list of strings")
            return list(value)
        if not isinstance(value, self.kind):
            raise InputError(f"{where}={value!r}: must be {'true or false' if self.kind is bool else 'a string'}")
        if self.choices and value not in self.choices:
            raise InputError(f"{where}={value!r}: must be one of {', '.join(self.choices)}")
        return value


@dataclasses.dataclass(frozen=True)
class CheckSpec:
    """A check as the catalogue lists it.

    Attributes:
        name: What settings, findings and reports call it.
        severity: The default: ``fail``, ``warn`` or ``off``.
        description: One line for people.
        needs: Keys of :data:`NEEDS`; a check that lacks one does not run, and the report says why.
        parameters: By name.
        per_feature: Whether severity and parameters may be set for single columns (``features``).
    """

    name: str
    severity: str
    description: str
    needs: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)
    per_feature: bool = False


@dataclasses.dataclass(frozen=True)
class CheckSettings:
    """What holds for one check in one run: ``settings["max_share"]``, ``settings.of(column)["max_share"]``.

    Attributes:
        name: The check's name.
        severity: ``fail``, ``warn`` or ``off``; a column may have its own.
        parameters: Every parameter with its value.
        given: The names of the parameters that the user set for the check itself, or for the column itself.
        features: Settings of single columns, which stand in for these.
    """

    name: str
    severity: str
    parameters: Mapping[str, Any]
    given: frozenset[str] = frozenset()
    features: Mapping[str, CheckSettings] = dataclasses.field(default_factory=dict)

    def __getitem__(self, parameter: str) -> Any:
        return self.parameters[parameter]

    def of(self, feature: str) -> CheckSettings:
        """Returns what holds for a column."""
        return self.features.get(feature, self)

    @property
    def runs(self) -> bool:
        """Whether anything is left to do: the check, or one of its columns, is not off."""
        return any(settings.severity != "off" for settings in (self, *self.features.values()))


def parse_settings(checks: Mapping[str, Any] | None, catalogue: Iterable[CheckSpec]) -> dict[str, CheckSettings]:
    """Returns the settings of every check of the catalogue, the given ones over the defaults.

    Args:
        checks: As the module describes; None and an empty mapping leave the defaults.
        catalogue: The checks that there are.

    Raises:
        InputError: When a check, parameter or severity does not exist, or a value has another type or is out of range.
    """
    checks = checks or {}
    if not isinstance(checks, Mapping):
        raise InputError(f"checks={checks!r}: must map names of checks to a severity or to settings")
    specs = {spec.name: spec for spec in catalogue}
    for name in checks:
        if name not in specs:
            raise InputError(f"checks: there is no check {name!r}; {_hint(name, specs)}")
    return {name: _of_check(spec, checks.get(name, {})) for name, spec in specs.items()}


def _of_check(spec: CheckSpec, given: Any) -> CheckSettings:
    defaults = {name: parameter.default for name, parameter in spec.parameters.items()}
    return _parsed(spec, given, CheckSettings(spec.name, spec.severity, defaults), f"checks.{spec.name}")


def _parsed(spec: CheckSpec, given: Any, base: CheckSettings, where: str, *, single: bool = False) -> CheckSettings:
    # YAML reads a bare off as false.
    if isinstance(given, str) or given is False:
        given = {"severity": given}
    if not isinstance(given, Mapping):
        raise InputError(f"{where}={given!r}: must be a severity ({', '.join(SEVERITIES)}) or a mapping")
    known = ["severity", *spec.parameters, *(["features"] if spec.per_feature and not single else [])]
    for name in given:
        if name not in known:
            raise InputError(f"{where}: there is no parameter {name!r}; {_hint(name, known)}")
    severity = "off" if given.get("severity") is False else given.get("severity", base.severity)
    if severity not in SEVERITIES:
        raise InputError(f"{where}.severity={severity!r}: must be one of {', '.join(SEVERITIES)}")
    own = {n: p.parsed(given[n], f"{where}.{n}") for n, p in spec.parameters.items() if n in given}
    settings = CheckSettings(spec.name, severity, {**base.parameters, **own}, frozenset(own))
    features = given.get("features", {})
    if not isinstance(features, Mapping):
        raise InputError(f"{where}.features={features!r}: must map columns to settings")
    each = {name: _parsed(spec, of, settings, f"{where}.features.{name}", single=True) for name, of in features.items()}
    return dataclasses.replace(settings, features=each)


def _hint(name: Any, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"There are {', '.join(known)}"


def _range(low: float, high: float) -> str:
    if math.isinf(high):
        return f"at or above {low:g}"
    return f"at or below {high:g}" if math.isinf(low) else f"from {low:g} to {high:g}"
