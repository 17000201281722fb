"""What can go wrong between a client and a server, and which exchanges it happens to."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Fault:
    """Harm to the exchanges that match, counted from 1: the ``nth`` and those after it, ``times`` in all.

    Attributes:
        kind: ``flip`` one bit of a body, ``cut`` the connection (FIN), ``reset`` it (RST), ``stall`` it (it stays open,
            nothing comes any more), or answer with a ``status`` without asking the server.
        at: Byte of the body that it happens at, modulo the body's length where that is known; -1 for before the head.
        side: Whose body: ``request`` or ``response``. A status belongs to the request.
        method: What the method must be; "" for any.
        path: What the path with its query must contain.
        byte_range: What the request's Range or Content-Range must contain.
        least: The least length of the body.
        hits: How often it really happened.
    """

    kind: str
    at: int = 0
    side: str = "response"
    method: str = ""
    path: str = ""
    byte_range: str = ""
    least: int = 0
    nth: int = 1
    times: int = 1
    status: int = 503
    retry_after: str = ""
    matched: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind == "status":
            self.side = "request"

    def takes(self, exchange: Exchange, length: int | None) -> bool:
        """Counts an exchange that matches; returns whether it is one to harm."""
        anywhere = self.at < 0 or self.kind == "status"
        matches = (
            self.method in ("", exchange.method)
            and self.path in exchange.path
            and self.byte_range in exchange.byte_range
            and (anywhere or length != 0)
            and (length is None or length >= self.least)
        )
        self.matched += matches
        return matches and self.nth <= self.matched < self.nth + self.times


@dataclasses.dataclass
class Exchange:
    """A request and its answer, as far as they came; bytes are those of the bodies that were passed on."""

    method: str
    path: str
    byte_range: str
    status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
