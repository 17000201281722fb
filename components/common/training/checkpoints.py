"""Checkpoints: saved beside a training that goes on, found again after a kill, deleted when they are not needed.

A checkpoint is a published version below the training's URI, ``step-<step>-<number of the save>``, and complete when
its ``MANIFEST.json`` is there, which names the step and whose training it is. What a kill leaves unfinished is passed
over, and deleted later. An older one goes, its manifest first, only when enough newer ones are complete: whenever the
process is killed, the last complete one is still there.

What is written or read lies in a directory below TMPDIR meanwhile; the next process deletes what a kill left there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from shipway.components.common.errors import (
    InputError,
    IntegrityError,
    ObjectNotFound,
    ShipwayError,
    StorageError,
    UnsafeName,
)
from shipway.components.common.state import state_directory
from shipway.components.common.storage import Store, download, open_store, publish_version
from shipway.components.common.storage.backends.local_files import file_errors
from shipway.components.common.training.checkpoint_files import (
    Saved,
    aside,
    delete,
    delete_leftovers,
    local_directory,
    new_key,
    require_writable,
    saved_below,
)

__all__ = ["Checkpoints", "checkpoint_directory"]

_LOG = logging.getLogger(__name__)
_TEMPORARY = Path("the directory for temporary files")
_SHOWN = 5
_NOT_SET = object()

T = TypeVar("T")


def checkpoint_directory(request_uri: str, framework: str, model_name: str, identity: Mapping[str, Any]) -> str:
    """Returns where a training's checkpoints are.

    Args:
        request_uri: The directory that was asked for, a path or a URI; below it every model has its own. With "" it is
            this user's state directory, where every identity has its own: another training never finds them.
        framework: ``pytorch`` or ``tensorflow``.
        model_name: The model's name.
        identity: As :class:`Checkpoints` takes it.

    Raises:
        InputError: When the identity cannot be written as JSON.
    """
    if not request_uri:
        text = json.dumps(_as_json(identity), sort_keys=True)
        return str(state_directory() / "checkpoints" / hashlib.sha256(text.encode()).hexdigest()[:32])
    name = re.sub(r"[^\w.-]", "_", f"{framework}-{model_name}")
    return f"{request_uri.rstrip('/')}/{name}"


class Checkpoints:
    """The checkpoints of one training, in any store that can be written to.

    Attributes:
        uri: The directory that they are in.
        last_uri: The newest one that this process has saved or read; "" while there is none.
    """

    def __init__(self, uri: str, identity: Mapping[str, Any], kept: int = 2) -> None:
        """Prepares them; the store is first asked by :meth:`latest`.

        Args:
            uri: The directory that they are in: a path, or a ``file://``, ``pvc://``, ``gs://`` or ``s3://`` URI.
            identity: What makes a training the same one, by name: values that JSON can hold, of the data, the network
                and how it is trained. No other training reads these checkpoints or deletes them.
            kept: How many complete ones stay, at least 1; 2, so that one can be damaged.

        Raises:
            InputError: When the identity cannot be written as JSON, or ``kept`` is below 1.
        """
        if kept < 1:
            raise InputError(f"kept is {kept}, it must be at least 1")
        self.uri = uri
        self.last_uri = ""
        self._identity = _as_json(identity)
        self._kept = kept
        self._damaged: set[str] = set()
        self._publishing: threading.Thread | None = None

    def save(self, step: int, write: Callable[[Path], None], wait: bool = False) -> None:
        """Saves a checkpoint: written at once to a temporary directory, then published while the caller goes on.

        The save before this one is waited for first. A failure is a warning, for a training is worth more than a
        checkpoint of it, and the next save is the next try. However large it is, no more than 128 MiB of it are in
        memory at a time.

        Args:
            step: How many steps are done, from 0. Of two of the same step the later one counts.
            write: Writes the checkpoint's files to an empty directory, at least one.
            wait: Whether to return only when it is complete, as before the end of the process.

        Raises:
            StorageError: When ``wait`` and it could not be saved.
            InputError: When ``wait`` and ``write`` wrote nothing.
        """
        self.wait()
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(file_errors(self.uri, _TEMPORARY))
                directory = stack.enter_context(aside())
                _write(write, directory)
                if wait:
                    self._publish(int(step), directory)
                else:
                    arguments = (int(step), directory, stack.pop_all())
                    self._publishing = threading.Thread(target=self._publish_aside, args=arguments, name="checkpoint")
                    self._publishing.start()
        except StorageError as error:
            if wait:
                raise
            _warn_of_failure(step, error)

    def wait(self) -> None:
        """Waits for the save that is going on; whoever ends with an error calls it, or loses that save."""
        if self._publishing:
            self._publishing.join()
            self._publishing = None

    def latest(self, read: Callable[[Path], T]) -> tuple[int, T] | None:
        """Returns the step of the newest complete checkpoint and what ``read`` makes of its files; None without one.

        Every byte is checked. A damaged one, or one that ``read`` cannot make anything of, is passed over with a
        warning. Before that an object is written and deleted, so that a store that takes no checkpoints is found out
        at the start of a training and not after an hour.

        Args:
            read: Reads the checkpoint from a directory that is gone afterwards. What it raises means that the
                checkpoint is damaged, but for MemoryError and Shipway's own errors other than IntegrityError.

        Raises:
            InputError: When the checkpoints there are another training's.
            StorageError: When the store cannot be read, or written to.
        """
        self.wait()
        with file_errors(self.uri, _TEMPORARY):
            delete_leftovers()
        store, key = open_store(self.uri)
        try:
            require_writable(store, key)
        except StorageError as error:
            message = f"no checkpoint can be saved in {self.uri}: {error}; or name another checkpoint_uri"
            raise type(error)(message, error.uri) from error
        usable = self._usable(saved_below(store, key))
        for one, before in zip_longest(usable, usable[1:]):
            try:
                value = self._value(one, read)
            except _DamagedError as error:
                self._damaged.add(one.key)
                then = f"going back to the one before, {before.uri}" if before else "there is none before it"
                _LOG.warning("the checkpoint %s is damaged: %s; %s", one.uri, error, then)
            else:
                self.last_uri = one.uri
                return one.step, value
        if usable:
            _LOG.warning("NO CHECKPOINT in %s can be used: the training STARTS ANEW", self.uri)
        return None

    def clear(self) -> None:
        """Deletes all of this training's checkpoints, and what was left unfinished; what fails is a warning."""
        self.wait()
        try:
            store, key = open_store(self.uri)
            for one in reversed(saved_below(store, key)):
                if not self._is_others(one):
                    delete(store, one.key)
            if directory := local_directory(store, key):
                with contextlib.suppress(OSError):
                    directory.rmdir()
        except StorageError as error:
            _LOG.warning("not all checkpoints were deleted: %s; delete %s when it is not needed", error, self.uri)

    def _publish_aside(self, step: int, directory: Path, stack: contextlib.ExitStack) -> None:
        try:
            with stack:
                self._publish(step, directory)
        except Exception as error:  # noqa: BLE001 - whatever it is, the training goes on
            _warn_of_failure(step, error)

    def _publish(self, step: int, directory: Path) -> None:
        store, key = open_store(self.uri)
        uri = store.uri(new_key(store, key, step))
        publish_version(directory, uri, {"identity": self._identity, "step": step})
        self.last_uri = uri
        _LOG.info("saved the checkpoint %s", uri)
        try:
            self._delete_old(store, key)
        except StorageError as error:
            _LOG.warning("older checkpoints were not deleted: %s; they take up space in %s", error, self.uri)

    def _delete_old(self, store: Store, key: str) -> None:
        found = saved_below(store, key)
        good = [one for one in found if one.identity == self._identity and one.key not in self._damaged]
        if len(good) >= self._kept:
            for one in reversed(found[found.index(good[self._kept - 1]) + 1 :]):
                if not self._is_others(one):
                    delete(store, one.key)

    def _is_others(self, one: Saved) -> bool:
        return one.identity is not None and one.identity != self._identity

    def _usable(self, found: list[Saved]) -> list[Saved]:
        others = [one for one in found if self._is_others(one)]
        if others and not any(one.identity == self._identity for one in found):
            raise InputError(
                f"{others[0].uri} is another training's: {_differences(others[0].identity or {}, self._identity)}; name"
                f" another checkpoint_uri, or delete {self.uri} to start anew"
            )
        for one in others:
            _LOG.warning("%s is another training's and left alone", one.uri)
        return [one for one in found if one.fault or one.identity == self._identity]

    def _value(self, one: Saved, read: Callable[[Path], T]) -> T:
        if one.fault:
            raise _DamagedError(one.fault)
        with file_errors(self.uri, _TEMPORARY), aside() as directory:
            try:
                download(f"{one.uri}/", directory / "files")
                return read(directory / "files")
            except (IntegrityError, ObjectNotFound, UnsafeName) as error:
                raise _DamagedError(str(error)) from error
            except (ShipwayError, MemoryError):
                raise
            except Exception as error:
                raise _DamagedError(f"{type(error).__name__}: {error}") from error


