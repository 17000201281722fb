"""What there is: the components with their images, parameters and artifacts, read from their own definitions."""

from __future__ import annotations

import inspect
from typing import Any

from shipway import components

__all__ = ["describe_components"]


def describe_components() -> list[dict[str, Any]]:
    """Returns one entry for each component: ``name``, ``image``, ``summary``, ``inputs``, ``outputs``, ``description``.

    Inputs and outputs map names to types; an optional parameter's entry ends with its default.
    """
    return [_describe(name) for name in components.__all__]


def _describe(name: str) -> dict[str, Any]:
    component = getattr(components, name)
    spec = component.component_spec
    description = inspect.getdoc(component.python_func) or ""
    return {
        "name": name,
        "image": spec.implementation.container.image,
        "summary": description.partition("\n")[0],
        "inputs": {key: _input(value) for key, value in (spec.inputs or {}).items()},
        "outputs": {key: _short(value.type) for key, value in (spec.outputs or {}).items()},
        "description": description,
    }


def _input(value: Any) -> str:
    return f"{_short(value.type)} = {value.default!r}" if value.optional else _short(value.type)


def _short(kind: str) -> str:
    return str(kind).removeprefix("system.").partition("@")[0]
