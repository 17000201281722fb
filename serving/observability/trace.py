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
        request_bytes: Of the body.
    """

    model: str
    release: str
    protocol: str
    rows: int
    request_bytes: int


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
    parents: list[bytes] = []
    states: list[bytes] = []
    ids: dict[bytes, bytes] = {}
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value)
        elif name == b"tracestate":
            states.append(value)
        elif name in _IDS:
            ids[name] = value
    fresh = os.urandom(40).hex()
    request_id = next((ids[name].decode() for name in _IDS if name in ids and _REQUEST_ID.fullmatch(ids[name])), None)
    parent = _parsed(parents)
    if parent is None:
        return RequestContext(fresh[:32], fresh[32:48], 0, "", request_id or fresh[48:], continues=False)
    return RequestContext(parent[0], fresh[32:48], parent[1], _state(states), request_id or fresh[48:], continues=True)


def _parsed(parents: list[bytes]) -> tuple[str, int] | None:
    """Returns the trace id and the flags; None where there is not exactly one valid ``traceparent``."""
    found = _TRACEPARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None or (found[1] == b"00" and found[5]):
        return None
    return found[2].decode(), int(found[4], 16) & _KNOWN_FLAGS


def _state(states: list[bytes]) -> str:
    """Returns the state; "" for one that nobody would take on."""
    state = b",".join(states)
    if len(state) > _MOST_STATE_BYTES or state.count(b",") >= _MOST_STATE_MEMBERS or not _STATE.fullmatch(state):
        return ""
    return state.decode()
