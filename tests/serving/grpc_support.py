"""A gRPC server in a thread of the tests, on uvloop as in production, and requests to it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop
from serving_support import FIXTURES

from shipway.components.common.model import Tensor, read_model
from shipway.serving.openinference.binary import packed
from shipway.serving.openinference.grpc.messages import REQUESTS, RESPONSES, SERVICE
from shipway.serving.openinference.grpc.server import start_grpc
from shipway.serving.openinference.inference import Inference
from shipway.serving.openinference.models import ServedModel, load_model
from shipway.serving.openinference.repository import Repository

ModelInferRequest = REQUESTS["ModelInfer"]


@dataclass
class Served:
    port: int
    repository: Repository
    inference: Inference
    channel: grpc.Channel
    ready: bool = True

    def call(self, method: str, request: Any = None, timeout: float | None = 20, **fields: Any) -> Any:
        return self.method(method)(request or REQUESTS[method](**fields), timeout=timeout)

    def method(self, name: str) -> grpc.UnaryUnaryMultiCallable:
        serialize = REQUESTS[name].SerializeToString
        return self.channel.unary_unary(f"/{SERVICE}/{name}", serialize, RESPONSES[name].FromString)

    def raw(self, body: bytes, method: str = "ModelInfer", **options: Any) -> bytes:
        return self.channel.unary_unary(f"/{SERVICE}/{method}")(body, timeout=20, **options)


def load(path: Path, name: str, seconds: float = 0.0, **batching: Any) -> ServedModel:
    """Loads a model; a row of the carrier "explode" fails, and each batch takes so many seconds more."""
    model = load_model(path, name, **batching)
    run = model.batcher._run

    def slow(tensors: Mapping[str, Any]) -> Any:
        time.sleep(seconds)
        if "explode" in tensors["carrier"]:
            raise RuntimeError("a secret of the server")
        return run(tensors)

    model.batcher._run = slow
    return model


@contextlib.contextmanager
def serving(
    models: Mapping[str, Path],
    loading: Callable[[Path, str], ServedModel] = load,
    *,
    inference: Inference | None = None,
    may_change: bool = False,
    **options: Any,
) -> Iterator[Served]:
    served: list[Served] = []
    started, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        repository = Repository(models, loading, may_change=may_change)
        how = inference or Inference()
        server = await start_grpc(repository, how, is_ready=lambda: served[0].ready, **options)
        limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        channel = grpc.insecure_channel(f"127.0.0.1:{server.port}", limits)
        served.append(Served(server.port, repository, how, channel))
        started.set()
        await asyncio.to_thread(ended.wait)
        await server.stop(5)

    thread = threading.Thread(target=lambda: uvloop.run(serve()))
    thread.start()
    try:
        assert started.wait(20), "the server is not ready"
        with served[0].channel:
            yield served[0]
    finally:
        ended.set()
        thread.join(20)


def values_of(feature: Tensor, instances: list[Mapping[str, Any]]) -> list[Any]:
    """Returns a feature's values, flat, missing ones as the protocol has them: NaN or an empty string."""
    values = [instance[feature.name] for instance in instances]
    if feature.datatype == "BYTES":
        return [value or "" for value in values]
    if len(feature.shape) > 1:
        values = [value for row in values for value in (row or [None] * feature.shape[1])]
    return [np.nan if value is None else value for value in values]


def infer_request(instances: list[Mapping[str, Any]], raw: bool, fixture: str = "vector", **fields: Any) -> Any:
    request = ModelInferRequest(model_name="flights", **fields)
    for feature in read_model(FIXTURES / fixture).inputs:
        shape = [len(instances), *feature.shape[1:]]
        tensor = request.inputs.add(name=feature.name, datatype=feature.datatype, shape=shape)
        values = values_of(feature, instances)
        if raw and feature.datatype == "BYTES":
            request.raw_input_contents.append(packed(values))
        elif raw:
            request.raw_input_contents.append(np.array(values, "<f4").tobytes())
        elif feature.datatype == "BYTES":
            tensor.contents.bytes_contents.extend(value.encode() for value in values)
        else:
            tensor.contents.fp32_contents.extend(values)
    return request


def outputs_of(response: Any) -> tuple[np.ndarray, list[str]]:
    """Returns scores and labels."""
    scores, labels = response.outputs
    assert (scores.name, scores.datatype, labels.name, labels.datatype) == ("scores", "FP32", "label", "BYTES")
    assert list(labels.shape) == [scores.shape[0]]
    if not response.raw_output_contents:
        return np.reshape(scores.contents.fp32_contents, scores.shape), strings(labels.contents.bytes_contents)
    raw_scores, raw_labels = response.raw_output_contents
    texts, start = [], 0
    while start < len(raw_labels):
        end = start + 4 + int.from_bytes(raw_labels[start : start + 4], "little")
        texts.append(raw_labels[start + 4 : end])
        start = end
    return np.frombuffer(raw_scores, "<f4").reshape(scores.shape), strings(texts)


def strings(texts: Any) -> list[str]:
    return [text.decode() for text in texts]
