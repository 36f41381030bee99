"""How commands reach the daemon: one client per command, closed when the command ends.

Owns the address option. Invariant: a command opens one connection and leaves none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from wheeld.client.channel import Caller, default_address, open_channel
from wheeld.client.client import Client

T = TypeVar("T")
Address = Annotated[
    str | None,
    Parameter(
        name=["--address", "-a"], help="The daemon's gRPC address. Default: WHEELD_ADDRESS, else 127.0.0.1:7733."
    ),
]
TIMEOUT_S = 5.0


def with_client(address: str | None, use: Callable[[Client], Awaitable[T]]) -> T:
    """Run `use` with a client."""

    async def call() -> T:
        async with Client(address, timeout=TIMEOUT_S) as client:
            return await use(client)

    return asyncio.run(call())


def list_queues(address: str | None) -> list[Any]:
    """All queues, as messages, page by page."""

    async def call() -> list[Any]:
        from wheeld.wire.pb.v1 import queue_service_pb2 as pb
        from wheeld.wire.pb.v1.queue_service_pb2_grpc import QueueServiceStub

        place = address or default_address()
        caller, channel = Caller(place, TIMEOUT_S), open_channel(place)
        found: list[Any] = []
        token = ""
        try:
            stub: Any = QueueServiceStub(channel)
            while True:
                request = pb.ListQueuesRequest(namespace="-", page_size=1000, page_token=token)
                page = await caller.call(stub.ListQueues, request)
                found += page.queues
                token = page.next_page_token
                if not token:
                    return found
        finally:
            channel.close()

    return asyncio.run(call())
