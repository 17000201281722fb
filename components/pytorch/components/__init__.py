"""The PyTorch family's components: train, tune."""

from shipway.components.pytorch.components.training import train_pytorch
from shipway.components.pytorch.components.tuning import tune_pytorch

__all__ = ["train_pytorch", "tune_pytorch"]
