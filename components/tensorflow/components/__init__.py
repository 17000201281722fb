"""The TensorFlow family's components: train, tune."""

from shipway.components.tensorflow.components.training import train_tensorflow
from shipway.components.tensorflow.components.tuning import tune_tensorflow

__all__ = ["train_tensorflow", "tune_tensorflow"]
