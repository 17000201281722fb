"""The TensorFlow family's components: train, tune, prune."""

from shipway.components.tensorflow.components.pruning import prune_tensorflow
from shipway.components.tensorflow.components.training import train_tensorflow
from shipway.components.tensorflow.components.tuning import tune_tensorflow

__all__ = ["prune_tensorflow", "train_tensorflow", "tune_tensorflow"]
