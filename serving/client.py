"""A small client of the KServe protocols, on the standard library."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shipway.components.common.errors import DeploymentError
from shipway.components.common.model import Tensor

__all__ = ["Answer", "EndpointClient"]

_TIMEOUT_SECONDS = 10.0
# An endpoint on this machine is never behind the proxy that the environment may name.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _flat(values: list[Any], tensor: Tensor) -> list[Any]:
    if len(tensor.shape) == 1:
        return values
    missing = [None] * tensor.shape[1]
    return [value for row in values for value in (missing if row is None else row)]


@dataclass(frozen=True)
class Answer:
    """What a model answered: the scores in the order of its label names, and the labels, one per row."""

    scores: list[list[float]]
    labels: list[str]


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
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": [len(instances), *tensor.shape[1:]],
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

    def _get(self, path: str) -> Any:
        return self._ask(urllib.request.Request(self._url + path))  # noqa: S310 (http: our own endpoint)

    def _post(self, path: str, value: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(self._url + path, json.dumps(value).encode(), headers))  # noqa: S310

    def _ask(self, request: urllib.request.Request) -> Any:
        try:
            with _opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            said = error.read(2000).decode(errors="replace")
            raise DeploymentError(f"{request.full_url} answered {error.code}: {said}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DeploymentError(f"{request.full_url} did not answer: {error}") from error
