"""The server's side of its helper process: samples requests and hands them on, without ever waiting for it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import logging
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import IO

import msgspec

from shipway.components.common.errors import InputError
from shipway.serving.observability.feed import Feed
from shipway.serving.observability.trace import RequestContext
from shipway.serving.observability.wire import Counts, Message, Request, Settings, framed, signature
from shipway.serving.openinference.inference import Exchange
from shipway.serving.openinference.models import ServedModel

__all__ = ["Helper"]

_MOST_WAITING = 20_000
_MOST_WAITING_BYTES = 64 << 20
_PIPE_BYTES = 1 << 20
_READY_SECONDS = 60.0
_RESTART_SECONDS = 5.0
_ANSWERED = 200
_PROTOBUF = "application/x-protobuf"

logger = logging.getLogger(__name__)

_Watched = tuple[float, Exchange, RequestContext, bool]


class Helper:
    """A process that logs payloads and sends events, started anew should it end.

    Attributes:
        settings: What it is to do.
        lost: How many requests it was handed while it died.
        feed: What waits to be handed to it.
    """

    def __init__(self, settings: Settings, sample_percent: float) -> None:
        """Starts the process.

        Args:
            settings: What it is to do.
            sample_percent: How many of the requests that were answered are logged.

        Raises:
            InputError: When it cannot do that; its reason is on the standard error stream.
        """
        self.settings, self._share = settings, sample_percent / 100
        self._former, self._counts = Counts(), Counts()
        self.lost = 0
        self._start()
        self._await_ready()
        self.feed: Feed[_Watched] = Feed(
            "watched-requests", self._take, most_items=_MOST_WAITING, most_bytes=_MOST_WAITING_BYTES
        )

    @property
    def counts(self) -> Counts:
        """What the process has done, and those before it."""
        former, now = dataclasses.asdict(self._former), dataclasses.asdict(self._counts)
        return Counts(**{name: count + former[name] for name, count in now.items()})

    def offer(self, exchange: Exchange, context: RequestContext) -> None:
        """Hands on a request that belongs to the sample, or that events are sent of."""
        answered = exchange.code == _ANSWERED and bool(self.settings.payload_uri)
        logged = answered and random.random() < self._share  # noqa: S311 (a sample)
        if not logged and not self.settings.events_url:
            return
        answer = exchange.encoded[0] if exchange.encoded else b""
        self.feed.offer((time.time(), exchange, context, logged), len(exchange.body) + len(answer))

    def close(self, timeout_seconds: float) -> None:
        """Hands on what waits, and lets the process publish and send it."""
        until = time.monotonic() + timeout_seconds
        in_time = self.feed.close(timeout_seconds)
        if in_time:
            self._input.close()
        try:
            self._process.wait(max(0.1, until - time.monotonic()) if in_time else 0)
        except subprocess.TimeoutExpired:
            logger.error(
                "%d requests are neither logged nor sent: their process did not end in time", self.feed.waiting
            )
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        # A session of its own: what a terminal sends to the server is not for it.
        command = [sys.executable, "-m", "shipway.serving.observability.process"]
        self._process = subprocess.Popen(
            [*command, msgspec.json.encode(self.settings).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._started_at = time.monotonic()
        self._input = _piped(self._process.stdin)
        with contextlib.suppress(PermissionError):  # where the user has too many large pipes
            fcntl.fcntl(self._input, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._known: set[ServedModel] = set()
        self._ready, self._ended = Event(), Event()
        self._reader = Thread(
            target=self._read, args=(_piped(self._process.stdout),), name="helper-counts", daemon=True
        )
        self._reader.start()

    def _read(self, output: IO[bytes]) -> None:
        for line in output:
            self._counts = msgspec.json.decode(line, type=Counts)
            self._ready.set()
        self._ended.set()
        self._ready.set()

    def _await_ready(self) -> None:
        self._ready.wait(_READY_SECONDS)
        if self._ended.is_set():
            code = self._process.wait()
            raise InputError(f"payload logs or events cannot be: their process ended with {code}, its reason is above")
        if not self._ready.is_set():
            self._process.kill()
            raise InputError(f"payload logs or events cannot be: their process is not ready after {_READY_SECONDS:g} s")

    def _take(self, batch: list[_Watched]) -> None:
        if self._process.poll() is not None and not self._restarted():
            self.lost += len(batch)
            return
        try:
            rest = memoryview(b"".join([part for watched in batch for part in self._parts(watched)]))
            while rest:
                rest = rest[self._input.write(rest) :]
        except BrokenPipeError:
            self.lost += len(batch)

    def _restarted(self) -> bool:
        if time.monotonic() - self._started_at < _RESTART_SECONDS:
            return False
        logger.error(
            "the process of payload logs and events ended with %s; it is started anew", self._process.returncode
        )
        self._reader.join()  # its last counts are told
        self._former = dataclasses.replace(self.counts, files_waiting=0, events_waiting=0)
        self._counts = Counts()
        self._start()
        return True

    def _parts(self, watched: _Watched) -> Iterator[bytes]:
        """Yields a request as the process gets it, after its model when that is new."""
        now, exchange, context, logged = watched
        model = exchange.model
        if model not in self._known:
            self._known = {known for known in self._known if known.name != model.name} | {model}
            yield framed(Message(model=signature(model.name, model.description)))
        content_type = _PROTOBUF
        if exchange.protocol != "grpc":
            content_type = exchange.headers.get(b"content-type", b"application/json").decode("latin-1")
        answer, length = exchange.encoded or (None, None)
        request = Request(
            now,
            model.name,
            model.description.digest,
            exchange.protocol,
            context.request_id,
            context.traceparent,
            context.state,
            content_type,
            exchange.header_length,
            exchange.body,
            answer,
            length,
            exchange.seconds,
            logged,
        )
        yield framed(Message(request=request))


def _piped(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("a pipe was asked for")
    return stream
