"""What happens between a request's body and its answer, the same for every protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import NamedTuple

from shipway.serving.engines.engine import Unavailable
from shipway.serving.openinference.batching import Busy, TooLate
from shipway.serving.openinference.cache import ResponseCache
from shipway.serving.openinference.door import BadRequest, NotFinite
from shipway.serving.openinference.models import ServedModel
from shipway.serving.openinference.request import Codec

__all__ = ["Encoded", "Exchange", "Inference"]

Encoded = tuple[bytes, int | None]

_CODES: dict[type[BaseException], int] = {BadRequest: 400, NotFinite: 422, Busy: 429, Unavailable: 503, TooLate: 504}
_CANCELLED = 499
# Longer bodies take milliseconds, malformed ones seconds; others are answered meanwhile.
_LARGE_BYTES = 256 << 10


class Exchange(NamedTuple):
    """A request that a model saw, for those who watch.

    Attributes:
        model: Who answered.
        protocol: ``v1``, ``v2`` or ``grpc``.
        headers: The request's, by name in lower case.
        body: As it came.
        header_length: How long the JSON before binary tensors is, as the client said.
        code: As it is counted: 200 when it was answered.
        encoded: The answer's body, and how long its JSON is where binary tensors follow; None where there is none.
        rows: How many rows it has; 0 when they were not looked at: the answer was a former one, or the body malformed.
        seconds: From the body to the answer.
    """

    model: ServedModel
    protocol: str
    headers: Mapping[bytes, bytes]
    body: bytes
    header_length: str | None
    code: int
    encoded: Encoded | None
    rows: int
    seconds: float


class Inference:
    """Decodes, batches, runs, encodes and counts.

    Attributes:
        cache: Former answers; None keeps none.
        timeout_seconds: How long a request may wait for its batch, unless its client says less.
        watchers: Told every request, whether it was answered or not; they must not take long nor raise.
    """

    def __init__(self, cache: ResponseCache | None = None, timeout_seconds: float = 60.0) -> None:
        self.cache, self.timeout_seconds = cache, timeout_seconds
        self.watchers: list[Callable[[Exchange], None]] = []

    async def answer(
        self,
        model: ServedModel,
        codec: Codec,
        body: bytes,
        header_length: str | None = None,
        timeout_seconds: float | None = None,
        headers: Mapping[bytes, bytes] | None = None,
    ) -> Encoded:
        """Returns the body of the answer, and how long its JSON is where binary tensors follow.

        Args:
            model: Who answers.
            codec: The model's, for the protocol that the body is in.
            body: As it came.
            header_length: How long the JSON before binary tensors is, as the client says.
            timeout_seconds: How long the client waits.
            headers: The request's, for those who watch.

        Raises:
            BadRequest: When the model cannot answer the body.
            NotFinite: When it can, but not with numbers.
            Busy: When too many rows wait.
            TooLate: When the time was over before the model was free.
            Unavailable: When the model runs elsewhere and does not answer.
        """
        started, rows = perf_counter(), 0
        metrics, cache, code = model.metrics, self.cache, _CANCELLED
        encoded: Encoded | None = None
        try:
            key = cache.key(model.identity, codec.protocol, header_length, body) if cache else b""
            encoded = cache.get(key) if cache else None
            if encoded is None:
                if len(body) < _LARGE_BYTES:
                    request = codec.decode(body, header_length)
                else:
                    request = await asyncio.to_thread(codec.decode, body, header_length)
                rows, decoded = request.rows, perf_counter()
                within = self.timeout_seconds if timeout_seconds is None else min(timeout_seconds, self.timeout_seconds)
                result = await model.batcher.submit(request.tensors, rows, started + within)
                answered = perf_counter()
                encoded = codec.encode(request, result)
                metrics.time(decoded - started, answered - decoded, perf_counter() - answered)
                if cache:
                    cache.put(key, encoded)
            code = 200
        except Exception as error:
            code = _CODES.get(type(error), 500)
            raise
        finally:
            metrics.codes[metrics.release, codec.protocol, code] += 1
            if self.watchers:
                seconds, given = perf_counter() - started, headers or {}
                exchange = Exchange(model, codec.protocol, given, body, header_length, code, encoded, rows, seconds)
                for watch in self.watchers:
                    watch(exchange)
        return encoded
