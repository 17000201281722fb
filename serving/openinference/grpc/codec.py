"""A model's requests and answers over gRPC: ``ModelInferRequest`` and ``ModelInferResponse``, raw and typed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from shipway.components.common.model import ModelDescription
from shipway.serving.engines.engine import Answer
from shipway.serving.openinference.binary import DTYPES, numbers, packed, unpacked
from shipway.serving.openinference.door import BadRequest, listed_inputs, require_finite, tensors_of_inputs
from shipway.serving.openinference.grpc.messages import ModelInferRequest, ModelInferResponse
from shipway.serving.openinference.request import InferRequest

__all__ = ["V2Grpc"]

_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# What a request that is not as the protocol says makes the quick way raise.
_ODD = (LookupError, ValueError, OverflowError)


class V2Grpc:
    """Reads and writes the gRPC messages of one model; a :class:`.request.Codec`.

    As over REST, the quick way goes through a request's tensors once, and what it stumbles over is looked at once more
    by :mod:`.door`, which knows the reason.
    """

    protocol = "grpc"

    def __init__(self, name: str, description: ModelDescription) -> None:
        self._features = description.inputs
        self._names = [feature.name for feature in self._features]
        self._numeric = [feature.name for feature in self._features if feature.datatype == "FP32"]
        self._outputs = [output.name for output in description.outputs]
        self._all_raw = tuple((name, True) for name in self._outputs)
        self._all_typed = tuple((name, False) for name in self._outputs)
        self._classes = len(description.label_names)
        self._labels = {label: packed([label]) for label in description.label_names}
        self._head = ModelInferResponse(model_name=name, model_version=description.digest).SerializeToString()

    def decode(self, body: bytes, header_length: str | None = None) -> InferRequest:  # noqa: ARG002 (a Codec)
        """Returns a request.

        Args:
            body: A ``ModelInferRequest``, serialized.
            header_length: Is of REST.

        Raises:
            BadRequest: When the model cannot answer it.
        """
        try:
            message = ModelInferRequest.FromString(body)
        except DecodeError:
            raise BadRequest(
                "malformed request: it is no ModelInferRequest, or holds strings that are no UTF-8"
            ) from None
        inputs, raws = message.inputs, message.raw_input_contents
        try:
            tensors, rows = self._tensors(inputs, raws)
        except _ODD:
            listed = listed_inputs({"inputs": _listed(inputs, raws)}, b"".join(raws))
            tensors, rows = tensors_of_inputs(self._features, listed), listed[0].shape[0]
        return InferRequest(tensors, rows, message.id or None, self._asked(message.outputs, bool(raws)))

    def encode(self, request: InferRequest, answer: Answer) -> tuple[bytes, None]:
        """Returns a ``ModelInferResponse``, serialized: with raw contents if the request had some."""
        scores, labels = answer
        require_finite(scores)
        rows = len(labels)
        response = ModelInferResponse(id=request.id)
        for name, raw in request.outputs:
            is_scores = name == "scores"
            shape = [rows, self._classes] if is_scores else [rows]
            output = response.outputs.add(name=name, datatype="FP32" if is_scores else "BYTES", shape=shape)
            if raw:
                content = scores.astype("<f4", copy=False).tobytes() if is_scores else self._packed(labels)
                response.raw_output_contents.append(content)
            elif is_scores:
                output.contents.fp32_contents.extend(scores.ravel().tolist())
            else:
                output.contents.bytes_contents.extend(label.encode() for label in labels)
        # Messages after each other are one message.
        return self._head + response.SerializeToString(), None

    def _asked(self, outputs: Sequence[Any], raw: bool) -> tuple[tuple[str, bool], ...]:
        if not outputs:
            return self._all_raw if raw else self._all_typed
        asked = [output.name for output in outputs]
        if unknown := set(asked) - set(self._outputs):
            names = " and ".join(self._outputs)
            raise BadRequest(f"the model has no output {', '.join(sorted(unknown))}; it has {names}")
        return tuple((name, raw) for name in asked)

    def _tensors(self, given: Sequence[Any], raws: Sequence[bytes]) -> tuple[dict[str, NDArray[Any]], int]:
        inputs = list(given)
        contents: list[Any] = list(raws) if raws else [_typed(tensor) for tensor in inputs]
        if len(contents) != len(inputs):
            raise ValueError
        names = [tensor.name for tensor in inputs]
        if names != self._names:
            if len(names) != len(self._names):
                raise ValueError
            positions = [names.index(name) for name in self._names]
            inputs, contents = [inputs[i] for i in positions], [contents[i] for i in positions]
        rows = inputs[0].shape[0]
        if rows < 1:
            raise ValueError
        tensors: dict[str, NDArray[Any]] = {}
        for feature, tensor, content in zip(self._features, inputs, contents, strict=True):
            shape = [rows, *feature.shape[1:]]
            if tensor.shape != shape or (raws and tensor.HasField("contents")):
                raise ValueError
            convert = _texts if feature.datatype == "BYTES" else _floats
            tensors[feature.name] = convert(tensor.datatype, content, math.prod(shape)).reshape(shape)
        floats = [tensors[name] for name in self._numeric]
        if floats and np.isinf(floats[0] if len(floats) == 1 else np.concatenate(floats, axis=None)).any():
            raise ValueError
        return tensors, rows

    def _packed(self, labels: NDArray[np.object_]) -> bytes:
        return b"".join([self._labels[label] for label in labels])


def _typed(tensor: Any) -> list[Any]:
    """Returns the values of an input's contents, which must be those of its datatype and nothing else."""
    ((field, values),) = tensor.contents.ListFields()
    if field.name != _CONTENTS[tensor.datatype]:
        raise ValueError
    return list(values)


