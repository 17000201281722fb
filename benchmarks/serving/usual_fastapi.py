"""The endpoint that one writes with FastAPI: ``python usual_fastapi.py MODEL_ONNX PORT``."""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

LABELS = ("cat", "dog", "fox")


class Instance(BaseModel):
    """A row."""

    x: list[float]


class Request(BaseModel):
    """What is asked."""

    instances: list[Instance]


class Prediction(BaseModel):
    """A row's answer."""

    label: str
    scores: dict[str, float]


class Answer(BaseModel):
    """What is answered."""

    predictions: list[Prediction]


options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
app = FastAPI()


# In the event loop: a thread would take longer to wake than the model takes to answer.
@app.post("/v1/models/{name}:predict")
async def predict(name: str, request: Request) -> Answer:  # noqa: ARG001 (one model)
    """Scores rows."""
    x = np.array([instance.x for instance in request.instances], np.float32)
    scores, labels = session.run(["scores", "label"], {"x": x})
    predictions = [
        Prediction(label=label, scores=dict(zip(LABELS, row, strict=True)))
        for label, row in zip(labels.tolist(), scores.tolist(), strict=True)
    ]
    return Answer(predictions=predictions)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), loop="uvloop", http="httptools", log_level="warning", access_log=False)
