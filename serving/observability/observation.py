"""A server's observation, as its options say."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shipway.serving.observability.access import AccessLog
from shipway.serving.observability.helper import Helper
from shipway.serving.observability.metrics import AccessMetrics, HelperMetrics
from shipway.serving.observability.responses import ObservedResponses
from shipway.serving.observability.trace import CURRENT, Seen, context_of
from shipway.serving.observability.wire import Settings
from shipway.serving.openinference.application import Application
from shipway.serving.openinference.inference import Exchange

__all__ = ["Observation", "observed"]

_CLOSE_SECONDS = 5.0
_NAMESPACE_VARIABLE = "POD_NAMESPACE"


class Observation:
    """Access lines, payload logs and events of an application, those that were asked for.

    Attributes:
        respond: Answers HTTP requests in the application's place.
    """

    def __init__(self, application: Application, access: AccessLog | None, helper: Helper | None) -> None:
        """Begins to watch."""
        self._access, self._helper = access, helper
        registry = application.repository.metrics.registry
        if access:
            registry.register(AccessMetrics(access))
        if helper:
            registry.register(HelperMetrics(helper))
        application.inference.watchers.append(self._watch)
        self.respond = ObservedResponses(application.respond, access)

    @property
    def interceptors(self) -> Sequence[Any]:
        """What a gRPC server takes for its calls to be observed."""
        from shipway.serving.observability.interceptor import ObservedCalls

        return (ObservedCalls(self._access),)

    def close(self) -> None:
        """Writes, publishes and sends what waits, within a few seconds."""
        if self._helper:
            self._helper.close(_CLOSE_SECONDS)
            with contextlib.suppress(OSError):  # where files are left, or nobody made it
                Path(self._helper.settings.spool).rmdir()
        if self._access:
            self._access.feed.close(_CLOSE_SECONDS)

    def _watch(self, exchange: Exchange) -> None:
        context = CURRENT.get()
        if context is None:  # it came another way than through respond or the interceptors
            context = context_of(exchange.headers.items())
        model = exchange.model
        context.seen = Seen(model.name, model.description.digest, exchange.protocol, exchange.rows)
        if self._helper:
            self._helper.offer(exchange, context)


def observed(application: Application, options: argparse.Namespace, url: str) -> Observation:
    """Begins to observe as the options ask for.

    Args:
        application: Whose requests are observed.
        options: Those of :mod:`.options`.
        url: Where it answers, which events name as their source.

    Raises:
        InputError: When a file or URI cannot be written, or a URL cannot be.
    """
    access = AccessLog(options.access_log) if options.access_log else None
    asked = options.payload_log or options.events_url
    helper = Helper(_settings(options, url), options.payload_sample_percent) if asked else None
    return Observation(application, access, helper)


def _settings(options: argparse.Namespace, url: str) -> Settings:
    attributes = {
        "source": url,
        "namespace": os.environ.get(_NAMESPACE_VARIABLE, ""),
        "endpoint": "default",
        "component": "predictor",
    }
    spool = options.payload_spool
    if options.payload_log and not spool:
        spool = tempfile.mkdtemp(prefix="shipway-payloads-")
    return Settings(
        payload_uri=_absolute(options.payload_log),
        spool=spool,
        rotate_seconds=options.payload_rotate_seconds,
        rotate_rows=options.payload_rotate_rows,
        events_url=options.events_url,
        events_mode=options.events_mode,
        event_attributes=attributes | dict(given.split("=", 1) for given in options.event_attribute),
    )


def _absolute(uri: str) -> str:
    return uri if "://" in uri or not uri else str(Path(uri).absolute())
