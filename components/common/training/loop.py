"""The training loop of both frameworks: epochs, judging them, saving, being stopped, going on."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from shipway.components.common.errors import StorageError
from shipway.components.common.model import Epoch
from shipway.components.common.training.blame import users_code
from shipway.components.common.training.checkpoints import Checkpoints
from shipway.components.common.training.data import TrainingData
from shipway.components.common.training.input import Batch
from shipway.components.common.training.input.batches import Prefetched
from shipway.components.common.training.interruption import Stop
from shipway.components.common.training.progress import Progress, diverged
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.training.speed import Speed

__all__ = ["Loop", "OnEpoch", "State", "World"]

_JUDGED_ROWS = 8192
_AGREED_STEPS = 8
_CHECKED_STEPS = 48

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
OnEpoch = Callable[[Epoch], bool]


class World(Protocol):
    """This process among those that train together."""

    @property
    def rank(self) -> int:
        """Its number; 0 judges, saves and publishes."""

    @property
    def size(self) -> int:
        """How many there are."""

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """Returns for each flag whether it is set in any process; all must call it at the same step."""

    def told(self, document: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Returns the document of process 0."""


class State(Protocol):
    """What a training goes on from after it was stopped.

    Attributes:
        epoch: Epochs done.
        step: Steps of the current epoch done.
    """

    epoch: int
    step: int

    @property
    def loss(self) -> float:
        """The sum of the losses of the current epoch's rows, at least of those of this process; asking waits."""

    def whole_loss(self) -> float:
        """Returns the sum of all processes' losses; all must call it at the same step."""

    def take_over(self) -> None:
        """Copies to the averaged network what is not averaged: the statistics that a network gathers itself."""

    def keep_best(self) -> None:
        """Makes the averaged weights the best ones."""

    def next_epoch(self) -> None:
        """Counts the epoch as done."""

    def read(self, directory: Path) -> dict[str, Any]:
        """Reads what a writer wrote; nothing in it is run."""

    def writer(self, history: Sequence[Epoch]) -> Callable[[Path], None]:
        """Returns what writes the state into a directory; all processes must call it at the same step."""

    def restore(self, document: Mapping[str, Any]) -> list[Epoch]:
        """Takes up a state that was read; returns the history."""


