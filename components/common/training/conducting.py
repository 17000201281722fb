"""One training from its data to the Model directory: watched, tracked, saved, and published by process 0."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from shipway.components.common.model import Epoch, ModelDescription
from shipway.components.common.training.accelerators import Accelerator
from shipway.components.common.training.blame import memory_for, memory_for_network, users_code
from shipway.components.common.training.checkpoints import Checkpoints, checkpoint_directory
from shipway.components.common.training.data import TrainingData, open_training_data
from shipway.components.common.training.gpu_usage import GpuUsage
from shipway.components.common.training.interruption import interruptions
from shipway.components.common.training.loop import Loop, OnEpoch, World
from shipway.components.common.training.request import TrainingRequest, identity_digest
from shipway.components.common.training.tracking import Tracker, tracked

__all__ = ["Fit", "conduct", "try_export"]

Fit = Callable[[Loop], None]

logger = logging.getLogger(__name__)


def conduct(
    request: TrainingRequest,
    framework: Literal["pytorch", "tensorflow"],
    chosen: Accelerator,
    world: World,
    prepare: Callable[[TrainingData], tuple[Fit, Callable[[Path], None]]],
    on_epoch: OnEpoch | None = None,
) -> ModelDescription | None:
    """Trains as one of the processes of a training; process 0 writes the results and returns ``model.json``.

    Args:
        request: What to train, and how.
        framework: The trainer's.
        chosen: What to train on.
        world: This process among those that train together.
        prepare: Builds the network for the data; returns what trains it, and what writes it into a directory as
            ``model.onnx`` and the framework's own files.
        on_epoch: Called after each epoch by process 0; returns whether to stop there.

    Raises:
        InputError: When the data cannot be learned from, training diverges, memory runs out, or the network's code
            fails.
        Preempted: When it was stopped; run again it goes on where it was.
    """
    started = time.monotonic()
    if world.rank == 0:
        logger.info("training on %d x %s: %s", chosen.devices, chosen.name, chosen.reason)
        logger.info("precision %s: %s", chosen.precision, chosen.precision_reason)
    data = open_training_data(request.train, request.validation, request.label, request.hyperparameters)
    if world.rank == 0:
        for doubt in data.doubts:
            logger.warning(doubt)
    with memory_for_network(request.network):
        fit, export = prepare(data)
    if world.rank:
        with interruptions() as stop:
            _run(fit, Loop(request, data, world, None, stop))
        return None
    identity = request.identity(framework)
    directory = checkpoint_directory(request.checkpoint_uri, framework, request.model_name, identity)
    checkpoints = Checkpoints(directory, identity)
    tracking = tracked(request, framework, identity_digest(identity))
    with tracking as tracker, GpuUsage(chosen.gpus) as usage:
        tracker.parameters({**asdict(request.hyperparameters), **chosen.record, "network": request.network})
        loop = _fitted(request, data, world, checkpoints, fit, tracker, on_epoch)
        training = {
            **chosen.record,
            **loop.notes,
            **usage.summary(),
            "rows_per_second": round(loop.speed.rows_per_second),
            "seconds": round(time.monotonic() - started, 3),
        }
        # ONNX Runtime, which only this needs.
        from shipway.components.common.training.publishing import publish

        description = publish(request, framework, data, loop.progress, training, export)
        tracker.model(description, Path(request.model))
    checkpoints.clear()
    return description


def try_export(request: TrainingRequest, export: Callable[[Path], None]) -> None:
    """Finds out before a training, and not after it, whether the user's network can be exported.

    Raises:
        InputError: When it cannot.
    """
    what = f"exporting {request.network}, which must be able to become a graph,"
    with users_code(what), TemporaryDirectory(prefix="shipway-export-") as directory:
        export(Path(directory))


def _fitted(
    request: TrainingRequest,
    data: TrainingData,
    world: World,
    checkpoints: Checkpoints,
    fit: Fit,
    tracker: Tracker,
    on_epoch: OnEpoch | None,
) -> Loop:
    def after_epoch(epoch: Epoch) -> bool:
        tracker.epoch(epoch, loop.speed.rows_per_second)
        return on_epoch(epoch) if on_epoch else False

    with interruptions() as stop:
        loop = Loop(request, data, world, checkpoints, stop, after_epoch)
        try:
            _run(fit, loop)
        finally:
            checkpoints.wait()
    return loop


def _run(fit: Fit, loop: Loop) -> None:
    with memory_for(loop.schedule.rows_per_step):
        fit(loop)
