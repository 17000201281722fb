"""What was sent of an upload, so that the next process goes on where this one was killed."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from typing import Any, TextIO

from shipway.components.common.state import state_directory
from shipway.components.common.storage.objects import Upload

__all__ = ["Journal"]

_LOG = logging.getLogger(__name__)
_KEPT_SECONDS = 7 * 24 * 3600.0


class Journal:
    """What is known of an upload, in a file of the state directory that only this user may read."""

    def __init__(self, uri: str, prepared: Upload) -> None:
        self._identity = [uri, *dataclasses.astuple(prepared)]
        name = hashlib.sha256(json.dumps(self._identity, default=str).encode()).hexdigest()[:32]
        self._directory = state_directory() / "uploads"
        self._path = self._directory / f"{name}.jsonl"
        self._kept = True
        self._lock = threading.Lock()
        self.session = ""
        self.parts: dict[int, int] = {}

    def __enter__(self) -> Journal:
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._forget_old()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            _LOG.warning("%s; this upload cannot be resumed: SHIPWAY_STATE_DIR can name another place", error)
            return self._unshared()
        self._file: TextIO = os.fdopen(descriptor, "r+", encoding="utf-8")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            _LOG.info("another process sends the same; this one cannot be resumed")
            return self._unshared()
        for line in self._file:
            self._take_up(line)
        return self

    def _unshared(self) -> Journal:
        self._file, self._kept = tempfile.TemporaryFile("w+", encoding="utf-8"), False  # noqa: SIM115
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def start(self, session: str) -> None:
        """Notes the session of a new upload."""
        self.session, self.parts = session, {}
        self._file.seek(0)
        self._file.truncate()
        self._write({"session": session})

    def note(self, part: int, crc32c: int) -> None:
        """Notes that a part arrived."""
        self.parts[part] = crc32c
        self._write({"part": part, "crc32c": crc32c})

    def remove(self) -> None:
        """Forgets it all."""
        if self._kept:
            self._path.unlink(missing_ok=True)

    def _write(self, document: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(f"{json.dumps(document)}\n")
            self._file.flush()

    def _take_up(self, line: str) -> None:
        try:
            document = json.loads(line)
        except ValueError:
            return  # the kill came while this line was written
        if "session" in document:
            self.session = document["session"]
        else:
            self.parts[document["part"]] = document["crc32c"]

    def _forget_old(self) -> None:
        for path in self._directory.glob("*.jsonl"):
            with contextlib.suppress(FileNotFoundError):  # another process may end its upload now
                if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                    path.unlink()
