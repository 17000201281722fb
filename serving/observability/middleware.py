"""Around the application: gives each HTTP request its context, and tells its end to the access log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from shipway.serving.observability.access import Access, AccessLog
from shipway.serving.observability.trace import CURRENT, RequestContext, context_of
from shipway.serving.openinference.http import Receive, Scope, Send

__all__ = ["ObservedApplication"]

_GONE = 499


class ObservedApplication:
    """An ASGI application whose requests are observed."""

    def __init__(
        self, application: Callable[[Scope, Receive, Send], Awaitable[None]], access: AccessLog | None
    ) -> None:
        """Takes the application, and where its access lines go, if anywhere."""
        self._application, self._access = application, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request (ASGI 3)."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        came, started = time.time(), time.perf_counter()
        context = context_of(scope["headers"])
        CURRENT.set(context)
        status, sent = _GONE, 0

        async def told(message: MutableMapping[str, Any]) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *context.reply_headers]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._application(scope, receive, told)
        finally:
            if self._access:
                seconds = time.perf_counter() - started
                self._access.feed.offer(_access(scope, context, came, seconds, status, sent))


def _access(scope: Scope, context: RequestContext, came: float, seconds: float, status: int, sent: int) -> Access:
    size = 0 if context.seen else int(dict(scope["headers"]).get(b"content-length", 0))
    client = ":".join(map(str, scope["client"] or ()))
    return Access(came, seconds, scope["method"], scope["path"], client, "", status, size, sent, context)
