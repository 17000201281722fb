"""Around what answers over HTTP: gives each request its context, and tells its end to the access log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from shipway.serving.observability.access import Access, AccessLog
from shipway.serving.observability.trace import CURRENT, context_of
from shipway.serving.openinference.http import Reply, Request

__all__ = ["ObservedResponses"]

_GONE = 499


class ObservedResponses:
    """Answers requests, those that are refused as well, and observes them."""

    def __init__(self, respond: Callable[[Request], Awaitable[Reply]], access: AccessLog | None) -> None:
        """Takes what answers, and where access lines go, if anywhere."""
        self._respond, self._access = respond, access

    async def __call__(self, request: Request) -> Reply:
        """Answers a request."""
        came, started = time.time(), time.perf_counter()
        context = context_of(request.headers)
        CURRENT.set(context)
        status, sent = _GONE, 0
        try:
            reply = await self._respond(request)
            status, sent = reply.status, len(reply.body)
        finally:
            if self._access:
                seconds = time.perf_counter() - started
                size = len(request.body) or _declared_bytes(request)
                client = f"{request.client[0]}:{request.client[1]}" if request.client else ""
                self._access.feed.offer(
                    Access(came, seconds, request.method, request.path, client, "", status, size, sent, context)
                )
        return Reply(status, reply.body, (*reply.headers, *context.reply_headers))


def _declared_bytes(request: Request) -> int:
    """Returns how long a body would have been that was not taken."""
    length = dict(request.headers).get(b"content-length", b"")
    return int(length) if length.isdigit() else 0
