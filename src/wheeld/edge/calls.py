"""How a method is registered: with or without (de)serialisers, counted, its errors turned into statuses.

Owns the wrapping. Invariant: each call is counted once, with the code that its client sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from wheeld.edge.failure import abort, as_wheeld_error
from wheeld.metrics.calls import CallCounts

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Calls:
    """Makes the method handlers of one service."""

    def __init__(self, service: str, counts: CallCounts) -> None:
        self.service = service
        self._counts = counts
        self._handlers: dict[str, Handler] = {}

    def hot(self, method: str, function: Callable[[bytes], Awaitable[bytes]]) -> None:
        """A unary method from bytes to bytes."""
        self._handlers[method] = grpc.unary_unary_rpc_method_handler(self._unary(method, function))

    def cold(self, method: str, request: Any, function: Callable[[Any], Awaitable[Any]]) -> None:
        """A unary method from message to message."""
        self._handlers[method] = grpc.unary_unary_rpc_method_handler(
            self._unary(method, function),
            request_deserializer=request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def stream(self, method: str, serve: Callable[[Any], Awaitable[None]]) -> None:
        """A method of streamed bytes in both directions; `serve` gets the context."""

        async def handle(_requests: Any, context: Any) -> None:
            await self._counted(method, context, begin(context))

        async def begin(context: Any) -> None:
            # An abort sends the metadata when nobody has; beside a first write that is under way, gRPC refuses it.
            await context.send_initial_metadata(())
            await serve(context)

        self._handlers[method] = grpc.stream_stream_rpc_method_handler(handle)

    def handler(self) -> grpc.GenericRpcHandler:
        """What the server registers."""
        return grpc.method_handlers_generic_handler(self.service, self._handlers)

    def _unary(self, method: str, function: Callable[[Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def handle(request: Any, context: Any) -> Any:
            return await self._counted(method, context, function(request))

        return handle

    async def _counted(self, method: str, context: Any, call: Awaitable[Any]) -> Any:
        self._counts.enter()
        code = "INTERNAL"
        try:
            try:
                answer = await call
                code = "OK"
                return answer
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except Exception as error:
                failure = as_wheeld_error(error, method)
                code = failure.kind.status
                return await abort(context, failure)
        finally:
            self._counts.leave(self.service, method, code)
