"""The server's door: requests become tensors, or are refused with the reason.

Missing values are JSON ``null`` (or NaN in a float tensor); they and unknown categories are the model's
own business. Everything else that the signature does not allow is refused here, so that the model never
sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shipway.components.common.model import Tensor

__all__ = ["BadRequest", "InputTensor", "tensors_of_inputs", "tensors_of_instances"]

_FLOAT32_LIMIT = float(np.finfo(np.float32).max)
_INTEGERS = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
_NUMBERS = _INTEGERS | {"FP16", "FP32", "FP64", "BOOL"}


class BadRequest(ValueError):
    """A request that the model cannot answer; the message says why."""


class InputTensor(Protocol):
    """One input of a v2 request.

    Attributes:
        name: The feature's name.
        datatype: As the client declared it.
        shape: [N].
        data: N values, flat.
    """

    name: Any
    datatype: Any
    shape: Any
    data: Any


def tensors_of_instances(features: Sequence[Tensor], payload: Any) -> dict[str, NDArray[Any]]:
    """Turns a v1 body ``{"instances": [{feature: value | null, …}, …]}`` into tensors.

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
    return {
        feature.name: _tensor(feature, [row[feature.name] for row in rows], "instances[{}]." + feature.name)
        for feature in features
    }


def tensors_of_inputs(features: Sequence[Tensor], inputs: Sequence[InputTensor]) -> dict[str, NDArray[Any]]:
    """Turns the inputs of a v2 request, one tensor of shape [N] per feature, into the model's tensors.

    A numeric feature takes any numeric datatype, a string feature ``BYTES``.

    Raises:
        BadRequest: When a name, datatype, shape or value is not what the signature says.
    """
    given = {tensor.name: tensor for tensor in inputs}
    if len(given) != len(inputs):
        raise BadRequest("an input is given twice")
    names = {feature.name for feature in features}
    if given.keys() != names:
        raise BadRequest(f"the request{_difference(given.keys(), names)}")
    rows = _rows(inputs)
    tensors = {}
    for feature in features:
        tensor = given[feature.name]
        _check_tensor(feature, tensor, rows)
        tensors[feature.name] = _tensor(feature, tensor.data, f"input {feature.name}[{{}}]")
    return tensors


def _rows(inputs: Sequence[InputTensor]) -> int:
    first = inputs[0]
    if len(first.shape) != 1 or first.shape[0] < 1:
        raise BadRequest(f"input {first.name} must have the shape [N] with N >= 1, not {list(first.shape)}")
    return int(first.shape[0])


def _check_tensor(feature: Tensor, tensor: InputTensor, rows: int) -> None:
    where = f"input {feature.name}"
    allowed = _NUMBERS if feature.datatype == "FP32" else {"BYTES"}
    if tensor.datatype not in allowed:
        raise BadRequest(f"{where} takes {feature.datatype}, not {tensor.datatype}")
    if list(tensor.shape) != [rows]:
        raise BadRequest(f"{where} has the shape {list(tensor.shape)}; every input must have the same shape [{rows}]")
    if not isinstance(tensor.data, list) or len(tensor.data) != rows:
        raise BadRequest(f"{where} must hold a flat list of {rows} values, as its shape says")
    if tensor.datatype in _INTEGERS and not all(value is None or type(value) is int for value in tensor.data):
        raise BadRequest(f"{where} is declared {tensor.datatype} but holds something else than integers")


def _tensor(feature: Tensor, values: list[Any], where: str) -> NDArray[Any]:
    """Checks and converts one feature's values; ``where`` names a value, given its index."""
    if feature.datatype == "BYTES":
        for index, value in enumerate(values):
            if value is not None and type(value) is not str:
                raise BadRequest(f"{where.format(index)} must be a string or null, not {_kind(value)}")
        return np.array([value or "" for value in values], dtype=object)
    for index, value in enumerate(values):
        if value is not None and type(value) not in (float, int, bool):
            raise BadRequest(f"{where.format(index)} must be a number or null, not {_kind(value)}")
        # A comparison, not a conversion: float() of a huge integer raises. NaN passes; it means missing.
        if value is not None and abs(value) > _FLOAT32_LIMIT:
            raise BadRequest(f"{where.format(index)} is beyond the range of a 32-bit float")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float32)


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