@dataclass
class Loop:
    """One training of one network.

    Attributes:
        request: What was asked for.
        data: What to learn from.
        world: This process among those that train together.
        checkpoints: Where process 0 saves the state; None saves none.
        stop: Tells when to stop.
        on_epoch: Called after each epoch; returns whether to stop there.
    """

    request: TrainingRequest
    data: TrainingData
    world: World
    checkpoints: Checkpoints | None
    stop: Stop
    on_epoch: OnEpoch | None = None

    def __post_init__(self) -> None:
        self.settings = self.request.hyperparameters
        self.schedule = self.settings.schedule(self.data.train.rows)
        self.speed = Speed(self.schedule.steps)
        self.progress = Progress(self.data.validation_labels, self.data.sample.labels, self.settings)
        self.notes: dict[str, Any] = {}
        self._saved_at, self._saved_step = time.monotonic(), -1

    def resume(self, state: State) -> None:
        """Takes up the newest checkpoint, where there is one.

        Raises:
            InputError: When the checkpoints there are another training's.
            StorageError: When the store cannot be read, or written to.
        """
        found = self.checkpoints.latest(state.read) if self.checkpoints else None
        document = self.world.told({**found[1], "number": found[0]} if found else None)
        if document is not None:
            self.progress.history = state.restore(document)
            self.notes["resumed_from_step"] = self._saved_step = document["number"]

    def run(self, state: State, step: Callable[[Batch, int], None], scored: Callable[[Iterator[Batch]], Array]) -> None:
        """Trains until the last epoch, or until the best one is too long ago.

        Args:
            state: What changes; its best weights are those of the best epoch in the end.
            step: Learns from a batch; the step's number counts from 0 over the whole training.
            scored: Returns ``[rows, classes]``, the averaged network's probabilities of all batches' rows.

        Raises:
            InputError: When training diverges.
            Preempted: When it was stopped; the state is saved.
        """
        batches = self._batches(state.epoch, state.step)
        try:
            while not self.progress.finished:
                loss = self._epoch(state, step, batches)
                batches.close()
                batches = self._batches(state.epoch + 1)  # made while the epoch is judged
                if self._judged(state, loss, scored):
                    break
        finally:
            batches.close()

    def _batches(self, epoch: int, first: int = 0) -> Prefetched[Batch]:
        shard = (self.world.rank, self.world.size)
        return self.data.train.batches(self.schedule.rows_per_step, self.settings.seed, epoch, first, shard)

    def _epoch(self, state: State, step: Callable[[Batch, int], None], batches: Iterator[Batch]) -> float:
        """Goes through the rest of an epoch; returns the sum of its losses."""
        self.speed.resume()
        for batch in batches:
            with users_code("a training step", wholly=False):
                step(batch, self._number(state))
            state.step += 1
            self.speed.add(batch.rows * self.world.size, state.epoch + 1, state.step)
            if self.world.size == 1 or state.step % _AGREED_STEPS == 0:
                self._attend(state)
        loss = state.whole_loss()
        self.speed.pause()
        self._require_number(state, loss)
        return loss

    def _attend(self, state: State) -> None:
        """Looks up from learning: is training asked to stop, is it time to save, is the loss a number?"""
        if state.step % _CHECKED_STEPS == 0:
            self._require_number(state, state.loss)
        due = time.monotonic() - self._saved_at >= self.request.checkpoint_interval_seconds
        stop, save = self.world.any_of((self.stop.requested, due and self.world.rank == 0))
        if stop or save:
            self._require_number(state, state.loss)
            self._save(state, stop)

    def _judged(self, state: State, loss: float, scored: Callable[[Iterator[Batch]], Array]) -> bool:
        """Judges the epoch that is done; returns whether training ends with it."""
        state.take_over()
        ended = better = False
        if self.world.rank == 0:
            with users_code("scoring the validation split", wholly=False):
                scores = scored(self.data.validation.in_order(_JUDGED_ROWS)), scored(iter([self.data.sample]))
            better = self.progress.add(loss / self.data.train.rows, *scores)
            if self.on_epoch is not None:
                ended = self.on_epoch(self.progress.history[-1])
        better, ended = self._agreed(better, ended)
        if better:
            state.keep_best()
        state.next_epoch()
        ended = ended or self.progress.finished
        (stop,) = self.world.any_of((self.stop.requested and not ended,))
        self._save(state, stop)
        return ended

    def _agreed(self, better: bool, ended: bool) -> tuple[bool, bool]:
        """Returns what process 0 found, whose history all go on with."""
        history = [asdict(epoch) for epoch in self.progress.history]
        told = self.world.told({"better": better, "ended": ended, "history": history}) or {}
        self.progress.history = [Epoch(**epoch) for epoch in told["history"]]
        return told["better"], told["ended"]

    def _save(self, state: State, stop: bool) -> None:
        """Saves the state, and ends the training if it is to stop."""
        number = self._number(state)
        self._saved_at = time.monotonic()
        if number != self._saved_step or stop:
            write = state.writer(self.progress.history)
            if self.checkpoints:
                try:
                    self.checkpoints.save(number, write, wait=stop)
                except StorageError as error:
                    logger.warning("what was learned since the last checkpoint is lost: %s", error)
            self._saved_step = number
        if stop:
            raise self.stop.preempted(f"in epoch {state.epoch + 1} after step {state.step}{self._last_checkpoint()}")

    def _number(self, state: State) -> int:
        return state.epoch * self.schedule.steps + state.step

    def _require_number(self, state: State, loss: float) -> None:
        if not math.isfinite(loss):
            last = self._last_checkpoint()
            # Where the user named a place, its checkpoints are this training's until they are deleted.
            more = " with another checkpoint_uri" if last and self.request.checkpoint_uri else ""
            raise diverged(state.epoch + 1, loss, f" by step {state.step}{last}", more)

    def _last_checkpoint(self) -> str:
        uri = self.checkpoints.last_uri if self.checkpoints else ""
        return f"; the last checkpoint is {uri}" if uri else ""
