"""The built-in network for tables: embeddings of the string features beside the numeric columns, then a perceptron."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from shipway.components.common.training import embedding_size

__all__ = ["TabularNetwork"]


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
        width = numeric_width + sum(embedding_size(count) for count in cardinalities)
        self.hidden = [
            keras.layers.Dense(units, activation="relu", kernel_initializer="he_uniform") for units in hidden_units
        ]
        self.dropouts = [keras.layers.Dropout(dropout) for _ in hidden_units]
        self.logits = keras.layers.Dense(classes)
        self._build(width)

    def call(self, numeric: tf.Tensor, categorical: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns logits ``[rows, classes]``.

        Args:
            numeric: float32 ``[rows, numeric_width]``.
            categorical: int64 ``[rows, string features]``.
            training: Whether to drop units and words.
        """
        if training and self.word_dropout:
            kept = tf.random.uniform(tf.shape(categorical)) >= self.word_dropout
            categorical = categorical * tf.cast(kept, tf.int64)
        parts = [tf.gather(table.value, categorical[:, i]) for i, table in enumerate(self.embeddings)]
        values = tf.concat([*parts, numeric] if self.numeric_width else parts, axis=1)
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            values = dropout(layer(values), training=training)
        return self.logits(values)

    def _build(self, width: int) -> None:
        for layer in (*self.hidden, self.logits):
            layer.build((None, width))
            width = layer.units
        self.built = True
