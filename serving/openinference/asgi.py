"""A whole request for an ASGI application that does not know whole requests, such as one that observes ours."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from shipway.serving.openinference.http import Asgi, Reply, Request

__all__ = ["over_asgi"]


async def over_asgi(application: Asgi, request: Request) -> Reply:
    """Returns what an ASGI application (3) answers.

    A request that was refused is so again when its body is asked for.
    """
    status, headers, parts = 500, [], []

    async def receive() -> MutableMapping[str, Any]:
        if request.refusal:
            raise request.refusal
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], message["headers"]
        else:
            parts.append(message.get("body", b""))

    await application(request.scope, receive, send)
    return Reply(status, b"".join(parts), tuple(header for header in headers if header[0] != b"content-length"))
