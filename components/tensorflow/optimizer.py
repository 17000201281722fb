"""AdamW for weights on any number of devices, with the scaling of the loss that fp16 needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

__all__ = ["AdamW"]

_BETAS = (0.9, 0.999)
_EPSILON = 1e-7
_FIRST_SCALE = 2.0**16
_STEPS_OF_A_SCALE = 2000


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, 2019).

    In fp16 small gradients become 0, so the loss is multiplied by a scale, and the gradients divided by it. A step
    with a gradient that is no number is left out and halves the scale; 2,000 good steps double it.

    Args:
        weights: What learns, made in the strategy's scope, as this is.
        weight_decay: Part of each weight that is taken away a step, times the learning rate.
        scaled: Whether to scale the loss.
        strategy: Where the weights are.
    """

    def __init__(
        self, weights: Sequence[tf.Variable], weight_decay: float, scaled: bool, strategy: tf.distribute.Strategy
    ) -> None:
        self._weights, self._weight_decay, self._scaled, self._strategy = weights, weight_decay, scaled, strategy
        self._means = [_zeros(weight) for weight in weights]
        self._squares = [_zeros(weight) for weight in weights]
        self._powers = tf.Variable([1.0, 1.0], trainable=False)
        self._scale = tf.Variable(_FIRST_SCALE if scaled else 1.0, trainable=False)
        self._good_steps = tf.Variable(0, trainable=False, dtype=tf.int64)

    @property
    def variables(self) -> list[tf.Variable]:
        """All that changes from step to step."""
        return [*self._means, *self._squares, self._powers, self._scale, self._good_steps]

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """Returns what to take the gradients of."""
        return loss * self._scale if self._scaled else loss

    def apply(self, gradients: Sequence[Any], rate: tf.Tensor) -> None:
        """Takes a step; to be called for all devices at once.

        Args:
            gradients: Sums over all devices.
            rate: The learning rate.
        """
        if not self._scaled:
            self._update(gradients, rate)
            return
        local = [self._strategy.experimental_local_results(gradient)[0] for gradient in gradients]
        good = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in local])
        tf.cond(good, lambda: self._update(gradients, rate), lambda: None)
        steps = tf.where(good, self._good_steps + 1, tf.zeros_like(self._good_steps))
        enough = steps >= _STEPS_OF_A_SCALE
        self._scale.assign(self._scale * tf.where(good, tf.where(enough, 2.0, 1.0), 0.5))
        self._good_steps.assign(tf.where(enough, tf.zeros_like(steps), steps))

    def _update(self, gradients: Sequence[Any], rate: tf.Tensor) -> None:
        powers = self._powers.assign(self._powers * _BETAS)
        scale = tf.identity(self._scale)
        for weight, mean, square, gradient in zip(self._weights, self._means, self._squares, gradients, strict=True):
            arguments = (mean, square, gradient, rate, tf.identity(powers), scale)
            self._strategy.extended.update(weight, self._update_one, args=arguments, group=False)

    def _update_one(
        self,
        weight: tf.Variable,
        mean: tf.Variable,
        square: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        powers: tf.Tensor,
        scale: tf.Tensor,
    ) -> None:
        rate, powers = tf.cast(rate, weight.dtype), tf.cast(powers, weight.dtype)
        weight.assign_sub(weight * (rate * self._weight_decay))
        tf.raw_ops.ResourceApplyAdam(
            var=weight.handle,
            m=mean.handle,
            v=square.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=tf.constant(_BETAS[0], weight.dtype),
            beta2=tf.constant(_BETAS[1], weight.dtype),
            epsilon=tf.constant(_EPSILON, weight.dtype),
            grad=gradient / tf.cast(scale, weight.dtype) if self._scaled else gradient,
        )


def _zeros(weight: tf.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros(weight.shape, weight.dtype), trainable=False)
