"""Files and directories on their way: written beside their final name, resumed after a kill, renamed when complete.

``.<name>.part`` holds the bytes. For a file of several parts ``.<name>.part.json`` says of which object and version
they are, and has a line ``[part, crc32c]`` for each part that is there. Who writes holds a lock on the ``.part``; a
second process that wants the same one takes a name of its own instead, and cannot be resumed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePath

from shipway.components.common.errors import StorageError
from shipway.components.common.storage.checksums import crc32c_of

__all__ = ["PartialFile", "part_names", "partial_directory", "write_file", "write_in_place"]

_LONGEST_BYTES = 220  # of a name, so that what is put around it fits into 255


def part_names(path: PurePath) -> tuple[str, str]:
    """Returns what ``path`` is called on its way: its bytes, and the notes on its parts."""
    name = os.fsencode(path.name)
    if len(name) > _LONGEST_BYTES:
        name = name[:_LONGEST_BYTES] + hashlib.sha256(name).hexdigest()[:8].encode()
    aside = path.with_name(f".{name.decode(errors='ignore')}.part")
    return aside.as_posix(), f"{aside.as_posix()}.json"


class PartialFile:
    """A file of ``size`` bytes, written in parts from several threads.

    Attributes:
        aside: Where the bytes are until :meth:`publish`.
        done: The CRC32C of each part that is there.
    """

    def __init__(self, path: Path, size: int, part_bytes: int, identity: str) -> None:
        """Opens it, taking up what an earlier process left.

        Args:
            path: The final name.
            size: In bytes.
            part_bytes: Size of all parts but the last.
            identity: What is written: URI, version and size; "" when that is not known, and nothing can be taken up.
        """
        self.path, self.size, self.part_bytes = path, size, part_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self.aside, self._file = _locked(path, os.O_RDWR | os.O_CREAT)
        self._resumable = str(self.aside) == part_names(path)[0]
        self._journal = self.aside.with_name(f"{self.aside.name}.json")
        self.done: dict[int, int] = {}
        header = json.dumps({"identity": identity, "part_bytes": part_bytes})
        try:
            lines = self._journal.read_text(encoding="utf-8").splitlines() if identity else []
        except (OSError, UnicodeDecodeError):
            lines = []
        if lines[:1] == [header]:
            self._take_up(lines[1:])
        else:
            self._journal.unlink(missing_ok=True)
            os.ftruncate(self._file, 0)
        os.ftruncate(self._file, size)
        self._lines = self._journal.open("w", encoding="utf-8")
        self._lines.write("".join(f"{line}\n" for line in [header, *map(json.dumps, self.done.items())]))
        self._lines.flush()

    def write(self, position: int, data: bytes) -> None:
        """Writes bytes at a position."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, position)
            view, position = view[written:], position + written

    def finish_part(self, part: int, crc32c: int) -> None:
        """Notes that a part is complete."""
        self.done[part] = crc32c
        self._lines.write(f"{json.dumps([part, crc32c])}\n")
        self._lines.flush()

    def length(self, part: int) -> int:
        """Returns the number of bytes in a part."""
        return min(self.part_bytes, self.size - part * self.part_bytes)

    def publish(self) -> None:
        """Makes the bytes durable and gives the file its name."""
        os.fsync(self._file)
        self.aside.replace(self.path)
        self._journal.unlink(missing_ok=True)
        _sync_directory(self.path.parent)

    def discard(self) -> None:
        """Removes what there is."""
        self.aside.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets go of it; what is not published is taken up by the next one who writes it."""
        self._lines.close()
        os.close(self._file)
        if not self._resumable:
            self.discard()

    def _take_up(self, lines: list[str]) -> None:
        for line in lines:
            try:
                part, crc32c = json.loads(line)
            except ValueError:
                return  # the kill came while this line was written
            if crc32c_of(os.pread(self._file, self.length(part), part * self.part_bytes)) == crc32c:
                self.done[part] = crc32c


def write_file(path: Path, data: bytes) -> None:
    """Writes a small file at once: aside, made durable, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _other_name(path)
    try:
        write_in_place(aside, data)
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()
    _sync_directory(path.parent)


def write_in_place(path: Path, data: bytes) -> None:
    """Writes a small file and makes it durable, in a directory that is itself aside."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def partial_directory(path: Path) -> Iterator[Path]:
    """Yields the directory ``.<name>.part``, with what an earlier process left in it, and renames it to ``path``.

    The files in it must be durable when the block ends. When the block raises, it stays for the next one.

    Raises:
        StorageError: When ``path`` exists by then and is no empty directory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, lock = _locked(path, os.O_RDONLY)
    resumable = str(aside) == part_names(path)[0]
    try:
        yield aside
        for directory in [aside, *(path for path in aside.rglob("*") if path.is_dir())]:
            _sync_directory(directory)
        try:
            aside.rename(path)
        except OSError as error:
            raise StorageError(f"{path} exists and is not empty; remove it, or name another directory") from error
        _sync_directory(path.parent)
    finally:
        os.close(lock)
        if not resumable:
            shutil.rmtree(aside, ignore_errors=True)


def _locked(path: Path, flags: int) -> tuple[Path, int]:
    """Returns the name aside of ``path`` that this process alone has, and its descriptor."""
    aside = Path(part_names(path)[0])
    while True:
        if flags == os.O_RDONLY:
            aside.mkdir(exist_ok=True)
        descriptor = os.open(aside, flags, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            aside = _other_name(path)
            continue
        if _is(aside, descriptor):
            return aside, descriptor
        os.close(descriptor)


def _other_name(path: Path) -> Path:
    """Returns a name aside that nobody else has, and that is not taken up."""
    return Path(part_names(path)[0].removesuffix(".part") + f".{secrets.token_hex(4)}.part")


def _is(path: Path, descriptor: int) -> bool:
    """Whether the name still means what the descriptor has open: it may have been renamed before the lock was had."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
