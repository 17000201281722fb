"""Access lines: one JSON object per request, written in batches by a thread."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import orjson

from shipway.components.common.errors import InputError
from shipway.serving.observability.feed import Feed
from shipway.serving.observability.trace import RequestContext

__all__ = ["STANDARD_ERROR", "Access", "AccessLog"]

STANDARD_ERROR = "-"
_MOST_WAITING = 50_000
_MOST_PATH_LENGTH = 512
_SECONDS_BETWEEN_WARNINGS = 60.0

logger = logging.getLogger(__name__)


class Access(NamedTuple):
    """A request that was answered, or that was given up.

    Attributes:
        time: When it was all there, in seconds since 1970.
        seconds: Until its answer.
        method: Of HTTP.
        path: Without its query.
        client: Address and port.
        protocol: Where no model says it: "" for HTTP, ``grpc``.
        status: Over HTTP its code, over gRPC gRPC's.
        request_bytes: Of the body; as its head says where it was not taken.
        response_bytes: Of the answer's.
        context: Who it is.
    """

    time: float
    seconds: float
    method: str
    path: str
    client: str
    protocol: str
    status: int
    request_bytes: int
    response_bytes: int
    context: RequestContext


class AccessLog:
    """Writes lines to a file or the standard error stream.

    Attributes:
        written: How many lines were.
        feed: What waits to be.
    """

    def __init__(self, target: str) -> None:
        """Opens the file.

        Args:
            target: Its path; ``-`` for the standard error stream.

        Raises:
            InputError: When it cannot be written.
        """
        self._path = None if target == STANDARD_ERROR else Path(target)
        self._descriptor = 2 if self._path is None else _opened(self._path)
        self.written = self._unwritten = 0
        self._warned_at = -_SECONDS_BETWEEN_WARNINGS
        self.feed: Feed[Access] = Feed("access-log", self._write, most_items=_MOST_WAITING)

    @property
    def lost(self) -> int:
        """How many lines were not written."""
        return self.feed.dropped + self._unwritten

    def _write(self, accesses: Sequence[Access]) -> None:
        rest = memoryview(b"".join([_line(access) for access in accesses]))
        try:
            self._reopen_if_moved()
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except (OSError, InputError) as error:
            unwritten = bytes(rest).count(b"\n")
            self._unwritten += unwritten
            self.written += len(accesses) - unwritten
            self._warn(error)
        else:
            self.written += len(accesses)

    def _reopen_if_moved(self) -> None:
        """Follows what rotates logs: a file that was renamed is left to whoever did that."""
        if self._path is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), os.fstat(self._descriptor)):
                return
        descriptor = _opened(self._path)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _warn(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._warned_at >= _SECONDS_BETWEEN_WARNINGS:
            self._warned_at = now
            logger.warning("access lines are lost, %d until now: %s", self.lost, error)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise InputError(f"the access log {path} cannot be written: {error.strerror}") from error


def _line(access: Access) -> bytes:
    context, seen = access.context, access.context.seen
    line: bytes = orjson.dumps(
        {
            "time": f"{_second(int(access.time))}.{int(access.time * 1000) % 1000:03d}Z",
            "method": access.method,
            "path": access.path[:_MOST_PATH_LENGTH],
            "model": seen.model if seen else None,
            "release": seen.release if seen else None,
            "protocol": seen.protocol if seen else access.protocol or None,
            "status": access.status,
            "rows": seen.rows if seen else None,
            "request_bytes": access.request_bytes,
            "response_bytes": access.response_bytes,
            "seconds": round(access.seconds, 6),
            "trace_id": context.trace_id,
            "span_id": context.span_id,
            "request_id": context.request_id,
            "client": access.client,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
    return line


@lru_cache(maxsize=4)
def _second(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S")
