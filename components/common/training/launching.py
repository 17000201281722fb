"""One training as several processes: started together, heard together, ended together.

:func:`launch` starts all of them on this machine. Run as a module, this is what a pod of a ``TrainJob`` starts: it
brings up the node's part of a training that spans several nodes::

    python -m shipway.components.common.training.launching pytorch

with the request in ``SHIPWAY_TRAINING_REQUEST``, and the node's place in torchrun's ``PET_*`` variables or in those of
:mod:`.tf_config`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from shipway.components.common.errors import InputError, Preempted, ShipwayError, error_named
from shipway.components.common.process import ERROR_FILE_VARIABLE, step
from shipway.components.common.training.interruption import Stop, interruptions
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.training.tf_config import TF_CONFIG_VARIABLE, tf_config, tf_config_from_environment

__all__ = ["REQUEST_VARIABLE", "STOP_SECONDS", "TIMES_VARIABLE", "WORKERS", "launch", "launch_node", "main"]

REQUEST_VARIABLE = "SHIPWAY_TRAINING_REQUEST"
TIMES_VARIABLE = "SHIPWAY_LOG_TIMES"
"""Set to put the time (RFC 3339) before each line that a worker prints, as Katib's early stopping wants it."""

WORKERS = {"pytorch": "shipway.components.pytorch.worker", "tensorflow": "shipway.components.tensorflow.worker"}

STOP_SECONDS = 60
"""How long workers may take to save what they have after SIGTERM; a pod's grace period must be longer."""

FAILURE_SECONDS = 15
"""How long the others may take to end when one has failed: they have nothing to save that it has not."""

LAST_LINES = 20
_LOOK_SECONDS = 0.05
_HOST = "127.0.0.1"

# PR_SET_PDEATHSIG: a killed launcher must not leave workers that go on with its checkpoints.
_ENDING_WITH_PARENT = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execvp(sys.argv[1], sys.argv[1:])"


def launch(framework: str, python: str, request: TrainingRequest, processes: int) -> None:
    """Trains with several processes of this machine; returns when all have ended well.

    What they print comes on stderr with the rank in front. When one fails the others are ended; SIGTERM and SIGINT are
    passed on, and the workers have a minute to save what they have.

    Args:
        framework: ``pytorch``: torchrun starts the processes; ``tensorflow``: each gets its ``TF_CONFIG``.
        python: Interpreter with the framework.
        request: What to train; the worker of rank 0 writes the results.
        processes: How many.

    Raises:
        InputError: When ``framework`` is neither, or a worker ended with one.
        Preempted: When it was stopped; run again it goes on where it was.
        ShipwayError: What a worker ended with, by its class; its last lines where it left no word.
    """
    module = _module(framework)
    if processes < 1:
        raise InputError(f"a training needs at least 1 process, not {processes}")
    with _workplace(request) as place:
        command = [python, "-m", module, str(place / "request.json")]
        if framework == "pytorch":
            ports = _free_ports(1)
            options = ["--nnodes", "1", "--nproc-per-node", str(processes)]
            options += ["--master-addr", _HOST, "--master-port", str(ports[0])]
            workers = [_torchrun(command, options, place, processes)]
        else:
            hosts = [f"{_HOST}:{port}" for port in _free_ports(processes)]
            configs = [tf_config(hosts, rank) for rank in range(processes)]
            workers = [_tensorflow(command, config, place, f"[rank {rank}] ") for rank, config in enumerate(configs)]
        _run(workers)


def launch_node(framework: str, python: str, request: TrainingRequest) -> None:
    """Trains as one node of several, as the environment variables say; returns when this node's part has ended well.

    Args:
        framework: ``pytorch`` or ``tensorflow``.
        python: Interpreter with the framework.
        request: What to train.

    Raises:
        InputError, Preempted, ShipwayError: As :func:`launch`.
    """
    module = _module(framework)
    with _workplace(request) as place:
        command = [python, "-m", module, str(place / "request.json")]
        if framework == "pytorch":
            workers = [_torchrun(command, [], place, int(os.environ.get("PET_NPROC_PER_NODE", 1)))]
        else:
            workers = [_tensorflow(command, tf_config_from_environment(), place)]
        _run(workers)


def main(arguments: Sequence[str]) -> None:
    """Runs what a pod of a TrainJob starts; ends the process with the exit code of the error's class."""
    with step():
        if len(arguments) != 1 or REQUEST_VARIABLE not in os.environ:
            raise InputError(f"give the framework as the one argument, and the request in {REQUEST_VARIABLE}")
        launch_node(arguments[0], sys.executable, TrainingRequest.from_json(os.environ[REQUEST_VARIABLE]))


