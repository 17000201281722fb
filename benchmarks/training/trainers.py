"""The trainers as they are, with something else in the place of the training split that they open."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from shipway.components.common.training import Batch, Examples, TrainingData

__all__ = ["Split", "read_request", "train", "trainer"]


class Split(Protocol):
    """What a trainer asks of its training split."""

    @property
    def rows(self) -> int:
        """How many rows an epoch has."""

    def batches(
        self, rows_per_step: int, seed: int, epoch: int, first_step: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """Returns an epoch, as :meth:`Examples.batches` does."""


def trainer(framework: str) -> ModuleType:
    """Imports a family's trainer."""
    return importlib.import_module(f"shipway.components.{framework}.training")


def train(
    framework: str,
    request_file: str | Path,
    split: Callable[[TrainingData], Split | Examples],
    on_epoch: Callable[[Any], bool] | None = None,
) -> Any:
    """Trains as a family's trainer does.

    Args:
        framework: ``pytorch`` or ``tensorflow``.
        request_file: The request.
        split: Gives what is trained on, once the data is opened.
        on_epoch: As the trainers take it.
    """
    from shipway.components.common.training import conducting

    opened = conducting.open_training_data

    def watched(*arguments: Any) -> TrainingData:
        data: TrainingData = opened(*arguments)
        return dataclasses.replace(data, train=split(data))  # type: ignore[arg-type]

    conducting.open_training_data = watched
    return getattr(trainer(framework), f"train_{framework}")(read_request(request_file), on_epoch)


def read_request(file: str | Path) -> Any:
    """Reads a request."""
    from shipway.components.common.training.request import TrainingRequest

    return TrainingRequest.from_json(Path(file).read_text(encoding="utf-8"))
