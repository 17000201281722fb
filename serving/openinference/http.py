"""ASGI's terms, errors that are answered, and how bodies are read."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson

__all__ = [
    "CLOSE",
    "JSON",
    "Bodies",
    "DisconnectedError",
    "Door",
    "Header",
    "HttpError",
    "Receive",
    "Reply",
    "Request",
    "Scope",
    "Send",
    "json_reply",
    "path_of",
    "require_json",
    "require_single",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")
_IDENTITY = (b"", b"identity")
_CHUNKED = (b"", b"chunked")
# Headers that say what a body is: a second one would leave open which counts.
_SINGLE = (
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"inference-header-content-length",
    b"transfer-encoding",
    b"x-envoy-expected-rq-timeout-ms",
)
# How long a client may go on with a body that was refused: cut off while it sends, it might not see the answer.
_LINGER_SECONDS, _PAUSE_SECONDS = 30.0, 2.0


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


class Request(NamedTuple):
    """A request with all of its body.

    Attributes:
        method: In capitals; "" where what came was none.
        path: Decoded, without the query.
        headers: Names in lower case.
        body: All of it.
        keeps_alive: Whether the connection goes on after it.
        client: Address and port.
        refusal: What it is refused with, whatever it asks for.
    """

    method: str
    path: str
    headers: list[Header]
    body: bytes
    keeps_alive: bool
    client: tuple[str, int] | None
    refusal: HttpError | None = None


class Door(NamedTuple):
    """What a connection leads to.

    Attributes:
        respond: Answers a request; raises nothing.
        bodies: The limits of bodies.
    """

    respond: Callable[[Request], Awaitable[Reply]]
    bodies: Bodies


def path_of(target: bytes) -> str:
    """Returns the decoded path of a request's target, which may be a whole URL, as proxies are sent it."""
    path = target.partition(b"?")[0].decode("latin-1")
    if "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    return unquote(path) if "%" in path else path


def json_reply(value: Any, status: int = 200, *headers: Header) -> Reply:
    """Returns a value as JSON."""
    return Reply(status, orjson.dumps(value), (JSON, *headers))


def require_json(headers: Mapping[bytes, bytes]) -> None:
    """Checks that a body is said to be JSON, whatever its charset, or not said to be anything, as Triton's clients do.

    Raises:
        HttpError: 415 when it is said to be something else.
    """
    given = headers.get(b"content-type", b"application/json")
    if given != b"application/json" and given.partition(b";")[0].strip().lower() != b"application/json":
        said = given.decode("latin-1")
        raise HttpError(415, f"the body must be JSON with Content-Type: application/json, not {said!r}")


def require_single(headers: Iterable[Header]) -> None:
    """Checks that no header that says what the body is comes twice.

    Raises:
        HttpError: 400 when one does.
    """
    for name, times in Counter(name for name, _ in headers).items():
        if times > 1 and name in _SINGLE:
            raise HttpError(400, f"the header {name.decode()} comes {times} times", CLOSE)


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

    def require_readable(self, headers: Mapping[bytes, bytes]) -> None:
        """Checks by its head that a body can be read.

        Raises:
            HttpError: When it is too large or encoded.
        """
        if headers.get(b"content-encoding", b"") not in _IDENTITY:
            raise HttpError(415, "the body must not be compressed; send it without Content-Encoding", CLOSE)
        if headers.get(b"transfer-encoding", b"").lower() not in _CHUNKED:
            raise HttpError(501, "of the transfer encodings this server has chunked alone", CLOSE)
        if int(headers.get(b"content-length", 0)) > self.most_bytes:
            raise self._too_large()

    def require_room(self, size: int) -> None:
        """Checks that a body of which ``size`` bytes are there, as ``pending_bytes`` says too, may go on.

        Raises:
            HttpError: When it is too large, or too much is being read already.
        """
        if size > self.most_bytes:
            raise self._too_large()
        if self.pending_bytes > self.most_pending_bytes:
            raise HttpError(503, "too much is being read already", (b"retry-after", b"1"), CLOSE)

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Returns a request's body.

        Raises:
            HttpError: When it is too large, too slow, encoded, or too much is being read already.
            DisconnectedError: When the client is gone before it is complete.
        """
        self.require_readable(headers)
        task = self._patience.begin()
        try:
            message = await receive()
            if message.get("more_body", False):
                return await self._parts(message["body"], receive)
        except asyncio.CancelledError:
            if not self._patience.is_over(task):
                raise
            raise HttpError(408, f"the body did not come within {self.timeout_seconds:g} s", CLOSE) from None
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
                self.require_room(size)
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise DisconnectedError
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self.pending_bytes += len(part)
                more = message.get("more_body", False)
            self.require_room(size)
        finally:
            self.pending_bytes -= size
        return b"".join(parts)

    async def forget(self, receive: Receive) -> None:
        """Reads what still comes of a body that was refused, until its end, a pause or the end of all patience."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while True:
                    message = await asyncio.wait_for(receive(), _PAUSE_SECONDS)
                    if not message.get("more_body", False):
                        return

    def _too_large(self) -> HttpError:
        return HttpError(413, f"the body is larger than {self.most_bytes:,} bytes", CLOSE)
