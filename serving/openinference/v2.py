"""The Open Inference protocol (KServe's v2) over REST: JSON, and the binary tensor data extension both ways.

https://github.com/kserve/open-inference-protocol, and its extension in Triton's protocol/extension_binary_data.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson
from msgspec import UNSET
from numpy.typing import NDArray

from shipway.components.common.model import ModelDescription
from shipway.serving.engines.engine import Answer
from shipway.serving.openinference.binary import numbers, packed, unpacked
from shipway.serving.openinference.door import (
    FP16_LIMIT,
    INTEGERS,
    BadRequest,
    listed_inputs,
    parsed,
    tensors_of_inputs,
)
from shipway.serving.openinference.request import InferRequest

__all__ = ["V2"]

# What a request that is not as the protocol says makes the quick way raise.
_ODD = (msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError, OverflowError)


_Parameters = msgspec.defstruct("Parameters", [("binary_data_size", int | None, None)], gc=False)
_Input = msgspec.defstruct(
    "Input",
    [("name", str), ("shape", list[int]), ("parameters", _Parameters | None, None)],
    gc=False,
    tag_field="datatype",
)


def _input_types() -> dict[str, Any]:
    """Returns a type for each datatype, so that its values are checked while they are parsed."""
    half = Annotated[float, msgspec.Meta(ge=-FP16_LIMIT, le=FP16_LIMIT)]
    values: dict[str, Any] = {"BYTES": str | None, "FP16": half | bool | None}
    values |= dict.fromkeys(("FP32", "FP64", "BOOL"), float | bool | None)
    values |= {name: Annotated[int, msgspec.Meta(ge=b[0], le=b[1])] | None for name, b in INTEGERS.items()}
    del values["UINT64"]  # msgspec knows no bound beyond that of INT64
    return {
        name: msgspec.defstruct(
            name,
            [("data", list[value] | msgspec.UnsetType, UNSET)],  # type: ignore[valid-type]
            bases=(_Input,),
            tag=name,
        )
        for name, value in values.items()
    }


_INPUT_TYPES = _input_types()
_BYTES = _INPUT_TYPES["BYTES"]


_Asked = msgspec.defstruct("Asked", [("name", str), ("parameters", dict[str, Any] | None, None)], gc=False)
_Body = msgspec.defstruct(
    "Body",
    [
        ("inputs", list[reduce(or_, _INPUT_TYPES.values())]),  # type: ignore[misc]
        ("id", str | None, None),
        ("parameters", dict[str, Any] | None, None),
        ("outputs", list[_Asked] | None, None),  # type: ignore[valid-type]
    ],
    gc=False,
)


class V2:
    """Reads and writes the v2 bodies of one model; a :class:`.request.Codec`.

    The quick way goes through a request's tensors once. What it stumbles over is looked at once more by :mod:`.door`,
    which knows the reason, or finds that there is none.
    """

    protocol = "v2"

    def __init__(self, name: str, description: ModelDescription) -> None:
        self._name, self._version = name, description.digest
        self._features = description.inputs
        self._names = [feature.name for feature in self._features]
        self._are_texts = [feature.datatype == "BYTES" for feature in self._features]
        self._numbers = [i for i, f in enumerate(self._features) if f.datatype == "FP32" and len(f.shape) == 1]
        self._others = [i for i in range(len(self._features)) if i not in set(self._numbers)]
        self._outputs = tuple(output.name for output in description.outputs)
        self._classes = len(description.label_names)
        self._decoder = msgspec.json.Decoder(_Body)

    def decode(self, body: bytes, header_length: str | None = None) -> InferRequest:
        """Returns a request.

        Args:
            body: JSON, followed by the binary tensors where there are some.
            header_length: The header ``Inference-Header-Content-Length``: how long the JSON is.

        Raises:
            BadRequest: When the model cannot answer it.
        """
        length = len(body) if header_length is None else _length(header_length, len(body))
        text, raw = (body, b"") if length == len(body) else (body[:length], body[length:])
        try:
            head = self._decoder.decode(text)
            tensors, rows = self._tensors(head.inputs, raw)
            asked = [(output.name, output.parameters) for output in head.outputs or ()]
            return InferRequest(tensors, rows, head.id, self.outputs(asked, head.parameters))
        except _ODD:
            return self._slowly(parsed(text), raw)

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

    def outputs(self, asked: Sequence[tuple[str, Any]], parameters: Any) -> tuple[tuple[str, bool], ...]:
        """Returns the outputs to answer with, each with whether it is wanted as binary data.

        Args:
            asked: Names and parameters of those asked for; none asks for all.
            parameters: The request's.

        Raises:
            BadRequest: When the model has no such output.
        """
        binary = _flag(parameters, "binary_data_output", default=False)
        if not asked:
            return tuple((name, binary) for name in self._outputs)
        if unknown := {name for name, _ in asked} - set(self._outputs):
            names = " and ".join(self._outputs)
            raise BadRequest(f"the model has no output {', '.join(sorted(unknown))}; it has {names}")
        return tuple((name, _flag(its, "binary_data", binary)) for name, its in asked)

    def _tensors(self, inputs: list[Any], raw: bytes) -> tuple[dict[str, NDArray[Any]], int]:
        values = [given.data for given in inputs] if not raw else _with_binary(inputs, raw)
        names = [given.name for given in inputs]
        if names != self._names:
            order = {name: position for position, name in enumerate(names)}
            if len(order) != len(names) or len(names) != len(self._names):
                raise ValueError
            positions = [order[name] for name in self._names]
            inputs, values = [inputs[i] for i in positions], [values[i] for i in positions]
        rows = inputs[0].shape[0]
        shapes = [[rows, *feature.shape[1:]] for feature in self._features]
        if rows < 1 or [given.shape for given in inputs] != shapes:
            raise ValueError
        if [type(given) is _BYTES for given in inputs] != self._are_texts:
            raise ValueError
        return self._converted(values, shapes), rows

    def _converted(self, values: list[Any], shapes: list[list[int]]) -> dict[str, NDArray[Any]]:
        tensors: dict[str, NDArray[Any]] = {}
        rows = shapes[0][0]
        with np.errstate(over="ignore"):
            if self._numbers:
                block = np.array([values[i] for i in self._numbers], np.float32)
                if block.shape[1] != rows or np.isinf(block).any():
                    raise ValueError
                tensors = {self._names[i]: column for i, column in zip(self._numbers, block, strict=True)}
            for i in self._others:
                if len(values[i]) != math.prod(shapes[i]):
                    raise ValueError
                tensors[self._names[i]] = _other(values[i], shapes[i], self._features[i].datatype)
        return tensors

    def _slowly(self, head: Any, raw: bytes) -> InferRequest:
        inputs = listed_inputs(head, raw)
        tensors = tensors_of_inputs(self._features, inputs)
        request_id, asked, parameters = head.get("id"), head.get("outputs"), head.get("parameters")
        if request_id is not None and not isinstance(request_id, str):
            raise BadRequest("id must be a string")
        if asked is not None and not (
            isinstance(asked, list) and all(isinstance(o, dict) and isinstance(o.get("name"), str) for o in asked)
        ):
            raise BadRequest('outputs must be a list of {"name"}')
        outputs = self.outputs([(output["name"], output.get("parameters")) for output in asked or ()], parameters)
        return InferRequest(tensors, inputs[0].shape[0], request_id, outputs)

    def _output(self, name: str, answer: Answer, binary: bool) -> tuple[dict[str, Any], bytes]:
        scores, labels = answer
        is_scores = name == "scores"
        shape = [len(scores), self._classes] if is_scores else [len(labels)]
        output = {"name": name, "datatype": "FP32" if is_scores else "BYTES", "shape": shape}
        if not binary:
            return {**output, "data": scores.ravel() if is_scores else labels.tolist()}, b""
        raw = scores.astype("<f4", copy=False).tobytes() if is_scores else packed(labels.tolist())
        return {**output, "parameters": {"binary_data_size": len(raw)}}, raw


def _with_binary(inputs: list[Any], raw: bytes) -> list[Any]:
    """Returns the inputs' values, those that follow the JSON in the order of the inputs."""
    values, start = [], 0
    for given in inputs:
        data = given.data
        if data is UNSET:
            end = start + given.parameters.binary_data_size if given.parameters else -1
            part, count = raw[start:end], math.prod(given.shape)
            if not start <= end <= len(raw):
                raise ValueError
            tag = given.__struct_config__.tag
            data = unpacked(part, count) if given.__class__ is _BYTES else numbers(part, tag, count)
            start = end
        values.append(data)
    if start != len(raw):
        raise ValueError
    return values


def _other(values: Any, shape: list[int], datatype: str) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.array([value or "" for value in values], object)
    tensor = np.array(values, np.float32).reshape(shape)
    if np.isinf(tensor).any():
        raise ValueError
    return tensor


def _flag(parameters: Any, name: str, default: bool) -> bool:
    if parameters is None:
        return default
    if not isinstance(parameters, dict):
        raise BadRequest("parameters must be an object")
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise BadRequest(f"the parameter {name} must be true or false, not {value!r}")
    return value


def _length(header: str, body_length: int) -> int:
    if not header.isascii() or not header.isdigit() or int(header) > body_length:
        raise BadRequest(
            f"Inference-Header-Content-Length is {header!r}; it must be how many of the body's {body_length} bytes are"
            " JSON"
        )
    return int(header)
