"""What a running handler knows about its attempt.

Owns: the context of the current task or thread. Written by the worker, read by handlers. Invariant: `cancelled` is
only ever set, never cleared.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol


class CancelEvent:
    """Set once, when the attempt must stop. Threads use `wait`, coroutines `wait_async`; both may ask `is_set`."""

    __slots__ = ("_event", "_lock", "_set", "_wakers")

    def __init__(self) -> None:
        self._set = False
        self._lock = threading.Lock()
        self._event: threading.Event | None = None
        self._wakers: list[Callable[[], Any]] = []

    def is_set(self) -> bool:
        """Whether the attempt must stop."""
        return self._set

    def set(self) -> None:
        """The worker's: wake all who wait."""
        with self._lock:
            self._set = True
            event = self._event
            wakers, self._wakers = self._wakers, []
        if event is not None:
            event.set()
        for wake in wakers:
            wake()

    def wait(self, seconds: float | None = None) -> bool:
        """Block this thread until it is set; False when the time ran out."""
        with self._lock:
            if self._set:
                return True
            # Made for those who wait: few do, and it costs more than the rest of a context.
            event = self._event = self._event or threading.Event()
        return event.wait(seconds)

    async def wait_async(self) -> None:
        """Return when it is set."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()

        def finish() -> None:
            if not waiter.done():
                waiter.set_result(None)

        def wake() -> None:
            loop.call_soon_threadsafe(finish)

        with self._lock:
            if self._set:
                return
            self._wakers.append(wake)
        await waiter


@dataclass(slots=True, kw_only=True)
class Context:
    """One attempt at a job. `lease_token` and `fencing_token` change when the daemon grants the lease anew."""

    job_id: str
    type: str
    queue: str
    namespace: str
    attempt: int
    max_attempts: int
    priority: int
    labels: dict[str, str]
    trace_context: str
    schedule_time_ms: int
    fire_time_us: int
    receive_time_us: int
    lease_token: bytes
    fencing_token: int
    lease_ends_s: float
    redelivery: bool
    cancelled: CancelEvent = field(default_factory=CancelEvent)

    @property
    def schedule_time(self) -> datetime:
        """When this attempt was due, in UTC."""
        return datetime.fromtimestamp(self.schedule_time_ms / 1000, UTC)

    @property
    def fire_time(self) -> datetime:
        """When the daemon let the job go, by its clock, in UTC."""
        return datetime.fromtimestamp(self.fire_time_us / 1e6, UTC)

    @property
    def skew_ms(self) -> float:
        """How late it fired: from when it was due until the daemon let it go."""
        return self.fire_time_us / 1000 - self.schedule_time_ms

    @property
    def lease_s(self) -> float:
        """Seconds until the lease ends; the worker renews it by itself. Negative = it may be lost."""
        return self.lease_ends_s - time.monotonic()


class Attempt(Protocol):
    """Who can tell the context of an attempt; it is made when somebody asks for it."""

    @property
    def context(self) -> Context:
        """The same one each time."""


_CURRENT: Final[contextvars.ContextVar[Attempt]] = contextvars.ContextVar("wheeld_context")


def current_context() -> Context:
    """The context of the handler that calls this, at any depth. LookupError outside of a handler."""
    return _CURRENT.get().context


def enter_context(attempt: Attempt) -> contextvars.Token[Attempt]:
    """The worker's: make its context the current one of this task or thread."""
    return _CURRENT.set(attempt)
