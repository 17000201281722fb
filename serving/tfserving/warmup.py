"""Warm-up requests: what TensorFlow Serving answers to itself before it calls a model available."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from shipway.components.common.preprocessing import Tensors

__all__ = ["MOST_RECORDS", "WARMUP_FILE", "read_warmup", "write_warmup"]

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
"""Where TensorFlow Serving looks for them, in a version's directory."""
MOST_RECORDS = 1000
"""With more of them TensorFlow Serving refuses the model."""


def write_warmup(version: Path, name: str, tensors: Tensors) -> None:
    """Writes a request for each row, for at most :data:`MOST_RECORDS` of them: the same bytes for the same rows.

    Args:
        version: The version's directory.
        name: The model's.
        tensors: Raw tensors, one per feature.
    """
    rows = min(len(next(iter(tensors.values()))), MOST_RECORDS)
    path = version / WARMUP_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in range(rows):
            request = _record(name, {feature: values[row : row + 1] for feature, values in tensors.items()})
            writer.write(request.SerializeToString(deterministic=True))


def read_warmup(version: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """Yields the tensors of each request in a version's directory."""
    for raw in tf.data.TFRecordDataset(str(version / WARMUP_FILE)).as_numpy_iterator():
        inputs = PredictionLog.FromString(raw).predict_log.request.inputs
        yield {name: tf.make_ndarray(tensor) for name, tensor in inputs.items()}


def _record(name: str, tensors: Tensors) -> PredictionLog:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = name, "serving_default"
    for feature, values in tensors.items():
        request.inputs[feature].CopyFrom(tf.make_tensor_proto(values))
    return log
