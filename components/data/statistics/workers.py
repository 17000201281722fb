"""Work on the parts of a source in several processes, its results given back in the parts' order."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from shipway.components.common.errors import ShipwayError
from shipway.components.data.reading import TypesChanged

__all__ = ["in_processes", "process_count"]

_MOST_PROCESSES = 8
_AHEAD = 2
_SET_DEATH_SIGNAL = 1

Item = TypeVar("Item")
Result = TypeVar("Result")
_Work = Callable[[int, Any], Any]
_Name = Callable[[Any], str]


def process_count(wanted: int, items: int) -> int:
    """Returns how many processes to use: ``wanted``, or one per core and at most 8 for 0; never more than items."""
    return max(1, min(wanted or min(len(os.sched_getaffinity(0)), _MOST_PROCESSES), items))


def in_processes(
    work: Callable[[int, Item], Result], items: Sequence[Item], processes: int, name: Callable[[Item], str] = str
) -> Iterator[Result]:
    """Yields ``work(index, item)`` of every item in order, computed in forked processes (in this one when it is one).

    An idle process takes the next item, so none waits for another. When one fails, or the caller stops, or this
    process is stopped, all end.

    Args:
        work: What to do; its result and its exceptions are pickled.
        items: On what.
        processes: How many processes.
        name: Names an item in error messages.

    Raises:
        ShipwayError: When a process dies. What ``work`` raises comes as it is.
    """
    if processes == 1:
        yield from (work(index, item) for index, item in enumerate(items))
        return
    workers = [_Worker.start(work, items, name) for _ in range(processes)]
    try:
        yield from _in_order(workers, items, name)
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()


@dataclass
class _Worker:
    process: BaseProcess
    pipe: connection.Connection
    given: list[int] = field(default_factory=list)

    @classmethod
    def start(cls, work: _Work, items: Sequence[Any], name: _Name) -> _Worker:
        context = multiprocessing.get_context("fork")
        mine, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(work, items, name, theirs, os.getpid()), daemon=True)
        process.start()
        theirs.close()
        return cls(process, mine)

    def give(self, index: int) -> None:
        self.given.append(index)
        self.pipe.send(index)

    def take(self, items: Sequence[Any], name: _Name) -> tuple[int, Any]:
        """Waits for the result of the first item given."""
        index = self.given.pop(0)
        try:
            failed, result = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"was killed by signal {-code}; was there too little memory?" if code < 0 else f"ended with {code}"
            raise ShipwayError(f"a process that read {name(items[index])} {how}") from None
        if failed:
            raise result
        return index, result


def _in_order(workers: list[_Worker], items: Sequence[Any], name: _Name) -> Iterator[Any]:
    waiting = iter(range(len(items)))
    for _ in range(_AHEAD):
        for worker, index in zip(workers, waiting, strict=False):
            worker.give(index)
    done: dict[int, Any] = {}
    for wanted in range(len(items)):
        while wanted not in done:
            busy = {worker.pipe: worker for worker in workers if worker.given}
            for pipe in connection.wait(busy):
                worker = busy[pipe]  # type: ignore[index]
                index, result = worker.take(items, name)
                done[index] = result
                following = next(waiting, None)
                if following is not None:
                    worker.give(following)
        yield done.pop(wanted)


def _serve(work: _Work, items: Sequence[Any], name: _Name, pipe: connection.Connection, parent: int) -> None:
    """Works on what the pipe asks for until it closes or the parent ends."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        return
    while True:
        try:
            index = pipe.recv()
        except EOFError:
            return
        try:
            answer: tuple[bool, Any] = False, work(index, items[index])
        except (ShipwayError, TypesChanged) as error:
            answer = True, error
        except Exception as error:  # noqa: BLE001 - raised again where the results are awaited
            answer = True, ShipwayError(f"{name(items[index])}: {type(error).__name__}: {error}")
        pipe.send(answer)
