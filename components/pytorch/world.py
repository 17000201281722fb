"""The processes of one training: which one this is, and how they agree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

__all__ = ["World"]


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: Its number; 0 judges, saves and publishes.
        size: How many there are.
        local_rank: Its number on its node, and its GPU's.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def joined(cls, gpu: bool) -> World:
        """Returns this process's place after all have met, as torchrun's environment variables say."""
        local_rank = int(os.environ["LOCAL_RANK"])
        if gpu:
            torch.cuda.set_device(local_rank)
        # Python objects and flags travel over gloo, gradients over the devices' own way.
        distributed.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
        return cls(distributed.get_rank(), distributed.get_world_size(), local_rank)

    def leave(self) -> None:
        """Ends the meeting."""
        if self.size > 1:
            distributed.destroy_process_group()

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """Returns for each flag whether it is set in any process; all must call it at the same step."""
        if self.size == 1:
            return list(flags)
        together = torch.tensor([int(flag) for flag in flags])
        distributed.all_reduce(together, op=distributed.ReduceOp.MAX)
        return [bool(flag) for flag in together.tolist()]

    def total(self, value: float) -> float:
        """Returns the sum of all processes' values."""
        if self.size == 1:
            return value
        together = torch.tensor([value], dtype=torch.float64)
        distributed.all_reduce(together)
        return float(together)

    def told(self, value: Any) -> Any:
        """Returns the value of process 0."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def all_of(self, value: Any) -> list[Any]:
        """Returns the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values
