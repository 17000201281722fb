"""The server as an ASGI application: KServe's v1 and v2 routes over REST, without a framework in the hot path.

It can be mounted in any other ASGI application, such as FastAPI's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from time import perf_counter
from typing import Any
from urllib.parse import unquote

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shipway.serving.openinference.batching import Busy
from shipway.serving.openinference.door import BadRequest
from shipway.serving.openinference.metrics import Metrics
from shipway.serving.openinference.models import ServedModel

__all__ = ["Application"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_LENGTH_HEADER = b"inference-header-content-length"
_EXTENSIONS = ["binary_tensor_data"]

logger = logging.getLogger(__name__)


class HttpError(Exception):
    """What is answered with a status of its own."""

    def __init__(self, status: int, message: str, *headers: Header) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


class _DisconnectedError(Exception):
    """The client is gone."""


class Application:
    """Answers for some models.

    Attributes:
        ready: Whether requests are wanted; :meth:`drain` says no.
        metrics: What ``/metrics`` shows.
    """

    def __init__(
        self, models: Iterable[ServedModel], most_body_bytes: int = 64 << 20, body_timeout_seconds: float = 30.0
    ) -> None:
        """Takes the models.

        Args:
            models: What is served.
            most_body_bytes: Larger bodies are refused with 413.
            body_timeout_seconds: How long a body may take to come after its headers.
        """
        self.metrics, self.ready = Metrics(), True
        self._most_body_bytes, self._body_timeout_seconds = most_body_bytes, body_timeout_seconds
        self._models: dict[str, ServedModel] = {}
        for model in models:
            self.add(model)

    def add(self, model: ServedModel) -> None:
        """Serves a model under its name, in the place of one that has it; requests under way are answered by that."""
        self._models[model.name] = model
        self.metrics.models[model.name] = model.metrics

    def drain(self) -> None:
        """Says from now on that it is not ready; requests are still answered."""
        self.ready = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request (ASGI 3)."""
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        try:
            if scope["method"] == "POST":
                answer = await self._post(path, scope["headers"], receive)
            elif scope["method"] in ("GET", "HEAD"):
                answer = self._get(path)
            else:
                raise HttpError(405, f"{scope['method']} is not allowed", (b"allow", b"GET, HEAD, POST"))
        except HttpError as error:
            answer = error.status, orjson.dumps({"error": str(error)}), (_JSON, *error.headers)
        except (_DisconnectedError, asyncio.CancelledError):
            return
        except Exception:
            logger.exception("%s %s failed", scope["method"], path)
            answer = 500, orjson.dumps({"error": "internal error; the server's log has the details"}), (_JSON,)
        status, body, headers = answer
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})

    async def _post(
        self, path: str, headers: Iterable[Header], receive: Receive
    ) -> tuple[int, bytes, tuple[Header, ...]]:
        body = await self._body(receive)
        parts = path.split("/")
        if len(parts) == 4 and parts[1] == "v1" and parts[2] == "models":
            name, _, verb = parts[3].rpartition(":")
            if verb == "predict":
                return await self._inferred(self._model(name), "v1", body, headers)
            raise HttpError(501, f"this server predicts; it has no {verb or 'verb in the path'}")
        if len(parts) in (5, 7) and parts[1] == "v2" and parts[2] == "models" and parts[-1] == "infer":
            return await self._inferred(self._model(*parts[3:-1:2]), "v2", body, headers)
        if path == "/v2/repository/index":
            return _json([{"name": model.name, "state": "READY", "reason": ""} for model in self._models.values()])
        if len(parts) == 6 and path.startswith("/v2/repository/models/") and parts[5] in ("load", "unload"):
            self._model(parts[4])
            raise HttpError(501, "this server's model is fixed; deploy another release, or stop the endpoint instead")
        raise HttpError(404, f"there is nothing at {path}")

    async def _inferred(
        self, model: ServedModel, protocol: str, body: bytes, headers: Iterable[Header]
    ) -> tuple[int, bytes, tuple[Header, ...]]:
        metrics, code = model.metrics, 500
        started = perf_counter()
        try:
            content_type, length = _content(headers)
            if protocol == "v1":
                _require_json(content_type)
                tensors, rows = model.v1.decode(body)
            else:
                if length is None:
                    _require_json(content_type)
                request = model.v2.decode(body, length)
                tensors, rows = request.tensors, request.rows
            decoded = perf_counter()
            result = await model.batcher.submit(tensors, rows)
            answered = perf_counter()
            if protocol == "v1":
                answer, json_length = model.v1.encode(result), None
            else:
                answer, json_length = model.v2.encode(request, result)
            stages = metrics.stages
            stages["decode"].add(decoded - started)
            stages["wait"].add(answered - decoded)
            stages["encode"].add(perf_counter() - answered)
            code = 200
        except BadRequest as error:
            code = 400
            raise HttpError(400, str(error)) from None
        except Busy as error:
            code = 429
            raise HttpError(429, str(error), (b"retry-after", b"%d" % error.retry_after_seconds)) from None
        finally:
            metrics.codes[protocol, code] += 1
        if json_length is None:
            return 200, answer, (_JSON,)
        return 200, answer, (_BINARY, (_LENGTH_HEADER, b"%d" % json_length))

    def _get(self, path: str) -> tuple[int, bytes, tuple[Header, ...]]:
        if path == "/metrics":
            return 200, generate_latest(self.metrics.registry), ((b"content-type", CONTENT_TYPE_LATEST.encode()),)
        if path in ("/", "/v2/health/live"):
            return _json({"live": True} if path != "/" else {"status": "alive"})
        if path == "/v2/health/ready":
            return _json({"ready": self.ready}, 200 if self.ready else 503)
        if path in ("/v2", "/v2/"):
            return _json({"name": "shipway", "version": "1", "extensions": _EXTENSIONS})
        if path in ("/v1/models", "/v2/models"):
            return _json({"models": list(self._models)})
        parts = path.split("/")
        if len(parts) >= 4 and parts[1] in ("v1", "v2") and parts[2] == "models":
            ready = parts[-1] == "ready" and len(parts) in (5, 7)
            model = self._model(*parts[3 : -1 if ready else None : 2])
            if parts[1] == "v1" or ready:
                return _json({"name": model.name, "ready": self.ready}, 200 if self.ready else 503)
            return _json(model.metadata)
        raise HttpError(404, f"there is nothing at {path}")

    def _model(self, name: str, version: str = "") -> ServedModel:
        model = self._models.get(name) or self._models.get(unquote(name))
        if model is None:
            raise HttpError(404, f"there is no model {name!r}; there is {', '.join(self._models)}")
        if version and version != model.description.digest:
            raise HttpError(404, f"the model {name} has the version {model.description.digest}, not {version}")
        return model

    async def _body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self._body_timeout_seconds):
                while more and size <= self._most_body_bytes:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _DisconnectedError
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    more = message.get("more_body", False)
        except TimeoutError:
            seconds = self._body_timeout_seconds
            raise HttpError(408, f"the body did not come within {seconds:g} s", (b"connection", b"close")) from None
        if size > self._most_body_bytes:
            most = self._most_body_bytes
            raise HttpError(413, f"the body is larger than {most:,} bytes", (b"connection", b"close"))
        return b"".join(parts)


def _content(headers: Iterable[Header]) -> tuple[bytes, str | None]:
    """Returns the content type without its parameters, and how long the JSON before binary tensors is."""
    content_type, length = b"", None
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == _LENGTH_HEADER:
            length = value.decode("latin-1")
    return content_type.partition(b";")[0].strip().lower(), length


def _require_json(content_type: bytes) -> None:
    if content_type != b"application/json":
        raise BadRequest(
            f"the body must be JSON with Content-Type: application/json, not {content_type.decode('latin-1')!r}"
        )


def _json(value: Any, status: int = 200) -> tuple[int, bytes, tuple[Header, ...]]:
    return status, orjson.dumps(value), (_JSON,)
