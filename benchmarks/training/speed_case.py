"""One process of the speeds: ``python -m benchmarks.training.speed_case FRAMEWORK REQUEST TURNS``.

Trains as the family's trainer does, each epoch from the source that the JSON list TURNS names, and prints the rows per
second of each.
"""

from __future__ import annotations

import json
import sys

from benchmarks.training.sources import Epochs, Source, Turn, in_memory, parquet, usual
from benchmarks.training.trainers import read_request, train
from shipway.components.common.training import TrainingData


class _Enough(Exception):
    """All was measured; what a trainer does at the end is not."""


def main(framework: str, request_file: str, turns: str, *libraries: str) -> None:
    """Measures and prints."""
    sys.path += libraries
    plan = [Turn(**turn) for turn in json.loads(turns)]
    watched: list[Epochs] = []

    def split(data: TrainingData) -> Epochs:
        sources = {turn.source: turn for turn in plan}
        made = {name: _source(framework, request_file, data, turn) for name, turn in sources.items()}
        watched.append(Epochs(data.train.rows, made, plan))
        return watched[0]

    def on_epoch(_epoch: object) -> bool:
        if len(watched[0].speeds) >= len(plan):
            raise _Enough
        return False

    try:
        train(framework, request_file, split, on_epoch)
    except _Enough:
        (epochs,) = watched
        pairs = [[turn.source, round(speed)] for turn, speed in zip(plan, epochs.speeds, strict=True)]
        print(json.dumps({"rows": epochs.rows, "speeds": pairs}))


def _source(framework: str, request_file: str, data: TrainingData, turn: Turn) -> Source:
    if turn.source == "parquet":
        return parquet(data)
    if turn.source == "memory":
        return in_memory(data)
    settings = read_request(request_file).hyperparameters
    workers = int(turn.source.removeprefix("usual"))
    return usual(framework, data, turn.steps * settings.rows_per_step(data.train.rows), workers)


if __name__ == "__main__":
    main(*sys.argv[1:])