def _texts(datatype: str, content: Any, count: int) -> NDArray[np.object_]:
    if datatype != "BYTES":
        raise ValueError
    texts = unpacked(content, count) if isinstance(content, bytes) else [text.decode() for text in content]
    return np.array(texts, object)


def _floats(datatype: str, content: Any, count: int) -> NDArray[np.float32]:
    is_raw = isinstance(content, bytes)
    values = numbers(content, datatype, count) if is_raw else np.array(content, DTYPES[datatype])
    if datatype == "FP32":
        return values
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _listed(inputs: Sequence[Any], raws: Sequence[bytes]) -> list[dict[str, Any]]:
    """Returns inputs as they would be over REST, raw contents as binary data."""
    if raws and len(raws) != len(inputs):
        raise BadRequest(f"there are {len(raws)} raw_input_contents for {len(inputs)} inputs; each needs one")
    listed = []
    for position, given in enumerate(inputs):
        tensor = {"name": given.name, "datatype": given.datatype, "shape": given.shape[:]}
        if not raws:
            tensor["data"] = _contents(given)
        elif given.HasField("contents"):
            raise BadRequest(f"input {given.name} has contents, and there are raw_input_contents; send either")
        else:
            tensor["parameters"] = {"binary_data_size": len(raws[position])}
        listed.append(tensor)
    return listed


def _contents(given: Any) -> list[Any]:
    where, datatype = f"input {given.name}", given.datatype
    expected = _CONTENTS.get(datatype)
    for field, _ in given.contents.ListFields():
        if field.name != expected:
            takes = f"takes {expected}" if expected else "can only be sent in raw_input_contents"
            raise BadRequest(f"{where} holds {field.name}, but its datatype {datatype} {takes}")
    if expected is None:
        return []
    values = list(getattr(given.contents, expected))
    if datatype != "BYTES":
        return values
    try:
        return [text.decode() for text in values]
    except UnicodeDecodeError as error:
        raise BadRequest(f"{where} holds bytes that are no UTF-8: {error}") from None
