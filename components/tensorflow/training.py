"""Training with TensorFlow, from Datasets to the Model directory."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

from shipway.components.common.model import ModelDescription
from shipway.components.common.training import WORD_DROPOUT, Accelerator, Hyperparameters, read_training_data
from shipway.components.common.training.publishing import publish
from shipway.components.tensorflow.export import export
from shipway.components.tensorflow.fitting import fit
from shipway.components.tensorflow.network import TabularNetwork

__all__ = ["train_tensorflow"]

logger = logging.getLogger(__name__)


def train_tensorflow(
    train: str | Path,
    validation: str | Path,
    model: str | Path,
    curves: str | Path,
    label: str,
    model_name: str,
    settings: Hyperparameters,
    accelerator: str = "auto",
) -> ModelDescription:
    """Trains the built-in network and writes the Model directory and the page of curves; returns ``model.json``.

    Args:
        train: Dataset to learn from.
        validation: Dataset that judges the epochs.
        model: Model directory to make.
        curves: HTML file to write.
        label: Name of the label's column.
        model_name: The model's name.
        settings: How to train.
        accelerator: ``auto``, ``cpu`` or ``gpu``.

    Raises:
        InputError: When the data cannot be learned from, training diverges, or a GPU is asked for and none there.
    """
    started = time.monotonic()
    chosen = Accelerator.choose(accelerator, len(tf.config.list_physical_devices("GPU")))
    logger.info("training on %d x %s: %s", chosen.devices, chosen.name, chosen.reason)
    data = read_training_data(train, validation, label)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(settings.seed)
    strategy = _strategy(chosen)
    with strategy.scope():
        network = TabularNetwork(
            data.encoders.numeric_width,
            data.encoders.cardinalities,
            settings.hidden_units,
            len(data.label_names),
            settings.dropout,
            WORD_DROPOUT,
        )
    progress = fit(network, data.train, data.validation, settings, strategy)
    return publish(
        model,
        curves,
        model_name,
        "tensorflow",
        data,
        progress,
        settings.record(data.train.rows, chosen, time.monotonic() - started),
        lambda directory: export(network, data.encoders, data.label_names, directory),
    )


def _strategy(accelerator: Accelerator) -> tf.distribute.Strategy:
    if accelerator.name == "cpu":
        tf.config.set_visible_devices([], "GPU")
    return tf.distribute.MirroredStrategy() if accelerator.devices > 1 else tf.distribute.get_strategy()
