"""The preprocessing as TensorFlow operations, for the training step and for the SavedModel that takes raw features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from shipway.components.common.preprocessing import Encoders

__all__ = ["Encoding", "Preprocessing"]


class Encoding(tf.Module):
    """Makes ``numeric`` of raw numbers, as :meth:`Encoders.encode` does."""

    def __init__(self, encoders: Encoders) -> None:
        super().__init__(name="encoding")
        pieces = encoders.pieces
        # What tells missing values is a raw column like others, behind them: from 0 to 1 in one piece.
        absent = np.ones(len(pieces.indicators), np.float32)
        self._fill = pieces.fill
        self._source = np.concatenate([pieces.source, encoders.raw_width + pieces.indicators])
        self._low = np.concatenate([pieces.low, absent * 0])[:, None]
        self._slope = np.concatenate([pieces.slope, absent])[:, None]

    def __call__(self, raw: tf.Tensor) -> tf.Tensor:
        """Returns float32 ``[rows, numeric_width]``.

        Args:
            raw: float32 ``[rows, raw_width]``: NaN where missing.
        """
        missing = tf.math.is_nan(raw)
        columns = tf.transpose(tf.concat([tf.where(missing, self._fill, raw), tf.cast(missing, tf.float32)], axis=1))
        climbed = (tf.gather(columns, self._source) - self._low) * self._slope
        return tf.transpose(tf.raw_ops.ClipByValue(t=climbed, clip_value_min=0.0, clip_value_max=1.0))


class Preprocessing(tf.Module):
    """Encodes raw tensors as :meth:`Encoders.encode` does."""

    def __init__(self, encoders: Encoders) -> None:
        super().__init__(name="preprocessing")
        self._encoders = encoders
        self._encoding = Encoding(encoders)
        self._tables = [_table(encoder.vocabulary) for encoder in encoders.strings]

    def __call__(self, features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns ``numeric`` float32 ``[rows, width]`` and ``categorical`` int64 ``[rows, string features]``.

        Args:
            features: One tensor per feature: float32 ``[rows]`` (NaN: missing), string ``[rows]`` (empty: missing), or
                float32 ``[rows, size]`` of a vector feature.
        """
        encoders = self._encoders
        rows = tf.shape(next(iter(features.values())))[0]
        numeric, categorical = tf.zeros([rows, 0]), tf.zeros([rows, 0], tf.int64)
        if encoders.numeric_width:
            columns = [features[encoder.name][:, None] for encoder in encoders.numeric]
            numeric = self._encoding(tf.concat([*columns, *(features[v.name] for v in encoders.vectors)], axis=1))
        if self._tables:
            named = zip(encoders.strings, self._tables, strict=True)
            categorical = tf.stack([table.lookup(features[encoder.name]) for encoder, table in named], axis=1)
        return numeric, categorical


def _table(vocabulary: tuple[str, ...]) -> tf.lookup.StaticHashTable:
    # No table may be empty; one that gives its only word what all others get is as good.
    keys = tf.constant(vocabulary or ("",), tf.string)
    values = tf.constant(np.arange(1, len(vocabulary) + 1) if vocabulary else np.zeros(1, np.int64))
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default_value=0)
