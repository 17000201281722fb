"""A network of your own for ``train_pytorch``: embeddings of words, then layers that add to what they are given."""

import torch
from torch import Tensor, nn

from shipway.components.common.training import NetworkSpec


class Residual(nn.Module):
    """Layers that each add something to the same ``width`` numbers."""

    def __init__(self, spec: NetworkSpec, width: int, layers: int) -> None:
        super().__init__()
        self.words = nn.ModuleList(nn.Embedding(cardinality, 8) for cardinality in spec.cardinalities)
        self.first = nn.Linear(spec.numeric_width + 8 * len(spec.cardinalities), width)
        self.layers = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Linear(width, width)) for _ in range(layers))
        self.last = nn.Linear(width, spec.classes)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Returns logits ``[rows, classes]``."""
        words = [embedding(categorical[:, column]) for column, embedding in enumerate(self.words)]
        hidden = self.first(torch.cat([numeric, *words], 1))
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        logits: Tensor = self.last(hidden)
        return logits


def build(spec: NetworkSpec) -> Residual:
    """Returns the network; ``hyperparameters`` may have ``width`` and ``layers``."""
    return Residual(spec, spec.parameters.get("width", 64), spec.parameters.get("layers", 2))
