"""Fitting a network: AdamW, a learning rate that rises and falls, and averaged weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from shipway.components.common.training import Batch
from shipway.components.common.training.accelerators import Accelerator
from shipway.components.common.training.loop import Loop
from shipway.components.tensorflow.optimizer import AdamW
from shipway.components.tensorflow.state import TrainingState
from shipway.components.tensorflow.step import Step, scores_of
from shipway.components.tensorflow.world import World

__all__ = ["fit"]

Array = np.ndarray[Any, Any]


def fit(loop: Loop, chosen: Accelerator, world: World, network: keras.Model, trained: keras.Model) -> None:
    """Trains, and leaves ``network`` with the averaged weights of the best epoch.

    Args:
        loop: The training.
        chosen: What it runs on.
        world: This process among those that train together.
        network: Computes in fp32 on one device.
        trained: The same network with the same weights, in the strategy's scope and in the precision to train in.

    Raises:
        InputError: When training diverges.
        Preempted: When it was stopped; its state is saved.
    """
    strategy, encoders = world.strategy, loop.data.encoders
    with strategy.scope():
        weights = [variable.value for variable in trained.trainable_variables]
        optimizer = AdamW(weights, loop.settings.weight_decay, chosen.precision == "fp16", strategy)
    state = TrainingState(trained, network, optimizer)
    loop.resume(state)
    taken = Step(state, encoders, loop.settings, loop.schedule, strategy, world.size)
    if loop.request.compiled:
        example = loop.data.sample.take(slice(0, loop.schedule.rows_per_step))
        loop.notes["compiled"] = taken.compile(example.arrays)
    scores = scores_of(network, encoders)

    def step(batch: Batch, number: int) -> None:
        with world.kept():
            taken(batch.arrays, number)

    def scored(batches: Iterator[Batch]) -> Array:
        return np.concatenate([scores(batch.raw, batch.categorical).numpy() for batch in batches])

    loop.run(state, step, scored)
    state.give_best()
