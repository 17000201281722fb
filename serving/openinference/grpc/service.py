"""What the calls of the protocol do."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from shipway.components.common.errors import ShipwayError
from shipway.serving.engines.engine import Unavailable
from shipway.serving.openinference.batching import Busy, TooLate
from shipway.serving.openinference.door import BadRequest, NotFinite
from shipway.serving.openinference.grpc.messages import REQUESTS, RESPONSES, SERVICE, ModelReadyRequest
from shipway.serving.openinference.inference import Inference
from shipway.serving.openinference.repository import SERVER_METADATA, NotServed, Repository

__all__ = ["InferenceService"]

# A status travels in the headers, of which a client takes 8 KiB; a character may need 12 bytes there.
_MOST_DETAILS = 500

_Call = Callable[[bytes, Any], Awaitable[bytes]]
_Fields = dict[str, Any]


class _Malformed(Exception):
    """A message that is none, or asks for what there cannot be."""


class _Refused(Exception):
    """The repository stays as it is."""


# Of each error its status, and its code over REST, by which the metrics count it.
_CODES: Mapping[type[Exception], tuple[grpc.StatusCode, int]] = {
    BadRequest: (grpc.StatusCode.INVALID_ARGUMENT, 400),
    NotFinite: (grpc.StatusCode.INVALID_ARGUMENT, 422),
    _Malformed: (grpc.StatusCode.INVALID_ARGUMENT, 400),
    NotServed: (grpc.StatusCode.NOT_FOUND, 404),
    _Refused: (grpc.StatusCode.FAILED_PRECONDITION, 422),
    Busy: (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    Unavailable: (grpc.StatusCode.UNAVAILABLE, 503),
    TooLate: (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
}
_TOLD = tuple(_CODES)

logger = logging.getLogger(__name__)


class InferenceService(grpc.GenericRpcHandler):
    """Answers the calls; takes and returns serialized messages, so that a request is parsed where it is decoded."""

    def __init__(self, repository: Repository, inference: Inference, is_ready: Callable[[], bool]) -> None:
        """Takes what is served, how, and who knows whether requests are wanted."""
        self._repository, self._inference, self._is_ready = repository, inference, is_ready
        others: Mapping[str, Callable[[Any], Awaitable[_Fields]]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._repository_model_load,
            "RepositoryModelUnload": self._repository_model_unload,
        }
        calls = {name: _serialized(name, call) for name, call in others.items()} | {"ModelInfer": self._model_infer}
        self._handlers = {
            f"/{SERVICE}/{name}": grpc.unary_unary_rpc_method_handler(self._telling(call))
            for name, call in calls.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Returns who answers a call; None for one that there is not."""
        return self._handlers.get(handler_call_details.method)

    def _telling(self, call: _Call) -> Callable[..., Any]:
        """Returns a call that ends with a status where ``call`` raises."""

        async def told(body: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            trailing: tuple[tuple[str, str], ...] = ()
            try:
                return await call(body, context)
            except _TOLD as error:
                status, code, details = *_CODES[type(error)], str(error)[:_MOST_DETAILS]
                if isinstance(error, _Malformed | NotServed | _Refused):  # no model has counted it
                    self._repository.metrics.refused["grpc", code] += 1
                if isinstance(error, Busy):
                    trailing = (("retry-after", str(error.retry_after_seconds)),)
            except Exception:
                logger.exception("a call failed")
                status, details = grpc.StatusCode.INTERNAL, "internal error; the server's log has the details"
            return bytes(await context.abort(status, details, trailing))  # it raises

        return told

    async def _model_infer(self, body: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        address = _parsed(ModelReadyRequest, body)  # its fields are the first of a ModelInferRequest
        model = self._repository.model(address.name, address.version)
        headers = _headers(context) if self._inference.watchers else None
        seconds = context.time_remaining()
        encoded, _ = await self._inference.answer(model, model.grpc, body, None, seconds, headers)
        return encoded

    async def _server_live(self, _: Any) -> _Fields:
        return {"live": True}

    async def _server_ready(self, _: Any) -> _Fields:
        return {"ready": self._is_ready()}

    async def _model_ready(self, request: Any) -> _Fields:
        self._repository.model(request.name, request.version)
        return {"ready": self._is_ready()}

    async def _server_metadata(self, _: Any) -> _Fields:
        return dict(SERVER_METADATA)

    async def _model_metadata(self, request: Any) -> _Fields:
        return self._repository.model(request.name, request.version).metadata

    async def _repository_index(self, request: Any) -> _Fields:
        if request.repository_name:
            raise _Malformed(f"there is no repository {request.repository_name!r}; leave the name out")
        return {"models": self._repository.index(ready_only=request.ready)}

    async def _repository_model_load(self, request: Any) -> _Fields:
        self._require_changeable(request.model_name)
        try:
            await self._repository.load(request.model_name)
        except ShipwayError as error:
            raise _Refused(f"the model {request.model_name} was not loaded: {error}") from error
        return {"model_name": request.model_name, "isLoaded": True}

    async def _repository_model_unload(self, request: Any) -> _Fields:
        self._require_changeable(request.model_name)
        await self._repository.unload(request.model_name)
        return {"model_name": request.model_name, "isUnloaded": True}

    def _require_changeable(self, name: str) -> None:
        self._repository.require(name)
        if not self._repository.may_change:
            raise _Refused("this server's models are fixed; it was started without --allow-repository-changes")


def _serialized(name: str, call: Callable[[Any], Awaitable[_Fields]]) -> _Call:
    """Returns a call on serialized messages, made from one on a request and the fields of its answer."""

    async def serialized(body: bytes, _: Any) -> bytes:
        fields = await call(_parsed(REQUESTS[name], body))
        return bytes(RESPONSES[name](**fields).SerializeToString())

    return serialized


def _parsed(message: Any, body: bytes) -> Any:
    try:
        return message.FromString(body)
    except DecodeError:
        raise _Malformed(
            "malformed request: it is no message of this call, or holds strings that are no UTF-8"
        ) from None


def _headers(context: grpc.aio.ServicerContext[Any, Any]) -> dict[bytes, bytes]:
    """Returns the call's metadata as the headers that they came as."""
    metadata = context.invocation_metadata() or ()
    return {key.encode(): value if isinstance(value, bytes) else value.encode() for key, value in metadata}
