"""The server's door: requests become tensors, or are refused with the reason.

Missing values are JSON ``null`` (or NaN in a float tensor); they and unknown categories are the model's
own business. A vector feature takes a list of numbers, each of which may be missing, or ``null`` for all of them.
Everything else that the signature does not allow is refused here, so that the model never sees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from shipway.components.common.model import Tensor

__all__ = [
    "INTEGERS",
    "NUMBER_TYPES",
    "BadRequest",
    "InputTensor",
    "parsed",
    "tensors_of_inputs",
    "tensors_of_instances",
]

_FLOAT32_LIMIT = float(np.finfo(np.float32).max)
INTEGERS = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
_NUMBERS = INTEGERS | {"FP16", "FP32", "FP64", "BOOL"}
NUMBER_TYPES = {float, int, bool, type(None)}


class BadRequest(ValueError):
    """A request that the model cannot answer; the message says why."""


class InputTensor(Protocol):
    """One input of a v2 request.

    Attributes:
        name: The feature's name.
        datatype: As the client declared it.
        shape: [N], or [N, size] for a vector feature.
        data: The values, flat; a vector feature's may be N lists.
    """

    name: Any
    datatype: Any
    shape: Any
    data: Any


def parsed(text: bytes) -> Any:
    """Returns a JSON text's value.

    Raises:
        BadRequest: When it is none: NaN, Infinity, numbers beyond 64 bits and nesting deeper than 1,024 are none too.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"malformed request: {error}") from None


def tensors_of_instances(features: Sequence[Tensor], payload: Any) -> dict[str, NDArray[Any]]:
    """Turns a v1 body ``{"instances": [{feature: value | [value | null, …] | null, …}, …]}`` into tensors.

    Raises:
        BadRequest: When the body, a feature's name or a value is not what the signature says.
    """
    rows = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(rows, list) or not rows:
        raise BadRequest('the body must be a JSON object {"instances": [{feature: value, …}, …]} with at least one row')
    names = {feature.name for feature in features}
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadRequest(f"instances[{index}] must be an object of feature names and values, not {_kind(row)}")
        if row.keys() != names:
            raise BadRequest(f"instances[{index}]{_difference(row.keys(), names)}")
    return {feature.name: _tensor_of_rows(feature, [row[feature.name] for row in rows]) for feature in features}


def _tensor_of_rows(feature: Tensor, values: list[Any]) -> NDArray[Any]:
    def where(row: int) -> str:
        return f"instances[{row}].{feature.name}"

    if len(feature.shape) == 1:
        return _tensor(feature, values, where)
    size = feature.shape[1]
    flat = _flattened(values, size, where)
    return _tensor(feature, flat, lambda index: f"{where(index // size)}[{index % size}]")


def tensors_of_inputs(features: Sequence[Tensor], inputs: Sequence[InputTensor]) -> dict[str, NDArray[Any]]:
    """Turns the inputs of a v2 request into the model's tensors: one input per feature.

    A numeric feature takes any numeric datatype in the shape [N], a vector feature in the shape [N, size], a string
    feature ``BYTES`` in the shape [N].

    Raises:
        BadRequest: When a name, datatype, shape or value is not what the signature says.
    """
    given = {str(tensor.name): tensor for tensor in inputs}
    if len(given) != len(inputs):
        raise BadRequest("an input is given twice")
    names = {feature.name for feature in features}
    if given.keys() != names:
        raise BadRequest(f"the request{_difference(given.keys(), names)}")
    rows = _rows(inputs[0])
    return {feature.name: _tensor_of_input(feature, given[feature.name], rows) for feature in features}


def _rows(first: InputTensor) -> int:
    shape = first.shape
    if not isinstance(shape, list) or not shape or type(shape[0]) is not int or shape[0] < 1:
        raise BadRequest(f"input {first.name} must have the shape [N, …] with N >= 1, not {shape}")
    return int(shape[0])


def _tensor_of_input(feature: Tensor, tensor: InputTensor, rows: int) -> NDArray[Any]:
    where, shape = f"input {feature.name}", [rows, *feature.shape[1:]]
    allowed = _NUMBERS if feature.datatype == "FP32" else {"BYTES"}
    if tensor.datatype not in allowed:
        raise BadRequest(f"{where} takes {feature.datatype}, not {tensor.datatype}")
    if tensor.shape != shape:
        raise BadRequest(f"{where} has the shape {tensor.shape}; with as many rows as the first input it is {shape}")
    values = tensor.data
    if len(shape) == 2 and _is_nested(values, rows):
        values = _flattened(values, shape[1], lambda row: f"{where}[{row}]")
    if not isinstance(values, list) or len(values) != math.prod(shape):
        raise BadRequest(f"{where} must hold a flat list of {math.prod(shape)} values, as its shape says")
    if tensor.datatype in INTEGERS and not all(value is None or type(value) is int for value in values):
        raise BadRequest(f"{where} is declared {tensor.datatype} but holds something else than integers")
    return _tensor(feature, values, lambda index: f"{where}[{', '.join(map(str, np.unravel_index(index, shape)))}]")


def _is_nested(values: Any, rows: int) -> bool:
    return isinstance(values, list) and len(values) == rows and all(v is None or isinstance(v, list) for v in values)


def _flattened(rows: list[Any], size: int, where: Callable[[int], str]) -> list[Any]:
    """Returns the values of lists after each other; ``null`` instead of a list is as many missing values."""
    flat: list[Any] = []
    for index, row in enumerate(rows):
        if row is not None and (type(row) is not list or len(row) != size):
            found = f"a list of {len(row)}" if type(row) is list else _kind(row)
            raise BadRequest(f"{where(index)} must be a list of {size} numbers or null, not {found}")
        flat += [None] * size if row is None else row
    return flat


def _tensor(feature: Tensor, values: list[Any], where: Callable[[int], str]) -> NDArray[Any]:
    """Checks and converts one feature's values, which are flat; ``where`` names a value, given its index."""
    if feature.datatype == "BYTES":
        for index, value in enumerate(values):
            if value is not None and type(value) is not str:
                raise BadRequest(f"{where(index)} must be a string or null, not {_kind(value)}")
        return np.array([value or "" for value in values], dtype=object)
    for index, value in enumerate(values):
        if value is not None and type(value) not in NUMBER_TYPES:
            raise BadRequest(f"{where(index)} must be a number or null, not {_kind(value)}")
        # A comparison, not a conversion: float() of a huge integer raises. NaN passes; it means missing.
        if value is not None and abs(value) > _FLOAT32_LIMIT:
            raise BadRequest(f"{where(index)} is beyond the range of a 32-bit float")
    floats = np.array([np.nan if value is None else value for value in values], dtype=np.float32)
    return floats.reshape(feature.shape)


def _difference(given: Any, names: set[str]) -> str:
    parts = []
    if missing := sorted(names - given):
        parts.append(f" lacks {', '.join(missing)} (send null for a missing value)")
    if unknown := sorted(str(name) for name in given - names):
        parts.append(f" has features that the model does not know: {', '.join(unknown)}")
    return ";".join(parts)


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
