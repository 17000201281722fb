"""A small client of the KServe protocols, on the standard library."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shipway.components.common.errors import DeploymentError
from shipway.components.common.model import Tensor

__all__ = ["Answer", "EndpointClient", "answer_of_bytes", "tensor_bytes"]

_TIMEOUT_SECONDS = 10.0
_HEADER_LENGTH = "Inference-Header-Content-Length"
# An endpoint on this machine is never behind the proxy that the environment may name.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Answer:
    """What a model answered: the scores in the order of its label names, and the labels, one per row."""

    scores: list[list[float]]
    labels: list[str]


class _Response(NamedTuple):
    body: bytes
    headers: Mapping[str, str]


def tensor_bytes(tensor: Tensor, values: list[Any]) -> bytes:
    """Returns the values of an input, one per row and None where missing, as the binary extension has them."""
    flat = _flat(values, tensor)
    if tensor.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(text)) + text for text in ((value or "").encode() for value in flat))
    return struct.pack(f"<{len(flat)}f", *(math.nan if value is None else value for value in flat))


def answer_of_bytes(scores: bytes, labels: bytes, classes: int) -> Answer:
    """Returns the answer that two outputs hold, as the binary extension has them.

    Raises:
        ValueError: When they are not such.
    """
    if classes < 1 or len(scores) % (4 * classes):
        raise ValueError(f"{len(scores)} bytes are no rows of {classes} scores")
    texts, start = [], 0
    while start < len(labels):
        end = start + 4 + int.from_bytes(labels[start : start + 4], "little")
        if end > len(labels):
            raise ValueError("a label is longer than the bytes that there are")
        texts.append(labels[start + 4 : end].decode())
        start = end
    return Answer([list(row) for row in struct.iter_unpack(f"<{classes}f", scores)], texts)


def _flat(values: list[Any], tensor: Tensor) -> list[Any]:
    if len(tensor.shape) == 1:
        return values
    missing = [None] * tensor.shape[1]
    return [value for row in values for value in (missing if row is None else row)]


@contextlib.contextmanager
def _of_the_protocol(protocol: str, body: Any) -> Iterator[None]:
    """Turns what a malformed answer raises when it is read into a DeploymentError that shows it."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DeploymentError(f"the answer is none of the {protocol} protocol: {str(body)[:200]}") from error


class EndpointClient:
    """Asks one model of one endpoint."""

    def __init__(self, url: str, model: str) -> None:
        """Takes the endpoint's ``url`` (``http://host:port``) and the model's name in its URLs."""
        self._url = url
        self._model = model

    def model_digest(self) -> str:
        """Returns the digest of the model that is served.

        Raises:
            DeploymentError: When the endpoint does not answer, or with an error.
        """
        body = self._get(f"/v2/models/{self._model}")
        with _of_the_protocol("v2", body):
            return str((body.get("versions") or [""])[0])

    def predict(self, instances: Sequence[Mapping[str, Any]], label_names: Sequence[str]) -> Answer:
        """Asks over the v1 protocol.

        Raises:
            DeploymentError: When the endpoint does not answer, or with an error.
        """
        body = self._post(f"/v1/models/{self._model}:predict", {"instances": instances})
        with _of_the_protocol("v1", body):
            predictions = body["predictions"]
            scores = [[float(p["scores"][name]) for name in label_names] for p in predictions]
            return Answer(scores, [str(p["label"]) for p in predictions])

    def infer(self, instances: Sequence[Mapping[str, Any]], inputs: Sequence[Tensor]) -> Answer:
        """Asks over the v2 protocol, one tensor per input.

        Raises:
            DeploymentError: When the endpoint does not answer, or with an error.
        """
        tensors = [
            {
                **_described(tensor, len(instances)),
                "data": _flat([instance[tensor.name] for instance in instances], tensor),
            }
            for tensor in inputs
        ]
        body = self._post(f"/v2/models/{self._model}/infer", {"inputs": tensors})
        with _of_the_protocol("v2", body):
            outputs = {output["name"]: output for output in body["outputs"]}
            rows, classes = outputs["scores"]["shape"]
            flat = [float(score) for score in outputs["scores"]["data"]]
            scores = [flat[row * classes : (row + 1) * classes] for row in range(rows)]
            return Answer(scores, [str(label) for label in outputs["label"]["data"]])

    def infer_binary(self, instances: Sequence[Mapping[str, Any]], inputs: Sequence[Tensor]) -> Answer:
        """Asks over the v2 protocol with tensors as bytes, both ways.

        Raises:
            DeploymentError: When the endpoint does not answer, or with an error.
        """
        contents = [tensor_bytes(tensor, [instance[tensor.name] for instance in instances]) for tensor in inputs]
        described = [
            {**_described(tensor, len(instances)), "parameters": {"binary_data_size": len(content)}}
            for tensor, content in zip(inputs, contents, strict=True)
        ]
        head = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
        headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(head))}
        path, body = f"/v2/models/{self._model}/infer", b"".join([head, *contents])
        response = self._ask(urllib.request.Request(self._url + path, body, headers))  # noqa: S310
        with _of_the_protocol("v2 (binary)", response.body):
            return _binary_answer(response)

    def _get(self, path: str) -> Any:
        return self._ask_json(urllib.request.Request(self._url + path))  # noqa: S310 (http: our own endpoint)

    def _post(self, path: str, value: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        return self._ask_json(urllib.request.Request(self._url + path, json.dumps(value).encode(), headers))  # noqa: S310

    def _ask_json(self, request: urllib.request.Request) -> Any:
        body = self._ask(request).body
        try:
            return json.loads(body)
        except ValueError as error:
            raise DeploymentError(f"{request.full_url} did not answer with JSON: {body[:200]!r}") from error

    def _ask(self, request: urllib.request.Request) -> _Response:
        try:
            with _opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return _Response(response.read(), response.headers)
        except urllib.error.HTTPError as error:
            said = error.read(2000).decode(errors="replace")
            raise DeploymentError(f"{request.full_url} answered {error.code}: {said}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DeploymentError(f"{request.full_url} did not answer: {error}") from error


def _described(tensor: Tensor, rows: int) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": [rows, *tensor.shape[1:]]}


def _binary_answer(response: _Response) -> Answer:
    start = int(response.headers[_HEADER_LENGTH])
    found = {}
    for output in json.loads(response.body[:start])["outputs"]:
        end = start + output["parameters"]["binary_data_size"]
        found[output["name"]] = output["shape"], response.body[start:end]
        start = end
    (_, classes), scores = found["scores"]
    return answer_of_bytes(scores, found["label"][1], classes)
