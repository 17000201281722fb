"""ASGI's terms, errors that are answered, and how bodies are read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, NamedTuple

import orjson

__all__ = [
    "JSON",
    "Bodies",
    "DisconnectedError",
    "Header",
    "HttpError",
    "Receive",
    "Reply",
    "Scope",
    "Send",
    "json_reply",
    "require_json",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")
_IDENTITY = (b"", b"identity")
# So many times what a body may be is not even read to its end.
_HOPELESS = 16


class Reply(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    headers: tuple[Header, ...]


class HttpError(Exception):
    """What is answered with a status of its own."""

    def __init__(self, status: int, message: str, *headers: Header) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers

    @property
    def reply(self) -> Reply:
        """As JSON: ``{"error": …}``."""
        return Reply(self.status, orjson.dumps({"error": str(self)}), (JSON, *self.headers))


class DisconnectedError(Exception):
    """The client is gone."""


def json_reply(value: Any, status: int = 200, *headers: Header) -> Reply:
    """Returns a value as JSON."""
    return Reply(status, orjson.dumps(value), (JSON, *headers))


def require_json(headers: Mapping[bytes, bytes]) -> None:
    """Checks that a body is said to be JSON, whatever its charset: JSON is UTF-8.

    Raises:
        HttpError: 415 when it is said to be something else.
    """
    given = headers.get(b"content-type", b"")
    if given != b"application/json" and given.partition(b";")[0].strip().lower() != b"application/json":
        said = given.decode("latin-1")
        raise HttpError(415, f"the body must be JSON with Content-Type: application/json, not {said!r}")


class _Patience:
    """Cancels tasks that take too long: one timer for all of them, as one each costs more than to read a body."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._interval_seconds = seconds, min(1.0, seconds / 4)
        self._until: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Task[Any]:
        """Returns this task, whose time begins."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is None:
            raise RuntimeError("bodies are read by tasks")
        self._until[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._interval_seconds, self._look, loop)
        return task

    def is_over(self, task: asyncio.Task[Any]) -> bool:
        """Whether the task was cancelled because its time was over, and by nobody else."""
        return task in self._late and task.uncancel() == 0

    def end(self, task: asyncio.Task[Any]) -> None:
        """Forgets the task."""
        del self._until[task]
        self._late.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, until in self._until.items():
            if until < now and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._timer = loop.call_later(self._interval_seconds, self._look, loop) if self._until else None


class Bodies:
    """Reads bodies, within limits.

    Attributes:
        most_bytes: Larger bodies are refused with 413.
        most_pending_bytes: When the bodies that are being read hold more, further ones are refused with 503.
        timeout_seconds: How long a body may take to come after its headers; later ones are refused with 408.
        pending_bytes: What the bodies that are being read hold now.
    """

    def __init__(self, most_bytes: int, timeout_seconds: float, most_pending_bytes: int) -> None:
        self.most_bytes, self.timeout_seconds = most_bytes, timeout_seconds
        self.most_pending_bytes = max(most_pending_bytes, most_bytes)
        self.pending_bytes = 0
        self._patience = _Patience(timeout_seconds)

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Returns a request's body.

        Raises:
            HttpError: When it is too large, too slow, compressed, or too much is being read already.
            DisconnectedError: When the client is gone before it is complete.
        """
        if headers.get(b"content-encoding", b"") not in _IDENTITY:
            raise HttpError(415, "the body must not be compressed; send it without Content-Encoding", _CLOSE)
        length = int(headers.get(b"content-length", 0))
        if length > _HOPELESS * self.most_bytes:
            raise self._too_large()
        task = self._patience.begin()
        try:
            if length > self.most_bytes:
                raise await self._too_large_to_the_end(receive)
            message = await receive()
            if message.get("more_body", False):
                return await self._parts(message["body"], receive)
        except asyncio.CancelledError:
            if not self._patience.is_over(task):
                raise
            if length > self.most_bytes:
                raise self._too_large() from None
            raise HttpError(408, f"the body did not come within {self.timeout_seconds:g} s", _CLOSE) from None
        finally:
            self._patience.end(task)
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        body: bytes = message.get("body", b"")
        if len(body) > self.most_bytes:
            raise self._too_large()
        return body

    async def _parts(self, first: bytes, receive: Receive) -> bytes:
        parts, size, more = [first], len(first), True
        self.pending_bytes += size
        try:
            while more:
                if self.pending_bytes > self.most_pending_bytes:
                    raise HttpError(503, "too much is being read already", (b"retry-after", b"1"), _CLOSE)
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise DisconnectedError
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self.pending_bytes += len(part)
                more = message.get("more_body", False)
                if size > self.most_bytes:
                    raise await self._too_large_to_the_end(receive) if more else self._too_large()
        finally:
            self.pending_bytes -= size
        return b"".join(parts)

    async def _too_large_to_the_end(self, receive: Receive) -> HttpError:
        """Reads what still comes and forgets it: a client that is cut off while it sends may not see the answer."""
        for _ in range(_HOPELESS):
            size = 0
            while size <= self.most_bytes:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise DisconnectedError
                if not message.get("more_body", False):
                    return self._too_large()
                size += len(message.get("body", b""))
        return self._too_large()

    def _too_large(self) -> HttpError:
        return HttpError(413, f"the body is larger than {self.most_bytes:,} bytes", _CLOSE)
