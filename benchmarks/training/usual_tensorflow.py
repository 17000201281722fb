"""The usual way with TensorFlow: ``tf.data.Dataset.from_generator`` over the rows of a table of pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from shipway.components.common.training import Batch

__all__ = ["source"]


def source(
    frame: Any, numbers: list[str], words: list[str]
) -> Callable[[int, int, int], Callable[[], Iterator[Batch]]]:
    """Returns the batches' source."""
    middle = len(numbers)
    signature = (
        tf.TensorSpec([middle], tf.float32),
        tf.TensorSpec([len(words)], tf.int64),
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([], tf.float32),
    )

    def begin(rows_per_step: int, _seed: int, epoch: int) -> Callable[[], Iterator[Batch]]:
        shuffled = frame.sample(frac=1, random_state=epoch)

        def rows() -> Iterator[tuple[Any, ...]]:
            for row in shuffled.itertuples(index=False, name=None):
                yield row[:middle], row[middle:-2], row[-2], row[-1]

        dataset = tf.data.Dataset.from_generator(rows, output_signature=signature)
        batches = dataset.batch(rows_per_step).prefetch(tf.data.AUTOTUNE)
        return lambda: (Batch(*arrays) for arrays in batches.as_numpy_iterator())

    return begin
