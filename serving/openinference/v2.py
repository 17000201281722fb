"""The Open Inference protocol (KServe's v2) over REST: JSON, and the binary tensor data extension both ways.

https://github.com/kserve/open-inference-protocol, and its extension in Triton's protocol/extension_binary_data.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from shipway.components.common.model import ModelDescription, Tensor
from shipway.serving.openinference.batching import Answer
from shipway.serving.openinference.door import (
    INTEGERS,
    NUMBER_TYPES,
    BadRequest,
    InputTensor,
    parsed,
    tensors_of_inputs,
)

__all__ = ["V2", "InferRequest"]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"{kind}{8 * size}": np.dtype(f"<{kind[0].lower()}{size}") for kind in ("INT", "UINT") for size in (1, 2, 4, 8)},
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_STRING_TYPES = {str, type(None)}
_INTEGER_TYPES = {int, type(None)}
# What a request that is not as the protocol says makes the quick way raise.
_ODD = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A decoded request.

    Attributes:
        tensors: By feature, as the engine takes them.
        rows: How many rows they have.
        id: The client's, which the answer repeats; None where it gave none.
        outputs: The outputs asked for, in the client's order, each with whether it is wanted as binary data.
    """

    tensors: dict[str, NDArray[Any]]
    rows: int
    id: str | None
    outputs: tuple[tuple[str, bool], ...]


@dataclass(slots=True)
class _Input:
    """An input of a request whose values are a list."""

    name: Any
    datatype: Any
    shape: Any
    data: Any


class V2:
    """Reads and writes the v2 bodies of one model.

    The quick way goes through a request's tensors once. What it stumbles over is looked at once more by :mod:`.door`,
    which knows the reason, or finds that there is none.
    """

    def __init__(self, name: str, description: ModelDescription) -> None:
        self._name, self._version = name, description.digest
        self._inputs = description.inputs
        self._features = {feature.name: feature for feature in self._inputs}
        numbers = [f.name for f in self._inputs if f.datatype == "FP32" and len(f.shape) == 1]
        self._rows_of_block = {name: row for row, name in enumerate(numbers)}
        self._output_names = tuple(output.name for output in description.outputs)
        self._everything = tuple((name, False) for name in self._output_names)
        self._classes = len(description.label_names)

    def decode(self, body: bytes, header_length: str | None = None) -> InferRequest:
        """Returns a request.

        Args:
            body: JSON, followed by the binary tensors where there are some.
            header_length: The header ``Inference-Header-Content-Length``: how long the JSON is.

        Raises:
            BadRequest: When the model cannot answer it.
        """
        json_length = len(body) if header_length is None else _length(header_length, len(body))
        head = parsed(body[:json_length])
        if not isinstance(head, dict) or not isinstance(head.get("inputs"), list):
            raise BadRequest('the body must be a JSON object {"inputs": [{"name", "shape", "datatype", "data"}, …]}')
        try:
            tensors, rows = self._quickly(head["inputs"], memoryview(body)[json_length:])
        except _ODD:
            inputs = _listed(head["inputs"], body[json_length:])
            tensors = tensors_of_inputs(self._inputs, inputs)
            rows = inputs[0].shape[0]
        return InferRequest(tensors, rows, _id(head), self._outputs(head))

    def encode(self, request: InferRequest, answer: Answer) -> tuple[bytes, int | None]:
        """Returns the body of an answer, and how long its JSON is where binary tensors follow."""
        outputs: list[dict[str, Any]] = []
        tail: list[bytes] = []
        for name, binary in request.outputs:
            output, raw = self._output(name, answer, binary)
            outputs.append(output)
            tail.append(raw)
        head: dict[str, Any] = {"model_name": self._name, "model_version": self._version, "outputs": outputs}
        if request.id is not None:
            head["id"] = request.id
        text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
        if not any(binary for _, binary in request.outputs):
            return text, None
        return b"".join((text, *tail)), len(text)

    def _quickly(self, inputs: list[Any], raw: memoryview) -> tuple[dict[str, NDArray[Any]], int]:
        rows = inputs[0]["shape"][0]
        if type(rows) is not int or rows < 1 or len(inputs) != len(self._features):
            raise ValueError
        block = np.empty((len(self._rows_of_block), rows), np.float32)
        tensors: dict[str, NDArray[Any]] = {}
        start = 0
        with np.errstate(over="ignore"):
            for given in inputs:
                feature = self._features[given["name"]]
                shape = [rows, *feature.shape[1:]]
                if given["shape"] != shape or feature.name in tensors:
                    raise ValueError
                values, start = _values(feature, given, raw, start, math.prod(shape))
                row = self._rows_of_block.get(feature.name)
                if row is None:
                    tensors[feature.name] = _other(feature, values, shape)
                else:
                    block[row] = values
                    tensors[feature.name] = block[row]
        if start != len(raw) or np.isinf(block).any():
            raise ValueError
        return tensors, rows

    def _output(self, name: str, answer: Answer, binary: bool) -> tuple[dict[str, Any], bytes]:
        scores, labels = answer
        is_scores = name == "scores"
        shape = [len(scores), self._classes] if is_scores else [len(labels)]
        output = {"name": name, "datatype": "FP32" if is_scores else "BYTES", "shape": shape}
        if not binary:
            return {**output, "data": scores.ravel() if is_scores else labels.tolist()}, b""
        raw = scores.astype("<f4", copy=False).tobytes() if is_scores else packed(labels.tolist())
        return {**output, "parameters": {"binary_data_size": len(raw)}}, raw

    def _outputs(self, head: dict[str, Any]) -> tuple[tuple[str, bool], ...]:
        parameters = head.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise BadRequest("parameters must be an object")
        binary = bool(parameters and parameters.get("binary_data_output"))
        asked = head.get("outputs")
        if not asked:
            return tuple((name, binary) for name in self._output_names) if binary else self._everything
        if not isinstance(asked, list) or not all(
            isinstance(o, dict) and isinstance(o.get("name"), str) for o in asked
        ):
            raise BadRequest('outputs must be a list of {"name"}')
        unknown = {output["name"] for output in asked} - set(self._output_names)
        if unknown:
            names = " and ".join(self._output_names)
            raise BadRequest(f"the model has no output {', '.join(sorted(unknown))}; it has {names}")
        return tuple((output["name"], bool(_parameters(output).get("binary_data", binary))) for output in asked)


