"""The training loop: one graph per epoch over in-memory tensors; AdamW, averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from shipway.components.common.training import WEIGHT_DECAY, Examples, Hyperparameters, Progress
from shipway.components.tensorflow.network import TabularNetwork

__all__ = ["fit"]


def fit(
    network: TabularNetwork,
    train: Examples,
    validation: Examples,
    settings: Hyperparameters,
    strategy: tf.distribute.Strategy,
) -> Progress:
    """Trains ``network``, made in the strategy's scope, and leaves it with the averaged weights of the best epoch.

    Raises:
        InputError: When training diverges.
    """
    schedule = settings.schedule(train.rows)
    trained = [variable.value for variable in network.trainable_variables]
    with strategy.scope():
        averaged = [tf.Variable(variable, trainable=False) for variable in trained]
        optimizer = keras.optimizers.AdamW(weight_decay=WEIGHT_DECAY)
        optimizer.build(network.trainable_variables)
        epoch = _epoch(network, optimizer, averaged, train, schedule.rows_per_step, strategy)
    scores = tf.function(lambda *inputs: tf.nn.softmax(network(*inputs)))
    held_out = tf.constant(validation.numeric), tf.constant(validation.categorical)
    orders = np.random.default_rng(settings.seed)
    progress = Progress(validation.labels, settings.epochs)
    best: list[Any] = []
    for number in range(settings.epochs):
        span = slice(number * schedule.steps, (number + 1) * schedule.steps)
        order = tf.data.Dataset.from_tensor_slices(orders.permutation(train.rows)).batch(schedule.rows_per_step)
        batches = strategy.experimental_distribute_dataset(order)
        loss = epoch(batches, schedule.learning_rates[span], schedule.averaging_shares[span])
        latest = [variable.numpy() for variable in trained]
        _assign(trained, averaged)
        if progress.add(float(loss) / train.rows, scores(*held_out).numpy()):
            best = [variable.numpy() for variable in averaged]
        _assign(trained, latest)
    _assign(trained, best)
    return progress


def _epoch(
    network: TabularNetwork,
    optimizer: keras.optimizers.Optimizer,
    averaged: Sequence[tf.Variable],
    train: Examples,
    rows_per_step: int,
    strategy: tf.distribute.Strategy,
) -> Callable[..., tf.Tensor]:
    """Returns the graph of one epoch: batches of row numbers, rates and averaging shares in, sum of the losses out."""
    numeric, categorical, labels, weights = (
        tf.constant(array) for array in (train.numeric, train.categorical, train.labels, train.weights)
    )

    def step(chosen: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = network(tf.gather(numeric, chosen), tf.gather(categorical, chosen), training=True)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(labels, chosen), logits)
            loss = tf.reduce_sum(each * tf.gather(weights, chosen))
            mean = loss / rows_per_step
        variables = network.trainable_variables
        gradients = tape.gradient(mean, [variable.value for variable in variables])
        # Embeddings give sparse gradients, which devices with batches of different sizes cannot add up.
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients], variables)
        return loss

    @tf.function
    def epoch(batches: Any, rates: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
        total, number = 0.0, 0
        for chosen in batches:
            optimizer.learning_rate.assign(rates[number])
            total += strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(step, args=(chosen,)), axis=None)
            for average, variable in zip(averaged, network.trainable_variables, strict=True):
                average.assign_add(shares[number] * (variable.value - average))
            number += 1  # noqa: SIM113  AutoGraph cannot enumerate a distributed dataset
        return total

    graph: Callable[..., tf.Tensor] = epoch
    return graph


def _assign(variables: Sequence[tf.Variable], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
