"""The server as an ASGI application: KServe's v1 and v2 routes over REST, without a framework in the hot path.

It can be mounted in any other ASGI application, such as FastAPI's: :func:`create_app` makes one from a directory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn

from prometheus_client import CONTENT_TYPE_LATEST

from shipway.components.common.errors import ShipwayError
from shipway.serving.engines.engine import Unavailable
from shipway.serving.openinference.batching import Busy, TooLate
from shipway.serving.openinference.door import BadRequest, NotFinite, parsed
from shipway.serving.openinference.exposition import Exposition
from shipway.serving.openinference.http import (
    CLOSE,
    JSON,
    Bodies,
    DisconnectedError,
    Header,
    HttpError,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    json_reply,
    require_json,
    require_single,
)
from shipway.serving.openinference.inference import Encoded, Inference
from shipway.serving.openinference.models import ServedModel, load_model
from shipway.serving.openinference.openapi import documented, openapi
from shipway.serving.openinference.page import page_of
from shipway.serving.openinference.repository import SERVER_METADATA, NotServed, Repository, model_paths
from shipway.serving.openinference.routes import is_about, is_change, is_inference, is_predict

__all__ = ["Application", "create_app"]

_READ, _POST = (b"allow", b"GET, HEAD"), (b"allow", b"POST")
_BINARY = (b"content-type", b"application/octet-stream")
_LENGTH_HEADER = b"inference-header-content-length"
# Proxies of Envoy's family (Istio, Knative, KServe's gateways) say with it how long they wait.
_TIMEOUT_HEADER = b"x-envoy-expected-rq-timeout-ms"
_MOST_TIMEOUT_DIGITS = 12
# What Triton's clients always send; nothing depends on a model here.
_LOAD_PARAMETERS = {"unload_dependents"}

_PAGE = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
)
_METRICS = ((b"content-type", CONTENT_TYPE_LATEST.encode()),)
_TOLD = (HttpError, BadRequest, NotServed, Busy, TooLate, Unavailable)
_STATUS = {BadRequest: 400, NotFinite: 422, NotServed: 404, TooLate: 504}

logger = logging.getLogger(__name__)


class Application:
    """Answers for the models of a repository.

    Attributes:
        repository: What is served.
        inference: How.
        ready: Whether requests are wanted; :meth:`drain` says no.
        exposition: What ``/metrics`` shows.
        bodies: Their limits.
    """

    def __init__(
        self,
        repository: Repository,
        inference: Inference | None = None,
        *,
        most_body_bytes: int = 64 << 20,
        body_timeout_seconds: float = 30.0,
        most_pending_bytes: int = 512 << 20,
    ) -> None:
        """Takes the models.

        Args:
            repository: What is served.
            inference: How; by default without a cache, and with a minute's patience.
            most_body_bytes: Larger bodies are refused with 413.
            body_timeout_seconds: How long a body may take to come after its headers.
            most_pending_bytes: How much of bodies that are not complete yet is kept in memory.
        """
        self.repository, self.inference, self.ready = repository, inference or Inference(), True
        self.exposition = Exposition(repository.metrics.registry)
        self.bodies = Bodies(most_body_bytes, body_timeout_seconds, most_pending_bytes)

    def drain(self) -> None:
        """Says from now on that it is not ready; requests are still answered."""
        self.ready = False

    async def respond(self, request: Request) -> Reply:
        """Answers a request that is all there."""
        if request.refusal:
            return self._told(request.refusal)
        return await self._reply(request.method, request.path, request.headers, request.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request (ASGI 3)."""
        if scope["type"] != "http":
            return
        path, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"]
        try:
            status, body, headers = await self._reply(method, path, scope["headers"], None, receive)
        except (DisconnectedError, asyncio.CancelledError):
            return
        length, is_refusal = (b"content-length", b"%d" % len(body)), CLOSE in headers
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body if method != "HEAD" else b"", "more_body": is_refusal})
        if is_refusal:
            await self.bodies.forget(receive)
            await send({"type": "http.response.body", "body": b""})

    async def _reply(
        self, method: str, path: str, listed: list[Header], body: bytes | None, receive: Receive | None = None
    ) -> Reply:
        """Answers; a body that is not there yet is received."""
        headers = dict(listed)
        try:
            if len(headers) != len(listed):
                require_single(listed)
            if body is None and receive:
                body = await self.bodies.read(headers, receive)
            if method == "POST":
                return await self._post(path, headers, body or b"", receive)
            if method not in ("GET", "HEAD"):
                self._refuse_method(path)
            if path == "/metrics":
                return Reply(200, await self.exposition.text(), _METRICS)
            if path in ("/openapi.json", "/docs"):
                return self._documentation(path, headers)
            return self._get(path)
        except _TOLD as error:
            return self._told(error)
        except DisconnectedError:
            raise
        except Exception:
            logger.exception("%s %s failed", method, path)
            return json_reply({"error": "internal error; the server's log has the details"}, 500)

    def _told(self, error: Exception) -> Reply:
        reply = _told(error)
        if isinstance(error, HttpError | NotServed):  # no model has counted it
            self.repository.metrics.refused["http", reply.status] += 1
        return reply

    async def _post(self, path: str, headers: Mapping[bytes, bytes], body: bytes, receive: Receive | None) -> Reply:
        parts = path.split("/")
        if len(parts) == 4 and parts[1] == "v1" and parts[2] == "models" and ":" in parts[3]:
            name, _, verb = parts[3].rpartition(":")
            if verb != "predict":
                raise HttpError(501, f"this server predicts; it has no {verb or 'verb without a name'}")
            return await self._inferred(self.repository.model(name), "v1", body, headers, receive)
        if is_inference(parts):
            return await self._inferred(self.repository.model(*parts[3:-1:2]), "v2", body, headers, receive)
        if path == "/v2/repository/index":
            ready_only = _told_of_repository(body).get("ready", False)
            if type(ready_only) is not bool:
                raise HttpError(400, f"ready must be true or false, not {ready_only!r}")
            return json_reply(self.repository.index(ready_only=ready_only))
        if is_change(parts):
            return await self._changed(parts[4], parts[5], body)
        return self._refuse_method(path)

    def _refuse_method(self, path: str) -> NoReturn:
        if path not in ("/metrics", "/openapi.json", "/docs"):
            self._get(path)  # raises 404 where there is nothing, 405 what takes POST
        raise HttpError(405, f"{path} is only read", _READ)

    async def _inferred(
        self, model: ServedModel, protocol: str, body: bytes, headers: Mapping[bytes, bytes], receive: Receive | None
    ) -> Reply:
        header_length = headers.get(_LENGTH_HEADER)
        if protocol == "v1" or header_length is None:
            require_json(headers)
        codec = model.v1 if protocol == "v1" else model.v2
        length = None if header_length is None else header_length.decode("latin-1")
        timeout = _timeout_seconds(headers)
        answer = self.inference.answer(model, codec, body, length, timeout, headers)
        encoded, json_length = await (
            _unless_gone(answer, receive) if receive and not model.batcher.is_quick else answer
        )
        if json_length is None:
            return Reply(200, encoded, (JSON, model.digest_header))
        return Reply(200, encoded, (_BINARY, (_LENGTH_HEADER, b"%d" % json_length), model.digest_header))

    async def _changed(self, name: str, verb: str, body: bytes) -> Reply:
        if not self.repository.may_change:
            self.repository.require(name)
            raise HttpError(501, "this server's models are fixed; it was started without --allow-repository-changes")
        if unknown := sorted(set(_told_of_repository(body).get("parameters", ())) - _LOAD_PARAMETERS):
            raise HttpError(400, f"models are loaded as they lie there, without {', '.join(unknown)}")
        try:
            await (self.repository.load(name) if verb == "load" else self.repository.unload(name))
        except ShipwayError as error:
            raise HttpError(422, f"the model {name} was not loaded: {error}") from error
        return json_reply({"name": name, verb: True})

    def _get(self, path: str) -> Reply:
        if path in ("/", "/v2/health/live"):
            return json_reply({"live": True} if path != "/" else {"status": "alive"})
        if path == "/v2/health/ready":
            return json_reply({"ready": self.ready}, 200 if self.ready else 503)
        if path in ("/v2", "/v2/"):
            return json_reply(SERVER_METADATA)
        if path in ("/v1/models", "/v2/models"):
            return json_reply({"models": list(self.repository.models)})
        parts = path.split("/")
        if is_inference(parts) or is_change(parts) or path == "/v2/repository/index" or is_predict(parts):
            raise HttpError(405, f"{path} takes POST", _POST)
        if is_about(parts):
            return self._about(parts)
        raise HttpError(404, f"there is nothing at {path}")

    def _documentation(self, path: str, headers: Mapping[bytes, bytes]) -> Reply:
        document = openapi(documented(self.repository), self.repository.may_change)
        if path == "/openapi.json":
            return json_reply(document)
        url = f"http://{headers.get(b'host', b'localhost:8080').decode('latin-1')}"
        return Reply(200, page_of(document, url).encode(), _PAGE)

    def _about(self, parts: list[str]) -> Reply:
        ready = len(parts) in (5, 7)
        model = self.repository.model(*parts[3 : -1 if ready else None : 2])
        if parts[1] == "v1" or ready:
            status = 200 if self.ready else 503
            return json_reply({"name": model.name, "ready": self.ready}, status, model.digest_header)
        return json_reply(model.metadata, 200, model.digest_header)


