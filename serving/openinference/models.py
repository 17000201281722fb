"""A model that is served: its engine, and what reads, batches and counts its requests."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import Any

from shipway.components.common.model import Tensor
from shipway.serving.engines.choice import load_engine
from shipway.serving.engines.engine import Engine, model_directory
from shipway.serving.openinference.batching import Batcher
from shipway.serving.openinference.metrics import ModelMetrics
from shipway.serving.openinference.request import Codec
from shipway.serving.openinference.v1 import V1
from shipway.serving.openinference.v2 import V2

__all__ = ["ServedModel", "load_model"]


class ServedModel:
    """A model with what reads, batches and counts its requests.

    Attributes:
        name: In the URLs.
        identity: Name and digest: what its answers depend on besides the requests.
        digest_header: Says over HTTP which model answered.
        description: What ``model.json`` says.
        v1: Its v1 bodies.
        v2: Its v2 bodies.
        batcher: Hands requests to its engine.
        metrics: What is counted.
    """

    def __init__(self, name: str, engine: Engine, load_seconds: float = 0.0, **batching: Any) -> None:
        self.name, self.description, self._platform = name, engine.description, engine.platform
        self.identity = f"{name} {engine.description.digest}"
        self.digest_header = (b"x-shipway-model-digest", engine.description.digest.encode())
        self.v1, self.v2 = V1(engine.description), V2(name, engine.description)
        self.batcher = Batcher(engine.run, observe=lambda rows, seconds: self.metrics.batch(rows, seconds), **batching)
        self.metrics = ModelMetrics(engine.description.digest, lambda: self.batcher.waiting_rows, load_seconds)

    @cached_property
    def grpc(self) -> Codec:
        """Its messages over gRPC; made when the first one comes, as the libraries take memory and time."""
        from shipway.serving.openinference.grpc.codec import V2Grpc

        return V2Grpc(self.name, self.description)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the v2 protocol says of a model."""
        return {
            "name": self.name,
            "versions": [self.description.digest],
            "platform": self._platform,
            "inputs": [_tensor(tensor) for tensor in self.description.inputs],
            "outputs": [_tensor(tensor) for tensor in self.description.outputs],
        }


def load_model(
    path: str | Path, name: str = "", threads: int = 1, engine: str = "auto", device: str = "auto", **batching: Any
) -> ServedModel:
    """Loads the model of a Model or Release directory, and has it answer its golden requests.

    Args:
        path: The directory.
        name: In the URLs; empty takes its own.
        threads: Of one forward pass.
        engine: What runs it, as :func:`.choice.load_engine` takes it.
        device: Where it runs, as that takes it.
        batching: As :class:`.batching.Batcher` takes it.

    Raises:
        InputError: When there is no model, its files are not those that it names, or what should run it is not there.
        DeploymentError: When it does not answer as it did after training.
    """
    started = time.perf_counter()
    loaded = load_engine(model_directory(path), engine, threads, device)
    return ServedModel(name or loaded.description.name, loaded, time.perf_counter() - started, **batching)


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
