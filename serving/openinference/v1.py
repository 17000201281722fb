"""KServe's v1 protocol: ``{"instances": [{feature: value, …}, …]}`` and the predictions for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
from numpy.typing import NDArray

from shipway.components.common.model import ModelDescription, Tensor
from shipway.serving.engines.engine import Answer
from shipway.serving.openinference.binary import floats, texts
from shipway.serving.openinference.door import (
    ODD,
    BadRequest,
    parsed,
    require_finite,
    tensors_of_instances,
)
from shipway.serving.openinference.keys import repeated_keys_first, require_unique_keys
from shipway.serving.openinference.request import InferRequest

__all__ = ["V1"]

_Prediction = msgspec.defstruct("Prediction", [("label", str), ("scores", Any)], gc=False)
_Answer = msgspec.defstruct("Answer", [("predictions", list)], gc=False)


class V1:
    """Reads and writes the v1 bodies of one model; a :class:`.request.Codec`.

    The quick way goes through a request's columns once. What it stumbles over is looked at once more by :mod:`.door`,
    which knows the reason, or finds that there is none.
    """

    protocol = "v1"

    def __init__(self, description: ModelDescription) -> None:
        self._features = description.inputs
        self._values = itemgetter(*(feature.name for feature in self._features))
        self._numbers = [i for i, f in enumerate(self._features) if f.datatype == "FP32" and len(f.shape) == 1]
        self._others = [i for i in range(len(self._features)) if i not in set(self._numbers)]
        classes = [(f"f{i}", float, msgspec.field(name=name)) for i, name in enumerate(description.label_names)]
        self._scores = msgspec.defstruct("Scores", classes, gc=False)
        self._encoder = msgspec.json.Encoder()

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
        payload = parsed(body)
        try:
            rows = payload["instances"]
            tensors = self._tensors(rows)
        except ODD:
            with repeated_keys_first(body):
                tensors, rows = tensors_of_instances(self._features, payload), payload["instances"]
        # Every key has a colon: with as many as there are keys after parsing, none was there twice.
        if body.count(b":") != len(payload) + len(rows) * len(self._features):
            require_unique_keys(body)
        return InferRequest(tensors, len(rows))

    def encode(self, request: InferRequest, answer: Answer) -> tuple[bytes, None]:  # noqa: ARG002 (a Codec)
        """Returns the body of an answer: ``{"predictions": [{"label": …, "scores": {label: score, …}}, …]}``."""
        scores, labels = answer
        require_finite(scores)
        rows = map(self._scores, *scores.T.tolist())
        return self._encoder.encode(_Answer(list(map(_Prediction, labels.tolist(), rows)))), None

    def _tensors(self, rows: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
        if type(rows) is not list or set(map(len, rows)) != {len(self._features)}:
            raise ValueError
        values = map(self._values, rows)
        columns: list[Sequence[Any]] = [list(values)] if len(self._features) == 1 else list(zip(*values, strict=True))
        tensors: dict[str, NDArray[Any]] = {}
        if self._numbers:
            flat = floats(list(chain.from_iterable([columns[i] for i in self._numbers])))
            block = flat.reshape(len(self._numbers), len(rows))
            tensors = {self._features[i].name: column for i, column in zip(self._numbers, block, strict=True)}
        for i in self._others:
            tensors[self._features[i].name] = _other(self._features[i], columns[i])
        return tensors


def _other(feature: Tensor, values: Sequence[Any]) -> NDArray[Any]:
    if feature.datatype == "BYTES":
        return texts(values)
    size = feature.shape[1]
    missing = [None] * size
    lists = [missing if value is None else value for value in values]
    if set(map(type, lists)) != {list} or set(map(len, lists)) != {size}:
        raise ValueError
    return floats(list(chain.from_iterable(lists))).reshape(feature.shape)
