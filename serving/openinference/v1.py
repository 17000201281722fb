"""KServe's v1 protocol: ``{"instances": [{feature: value, …}, …]}`` and the predictions for it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
import orjson
from msgspec.structs import astuple
from numpy.typing import NDArray

from shipway.components.common.model import ModelDescription, Tensor
from shipway.serving.engines.engine import Answer
from shipway.serving.openinference.door import BadRequest, parsed, tensors_of_instances
from shipway.serving.openinference.request import InferRequest

__all__ = ["V1"]

_NUMBER = float | bool | None


class V1:
    """Reads and writes the v1 bodies of one model; a :class:`.request.Codec`.

    Rows are decoded into a type made from the model's signature, which refuses what the model does not take.
    What it refuses is looked at once more by :mod:`.door`, which knows the reason.
    """

    protocol = "v1"

    def __init__(self, description: ModelDescription) -> None:
        self._features = description.inputs
        fields = [(f"f{i}", _type(f), msgspec.field(name=f.name)) for i, f in enumerate(self._features)]
        row = msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False)
        rows = Annotated[list[row], msgspec.Meta(min_length=1)]  # type: ignore[valid-type]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Body", [("instances", rows)], gc=False))
        self._numbers = [i for i, f in enumerate(self._features) if f.datatype == "FP32" and len(f.shape) == 1]
        self._others = [i for i in range(len(self._features)) if i not in set(self._numbers)]
        self._labels = description.label_names

    def decode(self, body: bytes, header_length: str | None = None) -> InferRequest:
        """Returns a request.

        Args:
            body: JSON.
            header_length: Must be None: binary tensors are of v2.

        Raises:
            BadRequest: When the model cannot answer it.
        """
        if header_length is not None:
            raise BadRequest("Inference-Header-Content-Length belongs to v2; v1 has no binary tensors")
        try:
            rows = self._decoder.decode(body).instances
            return InferRequest(self._tensors(rows), len(rows))
        except (msgspec.DecodeError, RecursionError, OverflowError):
            payload = parsed(body)
            tensors = tensors_of_instances(self._features, payload)
            return InferRequest(tensors, len(payload["instances"]))

    def encode(self, request: InferRequest, answer: Answer) -> tuple[bytes, None]:  # noqa: ARG002 (a Codec)
        """Returns the body of an answer: ``{"predictions": [{"label": …, "scores": {label: score, …}}, …]}``."""
        scores, labels = answer
        names = self._labels
        rows = zip(labels.tolist(), scores.tolist(), strict=True)
        predictions = [{"label": label, "scores": dict(zip(names, row, strict=True))} for label, row in rows]
        return orjson.dumps({"predictions": predictions}), None

    def _tensors(self, rows: list[Any]) -> dict[str, NDArray[Any]]:
        columns = list(zip(*map(astuple, rows), strict=True))
        tensors: dict[str, NDArray[Any]] = {}
        if self._numbers:
            with np.errstate(over="ignore"):
                block = np.array([columns[i] for i in self._numbers], np.float32)
            _require_finite(block)
            tensors = {self._features[i].name: values for i, values in zip(self._numbers, block, strict=True)}
        for i in self._others:
            tensors[self._features[i].name] = _other(self._features[i], columns[i])
        return tensors


def _type(feature: Tensor) -> Any:
    if feature.datatype == "BYTES":
        return str | None
    if len(feature.shape) == 1:
        return _NUMBER
    size = feature.shape[1]
    return Annotated[list[_NUMBER], msgspec.Meta(min_length=size, max_length=size)] | None


def _other(feature: Tensor, values: tuple[Any, ...]) -> NDArray[Any]:
    if feature.datatype == "BYTES":
        return np.array([value or "" for value in values], object)
    missing = [None] * feature.shape[1]
    with np.errstate(over="ignore"):
        tensor = np.array([missing if value is None else value for value in values], np.float32)
    _require_finite(tensor)
    return tensor


def _require_finite(tensor: NDArray[np.float32]) -> None:
    if np.isinf(tensor).any():
        raise OverflowError
