"""Files on this machine that wait for a store, which may be slow or down: bounded, and tried again."""

from __future__ import annotations

import logging
import time
from collections import deque
from pathlib import Path
from threading import Event, Lock, Thread
from urllib.parse import quote, unquote

from shipway.components.common.errors import InputError, ShipwayError
from shipway.components.common.storage import Options, open_store, upload

__all__ = ["Spool"]

_SUFFIX = ".parquet"
_RETRY_SECONDS = 5.0
_UPLOAD_SECONDS = 120.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0

logger = logging.getLogger(__name__)


class Spool:
    """Publishes files below a URI, the oldest first, each whole or not at all.

    A file's name ends with how many rows it has. What a former process left is published as well.

    Attributes:
        rows_published: How many rows are in the store.
        rows_dropped: How many are not, as their file had to give way to newer ones.
    """

    def __init__(self, directory: Path, uri: str, most_files: int = 64) -> None:
        """Starts to publish, in a thread.

        Args:
            directory: Where the files wait.
            uri: Of the directory to publish them in, in any store.
            most_files: How many wait before the oldest is given up.

        Raises:
            InputError: When there can be no such URI, or nothing can be written to ``directory``.
        """
        open_store(uri)
        self._directory, self._uri, self._most_files = directory, uri.rstrip("/"), most_files
        self.rows_published = self.rows_dropped = 0
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._files = deque(sorted(directory.glob(f"*{_SUFFIX}")))
        except OSError as error:
            raise InputError(
                f"payload logs cannot wait in {directory}: {error.strerror}; take another spool"
            ) from error
        self._lock, self._closing, self._added = Lock(), Event(), Event()
        self._ends_at = 0.0
        self._thread = Thread(target=self._run, name="payload-spool", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many files wait."""
        return len(self._files)

    def add(self, name: str, rows: int, content: bytes) -> None:
        """Writes a file, to be published under its name.

        Args:
            name: A path, without what follows ``rows``.
            rows: How many it has.
            content: Its bytes.

        Raises:
            OSError: When it cannot be written.
        """
        path = self._directory / quote(f"{name}-{rows}{_SUFFIX}", safe="")
        aside = path.with_suffix(".part")
        try:
            aside.write_bytes(content)
            aside.rename(path)
        finally:
            aside.unlink(missing_ok=True)
        with self._lock:
            self._files.append(path)
            given_up = [self._files.popleft() for _ in range(len(self._files) - self._most_files)]
        for old in given_up:
            self.rows_dropped += _rows(old)
            old.unlink(missing_ok=True)
        if given_up:
            logger.error("%d payload files were given up: more than %d wait", len(given_up), self._most_files)
        self._added.set()

    def close(self, timeout_seconds: float) -> None:
        """Publishes what is left while there is time, and says where the rest is."""
        self._ends_at = time.monotonic() + timeout_seconds
        self._closing.set()
        self._added.set()
        self._thread.join(timeout_seconds)
        if self._files:
            logger.error(
                "%d payload files are left in %s; they are published by the next", self.waiting, self._directory
            )

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if self._published_oldest():
                pause = _FIRST_PAUSE_SECONDS
                continue
            if self._closing.is_set() and (not self._files or time.monotonic() >= self._ends_at):
                return
            if self._files:
                self._closing.wait(min(pause, 1.0) if self._closing.is_set() else pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                self._added.wait()
                self._added.clear()

    def _published_oldest(self) -> bool:
        """Returns whether the oldest file is done with; False where there is none, or the store takes it not."""
        with self._lock:
            path = self._files[0] if self._files else None
        if path is None:
            return False
        options = Options(workers=1, retry_seconds=_RETRY_SECONDS, deadline_seconds=_UPLOAD_SECONDS)
        try:
            upload(path, f"{self._uri}/{unquote(path.name)}", options)
        except ShipwayError as error:
            if path.exists():
                logger.warning("payload files wait, %d until now: %s", self.waiting, error)
                return False
        except FileNotFoundError:
            pass  # given up, or published by a sibling
        else:
            self.rows_published += _rows(path)
        with self._lock:
            if self._files and self._files[0] == path:
                self._files.popleft()
        path.unlink(missing_ok=True)
        return True


def _rows(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
