"""A Model's ``saved_model/`` behind TensorFlow: raw features in, as TensorFlow Serving runs it.

A session and not the object API: it takes what ``serving_default`` says under the names that it says, and the threads
and the device are this model's own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from shipway.components.common.errors import InputError
from shipway.components.common.model import MODEL_FILE, ModelDescription
from shipway.serving.engines.engine import Answer, Tensors, wants_cuda

__all__ = ["SavedModel"]

_LOAD_ERRORS = (tf.errors.OpError, OSError, RuntimeError, ValueError, LookupError)


class SavedModel:
    """A loaded model; an :class:`.engine.Engine`."""

    platform = "tensorflow_savedmodel"

    def __init__(self, directory: Path, description: ModelDescription, threads: int = 1, device: str = "cpu") -> None:
        """Loads a SavedModel, whose bytes are known to be those that ``model.json`` names.

        Args:
            directory: Where ``saved_model.pb`` is.
            description: What ``model.json`` says.
            threads: Threads of one forward pass; 0 leaves it to TensorFlow.
            device: One of :data:`.engine.DEVICES`.

        Raises:
            InputError: When TensorFlow cannot load it, it takes other inputs, or there is no such device.
        """
        self.description = description
        cuda = wants_cuda(device, bool(tf.config.list_physical_devices("GPU")), "TensorFlow")
        tf.get_logger().setLevel("ERROR")  # it calls deprecated what loads a model as a server does
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=_settings(threads, cuda))
        try:
            with self._session.graph.as_default():
                loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(directory))
            signature = loaded.signature_def["serving_default"]
            self._outputs = [signature.outputs[name].name for name in ("scores", "label")]
        except _LOAD_ERRORS as error:
            raise InputError(
                f"TensorFlow {tf.__version__} cannot load {directory}: {error}; export it again"
            ) from error
        self._inputs = {name: tensor.name for name, tensor in signature.inputs.items()}
        if different := {tensor.name for tensor in description.inputs} ^ self._inputs.keys():
            raise InputError(
                f"serving_default of {directory} takes other inputs than {MODEL_FILE} says:"
                f" {', '.join(sorted(different))}; export the model again"
            )

    def run(self, tensors: Tensors) -> Answer:
        """Scores a batch; see :meth:`.engine.Engine.run`."""
        feed = {self._inputs[name]: values for name, values in tensors.items()}
        scores, labels = self._session.run(self._outputs, feed)
        return scores, np.array([label.decode() for label in labels], object)


def _settings(threads: int, cuda: bool) -> tf.compat.v1.ConfigProto:
    return tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=threads,
        use_per_session_threads=True,
        device_count={} if cuda else {"GPU": 0},
        # Else the first model takes all memory of the GPU.
        gpu_options=tf.compat.v1.GPUOptions(allow_growth=True),
    )
