"""A trained network as SavedModel and as ONNX file, preprocessing inside both."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import keras
import onnx
import tensorflow as tf
import tf2onnx
from tensorflow.core.protobuf import saved_model_pb2

from shipway.components.common.preprocessing import Encoders
from shipway.components.common.preprocessing.onnx_graph import OPSET, full_model
from shipway.components.tensorflow.encoding import Preprocessing
from shipway.components.tensorflow.network import logits_of

__all__ = ["export"]

_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]*")


class _RawModel(tf.Module):
    """What the SavedModel holds: raw features in, scores and label out."""

    def __init__(self, network: keras.Model, encoders: Encoders, label_names: Sequence[str]) -> None:
        super().__init__(name="shipway")
        self.preprocessing = Preprocessing(encoders)
        self.variables_of_network = [variable.value for variable in network.weights]
        # Behind a function, as TensorFlow would save a network that it sees a second time, Keras's way.
        self._scores: Callable[..., tf.Tensor] = lambda *encoded: _scores(network, *encoded)
        self._label_names = tuple(label_names)

    def answer(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        scores = self._scores(*self.preprocessing(features))
        label = tf.gather(tf.constant(self._label_names), tf.argmax(scores, axis=1))
        return {"scores": scores, "label": label}


def export(network: keras.Model, encoders: Encoders, label_names: Sequence[str], directory: Path) -> None:
    """Writes ``saved_model/`` and ``model.onnx``.

    The SavedModel's signature ``serving_default`` takes one tensor per feature, under the feature's name: ``[rows]``,
    or ``[rows, size]`` of a vector feature. A program that loads it with TensorFlow calls
    ``loaded.predict({feature: tensor, …})``.
    """
    specification = (
        tf.TensorSpec([None, encoders.numeric_width], tf.float32, "numeric"),
        tf.TensorSpec([None, len(encoders.strings)], tf.int64, "categorical"),
    )
    scores = tf.function(lambda numeric, categorical: {"scores": _scores(network, numeric, categorical)})
    with _quiet():
        _save(_RawModel(network, encoders, label_names), encoders, directory / "saved_model")
        exported, _ = tf2onnx.convert.from_function(scores, specification, opset=OPSET)
    onnx.save(full_model(encoders, exported, label_names), directory / "model.onnx")


def _save(model: _RawModel, encoders: Encoders, directory: Path) -> None:
    specifications = {name: _specification(encoders, name) for name in encoders.names}
    # TensorFlow rewrites what is no plain name, sometimes into another feature's; so it gets plain names only.
    plain = all(_PLAIN_NAME.fullmatch(name) and name != "self" for name in specifications)
    arguments = {name if plain else f"feature_{position}": name for position, name in enumerate(specifications)}

    @tf.function
    def serve(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        return model.answer({name: features[argument] for argument, name in arguments.items()})

    model.predict = tf.function(model.answer, input_signature=[specifications])
    signature = serve.get_concrete_function(
        **{
            argument: tf.TensorSpec(specifications[name].shape, specifications[name].dtype, argument)
            for argument, name in arguments.items()
        }
    )
    tf.saved_model.save(model, str(directory), signatures={"serving_default": signature})
    (directory / "fingerprint.pb").unlink()  # it holds a random number; loaders do without it
    if not plain:
        _rename_inputs(directory / "saved_model.pb", arguments)


def _scores(network: keras.Model, numeric: tf.Tensor, categorical: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(tf.cast(logits_of(network, numeric, categorical), tf.float32))


def _specification(encoders: Encoders, name: str) -> tf.TensorSpec:
    datatype = tf.string if encoders.kinds[name] == "string" else tf.float32
    return tf.TensorSpec([None, encoders.sizes[name]] if name in encoders.sizes else [None], datatype, name)


def _rename_inputs(path: Path, names: Mapping[str, str]) -> None:
    """Gives the inputs of ``serving_default`` the features' own names."""
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    inputs = saved.meta_graphs[0].signature_def["serving_default"].inputs
    tensors = {
        name: type(inputs[argument]).FromString(inputs[argument].SerializeToString())
        for argument, name in names.items()
    }
    inputs.clear()
    for name, tensor in tensors.items():
        inputs[name].CopyFrom(tensor)
    path.write_bytes(saved.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the exporters say about names and tables that come out right."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
