"""The server's door: requests become tensors, or are refused with the reason.

Missing values are JSON ``null`` (or NaN in a float tensor); they and unknown categories are the model's
own business. A vector feature takes a list of numbers, each of which may be missing, or ``null`` for all of them.
Everything else that the signature does not allow is refused here, so that the model never sees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from shipway.components.common.model import Tensor
from shipway.serving.openinference.binary import DTYPES, count_of, numbers, unpacked

__all__ = [
    "INTEGERS",
    "ODD",
    "BadRequest",
    "InputTensor",
    "NotFinite",
    "listed_inputs",
    "parsed",
    "require_finite",
    "require_one_place",
    "tensors_of_inputs",
    "tensors_of_instances",
]

# The least number that a 32-bit float rounds to infinity: half a step beyond its greatest.
_FLOAT32_OVERFLOW = (2 - 2**-24) * 2.0**127
_MOST_MESSAGE_CHARACTERS = 1000
_FP16_LIMIT = float(np.finfo(np.float16).max)
INTEGERS: Mapping[str, tuple[int, int]] = {
    name: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for name, dtype in DTYPES.items() if dtype.kind in "iu"
}
"""The datatypes of whole numbers, each with its least and its greatest value."""
ODD = (LookupError, TypeError, ValueError, OverflowError, AttributeError)
"""What makes the quick ways of reading a request stumble; then this module's are gone, which say why."""
_NUMBERS = DTYPES.keys()
_NUMBER_TYPES = {float, int, bool, type(None)}


class BadRequest(ValueError):
    """A request that the model cannot answer; the message says why, and repeats no more than a part of it."""

    def __init__(self, message: str) -> None:
        shown = message if len(message) <= _MOST_MESSAGE_CHARACTERS else f"{message[:_MOST_MESSAGE_CHARACTERS]}…"
        super().__init__(shown)


class NotFinite(BadRequest):
    """A request for which the model has no finite scores, as its values are too extreme."""