def packed(texts: list[str]) -> bytes:
    """Returns strings as the protocol's binary ``BYTES``: each after its length, four bytes, little-endian."""
    encoded = [text.encode() for text in texts]
    return b"".join(part for text in encoded for part in (len(text).to_bytes(4, "little"), text))


def unpacked(raw: memoryview | bytes, count: int) -> list[str]:
    """Returns the strings of the protocol's binary ``BYTES``.

    Raises:
        ValueError: When there are more or fewer than ``count``, or one is no UTF-8.
    """
    texts, start = [], 0
    for _ in range(count):
        size = int.from_bytes(raw[start : start + 4], "little")
        end = start + 4 + size
        if end > len(raw):
            raise ValueError("the strings are longer than their tensor")
        texts.append(str(raw[start + 4 : end], "utf-8"))
        start = end
    if start != len(raw):
        raise ValueError("the tensor is longer than its strings")
    return texts


def _values(feature: Tensor, given: dict[str, Any], raw: memoryview, start: int, count: int) -> tuple[Any, int]:
    """Returns the flat values of an input, and where the next one's binary data starts."""
    datatype, values = given["datatype"], given.get("data")
    if (datatype == "BYTES") != (feature.datatype == "BYTES"):
        raise ValueError
    if values is None:
        end = start + int(given["parameters"]["binary_data_size"])
        part = raw[start:end]
        if end < start or len(part) != end - start:
            raise ValueError
        return (unpacked(part, count) if datatype == "BYTES" else _numbers(part, datatype, count)), end
    allowed = _STRING_TYPES if datatype == "BYTES" else _INTEGER_TYPES if datatype in INTEGERS else NUMBER_TYPES
    if type(values) is not list or len(values) != count or not set(map(type, values)) <= allowed:
        raise ValueError
    if datatype != "BYTES" and datatype not in DTYPES:
        raise ValueError
    return values, start


def _numbers(part: memoryview, datatype: str, count: int) -> NDArray[Any]:
    dtype = DTYPES[datatype]
    if len(part) != count * dtype.itemsize:
        raise ValueError
    return np.frombuffer(part, dtype)


def _other(feature: Tensor, values: Any, shape: list[int]) -> NDArray[Any]:
    if feature.datatype == "BYTES":
        return np.array([value or "" for value in values], object)
    tensor = np.array(values, np.float32).reshape(shape)
    if np.isinf(tensor).any():
        raise ValueError
    return tensor


def _listed(inputs: list[Any], raw: bytes) -> list[InputTensor]:
    """Returns a request's inputs with their values as lists, binary ones too.

    Raises:
        BadRequest: When an input is none, or its binary data is not what it says.
    """
    found: list[InputTensor] = []
    start = 0
    for given in inputs:
        if not isinstance(given, dict) or not {"name", "datatype", "shape"} <= given.keys():
            raise BadRequest("malformed request: each input must be an object with name, shape, datatype and data")
        name, datatype, shape, data = given["name"], given["datatype"], given["shape"], given.get("data")
        if data is None:
            size = _parameters(given).get("binary_data_size")
            if type(size) is not int or not 0 <= size <= len(raw) - start:
                raise BadRequest(f"input {name} has neither data nor a binary_data_size within the body")
            data = _unpacked(name, datatype, raw[start : start + size])
            start += size
        found.append(_Input(name, datatype, shape, data))
    if start != len(raw):
        raise BadRequest(f"{len(raw) - start} bytes follow the last tensor")
    return found


def _unpacked(name: Any, datatype: Any, raw: bytes) -> list[Any]:
    try:
        if datatype == "BYTES":
            return unpacked(raw, _count(raw))
        return list(np.frombuffer(raw, DTYPES[datatype]).tolist())
    except (KeyError, TypeError):
        raise BadRequest(f"input {name} has the datatype {datatype!r}, which is none of binary data") from None
    except ValueError as error:
        raise BadRequest(f"input {name} has binary data that is no {datatype}: {error}") from None


def _count(raw: bytes) -> int:
    """Returns how many strings there seem to be."""
    count = start = 0
    while start < len(raw):
        start += 4 + int.from_bytes(raw[start : start + 4], "little")
        count += 1
    return count


def _length(header: str, body_length: int) -> int:
    if not header.isascii() or not header.isdigit() or int(header) > body_length:
        raise BadRequest(
            f"Inference-Header-Content-Length is {header!r}; it must be how many of the body's {body_length} bytes are"
            " JSON"
        )
    return int(header)


def _id(head: dict[str, Any]) -> str | None:
    request_id = head.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise BadRequest("id must be a string")
    return request_id


def _parameters(of: dict[str, Any]) -> dict[str, Any]:
    parameters = of.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest("parameters must be an object")
    return parameters or {}
