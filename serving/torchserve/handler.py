"""TorchServe's handler of our archives: numbers, strings and lists of numbers (images, embeddings) in, predictions out.

A request is v1's JSON, or, with the header ``Inference-Header-Content-Length``, v2's with or without binary tensors.
It is checked by the rules of our own server. TorchServe hands over requests in batches; one that is refused is
answered with its own 400 and the reason, and the others with their predictions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch

from shipway.components.common.artifacts import file_digest
from shipway.components.common.errors import InputError
from shipway.components.common.model import MODEL_FILE, read_golden, read_model
from shipway.serving.engines.engine import Answer
from shipway.serving.engines.torch import TorchModel
from shipway.serving.openinference.door import BadRequest
from shipway.serving.openinference.golden import golden_check
from shipway.serving.openinference.request import Codec, InferRequest
from shipway.serving.openinference.v1 import V1
from shipway.serving.openinference.v2 import V2
from shipway.serving.torchserve.files import FORMATS, PREPROCESSING_FILE

__all__ = ["TabularHandler"]

_LENGTH_HEADER = "inference-header-content-length"


class TabularHandler:
    """Answers for one archive, in one worker; the only class here, as TorchServe finds it by that."""

    def initialize(self, context: Any) -> None:
        """Loads the model and has it answer its golden requests.

        Raises:
            InputError: When the files are not those that belong together.
            DeploymentError: When it does not answer as it did after training.
        """
        directory = Path(context.system_properties["model_dir"])
        self._model = _loaded(directory, context.system_properties.get("gpu_id"))
        golden_check(self._model, read_golden(directory))
        description = self._model.description
        self._v1, self._v2 = V1(description), V2(context.model_name, description)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answers a batch of requests, each with a status of its own."""
        answers = [b""] * len(data)
        good: list[tuple[int, Codec, InferRequest]] = []
        for index, given in enumerate(data):
            try:
                good.append((index, *self._decoded(given, context.get_all_request_header(index))))
            except BadRequest as error:
                context.set_response_status(400, "Bad Request", index)
                context.set_response_header(index, "content-type", "application/json")
                answers[index] = orjson.dumps({"error": str(error)})
        for (index, codec, request), answer in zip(good, self._scored([r for *_, r in good]), strict=True):
            body, json_length = codec.encode(request, answer)
            answers[index] = body
            context.set_response_status(200, "OK", index)
            kind = "application/json" if json_length is None else "application/octet-stream"
            context.set_response_header(index, "content-type", kind)
            if json_length is not None:
                context.set_response_header(index, _LENGTH_HEADER, str(json_length))
        return answers

    def _decoded(self, given: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[Codec, InferRequest]:
        body = given.get("body")
        if body is None:
            raise BadRequest("the request must be the body; forms are not taken")
        # Where decode_input_request is on, TorchServe has parsed it already.
        raw = bytes(body) if isinstance(body, bytes | bytearray) else json.dumps(body).encode()
        length = next((value for name, value in headers.items() if name.lower() == _LENGTH_HEADER), None)
        codec: Codec = self._v1 if length is None else self._v2
        return codec, codec.decode(raw, length)

    def _scored(self, requests: Sequence[InferRequest]) -> list[Answer]:
        if not requests:
            return []
        names = requests[0].tensors
        scores, labels = self._model.run({name: np.concatenate([r.tensors[name] for r in requests]) for name in names})
        ends = np.cumsum([request.rows for request in requests])[:-1]
        return list(zip(np.split(scores, ends), np.split(labels, ends), strict=True))


def _loaded(root: Path, gpu: int | None) -> TorchModel:
    """Loads the network, once its bytes are known to be those that ``model.json`` names."""
    description = read_model(root)
    exports = [root / file for file in FORMATS.values() if (root / file).is_file()]
    if len(exports) != 1 or file_digest(exports[0]) != description.files.get(exports[0].name):
        names = " and ".join(path.name for path in exports) or "no export"
        raise InputError(f"{root} holds {names}, not one that its {MODEL_FILE} names; make the archive again")
    if gpu is not None:
        torch.cuda.set_device(gpu)
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    preprocessing = (root / PREPROCESSING_FILE).read_bytes()
    return TorchModel(exports[0], preprocessing, description, threads, "cpu" if gpu is None else "cuda")
