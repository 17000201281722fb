"""The built-in networks: a perceptron with embeddings, a linear model, and a small convolutional one for images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from shipway.components.common.errors import InputError
from shipway.components.common.training import WORD_DROPOUT, NetworkSpec, embedding_size

__all__ = ["NETWORKS", "ImageNetwork", "TabularNetwork", "logits_of"]

_CHANNELS = (32, 64)
_LEAST_SIDE = 4


def logits_of(network: keras.Model, numeric: tf.Tensor, categorical: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Calls a network, whichever way it was made.

    Keras leaves ``training`` out where a network does not take it.

    Args:
        network: Takes ``numeric`` and ``categorical``; one that was made of ``keras.Input`` has these names on them,
            one or both.
        numeric: float32 ``[rows, numeric_width]``.
        categorical: int64 ``[rows, string features]``.
        training: Whether it learns.

    Raises:
        InputError: When its inputs have other names, or none.
    """
    inputs = getattr(network, "inputs", None) or ()
    if inputs or isinstance(network, keras.Sequential):
        encoded = {"numeric": numeric, "categorical": categorical}
        names = [layer.name for layer in inputs]
        if not names or not encoded.keys() >= set(names):
            raise InputError(
                f"the network's inputs are named {', '.join(names) or 'not at all'}: a Sequential starts with"
                f' keras.Input(({numeric.shape[1]},), name="numeric"), a functional model also takes'
                f' keras.Input(({categorical.shape[1]},), dtype="int64", name="categorical"), one of them or both'
            )
        tensors = [encoded[layer.name] for layer in inputs]
        return network(tensors if len(tensors) > 1 else tensors[0], training=training)
    return network(numeric, categorical, training=training)


class TabularNetwork(keras.Model):
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
        super().__init__(name="network")
        self.numeric_width = numeric_width
        self.word_dropout = word_dropout
        self.embeddings = [
            self.add_weight(
                shape=(count, embedding_size(count)),
                initializer=keras.initializers.RandomNormal(stddev=0.1),
                name=f"embedding_{position}",
            )
            for position, count in enumerate(cardinalities)
        ]
        self.hidden = [
            keras.layers.Dense(units, activation="relu", kernel_initializer="he_uniform") for units in hidden_units
        ]
        self.dropouts = [ByteDropout(dropout) for _ in hidden_units]
        self.logits = keras.layers.Dense(classes)
        self.random_words = keras.random.SeedGenerator()

    def call(self, numeric: tf.Tensor, categorical: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns logits ``[rows, classes]``.

        Args:
            numeric: float32 ``[rows, numeric_width]``.
            categorical: int64 ``[rows, string features]``.
            training: Whether to drop units and words.
        """
        if training and self.word_dropout and self.embeddings:
            drawn = tf.random.stateless_uniform(tf.shape(categorical), _seed(self.random_words))
            categorical = categorical * tf.cast(drawn >= self.word_dropout, tf.int64)
        parts = [tf.gather(table.value, categorical[:, i]) for i, table in enumerate(self.embeddings)]
        values = tf.concat([*parts, numeric] if self.numeric_width else parts, axis=1)
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            values = dropout(layer(values), training=training)
        return self.logits(values)


class ImageNetwork(keras.Model):
    """Convolutions over the one vector feature, an image; what other columns there are joins behind them.

    Args:
        spec: What it is built for; ``hidden_units`` are the widths behind the convolutions.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(name="network")
        self.columns, self.image = spec.image()
        height, width, channels = self.image
        self.features: list[keras.layers.Layer] = []
        for filters in _CHANNELS:
            self.features.append(
                keras.layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_uniform")
            )
            if min(height, width) >= _LEAST_SIDE:
                self.features.append(keras.layers.MaxPool2D())
                height, width = height // 2, width // 2
        self.flat = keras.layers.Flatten()
        beside = spec.numeric_width - self.image[0] * self.image[1] * channels
        settings = spec.hyperparameters
        self.head = TabularNetwork(
            _CHANNELS[-1] * height * width + beside,
            spec.cardinalities,
            settings.hidden_units,
            spec.classes,
            settings.dropout,
            WORD_DROPOUT,
        )

    def call(self, numeric: tf.Tensor, categorical: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns logits ``[rows, classes]``; arguments as :meth:`TabularNetwork.call` takes them."""
        values = tf.reshape(numeric[:, self.columns], [-1, *self.image])
        for layer in self.features:
            values = layer(values)
        beside = [numeric[:, : self.columns.start], numeric[:, self.columns.stop :]]
        return self.head(tf.concat([self.flat(values), *beside], axis=1), categorical, training=training)


class ByteDropout(keras.layers.Layer):
    """Dropout that draws a random byte a value: on a CPU, drawing a float takes longer than the layer before."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.dropped = min(round(share * 256), 255)
        self.random_units = keras.random.SeedGenerator()

    def call(self, values: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.dropped:
            return values
        count = tf.size(values)
        words = tf.random.stateless_uniform(
            [-(-count // 8)], _seed(self.random_units), minval=None, maxval=None, dtype=tf.int64
        )
        drawn = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count], tf.shape(values))
        return values * tf.cast(drawn >= self.dropped, values.dtype) * (256 / (256 - self.dropped))


def _seed(generator: keras.random.SeedGenerator) -> tf.Tensor:
    """Returns the next seed; each of several devices has its own."""
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.cast(generator.next(), tf.int32) + tf.stack([replica, 0])


def _mlp(spec: NetworkSpec) -> keras.Model:
    settings = spec.hyperparameters
    return TabularNetwork(
        spec.numeric_width, spec.cardinalities, settings.hidden_units, spec.classes, settings.dropout, WORD_DROPOUT
    )


def _linear(spec: NetworkSpec) -> keras.Model:
    return TabularNetwork(spec.numeric_width, spec.cardinalities, (), spec.classes, 0.0, 0.0)


NETWORKS: Mapping[str, Callable[[NetworkSpec], keras.Model]] = {"mlp": _mlp, "linear": _linear, "cnn": ImageNetwork}
