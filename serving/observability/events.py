"""CloudEvents over HTTP, in binary mode, as KServe's logger sends them.

https://github.com/cloudevents/spec, its HTTP binding and its extension for distributed tracing.
"""

from __future__ import annotations

import http.client
import logging
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Event
from urllib.parse import quote, urlsplit

from shipway.components.common.errors import InputError
from shipway.serving.observability.feed import Feed
from shipway.serving.observability.wire import Request

__all__ = ["EventSender"]

_TYPE = "org.kubeflow.serving.inference"
_MOST_WAITING = 2_000
_MOST_WAITING_BYTES = 64 << 20
_TIMEOUT_SECONDS = 5.0
_TRIES = 3
_PAUSE_SECONDS = 0.2
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
# Printable, but for the quotation mark and the percent sign.
_SAFE = "".join(sorted({chr(code) for code in range(0x21, 0x7F)} - {'"', "%"}))

logger = logging.getLogger(__name__)


class EventSender:
    """Sends an event for a request and one for its answer, both with the request's id.

    Attributes:
        sent: How many were taken.
        failed: How many were not.
        feed: What waits to be sent.
    """

    def __init__(self, url: str, mode: str, attributes: dict[str, str]) -> None:
        """Starts to send, in a thread.

        Args:
            url: Who takes them.
            mode: ``all``, ``request`` or ``response``.
            attributes: Of every event: besides those that differ; empty ones are left out.

        Raises:
            InputError: When the URL is none of HTTP.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError("the events' URL must begin with http:// or https:// and name a host")
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
        self._where = f"{parts.scheme}://{parts.hostname}"
        self._mode, self._attributes = mode, attributes
        self._closing = Event()
        self.sent = self.failed = 0
        self.feed: Feed[Request] = Feed(
            "events", self._take, most_items=_MOST_WAITING, most_bytes=_MOST_WAITING_BYTES, interval_seconds=0.05
        )

    def offer(self, request: Request) -> None:
        """Queues a request's events."""
        self.feed.offer(request, len(request.body) + len(request.answer or b""))

    def close(self, timeout_seconds: float) -> None:
        """Sends what waits while there is time."""
        self._closing.set()
        self.feed.close(timeout_seconds)

    def _take(self, requests: list[Request]) -> None:
        for request in requests:
            for kind, content_type, body in self._events(request):
                if self._delivered(body, self._headers(request, kind, content_type)):
                    self.sent += 1
                else:
                    self.failed += 1

    def _events(self, request: Request) -> Iterator[tuple[str, str, bytes]]:
        if self._mode != "response":
            yield "request", request.content_type, request.body
        if self._mode != "request" and request.answer is not None:
            yield "response", _answer_type(request), request.answer

    def _headers(self, request: Request, kind: str, content_type: str) -> dict[str, str]:
        attributes = {
            "specversion": "1.0",
            "id": request.request_id,
            "type": f"{_TYPE}.{kind}",
            "time": datetime.fromtimestamp(request.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "inferenceservicename": request.model,
            **self._attributes,
            "traceparent": request.traceparent,
            "tracestate": request.tracestate,
        }
        headers = {
            f"ce-{name}": quote(value, _SAFE + " ").replace(" ", "%20") for name, value in attributes.items() if value
        }
        headers |= {"content-type": content_type, "traceparent": request.traceparent}
        if request.tracestate:
            headers["tracestate"] = request.tracestate
        length = request.header_length if kind == "request" else request.answer_length
        if length is not None:
            headers["inference-header-content-length"] = str(length)
        return headers

    def _delivered(self, body: bytes, headers: dict[str, str]) -> bool:
        """Posts an event, again where that may help; returns whether it was taken."""
        reason: object = ""
        for tried in range(_TRIES):
            if tried and self._closing.wait(_PAUSE_SECONDS * tried):
                break
            try:
                self._connection.request("POST", self._target, body, headers)
                response = self._connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                reason = error or type(error).__name__
                continue
            if response.status < 300:
                return True
            reason = f"status {response.status}"
            if response.status not in _RETRIED:
                break
        if not self.failed:
            logger.warning("an event was not taken by %s: %s; further ones are only counted", self._where, reason)
        return False


def _answer_type(request: Request) -> str:
    if request.protocol == "grpc":
        return request.content_type
    return "application/json" if request.answer_length is None else "application/octet-stream"
