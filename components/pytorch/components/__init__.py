"""The PyTorch family's components: train, tune, prune."""

from shipway.components.pytorch.components.pruning import prune_pytorch
from shipway.components.pytorch.components.training import train_pytorch
from shipway.components.pytorch.components.tuning import tune_pytorch

__all__ = ["prune_pytorch", "train_pytorch", "tune_pytorch"]
