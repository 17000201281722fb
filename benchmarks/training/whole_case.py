"""One whole training: ``python -m benchmarks.training.whole_case FRAMEWORK REQUEST [STEPS]``.

Prints the most memory that the process held, in all and until the last epoch was judged. Given a file STEPS, adds a
line to it where an epoch begins or is taken up again and after each step: how many steps of the whole training are
done, and the monotonic clock's seconds.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.training.trainers import Split, read_request, train, trainer

if TYPE_CHECKING:
    from shipway.components.common.training import Batch, TrainingData


class _Noting:
    """A training split that notes how many steps are done, each time that a batch is asked for."""

    def __init__(self, split: Split, file: int) -> None:
        self._split, self._file = split, file

    @property
    def rows(self) -> int:
        return self._split.rows

    def batches(
        self, rows_per_step: int, seed: int, epoch: int, first_step: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        batches = self._split.batches(rows_per_step, seed, epoch, first_step, shard)
        return self._noted(batches, epoch * -(-self.rows // rows_per_step) + first_step)

    def _noted(self, batches: Iterator[Batch], done: int) -> Iterator[Batch]:
        try:
            self._note(done)
            for number, batch in enumerate(batches, done + 1):
                yield batch
                self._note(number)
        finally:
            batches.close()  # type: ignore[attr-defined]

    def _note(self, done: int) -> None:
        os.write(self._file, f"{done} {time.monotonic()}\n".encode())


def main(framework: str, request_file: str, steps_file: str = "") -> None:
    """Trains and prints."""
    peaks = [0.0]

    def on_epoch(_epoch: object) -> bool:
        peaks.append(_peak_mib())
        return False

    if steps_file:
        file = os.open(steps_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def split(data: TrainingData) -> _Noting:
            return _Noting(data.train, file)

        train(framework, request_file, split, on_epoch)
    else:
        getattr(trainer(framework), f"train_{framework}")(read_request(request_file), on_epoch)
    print(json.dumps({"whole": _peak_mib(), "learning": peaks[-1]}))


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kib,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
    return round(int(kib) / 1024, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
