"""The manners of a process that runs one pipeline step.

A component's body wraps its one call in :func:`step`. Whoever runs the step, on a cluster, in a
container or on this machine, then gets the same: an error of the tree becomes one line on stderr
and the class's exit code; SIGTERM becomes :class:`Preempted` instead of a silent death.

Where the environment variable ``SHIPWAY_ERROR_FILE`` is set, as the local runner does, the file it
names receives ``{"type", "message"}`` of a failure as JSON.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from shipway.components.common.errors import Preempted, ShipwayError

__all__ = ["ERROR_FILE_VARIABLE", "step"]

ERROR_FILE_VARIABLE = "SHIPWAY_ERROR_FILE"


@contextlib.contextmanager
def step() -> Iterator[None]:
    """Runs the body of one component.

    Raises:
        SystemExit: With the error class's exit code, when the body raised an error of the tree.
            Any other exception passes unchanged: it is a bug, and its traceback is wanted.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, _raise_preempted)
    try:
        yield
    except ShipwayError as error:
        _record(error)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _raise_preempted(_signal: int, _frame: FrameType | None) -> None:
    raise Preempted("stopped by SIGTERM before the step was done; run the pipeline again to resume")


def _record(error: ShipwayError) -> None:
    path = os.environ.get(ERROR_FILE_VARIABLE)
    if path:
        Path(path).write_text(json.dumps({"type": type(error).__name__, "message": str(error)}), encoding="utf-8")
