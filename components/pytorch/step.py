"""One step of a training as a module: raw rows in, the sum of their losses out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional

from shipway.components.common.training import Hyperparameters
from shipway.components.common.training.networks import require_loss
from shipway.components.pytorch.encoding import Encoding

__all__ = ["Step", "autocast", "compiled"]

_LEAST_BASE = 1e-7
_DATATYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

logger = logging.getLogger(__name__)


class Step(nn.Module):
    """Encodes a batch, runs the network and weighs the losses.

    Args:
        network: Takes ``numeric`` and ``categorical``, gives logits; or has its own ``training_step``.
        encoding: Makes ``numeric`` of raw numbers.
        settings: How to train.
    """

    def __init__(self, network: nn.Module, encoding: Encoding, settings: Hyperparameters) -> None:
        super().__init__()
        self.network, self.encoding = network, encoding
        self._gamma = settings.focal_gamma if settings.loss == "focal" else 0.0
        self._own_step: Callable[..., Tensor] | None = getattr(network, "training_step", None)

    def forward(self, raw: Tensor, categorical: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Returns the sum of the rows' losses, each times its weight.

        The focal loss is that of Lin et al., *Focal Loss for Dense Object Detection* (2017), without its class factor,
        which ``class_weights`` is: cross-entropy times ``(1 - p)**gamma``, p being the true class's probability.
        """
        numeric = self.encoding(raw)
        if self._own_step is not None:
            mean = self._own_step(numeric, categorical, labels, weights)
            require_loss(self._own_step, tuple(mean.shape) if isinstance(mean, Tensor) else None)
            return mean * len(labels)
        each = functional.cross_entropy(self.network(numeric, categorical).float(), labels, reduction="none")
        if self._gamma:
            # Where p is 1 the base is 0, which has no slope for a gamma below 1.
            each = each * (-torch.expm1(-each)).clamp_min(_LEAST_BASE) ** self._gamma
        return (each * weights).sum()


def autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """Returns what makes the context that a forward pass of this precision runs in."""
    if precision == "fp32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=_DATATYPES[precision])


def compiled(step: nn.Module, example: tuple[Tensor, ...]) -> tuple[nn.Module, str]:
    """Returns the step compiled, or as it is where that fails; and what came of it.

    Trying it leaves weights, gathered statistics and random numbers as they were.

    Args:
        step: What to compile; it has no gradients yet.
        example: A batch to try it with, forwards and backwards.
    """
    gathered = [(buffer, buffer.clone()) for buffer in step.buffers()]
    try:
        made: nn.Module = torch.compile(step)
        with torch.random.fork_rng():
            made(*example).backward()
    except Exception as error:  # noqa: BLE001 - the compiler fails in many ways, none of which need end a training
        reason = f"not compiled: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
        logger.warning("%s; training goes on without", reason)
        torch.compiler.reset()
        return step, reason
    finally:
        step.zero_grad()
        for buffer, before in gathered:
            buffer.copy_(before)
    return made, "compiled"
