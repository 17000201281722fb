"""Training with PyTorch, from Datasets to the Model directory."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

# Threads that wait by spinning take the processor from whatever else runs on it, and from each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA's products are not deterministic

import torch

from shipway.components.common.model import ModelDescription
from shipway.components.common.training import WORD_DROPOUT, Accelerator, Hyperparameters, read_training_data
from shipway.components.common.training.publishing import publish
from shipway.components.pytorch.export import export
from shipway.components.pytorch.fitting import fit
from shipway.components.pytorch.network import TabularNetwork

__all__ = ["train_pytorch"]

# Fixed, as the order of a sum depends on it; more do not help batches of a few thousand rows.
THREADS = 2

logger = logging.getLogger(__name__)


def train_pytorch(
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
    chosen = Accelerator.choose(accelerator, torch.cuda.device_count() if torch.cuda.is_available() else 0)
    logger.info("training on %d x %s: %s", chosen.devices, chosen.name, chosen.reason)
    data = read_training_data(train, validation, label)
    torch.set_num_threads(min(THREADS, len(os.sched_getaffinity(0))))
    torch.use_deterministic_algorithms(True, warn_only=chosen.name == "gpu")
    torch.manual_seed(settings.seed)
    network = TabularNetwork(
        data.encoders.numeric_width,
        data.encoders.cardinalities,
        settings.hidden_units,
        len(data.label_names),
        settings.dropout,
        WORD_DROPOUT,
    )
    progress = fit(network, data.train, data.validation, settings, chosen)
    return publish(
        model,
        curves,
        model_name,
        "pytorch",
        data,
        progress,
        settings.record(data.train.rows, chosen, time.monotonic() - started),
        lambda directory: export(network, data.encoders, data.label_names, directory),
    )
