"""A model on KServe's own server, with little logging: ``python usual_kserve.py MODEL_ONNX PORT GRPC_PORT``."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.logging import KSERVE_LOG_CONFIG, configure_logging

LABELS = ("cat", "dog", "fox")


class Network(Model):
    """Answers v1 with predictions and v2 with scores and labels, binary where asked."""

    def __init__(self, path: str) -> None:
        super().__init__("small")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    def predict(self, payload: dict[str, Any] | InferRequest, *_: Any) -> dict[str, Any] | InferResponse:
        """Scores a request."""
        if isinstance(payload, dict):
            x = np.array([instance["x"] for instance in payload["instances"]], np.float32)
            scores, labels = self._session.run(["scores", "label"], {"x": x})
            predictions = [
                {"label": label, "scores": dict(zip(LABELS, row, strict=True))}
                for label, row in zip(labels.tolist(), scores.tolist(), strict=True)
            ]
            return {"predictions": predictions}
        scores, labels = self._session.run(["scores", "label"], {"x": payload.inputs[0].as_numpy()})
        binary = payload.from_grpc or bool(payload.use_binary_outputs)
        outputs = []
        for name, datatype, values in (("scores", "FP32", scores), ("label", "BYTES", labels)):
            output = InferOutput(name, list(values.shape), datatype)
            output.set_data_from_numpy(values, binary_data=binary)
            outputs.append(output)
        return InferResponse(payload.id, self.name, outputs, use_binary_outputs=binary)


if __name__ == "__main__":
    for logger in KSERVE_LOG_CONFIG["loggers"].values():
        logger["level"] = "WARNING"
    KSERVE_LOG_CONFIG["loggers"]["uvicorn.access"]["handlers"] = []
    configure_logging(KSERVE_LOG_CONFIG)
    server = ModelServer(http_port=int(sys.argv[2]), grpc_port=int(sys.argv[3]), enable_latency_logging=False)
    server.start([Network(sys.argv[1])])
