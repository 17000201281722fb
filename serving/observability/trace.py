"""W3C trace context, and the ids that a request has.

https://www.w3.org/TR/trace-context/: what is not exactly as it says is ignored, and a new trace begins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["CURRENT", "RequestContext", "Seen", "context_of"]

_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
# Sampled, and that the trace id is random; the others have no meaning yet and are not passed on.
_KNOWN_FLAGS = 0b11
_MOST_STATE_MEMBERS = 32
_MOST_STATE_BYTES = 4096
_STATE = re.compile(rb"[\x20-\x7e]*")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_IDS = (b"x-request-id", b"ce-id")


class Seen(NamedTuple):
    """What a model made of a request.

    Attributes:
        model: Its name.
        release: Its digest.
        protocol: ``v1``, ``v2`` or ``grpc``.
        rows: How many were scored.
    """

    model: str
    release: str
    protocol: str
    rows: int


@dataclass(slots=True)
class RequestContext:
    """Who a request is.

    Attributes:
        trace_id: The caller's, or a new one.
        span_id: Of this server's part in the trace.
        flags: The caller's, as far as they have a meaning.
        state: The caller's ``tracestate``, to be passed on as it is.
        request_id: The caller's ``x-request-id``, else its ``ce-id``, else a new one.
        continues: Whether the caller gave a valid ``traceparent``.
        seen: What a model made of the request; None where none has seen it.
    """

    trace_id: str
    span_id: str
    flags: int
    state: str
    request_id: str
    continues: bool
    seen: Seen | None = None

    @property
    def traceparent(self) -> str:
        """What goes on with a request that this one causes."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    @property
    def reply_headers(self) -> list[tuple[bytes, bytes]]:
        """What the caller is told: the request's id, and where it traces, the span that answered."""
        headers = [(b"x-request-id", self.request_id.encode())]
        if self.continues:
            headers.append((b"traceresponse", self.traceparent.encode()))
        return headers


CURRENT: ContextVar[RequestContext | None] = ContextVar("shipway_request", default=None)
"""Of the request that is being answered."""


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> RequestContext:
    """Returns who a request is.

    Args:
        headers: The request's, names in lower case.
    """
    listed = list(headers)
    given, fresh = dict(listed), os.urandom(40).hex()
    span_id, request_id = fresh[:16], fresh[16:48]
    for name in _IDS:
        if (value := given.get(name)) and _REQUEST_ID.fullmatch(value):
            request_id = value.decode()
            break
    parent = _TRACEPARENT.fullmatch(given.get(b"traceparent", b""))
    if parent is None or (parent[1] == b"00" and parent[5]) or len(_all(listed, b"traceparent")) > 1:
        return RequestContext(fresh[48:], span_id, 0, "", request_id, continues=False)
    flags = int(parent[4], 16) & _KNOWN_FLAGS
    state = _state(_all(listed, b"tracestate"))
    return RequestContext(parent[2].decode(), span_id, flags, state, request_id, continues=True)


def _all(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for given, value in headers if given == name]


def _state(states: list[bytes]) -> str:
    """Returns the state; "" for one that nobody would take on."""
    state = b",".join(states)
    if len(state) > _MOST_STATE_BYTES or state.count(b",") >= _MOST_STATE_MEMBERS or not _STATE.fullmatch(state):
        return ""
    return state.decode()