@dataclass(slots=True)
class InputTensor:
    """One input of a v2 request, as the client gave it: nothing is sure.

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


def require_finite(scores: NDArray[Any]) -> None:
    """Checks what a model answered.

    Raises:
        NotFinite: When a score is no number, because the request's values are beyond what the model can compute with.
    """
    flat = scores.ravel()
    if not math.isfinite(flat.dot(flat)) and not np.isfinite(scores).all():
        row = int(np.argwhere(~np.isfinite(scores))[0, 0])
        raise NotFinite(f"the model has no finite scores for row {row}: its values are too large or too small")


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


def listed_inputs(head: Any, raw: bytes) -> list[InputTensor]:
    """Returns a v2 request's inputs with their values as lists, those that follow the JSON too.

    Args:
        head: The JSON's value.
        raw: What follows the JSON.

    Raises:
        BadRequest: When an input is none, or its binary data is not what it says.
    """
    inputs = head.get("inputs") if isinstance(head, dict) else None
    if not isinstance(inputs, list):
        raise BadRequest('the body must be a JSON object {"inputs": [{"name", "shape", "datatype", "data"}, …]}')
    found: list[InputTensor] = []
    start = 0
    for given in inputs:
        if not isinstance(given, dict) or not {"name", "datatype", "shape"} <= given.keys():
            raise BadRequest("malformed request: each input must be an object with name, shape, datatype and data")
        require_one_place(given)
        tensor = InputTensor(given["name"], given["datatype"], given["shape"], given.get("data"))
        if tensor.data is None:
            size = _binary_size(given)
            if type(size) is not int or not 0 <= size <= len(raw) - start:
                raise BadRequest(f"input {tensor.name} has neither data nor a binary_data_size within the body")
            tensor.data = _listed(tensor, raw[start : start + size])
            start += size
        found.append(tensor)
    if start != len(raw):
        raise BadRequest(f"{len(raw) - start} bytes follow the last tensor")
    return found


def require_one_place(given: dict[str, Any]) -> None:
    """Checks that an input of a v2 request has its values in one place.

    Raises:
        BadRequest: When it has data and says that binary data follow, or has parameters that are none.
    """
    if _binary_size(given) is not None and given.get("data") is not None:
        raise BadRequest(f"input {given['name']} has both data and a binary_data_size")


def _binary_size(given: dict[str, Any]) -> Any:
    parameters = given.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest(f"the parameters of input {given['name']} must be an object")
    return (parameters or {}).get("binary_data_size")


def _listed(tensor: InputTensor, raw: bytes) -> list[Any]:
    shape = tensor.shape
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise BadRequest(f"input {tensor.name} has the shape {shape}; it must be a list of sizes")
    try:
        count = count_of(shape)
        if tensor.datatype == "BYTES":
            return list(unpacked(raw, min(count, len(raw) + 1)))
        return list(numbers(raw, tensor.datatype, count).tolist())
    except (KeyError, TypeError):
        raise BadRequest(f"input {tensor.name} has the datatype {tensor.datatype!r}, which there is not") from None
    except ValueError as error:
        raise BadRequest(f"input {tensor.name} has binary data that is no {tensor.datatype}: {error}") from None


def _rows(first: InputTensor) -> int:
    shape = first.shape
    if not isinstance(shape, list) or not shape or type(shape[0]) is not int or shape[0] < 1:
        raise BadRequest(f"input {first.name} must have the shape [N, …] with N >= 1, not {shape}")
    return int(shape[0])


def _tensor_of_input(feature: Tensor, tensor: InputTensor, rows: int) -> NDArray[Any]:
    where, shape = f"input {feature.name}", [rows, *feature.shape[1:]]
    allowed = _NUMBERS if feature.datatype == "FP32" else {"BYTES"}
    if not isinstance(tensor.datatype, str) or tensor.datatype not in allowed:
        raise BadRequest(f"{where} takes {feature.datatype}, not {tensor.datatype}")
    if tensor.shape != shape or any(type(size) is not int for size in tensor.shape):
        raise BadRequest(f"{where} has the shape {tensor.shape}; with as many rows as the first input it is {shape}")
    values = tensor.data
    if len(shape) == 2 and _is_nested(values, rows):
        values = _flattened(values, shape[1], lambda row: f"{where}[{row}]")
    if not isinstance(values, list) or len(values) != math.prod(shape):
        raise BadRequest(f"{where} must hold a flat list of {math.prod(shape)} values, as its shape says")
    _require_declared(where, tensor.datatype, values)
    return _tensor(feature, values, lambda index: f"{where}[{', '.join(map(str, np.unravel_index(index, shape)))}]")


def _require_declared(where: str, datatype: str, values: list[Any]) -> None:
    if datatype == "BOOL" and not all(value is None or type(value) is bool for value in values):
        raise BadRequest(f"{where} is declared BOOL but holds something else than true and false")
    if datatype in INTEGERS:
        if not all(value is None or type(value) is int for value in values):
            raise BadRequest(f"{where} is declared {datatype} but holds something else than integers")
    elif datatype != "FP16":
        return
    low, high = INTEGERS.get(datatype, (-_FP16_LIMIT, _FP16_LIMIT))
    outside = (v for v in values if type(v) in (int, float) and not math.isnan(v) and not low <= v <= high)
    if (value := next(outside, None)) is not None:
        raise BadRequest(f"{where} is declared {datatype} but holds {value}; that goes from {low} to {high}")


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
        if value is not None and type(value) not in _NUMBER_TYPES:
            raise BadRequest(f"{where(index)} must be a number or null, not {_kind(value)}")
        # A comparison, not a conversion: float() of a huge integer raises. NaN passes; it means missing.
        if value is not None and abs(value) >= _FLOAT32_OVERFLOW:
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
