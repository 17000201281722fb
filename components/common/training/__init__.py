"""What the trainers of both frameworks share: data in, the best epoch, the Model directory out.

:mod:`.publishing` is imported by name where it is needed, as it imports ONNX Runtime.
"""

from shipway.components.common.training.data import Examples, TrainingData, read_training_data
from shipway.components.common.training.progress import Progress, log_loss, roc_auc
from shipway.components.common.training.settings import (
    WEIGHT_DECAY,
    WORD_DROPOUT,
    Accelerator,
    Hyperparameters,
    Schedule,
    embedding_size,
)

__all__ = [
    "WEIGHT_DECAY",
    "WORD_DROPOUT",
    "Accelerator",
    "Examples",
    "Hyperparameters",
    "Progress",
    "Schedule",
    "TrainingData",
    "embedding_size",
    "log_loss",
    "read_training_data",
    "roc_auc",
]
