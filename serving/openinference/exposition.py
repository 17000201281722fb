"""What ``/metrics`` shows: of this process, or of all that share its port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

__all__ = ["Exposition", "SharedExposition"]

_ANSWER_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Exposition:
    """The metrics of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def text(self) -> bytes:
        """Returns the metrics in Prometheus's text format."""
        text: bytes = generate_latest(self._registry)
        return text


class SharedExposition(Exposition):
    """The metrics of all processes that share a port: each tells its own over a socket in a directory of theirs.

    Counters and histograms are summed up; gauges keep a label ``worker``.
    """

    def __init__(self, registry: CollectorRegistry, directory: Path, worker: str) -> None:
        super().__init__(registry)
        self._directory, self._worker = directory, worker

    async def start(self) -> None:
        """Begins to tell the others."""
        self._server = await asyncio.start_unix_server(self._told, self._directory / f"{self._worker}.socket")

    async def text(self) -> bytes:
        """Returns the sums in Prometheus's text format; a process that does not answer is left out."""
        sockets = sorted(self._directory.glob("*.socket"))
        texts = await asyncio.gather(*map(_asked, sockets))
        merged = _Merged()
        for path, told in zip(sockets, texts, strict=True):
            merged.add(path.stem, text_string_to_metric_families(told))
        text: bytes = generate_latest(merged)
        return text

    async def _told(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await super().text())
        await writer.drain()
        writer.close()


async def _asked(path: Path) -> str:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            text = await reader.read()
            writer.close()
            return text.decode()
    except ConnectionRefusedError:  # it has died
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    except (OSError, TimeoutError) as error:
        logger.warning("a worker does not tell its metrics: %s", error or "it takes too long")
    return ""


class _Merged(Collector):
    """Families of several processes as one."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        self._sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = defaultdict(
            lambda: defaultdict(float)
        )

    def add(self, worker: str, families: Iterable[Metric]) -> None:
        for family in families:
            self._families.setdefault(family.name, family)
            of_one = family.type not in ("counter", "histogram")
            for sample in family.samples:
                labels = {**sample.labels, "worker": worker} if of_one else sample.labels
                self._sums[family.name][sample.name, tuple(labels.items())] += sample.value

    def collect(self) -> Iterator[Metric]:
        for name, family in self._families.items():
            merged = Metric(name, family.documentation, family.type)
            merged.samples = [
                Sample(sample, dict(labels), value) for (sample, labels), value in self._sums[name].items()
            ]
            yield merged
