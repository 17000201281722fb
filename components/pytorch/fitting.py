"""The training loop: in-memory tensors, AdamW, a learning rate that rises and falls, averaged weights."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shipway.components.common.training import WEIGHT_DECAY, Accelerator, Examples, Hyperparameters, Progress

__all__ = ["fit"]


def fit(
    network: nn.Module, train: Examples, validation: Examples, settings: Hyperparameters, accelerator: Accelerator
) -> Progress:
    """Trains ``network`` in place and leaves it on the CPU with the averaged weights of the best epoch.

    Raises:
        InputError: When training diverges.
    """
    device = torch.device("cuda" if accelerator.name == "gpu" else "cpu")
    numeric, categorical, labels, weights = (tensor.to(device) for tensor in _tensors(train))
    held_out = [tensor.to(device) for tensor in _tensors(validation)[:2]]
    averaged = copy.deepcopy(network).to(device).eval()
    trained = network.to(device)
    parallel = nn.DataParallel(trained) if accelerator.devices > 1 else trained
    schedule = settings.schedule(train.rows)
    optimizer = torch.optim.AdamW(trained.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
    plan = iter(zip(schedule.learning_rates.tolist(), schedule.averaging_shares.tolist(), strict=True))
    progress = Progress(validation.labels, settings.epochs)
    best = copy.deepcopy(averaged.state_dict())
    for _ in range(settings.epochs):
        order = torch.randperm(train.rows).to(device)
        parallel.train()
        total = torch.zeros((), device=device)
        for chosen in order.split(schedule.rows_per_step):
            optimizer.zero_grad()
            logits = parallel(numeric[chosen], categorical[chosen])
            each = functional.cross_entropy(logits, labels[chosen], reduction="none")
            loss = (each * weights[chosen]).sum()
            (loss / schedule.rows_per_step).backward()
            optimizer.param_groups[0]["lr"], share = next(plan)
            optimizer.step()
            _average(averaged, trained, share)
            total += loss.detach()
        if progress.add(float(total) / train.rows, _scores(averaged, held_out)):
            best = copy.deepcopy(averaged.state_dict())
    network.load_state_dict(best)
    network.cpu().eval()
    return progress


def _tensors(examples: Examples) -> list[Tensor]:
    return [
        torch.from_numpy(array) for array in (examples.numeric, examples.categorical, examples.labels, examples.weights)
    ]


@torch.no_grad()
def _average(averaged: nn.Module, trained: nn.Module, share: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(trained.parameters()), share)


@torch.no_grad()
def _scores(network: nn.Module, inputs: list[Tensor]) -> np.ndarray[Any, Any]:
    parts = [torch.softmax(network(*batch), dim=1) for batch in zip(*(t.split(8192) for t in inputs), strict=True)]
    scores: np.ndarray[Any, Any] = torch.cat(parts).cpu().numpy()
    return scores
