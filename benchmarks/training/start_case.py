"""One start of a training: ``python -m benchmarks.training.start_case FRAMEWORK REQUEST STARTED``.

Ends with the first step and prints how many seconds after STARTED, of the monotonic clock, what was done; and which of
the modules that no first step needs were imported by then.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks.training.trainers import Split, train, trainer

if TYPE_CHECKING:
    from shipway.components.common.training import Batch, TrainingData

NOT_NEEDED = ("boto3", "google.cloud.storage", "mlflow", "onnxruntime", "optuna")


class _First:
    """A training split that ends the process when the step of its first batch is done."""

    def __init__(self, split: Split, started: float, done: dict[str, float]) -> None:
        self._split, self._started, self._done = split, started, done

    @property
    def rows(self) -> int:
        return self._split.rows

    def batches(
        self, rows_per_step: int, seed: int, epoch: int, first_step: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        return self._ended(self._split.batches(rows_per_step, seed, epoch, first_step, shard))

    def _ended(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        yield next(batches)
        self._done["first step"] = time.monotonic() - self._started
        found = [name for name in NOT_NEEDED if name in sys.modules]
        print(json.dumps({"done": self._done, "not_needed": found}), flush=True)
        os._exit(0)


def main(framework: str, request_file: str, started: str) -> None:
    """Measures and prints."""
    begun = float(started)
    done = {"interpreter": time.monotonic() - begun}
    trainer(framework)
    done["trainer imported"] = time.monotonic() - begun

    def split(data: TrainingData) -> _First:
        done["data opened"] = time.monotonic() - begun
        return _First(data.train, begun, done)

    train(framework, request_file, split)


if __name__ == "__main__":
    main(*sys.argv[1:])
