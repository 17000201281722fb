"""The helper process of a server: gets requests and answers on its standard input, logs them and sends events.

It ends when its input does, however the server ended, after what is left is published and sent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shipway.components.common.errors import ShipwayError
from shipway.serving.observability.wire import Counts, Frames, Message, Settings

if TYPE_CHECKING:
    from shipway.serving.observability.events import EventSender
    from shipway.serving.observability.payloads import PayloadLog
    from shipway.serving.observability.spool import Spool

__all__ = ["main"]

_READ_BYTES = 1 << 20
_TURN_SECONDS = 0.25


class _Helper:
    """Imports what it needs for what it is to do, which is much for payload logs."""

    def __init__(self, settings: Settings) -> None:
        self._grace_seconds = settings.grace_seconds
        self._spool: Spool | None = None
        self._payloads: PayloadLog | None = None
        self._events: EventSender | None = None
        self._told = b""
        if settings.payload_uri:
            from shipway.serving.observability.payloads import PayloadLog
            from shipway.serving.observability.spool import Spool

            self._spool = Spool(Path(settings.spool), settings.payload_uri)
            self._payloads = PayloadLog(self._spool, settings.rotate_seconds, settings.rotate_rows)
        if settings.events_url:
            from shipway.serving.observability.events import EventSender

            self._events = EventSender(settings.events_url, settings.events_mode, settings.event_attributes)

    def run(self) -> None:
        """Works until the input ends."""
        frames, descriptor = Frames(), sys.stdin.fileno()
        self._tell()
        while True:
            ready, _, _ = select.select([descriptor], [], [], _TURN_SECONDS)
            data = os.read(descriptor, _READ_BYTES) if ready else None
            if data == b"":
                break
            for message in frames.add(data or b""):
                self._take(message)
            if self._payloads:
                self._payloads.rotate()
            self._tell()
        self._end()

    def _take(self, message: Message) -> None:
        model, request = message
        if model and self._payloads:
            self._payloads.know(model)
        if request and self._events:
            self._events.offer(request)
        if request and request.logged and self._payloads:
            self._payloads.add(request)

    def _end(self) -> None:
        until = time.monotonic() + self._grace_seconds
        if self._payloads and self._spool:
            self._payloads.close()
            self._spool.close(max(0.0, until - time.monotonic()))
        if self._events:
            self._events.close(max(0.0, until - time.monotonic()))

    def _tell(self) -> None:
        """Tells the counts where they have changed."""
        counts = Counts()
        if self._payloads and self._spool:
            counts.requests_failed = self._payloads.requests_failed
            counts.rows_logged, counts.rows_dropped = self._spool.rows_published, self._spool.rows_dropped
            counts.files_waiting = self._spool.waiting
        if self._events:
            counts.events_sent, counts.events_failed = self._events.sent, self._events.failed
            counts.events_dropped, counts.events_waiting = self._events.feed.dropped, self._events.feed.waiting
        told = msgspec.json.encode(counts) + b"\n"
        if told != self._told:
            self._told = told
            with contextlib.suppress(BrokenPipeError):  # the server is gone, and its last requests are still to be read
                os.write(sys.stdout.fileno(), told)


def main() -> int:
    """Works until the server ends; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        _Helper(msgspec.json.decode(sys.argv[1], type=Settings)).run()
    except ShipwayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
