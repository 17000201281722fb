"""What a server tells its helper process over a pipe, and what it is told back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from shipway.components.common.model import ModelDescription

__all__ = ["Counts", "Frames", "Message", "Request", "ServedModelSignature", "Settings", "framed", "signature"]

_LENGTH_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a helper is to do.

    Attributes:
        payload_uri: Where payload logs are published; "" logs none.
        spool: Where their files wait until they are.
        rotate_seconds: How long a file takes rows.
        rotate_rows: How many it takes.
        events_url: Where events are sent; "" sends none.
        events_mode: ``all``, ``request`` or ``response``.
        event_attributes: Of every event, besides those that differ.
        grace_seconds: How long it may take to publish and send what is left in the end.
    """

    payload_uri: str = ""
    spool: str = ""
    rotate_seconds: float = 60.0
    rotate_rows: int = 50_000
    events_url: str = ""
    events_mode: str = "all"
    event_attributes: dict[str, str] = dataclasses.field(default_factory=dict)
    grace_seconds: float = 4.0


class ServedModelSignature(NamedTuple):
    """A model, told before the first of its requests.

    Attributes:
        name: In the URLs.
        description: As far as it matters to requests and answers.
    """

    name: str
    description: ModelDescription


class Request(NamedTuple):
    """A request and its answer.

    Attributes:
        time: When it was answered, in seconds since 1970.
        model: Who saw it.
        release: The digest of that.
        protocol: ``v1``, ``v2`` or ``grpc``.
        request_id: The caller's or a new one.
        traceparent: The server's span.
        tracestate: The caller's.
        content_type: Of the body.
        header_length: How long the JSON before binary tensors is.
        body: As it came.
        answer: Its body; None where there is none.
        answer_length: How long the answer's JSON is where binary tensors follow.
        seconds: From the body to the answer.
        logged: Whether it belongs to the sample that is logged.
    """

    time: float
    model: str
    release: str
    protocol: str
    request_id: str
    traceparent: str
    tracestate: str
    content_type: str
    header_length: str | None
    body: bytes
    answer: bytes | None
    answer_length: int | None
    seconds: float
    logged: bool

    @property
    def trace_id(self) -> str:
        """The trace's."""
        return self.traceparent[3:35]


@dataclasses.dataclass
class Counts:
    """What a helper has done.

    Attributes:
        rows_logged: Rows that were published.
        rows_dropped: Rows whose file had to give way to newer ones.
        requests_failed: Requests that could not be decoded or written.
        files_waiting: Files that are not published yet.
        events_sent: Events that were taken.
        events_dropped: Events that found the queue full.
        events_failed: Events that nobody took.
        events_waiting: Events that wait.
    """

    rows_logged: int = 0
    rows_dropped: int = 0
    requests_failed: int = 0
    files_waiting: int = 0
    events_sent: int = 0
    events_dropped: int = 0
    events_failed: int = 0
    events_waiting: int = 0


def signature(name: str, description: ModelDescription) -> ServedModelSignature:
    """Returns a model without what does not matter to its requests."""
    slim = dataclasses.replace(description, metrics={}, history=(), training={}, files={})
    return ServedModelSignature(name, slim)


class Message(NamedTuple):
    """One of both.

    Attributes:
        model: That requests will be of.
        request: Of a model that was told before.
    """

    model: ServedModelSignature | None = None
    request: Request | None = None


def framed(message: Message) -> bytes:
    """Returns a message as it goes through the pipe."""
    encoded: bytes = msgspec.msgpack.encode(message)
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded


class Frames:
    """Puts messages together from what comes out of the pipe."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._decoder = msgspec.msgpack.Decoder(Message)

    def add(self, data: bytes) -> Iterator[Message]:
        """Takes what came, and yields the messages that are complete."""
        self._buffer += data
        start = 0
        while len(self._buffer) >= (body := start + _LENGTH_BYTES):
            end = body + int.from_bytes(self._buffer[start:body], "little")
            if len(self._buffer) < end:
                break
            yield self._decoder.decode(bytes(self._buffer[body:end]))
            start = end
        del self._buffer[:start]
