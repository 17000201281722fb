"""The built-in networks: a perceptron with embeddings, a linear model, and a small convolutional one for images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from shipway.components.common.training import WORD_DROPOUT, NetworkSpec, embedding_size

__all__ = ["NETWORKS", "ImageNetwork", "TabularNetwork"]

_CHANNELS = (32, 64)
_LEAST_SIDE = 4


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


class ImageNetwork(nn.Module):
    """Convolutions over the one vector feature, an image; what other columns there are joins behind them.

    Args:
        spec: What it is built for; ``hidden_units`` are the widths behind the convolutions.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.columns, (self.height, self.width, self.channels) = spec.image()
        layers: list[nn.Module] = []
        channels, height, width = self.channels, self.height, self.width
        for filters in _CHANNELS:
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
            channels = filters
            if min(height, width) >= _LEAST_SIDE:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
        self.features = nn.Sequential(*layers, nn.Flatten())
        beside = spec.numeric_width - self.height * self.width * self.channels
        settings = spec.hyperparameters
        self.head = TabularNetwork(
            channels * height * width + beside,
            spec.cardinalities,
            settings.hidden_units,
            spec.classes,
            settings.dropout,
            WORD_DROPOUT,
        )

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Returns logits ``[rows, classes]``; arguments as :meth:`TabularNetwork.forward` takes them."""
        pixels = numeric[:, self.columns].reshape(-1, self.height, self.width, self.channels)
        beside = (numeric[:, : self.columns.start], numeric[:, self.columns.stop :])
        return self.head(torch.cat([self.features(pixels.permute(0, 3, 1, 2)), *beside], dim=1), categorical)


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


def _mlp(spec: NetworkSpec) -> nn.Module:
    settings = spec.hyperparameters
    return TabularNetwork(
        spec.numeric_width, spec.cardinalities, settings.hidden_units, spec.classes, settings.dropout, WORD_DROPOUT
    )


def _linear(spec: NetworkSpec) -> nn.Module:
    return TabularNetwork(spec.numeric_width, spec.cardinalities, (), spec.classes, 0.0, 0.0)


NETWORKS: Mapping[str, Callable[[NetworkSpec], nn.Module]] = {"mlp": _mlp, "linear": _linear, "cnn": ImageNetwork}
