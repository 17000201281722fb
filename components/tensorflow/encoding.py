"""The preprocessing as TensorFlow operations, for the SavedModel that takes raw features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from shipway.components.common.preprocessing import Encoders

__all__ = ["Preprocessing"]


class Preprocessing(tf.Module):
    """Encodes raw tensors as :meth:`Encoders.encode` does."""

    def __init__(self, encoders: Encoders) -> None:
        super().__init__(name="preprocessing")
        self._encoders = encoders
        self._tables = [_table(encoder.vocabulary) for encoder in encoders.strings]

    def __call__(self, features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns ``numeric`` float32 ``[rows, width]`` and ``categorical`` int64 ``[rows, string features]``.

        Args:
            features: One tensor ``[rows]`` per feature: float32 (NaN: missing) or string (empty: missing).
        """
        rows = tf.shape(next(iter(features.values())))[0]
        numeric, categorical = tf.zeros([rows, 0]), tf.zeros([rows, 0], tf.int64)
        if self._encoders.numeric_width:
            numeric = self._numeric(tf.stack([features[encoder.name] for encoder in self._encoders.numeric], axis=1))
        if self._tables:
            named = zip(self._encoders.strings, self._tables, strict=True)
            categorical = tf.stack([table.lookup(features[encoder.name]) for encoder, table in named], axis=1)
        return numeric, categorical

    def _numeric(self, raw: tf.Tensor) -> tf.Tensor:
        pieces = self._encoders.pieces
        missing = tf.math.is_nan(raw)
        filled = tf.where(missing, pieces.fill, raw)
        climbed = (tf.gather(filled, pieces.source, axis=1) - pieces.low) * pieces.slope
        told = tf.cast(tf.gather(missing, pieces.indicators, axis=1), tf.float32)
        return tf.concat([tf.clip_by_value(climbed, 0.0, 1.0), told], axis=1)


def _table(vocabulary: tuple[str, ...]) -> tf.lookup.StaticHashTable:
    keys = tf.constant(vocabulary, tf.string, shape=[len(vocabulary)])
    values = tf.constant(np.arange(1, len(vocabulary) + 1))
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default_value=0)
