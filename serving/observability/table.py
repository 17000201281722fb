"""Requests of one model as rows of a table, and the table as Parquet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Field, RecordBatch, Schema, Table, fixed_size_list_array
from arro3.io import write_parquet
from numpy.typing import NDArray

from shipway.components.common.model import ModelDescription, Tensor
from shipway.serving.observability.answers import Outcome, outcome
from shipway.serving.observability.wire import Request
from shipway.serving.openinference.request import Codec, InferRequest
from shipway.serving.openinference.v1 import V1
from shipway.serving.openinference.v2 import V2

__all__ = ["PayloadTable"]

# Rows that are turned into columns together; what they need meanwhile is a multiple of what they are.
_SEAL_ROWS = 1024
_TEXT, _NUMBER, _WHOLE, _SECONDS = DataType.utf8(), DataType.float32(), DataType.int32(), DataType.float64()
_TIME = DataType.timestamp("us", tz="UTC")


class PayloadTable:
    """Rows that are not written yet.

    Attributes:
        requests: How many they are of.
        rows: How many there are.
        bytes: What the columns take.
    """

    def __init__(self, name: str, description: ModelDescription) -> None:
        """Takes the model's name in the URLs and what it is."""
        self._name, self._description = name, description
        self._codecs: dict[str, Codec] = {"v1": V1(description), "v2": V2(name, description)}
        self._pending: list[tuple[Request, InferRequest, Outcome]] = []
        self._pending_rows = 0
        self._batches: list[RecordBatch] = []
        self.requests = self.rows = self.bytes = 0
        fields = [Field(name, of, nullable=False) for name, of in _FIXED.items()] + [Field("id", _TEXT)]
        fields += [Field(f"feature_{tensor.name}", _type(tensor)) for tensor in description.inputs]
        fields += [Field("label", _TEXT)] + [Field(f"score_{label}", _NUMBER) for label in description.label_names]
        self._schema = Schema(fields)

    def add(self, request: Request, answer: bytes) -> None:
        """Decodes a request and its answer, and takes them in."""
        decoded = self._codec(request.protocol).decode(request.body, request.header_length)
        told = outcome(request.protocol, answer, request.answer_length, self._description.label_names)
        self._pending.append((request, decoded, told))
        self.requests += 1
        self.rows += decoded.rows
        self._pending_rows += decoded.rows
        if self._pending_rows >= _SEAL_ROWS:
            self._seal()

    def parquet(self) -> bytes:
        """Returns the rows as a Parquet file."""
        if self._pending:
            self._seal()
        target = io.BytesIO()
        metadata = {"shipway.model": self._name, "shipway.release": self._description.digest}
        table = Table.from_batches(self._batches, schema=self._schema)
        write_parquet(table, target, compression="zstd(3)", created_by="shipway", key_value_metadata=metadata)
        return target.getvalue()

    def _codec(self, protocol: str) -> Codec:
        if protocol not in self._codecs:
            from shipway.serving.openinference.grpc.codec import V2Grpc

            self._codecs[protocol] = V2Grpc(self._name, self._description)
        return self._codecs[protocol]

    def _seal(self) -> None:
        """Turns what is pending into columns."""
        pending, self._pending, self._pending_rows = self._pending, [], 0
        counts = [decoded.rows for _, decoded, _ in pending]
        requests = [request for request, _, _ in pending]
        times = np.array([request.time * 1e6 for request in requests]).astype(np.int64)
        columns = [
            Array.from_numpy(np.repeat(times, counts)).cast(_TIME),
            Array([self._name] * sum(counts), _TEXT),
            Array([self._description.digest] * sum(counts), _TEXT),
            *(
                _texts([getattr(request, name) for request in requests], counts)
                for name in ("protocol", "request_id", "trace_id")
            ),
            Array.from_numpy(np.concatenate([np.arange(count, dtype=np.int32) for count in counts])),
            Array.from_numpy(np.repeat(np.array([request.seconds for request in requests]), counts)),
            _texts([decoded.id for _, decoded, _ in pending], counts),
            *(_feature(tensor, [decoded for _, decoded, _ in pending]) for tensor in self._description.inputs),
            *self._outcomes([told for _, _, told in pending], counts),
        ]
        batch = RecordBatch.from_arrays(columns, schema=self._schema)
        self._batches.append(batch)
        self.bytes += batch.nbytes

    def _outcomes(self, outcomes: Sequence[Outcome], counts: Sequence[int]) -> list[Array]:
        classes = len(self._description.label_names)
        labels: list[str | None] = []
        for told, count in zip(outcomes, counts, strict=True):
            labels += told.labels or [None] * count
        scores = np.concatenate(
            [
                np.full((count, classes), np.nan, np.float32) if told.scores is None else told.scores
                for told, count in zip(outcomes, counts, strict=True)
            ]
        )
        return [Array(labels, _TEXT), *(_numbers(scores[:, column]) for column in range(classes))]


_FIXED = {
    "time": _TIME,
    "model": _TEXT,
    "release": _TEXT,
    "protocol": _TEXT,
    "request_id": _TEXT,
    "trace_id": _TEXT,
    "row": _WHOLE,
    "seconds": _SECONDS,
}


def _type(tensor: Tensor) -> DataType:
    if tensor.datatype == "BYTES":
        return _TEXT
    return _NUMBER if len(tensor.shape) == 1 else DataType.list(Field("item", _NUMBER), tensor.shape[1])


def _feature(tensor: Tensor, requests: Sequence[InferRequest]) -> Array:
    values = np.concatenate([request.tensors[tensor.name] for request in requests])
    if tensor.datatype == "BYTES":
        return Array([value or None for value in values.tolist()], _TEXT)
    if len(tensor.shape) == 1:
        return _numbers(values)
    return fixed_size_list_array(_numbers(values.reshape(-1)), tensor.shape[1], type=_type(tensor))


def _texts(values: Sequence[str | None], counts: Sequence[int]) -> Array:
    return Array([value for value, count in zip(values, counts, strict=True) for _ in range(count)], _TEXT)


def _numbers(values: NDArray[np.float32]) -> Array:
    """Returns numbers, NaN as missing."""
    missing = np.isnan(values)
    if not missing.any():
        return Array.from_numpy(np.ascontiguousarray(values))
    listed: Any = values.astype(object)
    listed[missing] = None
    return Array(listed.tolist(), _NUMBER)
