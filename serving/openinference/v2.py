"""The Open Inference protocol (KServe's v2) over REST: JSON, and the binary tensor data extension both ways.

https://github.com/kserve/open-inference-protocol, and its extension in Triton's protocol/extension_binary_data.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from shipway.components.common.model import ModelDescription
from shipway.serving.engines.engine import Answer
from shipway.serving.openinference.binary import count_of, finite, floats, numbers, packed, texts, unpacked
from shipway.serving.openinference.door import (
    INTEGERS,
    ODD,
    BadRequest,
    listed_inputs,
    parsed,
    require_finite,
    require_one_place,
    tensors_of_inputs,
)
from shipway.serving.openinference.keys import repeated_keys_first, require_unique_keys
from shipway.serving.openinference.request import InferRequest

__all__ = ["V2"]

_MOST_DIGITS = 18
# What would change the answer, and is not done here.
_UNKNOWN_TO_OUTPUTS = ("classification", "shared_memory_region")
# Datatypes whose values in JSON need no look of their own.
_UNBOUNDED = {"FP32", "FP64", "BYTES"}


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
        self._packed = {label: packed([label]) for label in description.label_names}
        self._classes = len(description.label_names)

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
        head = parsed(text)
        try:
            tensors, rows = self._tensors(head["inputs"], raw)
        except ODD:
            with repeated_keys_first(text):
                inputs = listed_inputs(head, raw)
                tensors, rows = tensors_of_inputs(self._features, inputs), inputs[0].shape[0]
        request = InferRequest(tensors, rows, _id(head), self.outputs(_asked(head), head.get("parameters")))
        if text.count(b":") != _usual_keys(head, is_binary=bool(raw)):
            require_unique_keys(text)
            for given in head["inputs"]:
                require_one_place(given)
        return request

    def encode(self, request: InferRequest, answer: Answer) -> tuple[bytes, int | None]:
        """Returns the body of an answer, and how long its JSON is where binary tensors follow."""
        require_finite(answer[0])
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
        given = {name for name, _ in asked}
        if unknown := given - set(self._outputs):
            names = " and ".join(self._outputs)
            raise BadRequest(f"the model has no output {', '.join(sorted(unknown))}; it has {names}")
        if len(given) != len(asked):
            raise BadRequest("an output is asked for twice")
        flags = tuple((name, _flag(its, "binary_data", binary)) for name, its in asked)
        if lacking := [p for _, its in asked if its for p in _UNKNOWN_TO_OUTPUTS if p in its]:
            raise BadRequest(f"this server does not have {lacking[0]}, which an output asks for")
        return flags

    def _tensors(self, inputs: list[Any], raw: bytes) -> tuple[dict[str, NDArray[Any]], int]:
        values = _values(inputs, raw)
        names = [given["name"] for given in inputs]
        if names != self._names:
            order = {name: position for position, name in enumerate(names)}
            if len(order) != len(names) or len(names) != len(self._names):
                raise ValueError
            positions = [order[name] for name in self._names]
            inputs, values = [inputs[i] for i in positions], [values[i] for i in positions]
        rows = inputs[0]["shape"][0]
        shapes = [[rows, *feature.shape[1:]] for feature in self._features]
        given_shapes = [given["shape"] for given in inputs]
        if rows < 1 or given_shapes != shapes or set(map(type, chain.from_iterable(given_shapes))) != {int}:
            raise ValueError
        if [given["datatype"] == "BYTES" for given in inputs] != self._are_texts:
            raise ValueError
        return self._converted(values, shapes), rows

    def _converted(self, values: list[Any], shapes: list[list[int]]) -> dict[str, NDArray[Any]]:
        tensors: dict[str, NDArray[Any]] = {}
        if self._numbers:
            block = _block([values[i] for i in self._numbers], shapes[0][0])
            tensors = {self._names[i]: column for i, column in zip(self._numbers, block, strict=True)}
        for i in self._others:
            if len(values[i]) != math.prod(shapes[i]):
                raise ValueError
            tensors[self._names[i]] = _other(values[i], shapes[i], self._features[i].datatype)
        return tensors

    def _output(self, name: str, answer: Answer, binary: bool) -> tuple[dict[str, Any], bytes]:
        scores, labels = answer
        is_scores = name == "scores"
        shape = [len(scores), self._classes] if is_scores else [len(labels)]
        output = {"name": name, "datatype": "FP32" if is_scores else "BYTES", "shape": shape}
        if not binary:
            return {**output, "data": scores.ravel() if is_scores else labels.tolist()}, b""
        raw = (
            scores.astype("<f4", copy=False).tobytes()
            if is_scores
            else b"".join(map(self._packed.__getitem__, labels.tolist()))
        )
        return {**output, "parameters": {"binary_data_size": len(raw)}}, raw


def _values(inputs: list[Any], raw: bytes) -> list[Any]:
    """Returns the inputs' values; those that follow the JSON do so in the order of the inputs."""
    values, start = [], 0
    for given in inputs:
        datatype, data = given["datatype"], given.get("data")
        if data is None:
            size = given["parameters"]["binary_data_size"]
            if type(size) is not int:
                raise ValueError
            end = start + size
            part, count = raw[start:end], count_of(given["shape"])
            if not start <= end <= len(raw):
                raise ValueError
            data = unpacked(part, count) if datatype == "BYTES" else numbers(part, datatype, count)
            start = end
        elif type(data) is not list or datatype not in _UNBOUNDED:
            _require_integers(data, datatype)
        values.append(data)
    if start != len(raw):
        raise ValueError
    return values


