"""The preprocessing of numbers as a module: it runs where the network does, so that few columns are moved there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shipway.components.common.preprocessing import Encoders

__all__ = ["Encoding"]


class Encoding(nn.Module):
    """Makes ``numeric`` of raw numbers, as :meth:`Encoders.encode` does."""

    fill: Tensor
    source: Tensor
    low: Tensor
    slope: Tensor
    indicators: Tensor

    def __init__(self, encoders: Encoders) -> None:
        super().__init__()
        pieces = encoders.pieces
        for name in ("fill", "source", "low", "slope", "indicators"):
            self.register_buffer(name, torch.from_numpy(getattr(pieces, name)))

    def forward(self, raw: Tensor) -> Tensor:
        """Returns float32 ``[rows, numeric_width]``.

        Args:
            raw: float32 ``[rows, raw_width]``: NaN where missing.
        """
        missing = torch.isnan(raw)
        filled = torch.where(missing, self.fill, raw)
        climbed = filled.index_select(1, self.source).sub_(self.low).mul_(self.slope).clamp_(0, 1)
        if not len(self.indicators):
            return climbed
        return torch.cat([climbed, missing.index_select(1, self.indicators).to(raw.dtype)], dim=1)
