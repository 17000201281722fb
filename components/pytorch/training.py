"""Training with PyTorch, from Datasets to the Model directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

# Threads that wait by spinning take the processor from whatever else runs on it, and from each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA's products are not deterministic

import torch
from torch import nn

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
from shipway.components.pytorch.fitting import fit
from shipway.components.pytorch.network import NETWORKS
from shipway.components.pytorch.world import World

__all__ = ["train_pytorch"]

# Fixed, as the order of a sum depends on it; more do not help batches of a few thousand rows.
THREADS = 2


def train_pytorch(request: TrainingRequest, on_epoch: Callable[[Epoch], bool] | None = None) -> ModelDescription:
    """Trains a network and writes the Model directory and the page of curves; returns ``model.json``.

    Several devices are trained on by as many processes of this machine.

    Args:
        request: What to train, and how.
        on_epoch: Called after each epoch; returns whether to stop there. Only with one device.

    Raises:
        InputError: When the data cannot be learned from, training diverges, memory runs out, the network's code fails,
            or a GPU is asked for and none there.
        Preempted: When it was stopped; run again it goes on where it was.
    """
    chosen = choose(request)
    if chosen.devices == 1 and (description := train_in(World(), chosen, request, on_epoch)):
        return description
    from shipway.components.common.training.launching import launch

    launch("pytorch", sys.executable, request, chosen.devices)
    return read_model(request.model)


def choose(request: TrainingRequest) -> Accelerator:
    """Returns what to train on.

    Raises:
        InputError: When what was asked for is not there.
    """
    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = visible_gpus()
    return Accelerator.choose(request.accelerator, request.devices, request.precision, gpus, usable, "PyTorch")


def choose_own(request: TrainingRequest) -> Accelerator:
    """Returns what one of several processes trains on: its own device, and what all of them are in the records.

    Raises:
        InputError: When what was asked for is not there.
    """
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    chosen = choose(replace(request, devices=here))
    return replace(chosen, devices=int(os.environ["WORLD_SIZE"]))


def train_in(
    world: World, chosen: Accelerator, request: TrainingRequest, on_epoch: Callable[[Epoch], bool] | None = None
) -> ModelDescription | None:
    """Trains as one of the processes of a training; process 0 writes the results and returns ``model.json``.

    Raises:
        InputError, Preempted: As :func:`train_pytorch`.
    """

    def prepare(data: TrainingData) -> tuple[Fit, Callable[[Path], None]]:
        seed = request.hyperparameters.seed
        _configure(world, chosen)
        torch.manual_seed(seed)
        network = _built(request, data)
        if world.rank:
            torch.manual_seed(seed + (world.rank << 32))  # each process leaves out units of its own

        def export_network(directory: Path) -> None:
            from shipway.components.pytorch.export import export

            export(network, data.encoders, data.label_names, directory)

        if world.rank == 0 and request.network not in NETWORKS:
            with torch.random.fork_rng():
                try_export(request, export_network)
        return lambda loop: fit(loop, chosen, world, network), export_network

    return conduct(request, "pytorch", chosen, world, prepare, on_epoch)


def _configure(world: World, chosen: Accelerator) -> None:
    beside = int(os.environ["LOCAL_WORLD_SIZE"]) if world.size > 1 else 1
    torch.set_num_threads(max(1, min(THREADS, len(os.sched_getaffinity(0)) // beside)))
    torch.use_deterministic_algorithms(True, warn_only=chosen.name == "gpu")
    if chosen.name == "gpu":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


def _built(request: TrainingRequest, data: TrainingData) -> nn.Module:
    """Returns the network, which has shown that it takes and gives what it must."""
    spec = NetworkSpec(data.encoders, data.label_names, request.hyperparameters)
    network = find_builder(request.network, request.network_code, NETWORKS)(spec)
    if not isinstance(network, nn.Module):
        raise InputError(f"{request.network} must return a torch.nn.Module, it returned {type(network).__name__}")
    if not any(weight.requires_grad for weight in network.parameters()):
        raise InputError(f"{request.network} has no weights that learn (parameters with requires_grad)")
    example = torch.zeros(2, spec.numeric_width), torch.zeros(2, len(spec.cardinalities), dtype=torch.int64)
    with users_code(f"{request.network}, given 2 rows,"), torch.no_grad(), torch.random.fork_rng():
        logits = network.eval()(*example)
    require_logits(request.network, logits, torch.Tensor, (2, spec.classes))
    return network
