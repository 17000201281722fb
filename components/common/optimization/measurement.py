"""What a model costs and what it is worth: size, latency and metrics of two ONNX files on the same rows."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
from onnx import TensorProto, numpy_helper

from shipway.components.common.errors import InputError
from shipway.components.common.model import ModelDescription
from shipway.components.common.preprocessing import feature_tensors, label_strings
from shipway.components.common.preprocessing.vectors import sized
from shipway.components.common.training.input import ParquetRows
from shipway.components.common.training.progress import log_loss, roc_auc

__all__ = ["METRIC_ROWS", "Measured", "Rows", "measured", "session_of", "sized_tensors", "validation_rows"]

METRIC_ROWS = 64
_RUNS = {1: 3000, 64: 1000}
_WARM_UP = 50
_WARNINGS_LEFT_OUT = 3
_NETWORK = "network/"
_QUANTIZED = (TensorProto.INT8, TensorProto.UINT8)

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]


@dataclass(frozen=True)
class Measured:
    """One ONNX file in numbers.

    Attributes:
        bytes: Size of the file.
        gzip_bytes: Its size when compressed by gzip, level 9.
        weights: Numbers that the network has learned: its matrices, kernels, biases and embeddings.
        nonzero_weights: Those that are not 0.
        roc_auc: ROC AUC, for several classes the mean of one against the rest.
        log_loss: Log loss, in nats.
        latency_1_median_us: Median time of a request of one row, in microseconds, on one thread.
        latency_1_p99_us: The time that 99 of 100 such requests stay below.
        latency_64_median_us: The same for 64 rows.
        latency_64_p99_us: The same for 64 rows.
    """

    bytes: int
    gzip_bytes: int
    weights: int
    nonzero_weights: int
    roc_auc: float
    log_loss: float
    latency_1_median_us: float
    latency_1_p99_us: float
    latency_64_median_us: float
    latency_64_p99_us: float


@dataclass(frozen=True)
class Rows:
    """Rows of a Dataset as a model takes them.

    Attributes:
        tensors: One raw tensor per feature.
        labels: int64: positions in the names of the classes.
    """

    tensors: Tensors
    labels: Array


def validation_rows(directory: str | Path, description: ModelDescription) -> Iterator[Rows]:
    """Yields a Dataset's rows in order, at most 65,536 at a time.

    Raises:
        InputError: When there are no rows, a column is missing or of another type, or a label is none of the model's.
    """
    source, label = ParquetRows("validation", directory), description.label
    if missing := [name for name in (*description.kinds, label) if name not in source.schema.names]:
        raise InputError(f"the Dataset at {directory} lacks the columns {', '.join(missing)} of {description.name}")
    place = {name: position for position, name in enumerate(description.label_names)}
    for batch in source.scan([*description.kinds, label]):
        table = pa.Table.from_batches([batch])
        names = label_strings(table.column(label))
        if strangers := sorted(set(names) - set(place)):
            raise InputError(
                f"label {label!r} has values that {description.name} does not know: {', '.join(strangers[:5])};"
                f" it knows {', '.join(place)}"
            )
        tensors = sized_tensors(feature_tensors(table, description.kinds), description)
        yield Rows(tensors, np.asarray([place[name] for name in names], np.int64))


def sized_tensors(tensors: Tensors, description: ModelDescription) -> Tensors:
    """Returns the tensors with vectors of the model's sizes.

    Raises:
        InputError: When lists have another length.
    """
    return {**tensors, **{name: sized(tensors[name], size, name) for name, size in description.sizes.items()}}


def session_of(model: Path) -> onnxruntime.InferenceSession:
    """Returns what runs an ONNX file on one thread of the CPU, as an endpoint does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = _WARNINGS_LEFT_OUT
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def measured(models: Sequence[Path], description: ModelDescription, dataset: str | Path) -> list[Measured]:
    """Measures ONNX files of the same inputs and outputs, one beside the other.

    The metrics are those of the scores of 64 rows at a time: a quantized network's scores depend a little on the rows
    that are asked together. Latencies are taken in turns, so that whatever else the machine does meets all alike.

    Args:
        models: The files.
        description: The model that they are forms of.
        dataset: Dataset directory with the label.

    Raises:
        InputError: As :func:`validation_rows`, or when the Dataset has rows of one class alone.
    """
    sessions = [session_of(model) for model in models]
    scores: list[list[Array]] = [[] for _ in sessions]
    labels, timed = [], None
    for rows in validation_rows(dataset, description):
        timed = timed or rows
        labels.append(rows.labels)
        for session, parts in zip(sessions, scores, strict=True):
            parts += _scores(session, rows)
    every = np.concatenate(labels)
    if timed is None or len(set(every)) < 2:
        raise InputError(f"the Dataset at {dataset} has rows of one class: give one with rows of all classes")
    latencies = _latencies(sessions, timed)
    found = []
    for model, parts, latency in zip(models, scores, latencies, strict=True):
        together = np.concatenate(parts)
        metrics = {"roc_auc": roc_auc(every, together), "log_loss": log_loss(every, together)}
        found.append(Measured(**{**_sizes(model), **metrics, **latency}))
    return found


def _scores(session: onnxruntime.InferenceSession, rows: Rows) -> list[Array]:
    starts = range(0, len(rows.labels), METRIC_ROWS)
    return [session.run(["scores"], _part(rows.tensors, slice(at, at + METRIC_ROWS)))[0] for at in starts]


def _part(tensors: Tensors, rows: slice | Array) -> dict[str, Array]:
    return {name: tensor[rows] for name, tensor in tensors.items()}


def _latencies(sessions: Sequence[onnxruntime.InferenceSession], rows: Rows) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in sessions]
    for size, runs in _RUNS.items():
        times: list[list[int]] = [[] for _ in sessions]
        for run in range(_WARM_UP + runs):
            part = _part(rows.tensors, np.arange(run * size, (run + 1) * size) % len(rows.labels))
            turns = list(zip(sessions, times, strict=True))
            for session, taken in turns if run % 2 else reversed(turns):
                started = time.perf_counter_ns()
                session.run(["scores", "label"], part)
                taken.append(time.perf_counter_ns() - started)
        for values, taken in zip(found, times, strict=True):
            median, p99 = np.percentile(taken[_WARM_UP:], [50, 99]) / 1000
            values |= {f"latency_{size}_median_us": round(float(median), 1)}
            values |= {f"latency_{size}_p99_us": round(float(p99), 1)}
    return found


def _sizes(model: Path) -> dict[str, Any]:
    content = model.read_bytes()
    graph = onnx.load_model_from_string(content).graph
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.name.startswith(_NETWORK)}
    weights = nonzero = 0
    for name, tensor in constants.items():
        if name.endswith(("_scale", "_zero_point")) or not tensor.dims:
            continue
        if tensor.data_type in _QUANTIZED:
            zero = numpy_helper.to_array(constants[f"{name.removesuffix('_quantized')}_zero_point"])
        elif tensor.data_type == TensorProto.FLOAT:
            zero = np.float32(0)
        else:
            continue
        values = numpy_helper.to_array(tensor)
        weights, nonzero = weights + values.size, nonzero + int((values != zero).sum())
    return {
        "bytes": len(content),
        "gzip_bytes": len(gzip.compress(content, 9)),
        "weights": weights,
        "nonzero_weights": nonzero,
    }