class _DamagedError(Exception):
    """A checkpoint cannot be used; the message says why."""


def _as_json(identity: Mapping[str, Any]) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(json.dumps(dict(identity), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"a training whose identity is no JSON has no checkpoints: {error} ({identity})") from error
    return value


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    def shown(values: Mapping[str, Any], name: str) -> str:
        return json.dumps(values[name])[:100] if name in values else "not set"

    names = sorted(name for name in {*there, *here} if there.get(name, _NOT_SET) != here.get(name, _NOT_SET))
    words = [f"{name} is {shown(there, name)} there and {shown(here, name)} here" for name in names[:_SHOWN]]
    return "; ".join([*words, f"{len(names) - _SHOWN} more differ"] if len(names) > _SHOWN else words)


def _write(write: Callable[[Path], None], directory: Path) -> None:
    try:
        write(directory)
    except ShipwayError:
        raise
    except Exception as error:  # frameworks have no class of their own for a disk that is full
        free = shutil.disk_usage(directory).free >> 20
        raise StorageError(
            f"{directory} could not be written, where {free:,} MiB are free now: {type(error).__name__}: {error}; make"
            " room, or let TMPDIR name another place"
        ) from error


def _warn_of_failure(step: int, error: Exception) -> None:
    _LOG.warning(
        "the checkpoint of step %d was not saved: %s; the training goes on, the next save tries again", step, error
    )
