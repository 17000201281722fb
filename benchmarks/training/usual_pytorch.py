"""The usual way with PyTorch: a ``Dataset`` over a table of pandas, and a ``DataLoader``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from shipway.components.common.training import Batch

__all__ = ["source"]


class _Rows(Dataset[Any]):
    def __init__(self, frame: Any, numbers: list[str], words: list[str]) -> None:
        self._numbers, self._words = frame[numbers], frame[words]
        self._labels, self._weights = frame["label"], frame["weight"]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return (
            torch.tensor(self._numbers.iloc[index].to_numpy()),
            torch.tensor(self._words.iloc[index].to_numpy()),
            torch.tensor(self._labels.iloc[index]),
            torch.tensor(self._weights.iloc[index]),
        )


def source(
    frame: Any, numbers: list[str], words: list[str], workers: int
) -> Callable[[int, int, int], Callable[[], Iterator[Batch]]]:
    """Returns the batches' source; worker processes stay from one epoch to the next."""
    rows = _Rows(frame, numbers, words)

    @functools.cache
    def loader(rows_per_step: int) -> DataLoader[Any]:
        return DataLoader(
            rows, batch_size=rows_per_step, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )

    def begin(rows_per_step: int, _seed: int, _epoch: int) -> Callable[[], Iterator[Batch]]:
        return lambda: (Batch(*(tensor.numpy() for tensor in tensors)) for tensors in loader(rows_per_step))

    return begin
