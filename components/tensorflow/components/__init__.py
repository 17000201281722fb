"""The TensorFlow family's components: train, tune, prune, and the layout of TensorFlow Serving."""

from shipway.components.tensorflow.components.pruning import prune_tensorflow
from shipway.components.tensorflow.components.serving import create_tfserving_model
from shipway.components.tensorflow.components.training import train_tensorflow
from shipway.components.tensorflow.components.tuning import tune_tensorflow

__all__ = ["create_tfserving_model", "prune_tensorflow", "train_tensorflow", "tune_tensorflow"]
