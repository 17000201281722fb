"""A process that trains one trial after another: ``python -m shipway.components.common.tuning.worker FUNCTION FD``.

FUNCTION is ``module:name`` of the trainer, FD the socket on which :mod:`.workers` sends requests; when its other end
is closed, nobody waits for this process any more, and it stops as if by SIGTERM.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from shipway.components.common.errors import Preempted, ShipwayError
from shipway.components.common.model import Epoch
from shipway.components.common.process import step
from shipway.components.common.tuning.records import Train, attempt

__all__ = ["main"]


class _Tuning:
    """What the tuning process says, read by a thread, which sees at once when it says nothing more.

    Attributes:
        training: Whether a trial is being trained, which is to stop when the tuning process is gone.
    """

    def __init__(self, descriptor: int) -> None:
        self._connection = Connection(descriptor)
        self.training = False
        self._said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self) -> Any:
        """Returns what it says next; None when it is gone."""
        return self._said.get()

    def tell(self, what: Any) -> None:
        """Sends it something, if it is still there."""
        with contextlib.suppress(OSError):
            self._connection.send(what)

    def judge(self, epoch: Epoch) -> bool:
        """Asks it whether to stop after this epoch."""
        self.tell(epoch)
        answer = self.wait()
        if answer is None:
            raise Preempted("the tuning ended during this trial; run it again to resume")
        return bool(answer)

    def _read(self) -> None:
        try:
            while True:
                self._said.put(self._connection.recv())
        except (EOFError, OSError):
            self._said.put(None)
            if self.training:
                os.kill(os.getpid(), signal.SIGTERM)


def main(function: str, descriptor: str) -> None:
    """Trains what it is sent, until there is no more.

    Args:
        function: ``module:name`` of the trainer.
        descriptor: Number of the socket's descriptor.

    Raises:
        SystemExit: With the exit code of the error of the tree that ended it; see :func:`.process.step`.
    """
    with step():
        module, _, name = function.partition(":")
        train: Train = getattr(importlib.import_module(module), name)
        tuning = _Tuning(int(descriptor))
        while request := tuning.wait():
            tuning.training = True
            try:
                outcome = attempt(train, request, tuning.judge)
            except ShipwayError as error:
                tuning.tell((type(error).__name__, str(error)))
                raise
            tuning.training = False
            tuning.tell(outcome)


if __name__ == "__main__":
    main(*sys.argv[1:])