def _require_integers(data: list[Any], datatype: str) -> None:
    low, high = INTEGERS[datatype]
    if set(map(type, data)) != {int} or min(data) < low or max(data) > high:
        raise ValueError


def _block(columns: list[Any], rows: int) -> NDArray[np.float32]:
    """Returns the numeric features, a row each."""
    if any(type(column) is not list for column in columns):
        with np.errstate(over="ignore"):
            numeric = [floats(column) if type(column) is list else column for column in columns]
            block = finite(np.array(numeric, np.float32))
        if block.shape[1] != rows:
            raise ValueError
        return block
    if any(len(column) != rows for column in columns):
        raise ValueError
    return floats(list(chain.from_iterable(columns))).reshape(len(columns), rows)


def _other(values: Any, shape: list[int], datatype: str) -> NDArray[Any]:
    if datatype == "BYTES":
        return texts(values)
    if type(values) is list:
        return floats(values).reshape(shape)
    with np.errstate(over="ignore"):
        return finite(values.astype(np.float32, copy=False)).reshape(shape)


def _id(head: dict[str, Any]) -> str | None:
    request_id = head.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise BadRequest("id must be a string")
    return request_id


def _asked(head: dict[str, Any]) -> list[tuple[str, Any]]:
    outputs = [] if head.get("outputs") is None else head["outputs"]
    if not isinstance(outputs, list) or not all(
        isinstance(output, dict) and isinstance(output.get("name"), str) for output in outputs
    ):
        raise BadRequest('outputs must be a list of {"name"}')
    return [(output["name"], output.get("parameters")) for output in outputs]


def _usual_keys(head: dict[str, Any], is_binary: bool) -> int:
    """Returns how many keys, and so colons, a request has at least; with more of them it is looked at once more.

    Four of each input, which are five where its data is binary.
    """
    inputs, outputs, parameters = head["inputs"], head.get("outputs"), head.get("parameters")
    count = len(head) + 4 * len(inputs) + len(parameters or ())
    if is_binary:
        count += sum([given.get("data") is None for given in inputs])
    for output in outputs or ():
        count += len(output) + len(output.get("parameters") or ())
    return count


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
    if not header.isascii() or not header.isdigit() or len(header) > _MOST_DIGITS or int(header) > body_length:
        raise BadRequest(
            f"Inference-Header-Content-Length is {header!r}; it must be how many of the body's {body_length} bytes are"
            " JSON"
        )
    return int(header)
