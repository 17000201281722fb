"""What a server tells Prometheus, counted without locks by the event loop and put into its format when it is asked for.

``shipway_requests_total{model, release, protocol, code}``, ``shipway_request_seconds{model, stage}`` (``decode``,
``wait``: for its batch and in it, ``encode``), ``shipway_forward_seconds{model}``, ``shipway_batch_rows{model}``,
``shipway_waiting_rows{model}``, ``shipway_model_load_seconds{model}``, and the process's own. Requests that no model
saw have an empty ``model``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["Metrics", "ModelMetrics"]

STAGES = ("decode", "wait", "encode")
_SECONDS = (2e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class Histogram:
    """How many values fell below each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def into(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Adds it to a family, the counts summed up as Prometheus wants them."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(labels, buckets, self._sum)


class ModelMetrics:
    """What is counted of one model.

    Attributes:
        release: The digest of what is served.
        waiting_rows: Returns how many rows wait.
        load_seconds: How long it took to load.
        forward: Seconds of a forward pass.
        batch_rows: Rows of a batch.
        codes: Requests by release, protocol and status code.
    """

    def __init__(self, release: str, waiting_rows: Callable[[], int], load_seconds: float = 0.0) -> None:
        self.release, self.waiting_rows, self.load_seconds = release, waiting_rows, load_seconds
        self.decode, self.wait, self.encode = Histogram(_SECONDS), Histogram(_SECONDS), Histogram(_SECONDS)
        self.forward, self.batch_rows = Histogram(_SECONDS), Histogram(_ROWS)
        self.codes: Counter[tuple[str, str, int]] = Counter()

    def time(self, decode: float, wait: float, encode: float) -> None:
        """Counts the stages of a request, in seconds."""
        self.decode.add(decode)
        self.wait.add(wait)
        self.encode.add(encode)

    def batch(self, rows: int, seconds: float) -> None:
        """Counts a batch."""
        self.batch_rows.add(rows)
        self.forward.add(seconds)

    def go_on_from(self, former: ModelMetrics) -> None:
        """Counts on where the model that had the name before stopped; what that one still answers is counted too."""
        self.decode, self.wait, self.encode = former.decode, former.wait, former.encode
        self.forward, self.batch_rows, self.codes = former.forward, former.batch_rows, former.codes


class Metrics(Collector):
    """All models' metrics, and a registry of its own to be asked through.

    Attributes:
        models: What is counted, by the model's name.
        refused: Requests that no model saw, by protocol (``http``, ``grpc``) and status code.
        registry: Holds this and what else is told of the process.
    """

    def __init__(self) -> None:
        self.models: dict[str, ModelMetrics] = {}
        self.refused: Counter[tuple[str, int]] = Counter()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def add(self, name: str, metrics: ModelMetrics) -> None:
        """Counts for a model from now on."""
        if former := self.models.get(name):
            metrics.go_on_from(former)
        self.models[name] = metrics

    def collect(self) -> Iterator[Metric]:
        """Yields the families."""
        requests = CounterMetricFamily(
            "shipway_requests", "Requests answered", labels=["model", "release", "protocol", "code"]
        )
        stages = HistogramMetricFamily("shipway_request_seconds", "Time of a request", labels=["model", "stage"])
        forward = HistogramMetricFamily("shipway_forward_seconds", "Time of a forward pass", labels=["model"])
        rows = HistogramMetricFamily("shipway_batch_rows", "Rows of a batch", labels=["model"])
        waiting = GaugeMetricFamily("shipway_waiting_rows", "Rows that wait", labels=["model"])
        load = GaugeMetricFamily("shipway_model_load_seconds", "Time to load the model", labels=["model"])
        for (protocol, code), count in self.refused.items():
            requests.add_metric(["", "", protocol, str(code)], count)
        for name, model in self.models.items():
            for (release, protocol, code), count in model.codes.items():
                requests.add_metric([name, release, protocol, str(code)], count)
            for stage in STAGES:
                getattr(model, stage).into(stages, [name, stage])
            model.forward.into(forward, [name])
            model.batch_rows.into(rows, [name])
            waiting.add_metric([name], model.waiting_rows())
            load.add_metric([name], model.load_seconds)
        yield from (requests, stages, forward, rows, waiting, load)
