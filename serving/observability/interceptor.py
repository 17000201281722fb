"""Around the gRPC server's calls: gives each its context, and tells its end to the access log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from shipway.serving.observability.access import Access, AccessLog
from shipway.serving.observability.trace import CURRENT, context_of

__all__ = ["ObservedCalls"]

_CANCELLED = grpc.StatusCode.CANCELLED.value[0]


class ObservedCalls(grpc.aio.ServerInterceptor):
    """Observes calls of serialized messages. Those of methods that there are not pass by."""

    def __init__(self, access: AccessLog | None) -> None:
        """Takes where access lines go, if anywhere."""
        self._access = access

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Returns a handler that observes the one that there is."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method, call = handler_call_details.method, handler.unary_unary

        async def observed(body: bytes, servicer: Any) -> Any:
            came, started = time.time(), time.perf_counter()
            metadata = servicer.invocation_metadata() or ()
            context = context_of((key.encode(), _bytes(value)) for key, value in metadata)
            CURRENT.set(context)
            servicer.set_trailing_metadata([(key.decode(), value.decode()) for key, value in context.reply_headers])
            status, answer = _CANCELLED, b""
            try:
                answer = await call(body, servicer)
                status = 0
            except grpc.aio.AbortError:
                status = _number(servicer.code())
                raise
            finally:
                if self._access:
                    seconds, client = time.perf_counter() - started, servicer.peer()
                    sizes = len(body), len(answer)
                    self._access.feed.offer(
                        Access(came, seconds, "POST", method, client, "grpc", status, *sizes, context)
                    )
            return answer

        return grpc.unary_unary_rpc_method_handler(observed, handler.request_deserializer, handler.response_serializer)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _number(code: grpc.StatusCode | int) -> int:
    return code if isinstance(code, int) else int(code.value[0])
