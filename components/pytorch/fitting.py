"""The training loop: AdamW, a learning rate that rises and falls, averaged weights, and checkpoints."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
from shipway.components.pytorch.encoding import Encoding
from shipway.components.pytorch.state import TrainingState, read_state, write_state
from shipway.components.pytorch.step import Step, autocast, compiled
from shipway.components.pytorch.world import World

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
        checkpoints: Where process 0 saves the state; None in others.
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
        self.device = (
            torch.device("cuda", self.world.local_rank) if self.accelerator.name == "gpu" else torch.device("cpu")
        )
        self.notes: dict[str, Any] = {}
        self._autocast = autocast(self.accelerator.precision, self.device)
        self._saved_at, self._saved_step = time.monotonic(), -1

    def run(self, network: nn.Module) -> None:
        """Trains ``network`` in place and leaves it on the CPU with the averaged weights of the best epoch.

        Raises:
            InputError: When training diverges.
            Preempted: When it was stopped; its state is saved.
        """
        encoding = Encoding(self.data.encoders).to(self.device)
        averaged = copy.deepcopy(network).to(self.device).eval()
        trained = network.to(self.device).train()
        weights = trained.parameters()
        state = TrainingState(
            trained,
            averaged,
            torch.optim.AdamW(weights, weight_decay=self.settings.weight_decay, fused=True),
            torch.amp.GradScaler(self.device.type, enabled=self.accelerator.precision == "fp16"),
        )
        self._resume(state)
        step = self._prepared(Step(trained, encoding, self.settings))
        batches = self._batches(state)
        try:
            while not self.progress.finished:
                self._epoch(state, step, batches)
                batches.close()
                batches = self._batches(state, following=True)
                if self._judged(state, encoding):
                    break
        finally:
            batches.close()
        network.load_state_dict(state.best)
        network.cpu().eval()

    def _batches(self, state: TrainingState, following: bool = False) -> Any:
        epoch, first = (state.epoch + 1, 0) if following else (state.epoch, state.step)
        rows, shard = self.schedule.rows_per_step, (self.world.rank, self.world.size)
        return self.data.train.batches(rows, self.settings.seed, epoch, first, shard)

    def _prepared(self, step: nn.Module) -> nn.Module:
        if self.request.compiled:
            with self._autocast():
                step, self.notes["compiled"] = compiled(step, self._moved(self.data.sample.take(slice(0, 2))))
        if self.world.size > 1:
            devices = [self.device] if self.device.type == "cuda" else None
            step = nn.parallel.DistributedDataParallel(step, device_ids=devices)
        return step

    def _epoch(self, state: TrainingState, step: nn.Module, batches: Iterator[Batch]) -> None:
        """Goes through the rest of an epoch."""
        total = torch.tensor(state.loss, dtype=torch.float64, device=self.device)
        self.speed.resume()
        for batch in batches:
            with users_code("a training step", wholly=False):
                total += self._step(state, step, self._moved(batch))
            state.step += 1
            self.speed.add(batch.rows * self.world.size, state.epoch + 1, state.step)
            if self.world.size == 1 or state.step % _AGREED_STEPS == 0:
                self._attend(state, total)
        state.loss = self.world.total(float(total))
        self.speed.pause()
        self._require_number(state, state.loss)

    def _step(self, state: TrainingState, step: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        number = state.epoch * self.schedule.steps + state.step
        state.optimizer.zero_grad()
        with self._autocast():
            loss: Tensor = step(*batch)
        # Several processes' gradients are averaged; each has its share of the rows.
        state.scaler.scale(loss * (self.world.size / self.schedule.rows_per_step)).backward()
        state.optimizer.param_groups[0]["lr"] = float(self.schedule.learning_rates[number])
        state.scaler.step(state.optimizer)
        state.scaler.update()
        _average(state.averaged, state.trained, float(self.schedule.averaging_shares[number]))
        return loss.detach()

    def _attend(self, state: TrainingState, total: Tensor) -> None:
        """Looks up from learning: is training asked to stop, is it time to save, is the loss a number?"""
        if state.step % _CHECKED_STEPS == 0:
            self._require_number(state, float(total))
        due = time.monotonic() - self._saved_at >= self.request.checkpoint_interval_seconds
        stop, save = self.world.any_of((self.stop.requested, due and self.world.rank == 0))
        if not (stop or save):
            return
        state.loss = float(total)
        self._require_number(state, state.loss)
        self._save(state, wait=stop)
        if stop:
            raise self._preempted(state)

    def _judged(self, state: TrainingState, encoding: Encoding) -> bool:
        """Judges the epoch that is done; returns whether training ends with it."""
        _copy_buffers(state.averaged, state.trained)
        ended = better = False
        if self.world.rank == 0:
            better = self.progress.add(
                state.loss / self.data.train.rows,
                self._scores(state.averaged, encoding, self.data.validation.in_order(_JUDGED_ROWS)),
                self._scores(state.averaged, encoding, iter([self.data.sample])),
            )
            if self.on_epoch is not None:
                ended = self.on_epoch(self.progress.history[-1])
        better, ended, self.progress.history = self.world.told((better, ended, self.progress.history))
        if better:
            state.keep_best()
        state.epoch, state.step, state.loss = state.epoch + 1, 0, 0.0
        ended = ended or self.progress.finished
        (stop,) = self.world.any_of((self.stop.requested and not ended,))
        self._save(state, wait=stop)
        if stop:
            raise self._preempted(state)
        return ended

    def _resume(self, state: TrainingState) -> None:
        found = self.checkpoints.latest(read_state) if self.checkpoints and self.world.rank == 0 else None
        found = self.world.told(found)
        if found is None:
            return
        self._saved_step, saved = found
        own = saved["own"]
        self.progress.history = state.restore(saved["document"], own[self.world.rank % len(own)])
        if len(own) != self.world.size:
            state.loss = sum(each["loss"] for each in own) if self.world.rank == 0 else 0.0
        self.notes["resumed_from_step"] = self._saved_step

    def _save(self, state: TrainingState, wait: bool) -> None:
        number = state.epoch * self.schedule.steps + state.step
        self._saved_at = time.monotonic()
        if number == self._saved_step and not wait:
            return
        own = self.world.all_of(state.own())
        if self.checkpoints:
            document = state.document(self.progress.history)
            try:
                self.checkpoints.save(number, lambda directory: write_state(directory, document, own), wait=wait)
            except StorageError as error:
                logger.warning("what was learned since the last checkpoint is lost: %s", error)
        self._saved_step = number

    def _preempted(self, state: TrainingState) -> Exception:
        return self.stop.preempted(f"in epoch {state.epoch + 1} after step {state.step}{self._last_checkpoint()}")

    def _require_number(self, state: TrainingState, loss: float) -> None:
        if not math.isfinite(loss):
            raise diverged(state.epoch + 1, loss, f" by step {state.step}{self._last_checkpoint()}")

    def _last_checkpoint(self) -> str:
        uri = self.checkpoints.last_uri if self.checkpoints else ""
        return f"; the last checkpoint is {uri}" if uri else ""

    def _moved(self, batch: Batch) -> tuple[Tensor, ...]:
        tensors = (torch.from_numpy(np.ascontiguousarray(array)) for array in batch.arrays)
        if self.device.type == "cpu":
            return tuple(tensors)
        return tuple(tensor.pin_memory().to(self.device, non_blocking=True) for tensor in tensors)

    @torch.no_grad()
    def _scores(self, network: nn.Module, encoding: Encoding, batches: Iterator[Batch]) -> np.ndarray[Any, Any]:
        parts = []
        for batch in batches:
            raw, categorical, _, _ = self._moved(batch)
            with self._autocast(), users_code("scoring the validation split", wholly=False):
                logits = network(encoding(raw), categorical)
            parts.append(torch.softmax(logits.float(), dim=1).cpu())
        scores: np.ndarray[Any, Any] = torch.cat(parts).numpy()
        return scores


@torch.no_grad()
def _average(averaged: nn.Module, trained: nn.Module, share: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(trained.parameters()), share)


def _copy_buffers(averaged: nn.Module, trained: nn.Module) -> None:
    """Statistics that a network gathers itself are not averaged but taken over."""
    for mine, theirs in zip(averaged.buffers(), trained.buffers(), strict=True):
        mine.copy_(theirs)
