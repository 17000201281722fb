"""Payload logs: which rows go into which file, and when a file is done."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from datetime import UTC, datetime
from urllib.parse import quote

from shipway.serving.observability.spool import Spool
from shipway.serving.observability.table import PayloadTable
from shipway.serving.observability.wire import Request, ServedModelSignature

__all__ = ["PayloadLog"]

_MOST_BYTES = 64 << 20

logger = logging.getLogger(__name__)


class PayloadLog:
    """Writes requests and answers to Parquet files, one directory per model, release and day.

    Attributes:
        requests_failed: How many could not be written.
    """

    def __init__(self, spool: Spool, rotate_seconds: float, rotate_rows: int) -> None:
        """Takes where files go, and how long and for how many rows a file stays open."""
        self._spool, self._rotate_seconds, self._rotate_rows = spool, rotate_seconds, rotate_rows
        self._signatures: dict[tuple[str, str], ServedModelSignature] = {}
        self._tables: dict[tuple[str, str], tuple[PayloadTable, float]] = {}
        self._writer = f"{re.sub('[^A-Za-z0-9.]', '-', socket.gethostname())}-{os.getpid()}"
        self._files = 0
        self.requests_failed = 0

    def know(self, model: ServedModelSignature) -> None:
        """Takes in whose requests will come."""
        self._signatures[model.name, model.description.digest] = model

    def add(self, request: Request) -> None:
        """Takes in a request; one without an answer is none of its own."""
        if request.answer is None:
            return
        key = request.model, request.release
        if key not in self._tables:
            signature = self._signatures[key]
            self._tables[key] = PayloadTable(signature.name, signature.description), time.monotonic()
        table, _ = self._tables[key]
        try:
            table.add(request, request.answer)
        except Exception:
            self.requests_failed += 1
            logger.exception("a request of %s could not be logged", request.model)
        if table.rows >= self._rotate_rows or table.bytes >= _MOST_BYTES:
            self._write(key)

    def rotate(self) -> None:
        """Writes the files that have been open long enough."""
        now = time.monotonic()
        for key, (_, since) in list(self._tables.items()):
            if now - since >= self._rotate_seconds:
                self._write(key)

    def close(self) -> None:
        """Writes all files."""
        for key in list(self._tables):
            self._write(key)

    def _write(self, key: tuple[str, str]) -> None:
        table, _ = self._tables.pop(key)
        if not (rows := table.rows):
            return
        name, release = key
        now, self._files = datetime.now(UTC), self._files + 1
        directory = f"{quote(name, safe='')}/{release.removeprefix('sha256:')[:16]}/date={now:%Y-%m-%d}"
        try:
            self._spool.add(f"{directory}/part-{now:%H%M%S}-{self._writer}-{self._files}", rows, table.parquet())
        except Exception:
            self.requests_failed += table.requests
            logger.exception("%d rows of %s could not be written", rows, name)
