"""What an answer says: its scores and labels, out of the body that the client got."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from shipway.serving.openinference.binary import unpacked

__all__ = ["Outcome", "outcome"]


class Outcome(NamedTuple):
    """What was answered.

    Attributes:
        scores: [N, classes]; None where the client did not ask for them.
        labels: [N]; None where the client did not ask for them.
    """

    scores: NDArray[np.float32] | None = None
    labels: list[str] | None = None


def outcome(protocol: str, answer: bytes, json_length: int | None, classes: Sequence[str]) -> Outcome:
    """Returns what a body says.

    Args:
        protocol: ``v1``, ``v2`` or ``grpc``.
        answer: The body.
        json_length: How long its JSON is where binary tensors follow.
        classes: The model's labels.
    """
    if protocol == "v1":
        return _v1(answer, classes)
    outputs = _grpc(answer) if protocol == "grpc" else _v2(answer, json_length)
    scores = outputs.get("scores")
    return Outcome(None if scores is None else scores.reshape(-1, len(classes)), outputs.get("label"))


def _v1(answer: bytes, classes: Sequence[str]) -> Outcome:
    predictions = orjson.loads(answer)["predictions"]
    scores = [[prediction["scores"][name] for name in classes] for prediction in predictions]
    return Outcome(np.array(scores, np.float32), [prediction["label"] for prediction in predictions])


def _v2(answer: bytes, json_length: int | None) -> dict[str, Any]:
    start = len(answer) if json_length is None else json_length
    outputs: dict[str, Any] = {}
    for output in orjson.loads(answer[:start])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            data = output["data"]
            outputs[output["name"]] = np.array(data, np.float32) if output["name"] == "scores" else data
        else:
            outputs[output["name"]] = _raw(output["name"], answer[start : start + size], output["shape"][0])
            start += size
    return outputs


def _grpc(answer: bytes) -> dict[str, Any]:
    from shipway.serving.openinference.grpc.messages import ModelInferResponse

    response = ModelInferResponse.FromString(answer)
    outputs: dict[str, Any] = {}
    for position, output in enumerate(response.outputs):
        if response.raw_output_contents:
            outputs[output.name] = _raw(output.name, response.raw_output_contents[position], output.shape[0])
        elif output.name == "scores":
            outputs[output.name] = np.array(output.contents.fp32_contents, np.float32)
        else:
            outputs[output.name] = [text.decode() for text in output.contents.bytes_contents]
    return outputs


def _raw(name: str, content: bytes, rows: int) -> Any:
    return np.frombuffer(content, "<f4") if name == "scores" else unpacked(content, rows)
