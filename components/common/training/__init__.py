"""What the trainers of both frameworks share: data in, the best epoch, the Model directory out.

What only some trainings need is imported by name where it is needed: :mod:`.publishing` (ONNX Runtime),
:mod:`.checkpoints` (storage), :mod:`.tracking` (MLflow), :mod:`.launching` (several processes).
"""

from shipway.components.common.training.blame import memory_for, users_code
from shipway.components.common.training.data import TrainingData, open_training_data
from shipway.components.common.training.input import Batch, Examples
from shipway.components.common.training.networks import NetworkSpec, find_builder
from shipway.components.common.training.progress import Progress, diverged, log_loss, roc_auc
from shipway.components.common.training.request import TrainingRequest
from shipway.components.common.training.settings import WORD_DROPOUT, Hyperparameters, Schedule, embedding_size
from shipway.components.common.training.speed import Speed

__all__ = [
    "WORD_DROPOUT",
    "Batch",
    "Examples",
    "Hyperparameters",
    "NetworkSpec",
    "Progress",
    "Schedule",
    "Speed",
    "TrainingData",
    "TrainingRequest",
    "diverged",
    "embedding_size",
    "find_builder",
    "log_loss",
    "memory_for",
    "open_training_data",
    "roc_auc",
    "users_code",
]
