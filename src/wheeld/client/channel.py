"""The gRPC channel of the SDK, and how a coroutine waits for a call on it.

Owns: address, channel options, the bridge from gRPC's threads to a loop, the retry of calls. The SDK uses gRPC's
thread-based API, not grpc.aio: aio wants one event loop per process and would fight with a program's own; here any
loop may wait for a call, and the lease stream of a worker lives apart from every loop. Invariant: the bytes of a call
are the same in each of its tries.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from wheeld.client.failures import Backoff, Unreachable, failure_of, unanswered
from wheeld.client.lane import Lane
from wheeld.model import limits

if TYPE_CHECKING:
    import grpc

DEFAULT_ADDRESS: Final = "127.0.0.1:7733"
TRY_S_MAX: Final = 10.0
"""One try waits at most this long for its answer; then the call is tried again."""


def default_address() -> str:
    """WHEELD_ADDRESS, or the daemon's default on this machine."""
    return os.environ.get("WHEELD_ADDRESS") or DEFAULT_ADDRESS


def open_channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """A channel that connects when it is first used and comes back by itself."""
    import grpc

    options = [
        # Retries are ours: they know which calls may be sent again, and with what.
        ("grpc.enable_retries", 0),
        ("grpc.max_send_message_length", 2 * limits.MESSAGE_BYTES_MAX),
        ("grpc.max_receive_message_length", 16 * limits.MESSAGE_BYTES_MAX),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Each channel with a connection of its own: a worker's stream must not queue behind a producer's bytes.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if credentials is not None:
        return grpc.secure_channel(address, credentials, options)
    return grpc.insecure_channel(address, options)


async def answer_of(call: Any) -> Any:
    """The response of a call that was begun with `.future`. Cancelling the waiter cancels the call."""
    loop = asyncio.get_running_loop()
    answered = loop.create_future()

    def wake() -> None:
        if not answered.done():
            answered.set_result(None)

    def on_done(_: Any) -> None:
        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:
            # The loop was closed; nobody waits any more.
            pass

    call.add_done_callback(on_done)
    try:
        await answered
    except asyncio.CancelledError:
        call.cancel()
        raise
    return call.result()


class Caller:
    """Sends one request until it is answered, refused for good, or out of time."""

    def __init__(self, address: str, timeout_s: float, on_retry: Callable[[], None] = lambda: None) -> None:
        self._address, self._timeout_s, self._on_retry = address, timeout_s, on_retry
        self._lane = Lane()

    async def _once(self, method: Any, request: Any, timeout_s: float) -> Any:
        if self._lane.claim():
            return await self._lane.run(partial(method, request, timeout=timeout_s))
        return await answer_of(method.future(request, timeout=timeout_s))

    async def call(self, method: Any, request: Any, timeout_s: float | None = None) -> Any:
        """The response; raises WheeldError. Only for calls that may be sent again."""
        import grpc

        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        backoff, lost = Backoff(), False
        while True:
            left_s = deadline - time.monotonic()
            try:
                return await self._once(method, request, max(0.0, min(left_s, TRY_S_MAX)))
            except grpc.RpcError as rpc_error:
                failure = failure_of(rpc_error, self._address)
            lost = lost or isinstance(failure.error, Unreachable)
            wait_s = max(failure.delay_s, backoff.next_s())
            if not failure.retry:
                raise failure.error
            if time.monotonic() + wait_s >= deadline:
                raise unanswered(self._address, failure.error) if lost else failure.error
            self._on_retry()
            await asyncio.sleep(wait_s)