def create_app(path: str | Path, name: str = "", **options: Any) -> Application:
    """Returns the application for a Model or Release directory, to be mounted in an ASGI application of one's own.

    >>> app.mount("/models", create_app("releases/flights/0123456789abcdef"))  # doctest: +SKIP

    Args:
        path: The directory, or one whose subdirectories are such.
        name: Of the only model in the URLs; empty takes its own.
        options: As :func:`.models.load_model` takes them.

    Raises:
        InputError: When there is no model, or its files are not those that it names.
        DeploymentError: When it does not answer as it did after training.
    """
    return Application(Repository(model_paths(path, name), lambda path, name: load_model(path, name, **options)))


def _told_of_repository(body: bytes) -> dict[str, Any]:
    """Returns what a request of the repository's extension says; it may be empty."""
    try:
        told = parsed(body) if body.strip() else {}
    except BadRequest as error:
        raise HttpError(400, str(error)) from None
    if not isinstance(told, dict) or not isinstance(told.get("parameters", {}), dict):
        raise HttpError(400, 'the body must be empty or a JSON object, its "parameters" too')
    return told


async def _unless_gone(answer: Coroutine[Any, Any, Encoded], receive: Receive) -> Encoded:
    """Awaits an answer, and gives up when the client does."""
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise DisconnectedError
    finally:
        answering.cancel()
        leaving.cancel()


def _timeout_seconds(headers: Mapping[bytes, bytes]) -> float | None:
    value = headers.get(_TIMEOUT_HEADER)
    if value is None:
        return None
    if not value.isdigit() or len(value) > _MOST_TIMEOUT_DIGITS:
        raise HttpError(400, f"{_TIMEOUT_HEADER.decode()} must be a number of milliseconds")
    return int(value) / 1000


def _told(error: Exception) -> Reply:
    if isinstance(error, HttpError):
        return error.reply
    if isinstance(error, Busy):
        return json_reply({"error": str(error)}, 429, (b"retry-after", b"%d" % error.retry_after_seconds))
    if isinstance(error, Unavailable):
        return json_reply({"error": str(error)}, 503, (b"retry-after", b"1"))
    return json_reply({"error": str(error)}, _STATUS[type(error)])
