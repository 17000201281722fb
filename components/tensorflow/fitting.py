"""The training loop: AdamW, a learning rate that rises and falls, averaged weights, and checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from shipway.components.common.errors import StorageError
from shipway.components.common.model import Epoch
from shipway.components.common.training import (
    Batch,
    Progress,
    Speed,
    TrainingData,
    TrainingRequest,
    diverged,
    users_code,
)
from shipway.components.common.training.accelerators import Accelerator
from shipway.components.common.training.checkpoints import Checkpoints
from shipway.components.common.training.interruption import Stop
from shipway.components.tensorflow.optimizer import AdamW
from shipway.components.tensorflow.state import TrainingState, read_state, write_state
from shipway.components.tensorflow.step import Step, scores_of
from shipway.components.tensorflow.world import World

__all__ = ["Fitting"]

_JUDGED_ROWS = 8192
_AGREED_STEPS = 8
_CHECKED_STEPS = 48

logger = logging.getLogger(__name__)

OnEpoch = Callable[[Epoch], bool]


@dataclass
class Fitting:
    """One training of one network.

    Attributes:
        request: What was asked for.
        data: What to learn from.
        accelerator: What it runs on.
        world: This process among those that train together.
        checkpoints: Where the state is saved; None saves none.
        stop: Tells when to stop.
        on_epoch: Called after each epoch; returns whether to stop there.
    """

    request: TrainingRequest
    data: TrainingData
    accelerator: Accelerator
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

    def run(self, network: keras.Model, trained: keras.Model) -> None:
        """Trains, and leaves ``network`` with the averaged weights of the best epoch.

        Args:
            network: Computes in fp32 on one device.
            trained: The same network with the same weights, in the strategy's scope and in the precision to train in.

        Raises:
            InputError: When training diverges.
            Preempted: When it was stopped; its state is saved.
        """
        strategy, encoders = self.world.strategy, self.data.encoders
        with strategy.scope():
            weights = [variable.value for variable in trained.trainable_variables]
            scaled = self.accelerator.precision == "fp16"
            optimizer = AdamW(weights, self.settings.weight_decay, scaled, strategy)
        state = TrainingState(trained, network, optimizer)
        self._resume(state)
        step = Step(state, encoders, self.settings, self.schedule, strategy, self.world.size)
        if self.request.compiled:
            self.notes["compiled"] = step.compile(self.data.sample.take(slice(0, self.schedule.rows_per_step)).arrays)
        scores = scores_of(network, encoders)
        batches = self._batches(state)
        try:
            while not self.progress.finished:
                self._epoch(state, step, batches)
                batches.close()
                batches = self._batches(state, following=True)
                if self._judged(state, scores):
                    break
        finally:
            batches.close()
        state.give_best()

    def _batches(self, state: TrainingState, following: bool = False) -> Any:
        epoch, first = (state.epoch + 1, 0) if following else (state.epoch, state.step)
        rows, shard = self.schedule.rows_per_step, (self.world.rank, self.world.size)
        return self.data.train.batches(rows, self.settings.seed, epoch, first, shard)

    def _epoch(self, state: TrainingState, step: Step, batches: Iterator[Batch]) -> None:
        """Goes through the rest of an epoch."""
        self.speed.resume()
        for batch in batches:
            with users_code("a training step", wholly=False), self.world.kept():
                step(batch.arrays, state.epoch * self.schedule.steps + state.step)
            state.step += 1
            self.speed.add(batch.rows * self.world.size, state.epoch + 1, state.step)
            if self.world.size == 1 or state.step % _AGREED_STEPS == 0:
                self._attend(state)
        self._require_number(state)
        self.speed.pause()

    def _attend(self, state: TrainingState) -> None:
        """Looks up from learning: is training asked to stop, is it time to save, is the loss a number?"""
        if state.step % _CHECKED_STEPS == 0:
            self._require_number(state)
        due = time.monotonic() - self._saved_at >= self.request.checkpoint_interval_seconds
        stop, save = self.world.any_of((self.stop.requested, due and self.world.rank == 0))
        if not (stop or save):
            return
        self._require_number(state)
        self._save(state, wait=stop)
        if stop:
            raise self._preempted(state)

    def _judged(self, state: TrainingState, scores: Callable[..., tf.Tensor]) -> bool:
        """Judges the epoch that is done; returns whether training ends with it."""
        state.take_over()
        ended = better = False
        if self.world.rank == 0:
            better = self.progress.add(
                state.loss / self.data.train.rows,
                _scored(scores, self.data.validation.in_order(_JUDGED_ROWS)),
                _scored(scores, iter([self.data.sample])),
            )
            if self.on_epoch is not None:
                ended = self.on_epoch(self.progress.history[-1])
        better, ended = self._agreed(better, ended)
        if better:
            state.keep_best()
        state.next_epoch()
        ended = ended or self.progress.finished
        (stop,) = self.world.any_of((self.stop.requested and not ended,))
        self._save(state, wait=stop)
        if stop:
            raise self._preempted(state)
        return ended

    def _agreed(self, better: bool, ended: bool) -> tuple[bool, bool]:
        """Returns what process 0 found, whose history all go on with."""
        history = [asdict(epoch) for epoch in self.progress.history]
        told = self.world.told({"better": better, "ended": ended, "history": history}) or {}
        self.progress.history = [Epoch(**epoch) for epoch in told["history"]]
        return told["better"], told["ended"]

    def _resume(self, state: TrainingState) -> None:
        found = self.checkpoints.latest(read_state) if self.checkpoints else None
        document = self.world.told({**found[1], "number": found[0]} if found else None)
        if document is None:
            return
        self.progress.history = state.restore(document)
        self.notes["resumed_from_step"] = self._saved_step = document["number"]

    def _save(self, state: TrainingState, wait: bool) -> None:
        number = state.epoch * self.schedule.steps + state.step
        self._saved_at = time.monotonic()
        if number == self._saved_step and not wait:
            return
        if self.checkpoints:
            document = state.document(self.progress.history)
            try:
                self.checkpoints.save(number, lambda directory: write_state(directory, document), wait=wait)
            except StorageError as error:
                logger.warning("what was learned since the last checkpoint is lost: %s", error)
        self._saved_step = number

    def _require_number(self, state: TrainingState) -> None:
        loss = state.loss
        if not math.isfinite(loss):
            raise diverged(state.epoch + 1, loss, f" by step {state.step}{self._last_checkpoint()}")

    def _preempted(self, state: TrainingState) -> Exception:
        return self.stop.preempted(f"in epoch {state.epoch + 1} after step {state.step}{self._last_checkpoint()}")

    def _last_checkpoint(self) -> str:
        uri = self.checkpoints.last_uri if self.checkpoints else ""
        return f"; the last checkpoint is {uri}" if uri else ""


def _scored(scores: Callable[..., tf.Tensor], batches: Iterator[Batch]) -> np.ndarray[Any, Any]:
    with users_code("scoring the validation split", wholly=False):
        return np.concatenate([scores(batch.raw, batch.categorical).numpy() for batch in batches])
