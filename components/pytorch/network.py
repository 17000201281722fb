"""The built-in network for tables: embeddings of the string features beside the numeric columns, then a perceptron."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shipway.components.common.training import embedding_size

__all__ = ["TabularNetwork"]


class TabularNetwork(nn.Module):
    """Takes encoded tensors, gives logits.

    Args:
        numeric_width: Columns of the tensor ``numeric``.
        cardinalities: Indices of each column of the tensor ``categorical``.
        hidden_units: Width of each hidden layer.
        classes: How many logits.
        dropout: Share of hidden units left out in training.
        word_dropout: Share of categorical values taken as unseen in training, so that 0 learns what is typical.
    """

    def __init__(
        self,
        numeric_width: int,
        cardinalities: Sequence[int],
        hidden_units: Sequence[int],
        classes: int,
        dropout: float,
        word_dropout: float,
    ) -> None:
        super().__init__()
        self.numeric_width = numeric_width
        self.word_dropout = word_dropout
        self.embeddings = nn.ModuleList(nn.Embedding(count, embedding_size(count)) for count in cardinalities)
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=0.1)
        width = numeric_width + sum(embedding_size(count) for count in cardinalities)
        layers: list[nn.Module] = []
        for units in hidden_units:
            layers += [nn.Linear(width, units), nn.ReLU(), _Dropout(dropout)]
            width = units
        self.layers = nn.Sequential(*layers, nn.Linear(width, classes))

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Returns logits ``[rows, classes]``.

        Args:
            numeric: float32 ``[rows, numeric_width]``.
            categorical: int64 ``[rows, string features]``.
        """
        if self.training and self.word_dropout:
            categorical = categorical * (torch.rand(categorical.shape, device=categorical.device) >= self.word_dropout)
        parts = [embedding(categorical[:, i]) for i, embedding in enumerate(self.embeddings)]
        if self.numeric_width:
            parts.append(numeric)
        return self.layers(torch.cat(parts, dim=1))


class _Dropout(nn.Module):
    """Dropout that draws a random byte a value: on a CPU, drawing a float takes longer than the layer before."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.dropped = min(round(share * 256), 255)

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or not self.dropped:
            return values
        words = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: values.numel()].view_as(values) >= self.dropped
        return values * kept * (256 / (256 - self.dropped))
