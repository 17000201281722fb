"""One step of a training as a graph: raw rows in, weights moved, the sum of their losses added up."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from shipway.components.common.preprocessing import Encoders
from shipway.components.common.training import Hyperparameters, Schedule
from shipway.components.common.training.networks import require_loss
from shipway.components.tensorflow.encoding import Encoding
from shipway.components.tensorflow.network import logits_of
from shipway.components.tensorflow.state import TrainingState

__all__ = ["Step", "in_precision", "scores_of", "signature"]

_POLICIES = {"fp32": "float32", "bf16": "mixed_bfloat16", "fp16": "mixed_float16"}
_LEAST_BASE = 1e-7

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def in_precision(precision: str) -> Iterator[None]:
    """Makes the layers that are built in the block compute in this precision; weights stay fp32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def signature(encoders: Encoders) -> list[tf.TensorSpec]:
    """Returns what a batch is: ``raw``, ``categorical``, ``labels`` and ``weights``, of any number of rows."""
    return [
        tf.TensorSpec([None, encoders.raw_width], tf.float32),
        tf.TensorSpec([None, len(encoders.strings)], tf.int64),
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([None], tf.float32),
    ]


def scores_of(network: keras.Model, encoders: Encoders) -> Callable[..., tf.Tensor]:
    """Returns the graph that gives probabilities for ``raw`` and ``categorical``."""
    encoding = Encoding(encoders)

    def scores(raw: tf.Tensor, categorical: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(tf.cast(logits_of(network, encoding(raw), categorical), tf.float32))

    graph: Callable[..., tf.Tensor] = tf.function(scores, signature(encoders)[:2], autograph=False)
    return graph


class Step:
    """Encodes a batch, runs the network, weighs the losses and moves the weights, on all devices of this process.

    Args:
        state: What it changes; its network takes ``numeric`` and ``categorical`` and gives logits, or has its own
            ``training_step``.
        encoders: Make ``numeric`` of raw numbers.
        settings: How to train.
        schedule: What changes from step to step.
        strategy: Where the network was built.
        processes: How many train together; each gives its own rows.
    """

    def __init__(
        self,
        state: TrainingState,
        encoders: Encoders,
        settings: Hyperparameters,
        schedule: Schedule,
        strategy: tf.distribute.Strategy,
        processes: int = 1,
    ) -> None:
        self._state, self._schedule, self._strategy = state, schedule, strategy
        self._encoding = Encoding(encoders)
        self._devices = strategy.num_replicas_in_sync // processes
        self._gamma = settings.focal_gamma if settings.loss == "focal" else 0.0
        self._own_step: Callable[..., tf.Tensor] | None = getattr(state.trained, "training_step", None)
        self._weights = [variable.value for variable in state.trained.trainable_variables]
        self._averaged = [variable.value for variable in state.averaged.trainable_variables]
        self._signature = signature(encoders)
        self._learned: Callable[..., Any] = self._learn
        number = tf.TensorSpec([], tf.int64)
        self._run = tf.function(self._whole, [*self._signature, number], autograph=False)

    def __call__(self, batch: tuple[np.ndarray[Any, Any], ...], number: int) -> None:
        """Takes the step of this number, counted from 0 over the whole training."""
        self._run(*batch, number)

    def compile(self, example: tuple[np.ndarray[Any, Any], ...]) -> str:
        """Has XLA compile losses and gradients, or leaves them as they are where that fails; returns what came of it.

        Args:
            example: A batch to try it with; best of as many rows as a step's.
        """
        graph = tf.function(self._learn, self._signature, autograph=False, jit_compile=True)
        # A graph's results have no device, without which several processes do not send them in one message.
        self._learned = lambda *batch: tf.nest.map_structure(tf.identity, graph(*batch))
        gathered = self._state.trained.non_trainable_variables
        before = [variable.numpy() for variable in gathered]
        try:
            tf.function(lambda *batch: self._strategy.run(self._learned, args=batch), autograph=False)(*example)
        except Exception as error:  # noqa: BLE001 - the compiler fails in many ways, none of which need end a training
            reason = f"not compiled: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            logger.warning("%s; training goes on without", reason)
            self._learned = self._learn
            return reason
        finally:
            for variable, value in zip(gathered, before, strict=True):
                variable.assign(value)
        return "compiled"

    def _whole(self, *batch: tf.Tensor) -> None:
        *rows, number = batch
        losses, gradients = self._strategy.run(self._learned, args=rows)
        # The loss travels with the gradients, as every message between processes takes its time.
        sums = self._strategy.extended.batch_reduce_to(
            tf.distribute.ReduceOp.SUM, [*zip(gradients, self._weights, strict=True), (losses, self._weights[0])]
        )
        self._state.optimizer.apply(sums[:-1], tf.gather(self._schedule.learning_rates, number))
        share = tf.gather(self._schedule.averaging_shares, number)
        for average, weight in zip(self._averaged, self._weights, strict=True):
            average.assign_add(tf.cast(share, average.dtype) * (weight - average))
        loss = self._strategy.experimental_local_results(sums[-1])[0]
        self._state.total.assign_add(tf.cast(loss, tf.float64))

    def _learn(self, *batch: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns the sum of the losses of one device's rows, and its gradients."""
        if self._devices > 1:
            device = tf.distribute.get_replica_context().replica_id_in_sync_group % self._devices
            batch = tuple(tensor[device :: self._devices] for tensor in batch)
        with tf.GradientTape() as tape:
            loss = self._loss(*batch)
            scaled = self._state.optimizer.scaled(loss / self._schedule.rows_per_step)
        gradients = tape.gradient(scaled, self._weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # Embeddings give sparse gradients, which devices with rows of their own cannot add up.
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _loss(self, raw: tf.Tensor, categorical: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Returns the sum of the rows' losses, each times its weight.

        The focal loss is that of Lin et al., *Focal Loss for Dense Object Detection* (2017), without its class factor,
        which ``class_weights`` is: cross-entropy times ``(1 - p)**gamma``, p being the true class's probability.
        """
        numeric = self._encoding(raw)
        if self._own_step is not None:
            mean = self._own_step(numeric, categorical, labels, weights)
            if not isinstance(mean, tf.Tensor):
                require_loss(self._own_step, None)
            elif mean.shape.rank is not None:  # a graph may not know it
                require_loss(self._own_step, tuple(mean.shape))
            return tf.cast(mean, tf.float32) * tf.cast(tf.size(labels), tf.float32)
        logits = tf.cast(logits_of(self._state.trained, numeric, categorical, training=True), tf.float32)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        if self._gamma:
            # Where p is 1 the base is 0, which has no slope for a gamma below 1.
            each *= tf.maximum(-tf.math.expm1(-each), _LEAST_BASE) ** self._gamma
        return tf.reduce_sum(each * weights)
