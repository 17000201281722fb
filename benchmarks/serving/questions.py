"""What is asked over every protocol, and whether the answers are right."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PROTOCOLS", "Question", "WrongAnswer", "questions"]

PROTOCOLS = ("v1 JSON", "v2 JSON", "v2 binary", "gRPC")
_DIFFERENT = 16
_ID = "1"


class WrongAnswer(Exception):
    """An answer that is not what the model says."""


@dataclass(frozen=True)
class Question:
    """A request, and what is to come of it.

    Attributes:
        protocol: One of :data:`PROTOCOLS`.
        path: Of the URL; empty over gRPC.
        headers: Besides those of every request.
        body: As it is sent.
        scores: One list per row.
        labels: One per row.
        tolerance: How far a score may be off.
    """

    protocol: str
    path: str
    headers: dict[str, str]
    body: bytes
    scores: Sequence[Sequence[float]]
    labels: Sequence[str]
    tolerance: float

    def check(self, body: bytes, json_length: int | None = None) -> None:
        """Checks an answer.

        Args:
            body: As it came.
            json_length: How long the JSON is where binary tensors follow.

        Raises:
            WrongAnswer: When it is something else than the model's.
        """
        try:
            scores, labels = _answer(self.protocol, body, json_length)
        except (LookupError, TypeError, ValueError, struct.error) as error:
            raise WrongAnswer(f"{self.protocol}: {body[:300]!r} cannot be read: {error!r}") from error
        flat = [value for row in self.scores for value in row]
        if labels != list(self.labels) or len(scores) != len(flat):
            raise WrongAnswer(f"{self.protocol}: {labels[:3]} and {len(scores)} scores instead of {self.labels[:3]}")
        if any(abs(a - b) > self.tolerance for a, b in zip(scores, flat, strict=True)):
            raise WrongAnswer(f"{self.protocol}: the scores {scores[:3]} are not {flat[:3]}")


def questions(model: Path, name: str, protocol: str, rows: int) -> list[Question]:
    """Returns different requests of ``rows`` rows each, out of a Model's golden ones.

    Args:
        model: The Model directory.
        name: Of the model in the URLs.
        protocol: One of :data:`PROTOCOLS`.
        rows: Of one request.
    """
    golden = json.loads((model / "golden.json").read_text())
    known = list(zip(golden["instances"], golden["scores"], golden["labels"], strict=True))
    made = []
    for first in range(_DIFFERENT):
        chosen = [known[(first + i) % len(known)] for i in range(rows)]
        instances, scores, labels = zip(*chosen, strict=True)
        path, headers, body = _request(protocol, name, instances)
        made.append(Question(protocol, path, headers, body, scores, labels, golden["tolerance"]))
    return made


def _request(protocol: str, name: str, instances: Sequence[dict[str, Any]]) -> tuple[str, dict[str, str], bytes]:
    if protocol == "v1 JSON":
        return f"/v1/models/{name}:predict", _JSON, _dumped({"instances": instances})
    values = [value for row in instances for value in row["x"]]
    shape = [len(instances), len(instances[0]["x"])]
    raw = struct.pack(f"<{len(values)}f", *values)
    if protocol == "gRPC":
        return "", {}, _message(name, shape, raw)
    given = {"name": "x", "shape": shape, "datatype": "FP32"}
    path = f"/v2/models/{name}/infer"
    if protocol == "v2 JSON":
        return path, _JSON, _dumped({"id": _ID, "inputs": [{**given, "data": values}]})
    given["parameters"] = {"binary_data_size": len(raw)}
    head = _dumped({"id": _ID, "parameters": {"binary_data_output": True}, "inputs": [given]})
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return path, headers, head + raw


_JSON = {"Content-Type": "application/json"}


def _dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _message(name: str, shape: list[int], raw: bytes) -> bytes:
    from shipway.serving.openinference.grpc.messages import ModelInferRequest

    message = ModelInferRequest(model_name=name, id=_ID)
    message.inputs.add(name="x", datatype="FP32", shape=shape)
    message.raw_input_contents.append(raw)
    return bytes(message.SerializeToString())


def _answer(protocol: str, body: bytes, json_length: int | None) -> tuple[list[float], list[str]]:
    """Returns the scores, row by row, and the labels."""
    if protocol == "gRPC":
        return _answer_of_message(body)
    head = json.loads(body if json_length is None else body[:json_length])
    if protocol == "v1 JSON":
        predictions = head["predictions"]
        names = sorted(predictions[0]["scores"])
        scores = [prediction["scores"][name] for prediction in predictions for name in names]
        return scores, [prediction["label"] for prediction in predictions]
    start, found = json_length or 0, {}
    for output in head["outputs"]:
        if "data" in output:
            found[output["name"]] = output["data"]
            continue
        end = start + output["parameters"]["binary_data_size"]
        found[output["name"]] = _unpacked(output["datatype"], body[start:end])
        start = end
    if protocol == "v2 binary" and json_length is None:
        raise ValueError("binary outputs were asked for")
    return found["scores"], found["label"]


def _answer_of_message(body: bytes) -> tuple[list[float], list[str]]:
    from shipway.serving.openinference.grpc.messages import ModelInferResponse

    message = ModelInferResponse.FromString(body)
    found = {}
    for position, output in enumerate(message.outputs):
        if message.raw_output_contents:
            found[output.name] = _unpacked(output.datatype, message.raw_output_contents[position])
        elif output.datatype == "BYTES":
            found[output.name] = [text.decode() for text in output.contents.bytes_contents]
        else:
            found[output.name] = list(output.contents.fp32_contents or output.contents.fp64_contents)
    return found["scores"], found["label"]


def _unpacked(datatype: str, raw: bytes) -> list[Any]:
    if datatype != "BYTES":
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    texts, start = [], 0
    while start < len(raw):
        end = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        texts.append(raw[start + 4 : end].decode())
        start = end
    return texts
