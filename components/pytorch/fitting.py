"""Fitting a network: AdamW, a learning rate that rises and falls, and averaged weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shipway.components.common.training import Batch
from shipway.components.common.training.accelerators import Accelerator
from shipway.components.common.training.loop import Loop
from shipway.components.pytorch.encoding import Encoding
from shipway.components.pytorch.state import TrainingState
from shipway.components.pytorch.step import Step, autocast, compiled
from shipway.components.pytorch.world import World

__all__ = ["fit"]

Array = np.ndarray[Any, Any]


def fit(loop: Loop, chosen: Accelerator, world: World, network: nn.Module) -> None:
    """Trains ``network`` in place and leaves it on the CPU with the averaged weights of the best epoch.

    Raises:
        InputError: When training diverges.
        Preempted: When it was stopped; its state is saved.
    """
    device = torch.device("cuda", world.local_rank) if chosen.name == "gpu" else torch.device("cpu")
    encoding = Encoding(loop.data.encoders).to(device)
    averaged = copy.deepcopy(network).to(device).eval()
    trained = network.to(device).train()
    optimizer = torch.optim.AdamW(trained.parameters(), weight_decay=loop.settings.weight_decay, fused=True)
    scaler = torch.amp.GradScaler(device.type, enabled=chosen.precision == "fp16")
    state = TrainingState(
        trained, averaged, optimizer, scaler, world, torch.zeros((), dtype=torch.float64, device=device)
    )
    loop.resume(state)
    module: nn.Module = Step(trained, encoding, loop.settings)
    computing = autocast(chosen.precision, device)
    if loop.request.compiled:
        with computing():
            module, loop.notes["compiled"] = compiled(module, _moved(loop.data.sample.take(slice(0, 2)), device))
    if world.size > 1:
        module = nn.parallel.DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)
    rates, shares = loop.schedule.learning_rates, loop.schedule.averaging_shares
    # Several processes' gradients are averaged; each has its share of the rows.
    scale = world.size / loop.schedule.rows_per_step

    def step(batch: Batch, number: int) -> None:
        optimizer.zero_grad()
        with computing():
            loss: Tensor = module(*_moved(batch, device))
        scaler.scale(loss * scale).backward()
        optimizer.param_groups[0]["lr"] = float(rates[number])
        scaler.step(optimizer)
        scaler.update()
        _average(averaged, trained, float(shares[number]))
        state.total += loss.detach()

    @torch.no_grad()
    def scored(batches: Iterator[Batch]) -> Array:
        parts = []
        for batch in batches:
            raw, categorical, _, _ = _moved(batch, device)
            with computing():
                logits = averaged(encoding(raw), categorical)
            parts.append(torch.softmax(logits.float(), dim=1).cpu())
        scores: Array = torch.cat(parts).numpy()
        return scores

    loop.run(state, step, scored)
    network.load_state_dict(state.best)
    network.cpu().eval()


def _moved(batch: Batch, device: torch.device) -> tuple[Tensor, ...]:
    tensors = (torch.from_numpy(np.ascontiguousarray(array)) for array in batch.arrays)
    if device.type == "cpu":
        return tuple(tensors)
    return tuple(tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors)


@torch.no_grad()
def _average(averaged: nn.Module, trained: nn.Module, share: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(trained.parameters()), share)
