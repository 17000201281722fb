"""What a tuning may choose: a range or a list of values for each hyperparameter.

As JSON, an object by name::

    {"learning_rate": {"type": "float", "low": 5e-4, "high": 0.03, "log": true},
     "hidden_units": {"type": "categorical", "values": [[64], [128, 64]]},
     "width": {"type": "int", "low": 16, "high": 64, "step": 16}}

Names are fields of :class:`~shipway.components.common.training.settings.Hyperparameters` or, like ``width``, the
network's own, whose value to start from is in the hyperparameters' ``parameters``.
"""

from __future__ import annotations

import difflib
import json
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from shipway.components.common.errors import InputError
from shipway.components.common.training.settings import Hyperparameters

__all__ = ["DEFAULT_SPACE", "Parameter", "SearchSpace", "Value"]

Value = int | float | str
"""What Optuna keeps of a value: a number, or the JSON text of one of a list."""

# Wide enough for tables of some thousand to some million rows: AdamW's rates around the trainers' own, widths from
# too small to larger than most tables need.
DEFAULT_SPACE: dict[str, dict[str, Any]] = {
    "learning_rate": {"type": "float", "low": 5e-4, "high": 0.03, "log": True},
    "hidden_units": {"type": "categorical", "values": [[64], [128, 64], [256, 128], [256, 256, 128], [512, 256]]},
    "dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "weight_decay": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
    "batch_size": {"type": "categorical", "values": [512, 1024, 2048, 4096]},
}

EXAMPLES = {
    "float": '{"type": "float", "low": 0.001, "high": 0.1, "log": true}',
    "int": '{"type": "int", "low": 2, "high": 10, "step": 2}',
    "categorical": '{"type": "categorical", "values": [16, 32]}',
}
KEYS = {
    "float": {"type", "low", "high", "log", "step"},
    "int": {"type", "low", "high", "log", "step"},
    "categorical": {"type", "values"},
}
NOT_TUNED = {
    "best_metric": "trials are judged by it",
    "seed": "the luckiest seed says nothing about new rows",
    "image_shape": "it follows from the data",
    "parameters": "name the network's own parameters themselves",
}
_TYPES = typing.get_type_hints(Hyperparameters)


