"""Training with TensorFlow, from Datasets to the Model directory."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

from shipway.components.common.errors import InputError
from shipway.components.common.model import Epoch, ModelDescription, read_model
from shipway.components.common.training import (
    NetworkSpec,
    TrainingData,
    TrainingRequest,
    find_builder,
    users_code,
)
from shipway.components.common.training.accelerators import Accelerator, visible_gpus
from shipway.components.common.training.conducting import Fit, conduct, try_export
from shipway.components.common.training.networks import require_logits
from shipway.components.tensorflow.fitting import fit
from shipway.components.tensorflow.network import NETWORKS, logits_of
from shipway.components.tensorflow.step import in_precision
from shipway.components.tensorflow.world import World

__all__ = ["train_tensorflow"]

# Fixed, as the order of a sum depends on it; more do not help batches of a few thousand rows.
THREADS = 2


def train_tensorflow(request: TrainingRequest, on_epoch: Callable[[Epoch], bool] | None = None) -> ModelDescription:
    """Trains a network and writes the Model directory and the page of curves; returns ``model.json``.

    Several GPUs are trained on by this process, several devices of the CPU by as many processes of this machine.

    Args:
        request: What to train, and how.
        on_epoch: Called after each epoch; returns whether to stop there. Not with several processes.

    Raises:
        InputError: When the data cannot be learned from, training diverges, memory runs out, the network's code fails,
            or a GPU is asked for and none there.
        Preempted: When it was stopped; run again it goes on where it was.
    """
    chosen = choose(request)
    if chosen.name == "gpu" or chosen.devices == 1:
        configure(request, chosen)
        world = World.mirrored(chosen.devices) if chosen.devices > 1 else World()
        if description := train_in(world, chosen, request, on_epoch):
            return description
    from shipway.components.common.training.launching import launch

    launch("tensorflow", sys.executable, request, chosen.devices)
    return read_model(request.model)


def choose(request: TrainingRequest) -> Accelerator:
    """Returns what to train on.

    Raises:
        InputError: When what was asked for is not there.
    """
    usable = len(tf.config.list_physical_devices("GPU"))
    gpus = visible_gpus()
    return Accelerator.choose(request.accelerator, request.devices, request.precision, gpus, usable, "TensorFlow")


def choose_own(request: TrainingRequest, processes: int) -> Accelerator:
    """Returns what one of several processes trains on: all it has, and what all of them are in the records.

    Raises:
        InputError: When what was asked for is not there.
    """
    chosen = choose(replace(request, devices=0))
    return replace(chosen, devices=chosen.devices * processes)


def configure(request: TrainingRequest, chosen: Accelerator, processes: int = 1) -> None:
    """Prepares TensorFlow; what was set by an earlier training of this process stays.

    Args:
        request: What to train.
        chosen: What on.
        processes: How many share this machine.
    """
    threads = max(1, min(THREADS, len(os.sched_getaffinity(0)) // processes))
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        if chosen.name == "cpu":
            tf.config.set_visible_devices([], "GPU")
        for gpu in tf.config.get_visible_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    if chosen.name == "cpu" or request.network in NETWORKS:
        # On a GPU it forbids some operations, which a network of one's own may need.
        tf.config.experimental.enable_op_determinism()


def train_in(
    world: World, chosen: Accelerator, request: TrainingRequest, on_epoch: Callable[[Epoch], bool] | None = None
) -> ModelDescription | None:
    """Trains as one of the processes of a training; process 0 writes the results and returns ``model.json``.

    Raises:
        InputError, Preempted: As :func:`train_tensorflow`.
    """

    def prepare(data: TrainingData) -> tuple[Fit, Callable[[Path], None]]:
        # What Keras keeps of a training whose network could not be built would end this one.
        keras.utils.clear_session(free_memory=False)
        network = _built(request, data)
        with world.strategy.scope(), in_precision(chosen.precision):
            trained = _built(request, data)

        def export_network(directory: Path) -> None:
            from shipway.components.tensorflow.export import export

            export(network, data.encoders, data.label_names, directory)

        if world.rank == 0 and request.network not in NETWORKS:
            try_export(request, export_network)
        return lambda loop: fit(loop, chosen, world, network, trained), export_network

    return conduct(request, "tensorflow", chosen, world, prepare, on_epoch)


def _built(request: TrainingRequest, data: TrainingData) -> keras.Model:
    """Returns the network, the same each time, which has shown that it takes and gives what it must."""
    spec = NetworkSpec(data.encoders, data.label_names, request.hyperparameters)
    keras.utils.set_random_seed(spec.hyperparameters.seed)
    network = find_builder(request.network, request.network_code, NETWORKS)(spec)
    if not isinstance(network, keras.Model):
        raise InputError(f"{request.network} must return a keras.Model, it returned {type(network).__name__}")
    example = tf.zeros([2, spec.numeric_width]), tf.zeros([2, len(spec.cardinalities)], tf.int64)
    with users_code(f"{request.network}, given 2 rows,"), tf.GradientTape() as tape:
        logits = logits_of(network, *example)
    require_logits(request.network, logits, tf.Tensor, (2, spec.classes))
    local = tf.distribute.get_strategy().experimental_local_results
    known = {id(one) for variable in network.variables for one in local(variable.value)}
    if lost := [variable.name for variable in tape.watched_variables() if id(variable) not in known]:
        raise InputError(
            f"{request.network} has variables that Keras does not know and would not train ({', '.join(lost)}): make"
            " them with add_weight"
        )
    return network
