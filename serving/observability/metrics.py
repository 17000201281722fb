"""What is told to Prometheus besides the models' own metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shipway.serving.openinference.cache import ResponseCache

if TYPE_CHECKING:
    from shipway.serving.observability.access import AccessLog
    from shipway.serving.observability.helper import Helper

__all__ = ["AccessMetrics", "CacheMetrics", "ConnectionMetrics", "HelperMetrics"]


class CacheMetrics(Collector):
    """Of the response cache."""

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        """Yields the families."""
        cache = self._cache
        yield CounterMetricFamily("shipway_response_cache_hits", "Requests whose answer was kept", cache.hits)
        yield CounterMetricFamily("shipway_response_cache_misses", "Requests whose answer was not kept", cache.misses)
        yield GaugeMetricFamily("shipway_response_cache_bytes", "What the answers that are kept take", cache.bytes)
        yield GaugeMetricFamily("shipway_response_cache_limit_bytes", "What they may take", cache.most_bytes)


class ConnectionMetrics(Collector):
    """Of the HTTP server."""

    def __init__(self, server_state: Any) -> None:
        """Takes uvicorn's state, which knows its connections and requests."""
        self._state = server_state

    def collect(self) -> Iterator[Metric]:
        """Yields the families."""
        yield GaugeMetricFamily("shipway_http_connections", "Connections that are open", len(self._state.connections))
        yield GaugeMetricFamily("shipway_http_requests_in_flight", "Requests being answered", len(self._state.tasks))


class AccessMetrics(Collector):
    """Of the access lines."""

    def __init__(self, access: AccessLog) -> None:
        self._access = access

    def collect(self) -> Iterator[Metric]:
        """Yields the families."""
        access = self._access
        yield CounterMetricFamily("shipway_access_lines_written", "Access lines written", access.written)
        yield CounterMetricFamily("shipway_access_lines_lost", "Access lines that were not", access.lost)
        yield GaugeMetricFamily("shipway_access_lines_waiting", "Access lines to be written", access.feed.waiting)


class HelperMetrics(Collector):
    """Of payload logs and events."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    def collect(self) -> Iterator[Metric]:
        """Yields the families."""
        helper, counts = self._helper, self._helper.counts
        dropped = helper.feed.dropped + helper.lost
        yield CounterMetricFamily("shipway_watched_requests_dropped", "Requests neither logged nor sent", dropped)
        yield GaugeMetricFamily(
            "shipway_watched_requests_waiting", "Requests to be logged or sent", helper.feed.waiting
        )
        if helper.settings.payload_uri:
            yield CounterMetricFamily("shipway_payload_rows_logged", "Rows in the store", counts.rows_logged)
            yield CounterMetricFamily("shipway_payload_rows_dropped", "Rows given up", counts.rows_dropped)
            yield CounterMetricFamily(
                "shipway_payload_requests_failed", "Requests that could not be logged", counts.requests_failed
            )
            yield GaugeMetricFamily("shipway_payload_files_waiting", "Files to be published", counts.files_waiting)
        if helper.settings.events_url:
            yield CounterMetricFamily("shipway_events_sent", "Events that were taken", counts.events_sent)
            yield CounterMetricFamily("shipway_events_failed", "Events that nobody took", counts.events_failed)
            yield CounterMetricFamily(
                "shipway_events_dropped", "Requests whose events found the queue full", counts.events_dropped
            )
            yield GaugeMetricFamily("shipway_events_waiting", "Requests whose events wait", counts.events_waiting)
