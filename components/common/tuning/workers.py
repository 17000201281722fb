"""Processes that train trials side by side; only the process that tunes reads and writes the study."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from shipway.components.common.errors import InputError, Preempted, error_named
from shipway.components.common.model import Epoch
from shipway.components.common.process import ERROR_FILE_VARIABLE
from shipway.components.common.training.accelerators import visible_gpus
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.tuning.records import Outcome, Train

__all__ = ["Workers"]

# Less than the 30 s that Kubernetes gives a pod: the trainings save a checkpoint meanwhile.
STOP_SECONDS = 25.0
LOOK_SECONDS = 0.5


class _Worker:
    """One process, and the number of the trial that it trains."""

    def __init__(self, function: str, environment: dict[str, str], lock: int) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            command = [sys.executable, "-m", "shipway.components.common.tuning.worker", function, str(theirs.fileno())]
            variables = {**os.environ, **environment}
            variables.pop(ERROR_FILE_VARIABLE, None)
            # With the lock's descriptor it holds the study's directory until it ends, whoever started it.
            self.process = subprocess.Popen(command, env=variables, pass_fds=(theirs.fileno(), lock))
            self.connection = Connection(ours.detach())
        self.trial: int | None = None
        self.started = 0.0

    def train(self, number: int, request: TrainingRequest) -> None:
        self.trial, self.started = number, time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # its end is seen when it is waited for
            self.connection.send(request)

    def end(self, seconds: float = STOP_SECONDS) -> int:
        """Ends it, if it has not ended; returns its exit code."""
        self.connection.close()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Workers:
    """So many processes, started when there is something to train, ended with the block."""

    def __init__(self, train: Train, count: int, lock: int, accelerator: str) -> None:
        """Prepares them.

        Args:
            train: A function of a module, which the processes import.
            count: How many at most.
            lock: Descriptor of the study's lock.
            accelerator: What was asked for; GPUs are shared out among the processes.

        Raises:
            InputError: When other processes cannot import the function.
        """
        module, name = getattr(train, "__module__", "__main__"), getattr(train, "__qualname__", "<")
        if module == "__main__" or "<" in name or "." in name:
            raise InputError(
                f"{module}.{name} cannot train in other processes: it must be a function of a module that they can"
                " import; or set parallel_trials to 1"
            )
        self._function, self._count, self._lock, self._accelerator = f"{module}:{name}", count, lock, accelerator
        self._workers: list[_Worker | None] = [None] * count

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        running = [worker for worker in self._workers if worker]
        for worker in running:
            worker.connection.close()
        until = time.monotonic() + STOP_SECONDS
        for worker in running:
            worker.end(max(0.1, until - time.monotonic()))

    def run(
        self,
        attend: Callable[[], None],
        begin: Callable[[], tuple[int, TrainingRequest] | None],
        report: Callable[[int, Epoch], bool],
        end: Callable[[int, Outcome], None],
    ) -> None:
        """Trains all that ``begin`` gives.

        Args:
            attend: Called twice a second or more; what it raises ends this.
            begin: Returns the next trial's number and request; None when there is none for now.
            report: Is told every epoch; returns whether to stop the trial there.
            end: Is told how each trial ended.

        Raises:
            ShipwayError: What ended a process and is not the trial's fault.
        """
        while busy := list(self._busy(begin)):
            attend()
            for ready in wait([worker.connection for worker in busy], LOOK_SECONDS):
                self._hear(next(worker for worker in busy if worker.connection is ready), report, end)

    def _busy(self, begin: Callable[[], tuple[int, TrainingRequest] | None]) -> Iterator[_Worker]:
        for place in range(self._count):
            worker = self._workers[place]
            if (worker is None or worker.trial is None) and (task := begin()):
                worker = worker or _Worker(self._function, self._gpus(place), self._lock)
                self._workers[place] = worker
                worker.train(*task)
            if worker and worker.trial is not None:
                yield worker

    def _hear(self, worker: _Worker, report: Callable[[int, Epoch], bool], end: Callable[[int, Outcome], None]) -> None:
        number, seconds = worker.trial or 0, time.monotonic() - worker.started
        try:
            said: Any = worker.connection.recv()
        except (EOFError, OSError):  # nothing, or half a message
            self._workers[self._workers.index(worker)] = None
            end(number, Outcome(seconds, {}, _death(worker.end())))
            return
        if isinstance(said, Epoch):
            with contextlib.suppress(BrokenPipeError):
                worker.connection.send(report(number, said))
        elif isinstance(said, Outcome):
            worker.trial = None
            end(number, said)
        else:
            name, message = said
            raise error_named(name)(message)

    def _gpus(self, place: int) -> dict[str, str]:
        """Returns the variable that shows a process its share of the GPUs."""
        gpus = () if self._accelerator == "cpu" else visible_gpus()
        if len(gpus) < 2:
            return {}
        own: Sequence[Any] = gpus[place :: self._count] or [gpus[place % len(gpus)]]
        return {"CUDA_VISIBLE_DEVICES": ",".join(gpu.uuid for gpu in own)}


def _death(code: int) -> str:
    """Returns what to say of a trial whose process died; what is not the trial's fault is raised.

    Raises:
        Preempted: When somebody stopped it.
        RuntimeError: When it ended by an exception, whose traceback is on stderr.
    """
    if code >= 0:
        raise RuntimeError(f"the process of a trial ended with exit code {code}; its traceback is above")
    if -code in (signal.SIGTERM, signal.SIGINT):
        raise Preempted("the process of a trial was stopped from outside; run again to resume")
    name = signal.Signals(-code).name
    return f"its process was ended by {name}{': is memory too small?' if code == -signal.SIGKILL else ''}"
