"""The processes of one training: which one this is, and how they agree."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from shipway.components.common.errors import TransientError
from shipway.components.tensorflow.state import packed, unpacked

__all__ = ["Cluster", "World"]

_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


@dataclass(frozen=True)
class Cluster:
    """What ``TF_CONFIG`` says.

    Attributes:
        rank: This process's number.
        size: How many processes there are.
        here: How many of them share this machine.
    """

    rank: int = 0
    size: int = 1
    here: int = 1

    @classmethod
    def from_environment(cls) -> Cluster:
        """Returns what it says here; one process where it is not set."""
        if not (text := os.environ.get("TF_CONFIG")):
            return cls()
        value = json.loads(text)
        hosts = [address.rpartition(":")[0] for address in value["cluster"]["worker"]]
        rank = value["task"]["index"]
        return cls(rank, len(hosts), hosts.count(hosts[rank]))


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: Its number; 0 judges, saves and publishes.
        size: How many there are.
        strategy: Spreads a step over the devices of all processes.
    """

    rank: int = 0
    size: int = 1
    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy)

    @classmethod
    def mirrored(cls, gpus: int) -> World:
        """Returns one process with several GPUs, the first ones."""
        return cls(strategy=tf.distribute.MirroredStrategy([f"GPU:{number}" for number in range(gpus)]))

    @classmethod
    def joined(cls, cluster: Cluster) -> World:
        """Returns this process's place after all have met; TensorFlow must not have run anything yet."""
        if cluster.size == 1:
            return cls()
        return cls(cluster.rank, cluster.size, tf.distribute.MultiWorkerMirroredStrategy())

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """Returns for each flag whether it is set in any process; all must call it at the same step."""
        if self.size == 1:
            return list(flags)
        return [count > 0 for count in self._sum(np.asarray(flags, np.int64)).tolist()]

    def told(self, document: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Returns the document of process 0: JSON values and lists of arrays, or None."""
        if self.size == 1:
            return None if document is None else dict(document)
        data = packed(document) if document is not None and self.rank == 0 else b""
        (length,) = self._sum(np.asarray([len(data)], np.int64)).tolist()
        if not length:
            return None
        words = np.frombuffer(data.ljust(-(-length // 8) * 8, b"\0"), np.int64)
        return unpacked(self._sum(words).tobytes()[:length])

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Runs what all processes do together.

        Raises:
            TransientError: When another process is gone.
        """
        try:
            yield
        except _LOST as error:
            if self.size == 1:
                raise
            raise TransientError(
                f"another process of this training cannot be reached any more ({str(error).strip().splitlines()[0]});"
                " its own output says why; run again to resume"
            ) from error

    def _sum(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with self.kept():
            total: np.ndarray[Any, Any] = self._sums(tf.constant(values)).numpy()
        return total

    @cached_property
    def _sums(self) -> Any:
        strategy = self.strategy

        def sums(values: tf.Tensor) -> tf.Tensor:
            # Of several devices of a process, the first one speaks.
            def mine(values: tf.Tensor) -> tf.Tensor:
                device = tf.distribute.get_replica_context().replica_id_in_sync_group % devices
                return values * tf.cast(device == 0, values.dtype)

            return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(mine, args=(values,)), axis=None)

        devices = strategy.num_replicas_in_sync // self.size
        return tf.function(sums, [tf.TensorSpec([None], tf.int64)], autograph=False)