@dataclass(frozen=True)
class Parameter:
    """What one hyperparameter may be.

    Attributes:
        name: The hyperparameter's name.
        kind: ``float``, ``int`` or ``categorical``.
        low: The lowest value of a number.
        high: The highest one, itself included.
        log: Whether numbers are drawn evenly by their logarithm.
        step: Distance between the values, from ``low`` on; None for any number between.
        values: What a categorical one may be: any JSON values.
    """

    name: str
    kind: Literal["float", "int", "categorical"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    values: tuple[Any, ...] = ()

    @classmethod
    def of(cls, name: str, value: Any) -> Parameter:
        """Returns the parameter that a JSON object describes.

        Raises:
            InputError: When it describes none, or a value that the hyperparameter cannot have.
        """
        kind = value.get("type") if isinstance(value, Mapping) else None
        if kind not in EXAMPLES:
            raise InputError(f"{_head(name)} must have a type: {', '.join(EXAMPLES)}; such as {EXAMPLES['float']}")
        if unknown := value.keys() - KEYS[kind]:
            raise _wrong(name, kind, f"a {kind} has no {', '.join(sorted(unknown))}")
        if name in NOT_TUNED:
            raise InputError(f"{_head(name)} cannot be tuned: {NOT_TUNED[name]}")
        parameter = cls._list(name, value) if kind == "categorical" else cls._range(name, kind, value)
        try:
            for end in parameter.values or (parameter.low, parameter.high):
                Hyperparameters.of({name: end})
        except InputError as error:
            raise _wrong(name, kind, str(error)) from error
        return parameter

    @classmethod
    def _list(cls, name: str, value: Mapping[str, Any]) -> Parameter:
        values = value.get("values")
        if not isinstance(values, list | tuple) or not values:
            raise _wrong(name, "categorical", "values must be a list of at least one")
        whole = tuple(_whole(item) for item in values)
        if len({_text(item) for item in whole}) < len(whole):
            raise _wrong(name, "categorical", f"values has one of {_text(whole)} twice")
        return cls(name, "categorical", values=whole)

    @classmethod
    def _range(cls, name: str, kind: Literal["float", "int"], value: Mapping[str, Any]) -> Parameter:
        if kind == "float" and _TYPES.get(name) is int:
            raise _wrong(name, "int", "it takes whole numbers: its type must be int")
        number = int if kind == "int" else float
        log, ends = value.get("log", False), {key: value.get(key) for key in ("low", "high", "step")}
        if not isinstance(log, bool):
            raise _wrong(name, kind, f"log must be true or false, it is {log!r}")
        for key, end in ends.items():
            if (end is None and key != "step") or (end is not None and not _is_number(end, kind)):
                raise _wrong(name, kind, f"{key} must be a {'whole ' if kind == 'int' else ''}number, it is {end!r}")
        low, high = number(value["low"]), number(value["high"])
        step = None if ends["step"] is None else number(ends["step"])
        faults = {
            f"low ({low}) is above high ({high})": low > high,
            f"low ({low}) must be above 0 for log": log and low <= 0,
            "log and step exclude each other": log and step is not None,
            f"step ({step}) must be above 0": step is not None and step <= 0,
        }
        if found := [fault for fault, is_so in faults.items() if is_so]:
            raise _wrong(name, kind, found[0])
        if step and not _on_grid(high, low, step):
            raise _wrong(name, kind, f"from low ({low}) to high ({high}) are no whole steps of {step}")
        return cls(name, kind, low, high, log, step)

    def encoded(self, value: Any) -> Value | None:
        """Returns what Optuna keeps of a value; None when the parameter may not have it."""
        if self.kind == "categorical":
            return _text(_whole(value)) if _text(_whole(value)) in self.choices() else None
        if not _is_number(value, self.kind) or not self.low <= value <= self.high:
            return None
        if self.step and not _on_grid(value, self.low, self.step):
            return None
        return int(value) if self.kind == "int" else float(value)

    def decoded(self, kept: Any) -> Any:
        """Returns the value that :meth:`encoded` was given."""
        return json.loads(kept) if self.kind == "categorical" else kept

    def choices(self) -> list[str]:
        """Returns the values of a categorical one as Optuna keeps them."""
        return [_text(value) for value in self.values]

    def points(self) -> Sequence[Value]:
        """Returns all values as Optuna keeps them.

        Raises:
            InputError: When there is no end of them.
        """
        if self.kind == "categorical":
            return self.choices()
        step = self.step or (1 if self.kind == "int" else 0)
        if not step:
            raise _wrong(self.name, "categorical", "a grid needs a step, or a list of values")
        count = round((self.high - self.low) / step) + 1
        return [_rounded(self.low + position * step) for position in range(count)]

    def distribution(self) -> Any:
        """Returns Optuna's distribution."""
        import optuna

        if self.kind == "categorical":
            return optuna.distributions.CategoricalDistribution(self.choices())
        if self.kind == "int":
            return optuna.distributions.IntDistribution(int(self.low), int(self.high), self.log, int(self.step or 1))
        return optuna.distributions.FloatDistribution(self.low, self.high, self.log, self.step)

    def to_json(self) -> dict[str, Any]:
        """Returns what :meth:`of` takes."""
        if self.kind == "categorical":
            return {"type": self.kind, "values": list(self.values)}
        step = {} if self.step is None else {"step": self.step}
        return {"type": self.kind, "low": self.low, "high": self.high, "log": self.log, **step}


@dataclass(frozen=True)
class SearchSpace:
    """The parameters, sorted by name."""

    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, value: Any) -> SearchSpace:
        """Returns the space that a JSON object describes; see the module.

        Raises:
            InputError: When it describes none; says which name, what is wrong, and how it may look.
        """
        if not isinstance(value, Mapping) or not value:
            example = f'{{"learning_rate": {EXAMPLES["float"]}}}'
            raise InputError(f"a search space must be an object with a hyperparameter or more, such as {example}")
        return cls(tuple(Parameter.of(name, value[name]) for name in sorted(value)))

    def given(self, hyperparameters: Hyperparameters) -> dict[str, Value]:
        """Returns, as Optuna keeps them, the values that a training without tuning would use.

        Raises:
            InputError: When one is unknown or not in the space.
        """
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            name = parameter.name
            if name not in _TYPES and name not in hyperparameters.parameters:
                close = difflib.get_close_matches(name, _TYPES, 1)
                raise InputError(
                    f"{_head(name)} is no hyperparameter{f' (is {close[0]} meant?)' if close else ''}. When it is the"
                    " network's own, give a value of it among the hyperparameters: tuning begins with the given values"
                )
            start = getattr(hyperparameters, name) if name in _TYPES else hyperparameters.parameters[name]
            kept = parameter.encoded(start)
            if kept is None:
                raise InputError(
                    f"{_head(name)} does not contain {_text(start)}, the given value, with which tuning begins to have"
                    " something to compare with: widen the space or give another value"
                )
            values[name] = kept
        return values

    def decoded(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Returns hyperparameters by name, as ``Hyperparameters.of`` takes them, of what Optuna keeps."""
        return {p.name: p.decoded(kept[p.name]) for p in self.parameters if p.name in kept}

    def encoded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns as Optuna keeps them what :meth:`decoded` gave."""
        return {p.name: p.encoded(values[p.name]) for p in self.parameters if p.name in values}

    def changed(self, hyperparameters: Hyperparameters, kept: Mapping[str, Any]) -> Hyperparameters:
        """Returns the hyperparameters with a trial's values in their places."""
        before = {member.name: getattr(hyperparameters, member.name) for member in fields(hyperparameters)}
        values = self.decoded(kept)
        own = {name: value for name, value in values.items() if name not in _TYPES}
        known = {name: value for name, value in values.items() if name in _TYPES}
        return Hyperparameters.of({**before, **known, "parameters": {**hyperparameters.parameters, **own}})

    def to_json(self) -> dict[str, Any]:
        """Returns what :meth:`of` takes."""
        return {parameter.name: parameter.to_json() for parameter in self.parameters}


def _head(name: str) -> str:
    return f"the search space's {name!r}"


def _wrong(name: str, kind: str, what: str) -> InputError:
    return InputError(f"{_head(name)} is wrong: {what}. A {kind} looks like {EXAMPLES[kind]}")


def _is_number(value: Any, kind: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return kind == "float" or float(value).is_integer()


def _on_grid(value: float, low: float, step: float) -> bool:
    steps = (value - low) / step
    return abs(steps - round(steps)) < 1e-8


def _rounded(value: float) -> int | float:
    return value if isinstance(value, int) else round(value, 12)


def _whole(value: Any) -> Any:
    """Returns JSON values with 128 for 128.0, as pipelines turn every number into a float."""
    if isinstance(value, list | tuple):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