@dataclass
class _Worker:
    """A process of the training, with the processes below it.

    Attributes:
        command: What to run.
        variables: Environment variables besides this process's.
        prefix: What to put before each line of its output.
        error_file: Where it leaves its error; of several ranks each adds its number to the name.
        ranks: How many workers there are in it.
        last_lines: Of its output.
    """

    command: Sequence[str]
    variables: Mapping[str, str]
    prefix: str
    error_file: Path
    ranks: int = 1
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    def start(self) -> None:
        variables = {**os.environ, "PYTHONUNBUFFERED": "1", **self.variables, ERROR_FILE_VARIABLE: str(self.error_file)}
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _ENDING_WITH_PARENT, *self.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[bytes]) -> None:
        for line in output:
            now = datetime.now(UTC).isoformat().replace("+00:00", "Z ") if TIMES_VARIABLE in os.environ else ""
            text = now + self.prefix + line.decode(errors="replace").rstrip()
            self.last_lines.append(text)
            print(text, file=sys.stderr, flush=True)

    @property
    def code(self) -> int | None:
        """The exit code; negative for a signal, None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def finish(self) -> None:
        self._process.wait()
        self._reader.join(timeout=5)

    def errors(self) -> list[ShipwayError]:
        found = []
        for path in sorted(self.error_file.parent.glob(f"{self.error_file.name}*")):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # its writer was killed
                value = json.loads(path.read_text(encoding="utf-8"))
                found.append(error_named(value["type"])(value["message"]))
        return found


def _torchrun(command: Sequence[str], options: Sequence[str], place: Path, processes: int) -> _Worker:
    """Returns torchrun with its workers; it reads what ``options`` leave open from ``PET_*``."""
    python, *worker = command
    variables = {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "[rank ${rank}] ",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(STOP_SECONDS),
    }
    torchrun = [
        python,
        "-m",
        "torch.distributed.run",
        *options,
        "--tee",
        "3",
        "--log-dir",
        str(place / "logs"),
        *worker,
    ]
    return _Worker(torchrun, variables, "", place / "0.error", processes)


def _tensorflow(command: Sequence[str], config: str, place: Path, prefix: str = "") -> _Worker:
    rank = json.loads(config)["task"]["index"] if config else 0
    return _Worker(command, {TF_CONFIG_VARIABLE: config, "RANK": str(rank)}, prefix, place / f"{rank}.error")


def _run(workers: Sequence[_Worker]) -> None:
    started: list[_Worker] = []
    with interruptions() as stop:
        try:
            for worker in workers:
                worker.start()
                started.append(worker)
            first = _wait(workers, stop)
        finally:
            for worker in started:
                worker.signal(signal.SIGKILL)
                worker.finish()
        if suspects := first or [worker for worker in workers if worker.code]:
            raise _error(suspects, stop)


def _wait(workers: Sequence[_Worker], stop: Stop) -> list[_Worker]:
    """Returns when all have ended, or had the time to, those that failed before the others were ended."""
    while not stop.requested and not any(worker.code for worker in workers):
        if all(worker.code == 0 for worker in workers):
            return []
        time.sleep(_LOOK_SECONDS)
    failed = [worker for worker in workers if worker.code]
    # Torchrun takes its own time to end its workers, and must outlive them.
    deadline = time.monotonic() + (FAILURE_SECONDS if failed else STOP_SECONDS + FAILURE_SECONDS)
    for worker in workers:
        worker.signal(signal.SIGTERM)
    while any(worker.code is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return failed


def _error(failed: Sequence[_Worker], stop: Stop) -> ShipwayError:
    """Returns why the training ended.

    Torchrun ends its other workers when one fails, and they say that they were preempted: that counts when all do.
    """
    errors = [error for worker in failed for error in worker.errors()]
    for error in errors:
        if not isinstance(error, Preempted):
            return error
    worker = failed[0]
    if errors and (stop.requested or len(errors) >= worker.ranks):
        return errors[0]
    if stop.requested:
        return stop.preempted("the workers left no word of what they have saved")
    code = worker.code or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    hint = "; the kernel does that when memory runs out: try a smaller batch_size" if code == -signal.SIGKILL else ""
    said = "; its last lines:\n" + "\n".join(worker.last_lines) if worker.last_lines else ""
    return ShipwayError(f"a worker of the training {how}{hint}{said}")


@contextlib.contextmanager
def _workplace(request: TrainingRequest) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="shipway-training-") as directory:
        place = Path(directory)
        (place / "request.json").write_text(request.to_json(), encoding="utf-8")
        yield place


def _module(framework: str) -> str:
    if framework not in WORKERS:
        raise InputError(f"framework is {framework!r}, it must be {' or '.join(WORKERS)}")
    return WORKERS[framework]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind((_HOST, 0))
        return [each.getsockname()[1] for each in opened]


if __name__ == "__main__":
    main(sys.argv[1:])
