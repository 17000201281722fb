"""The least that a REST server can do: ``python bare_asgi.py MODEL_ONNX PORT``.

Decode, run, encode, over v1 and v2, JSON and binary; no route, no check, no count, no batch, one model with one input
of floats. Its CPU time is the limit for any server over uvicorn, uvloop and httptools.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any

import numpy as np
import onnxruntime
import orjson
import uvicorn

_JSON, _BINARY = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")
_LENGTH_HEADER = b"inference-header-content-length"
_LABELS = ("cat", "dog", "fox")


class Bare:
    """Answers every POST (ASGI 3)."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._packed = {label: len(label).to_bytes(4, "little") + label.encode() for label in _LABELS}

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Answers a request."""
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        if scope["path"].startswith("/v1"):
            answer, headers = self._v1(body), [_JSON]
        else:
            length = next((value for name, value in scope["headers"] if name == _LENGTH_HEADER), None)
            answer, headers = self._v2(body) if length is None else self._v2_binary(body, int(length))
        headers.append((b"content-length", b"%d" % len(answer)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _run(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, labels = self._session.run(["scores", "label"], {"x": x})
        return scores, labels

    def _v1(self, body: bytes) -> bytes:
        rows = orjson.loads(body)["instances"]
        scores, labels = self._run(_floats(list(chain.from_iterable([row["x"] for row in rows])), len(rows)))
        predictions = [
            {"label": label, "scores": dict(zip(_LABELS, row, strict=True))}
            for label, row in zip(labels.tolist(), scores.tolist(), strict=True)
        ]
        return orjson.dumps({"predictions": predictions})

    def _v2(self, body: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        request = orjson.loads(body)
        given = request["inputs"][0]
        scores, labels = self._run(_floats(given["data"], given["shape"][0]))
        outputs = [
            {"name": "scores", "datatype": "FP32", "shape": scores.shape, "data": scores.ravel()},
            {"name": "label", "datatype": "BYTES", "shape": labels.shape, "data": labels.tolist()},
        ]
        answer = {"model_name": "small", "id": request["id"], "outputs": outputs}
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), [_JSON]

    def _v2_binary(self, body: bytes, length: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        request = orjson.loads(body[:length])
        scores, labels = self._run(
            np.frombuffer(body, np.float32, offset=length).reshape(request["inputs"][0]["shape"])
        )
        raw_scores, raw_labels = scores.tobytes(), b"".join(map(self._packed.__getitem__, labels.tolist()))
        outputs = [
            {
                "name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)},
            }
            for name, datatype, shape, raw in (
                ("scores", "FP32", scores.shape, raw_scores), ("label", "BYTES", labels.shape, raw_labels),
            )
        ]  # fmt: skip
        head = orjson.dumps({"model_name": "small", "id": request["id"], "outputs": outputs})
        return b"".join((head, raw_scores, raw_labels)), [_BINARY, (_LENGTH_HEADER, b"%d" % len(head))]


def _floats(values: list[float], rows: int) -> np.ndarray:
    return np.frombuffer(struct.pack(f"<{len(values)}f", *values), np.float32).reshape(rows, -1)


if __name__ == "__main__":
    uvicorn.run(
        Bare(sys.argv[1]),
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )
