"""Group commit: what the core decided, made durable, and who waits for it.

Owns: which groups are under way, the callers that wait for them, and the count of journal bytes that the store has not
yet folded. Does not own: the entries (the core writes them) nor the disk (the journal's thread does). Invariant: a
waiter is released only when its group and all before it are durable. One group is under way while little waits, two
when the open one is full, so that a group is what arrived during the last sync.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from wheeld.core.api import Core
from wheeld.model import limits


class GroupSink(Protocol):
    """The part of the journal that this module needs."""

    def append(self, number: int, payload: bytes | memoryview, time_ms: int) -> None:
        """Queue a group for the writer thread."""


class Groups:
    """See the module. All methods run on the event loop."""

    def __init__(self, core: Core, sink: GroupSink, durable: int) -> None:
        self._core = core
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._room: deque[asyncio.Future[None]] = deque()
        self._retained: deque[tuple[int, int]] = deque()
        self._sealed: deque[tuple[int, bytes | memoryview]] = deque()
        self._sealed_bytes = 0
        self._opened_s: float | None = None
        self._began: deque[tuple[int, float]] = deque()
        self._in_flight = 0
        self.durable = durable
        self.retained_bytes = 0
        self.written = 0
        self.on_wait: Callable[[float, float], None] = lambda now_s, wait_s: None
        """Told of each durable group: the loop's time, and how long ago its first decision was made."""
        self.longest_wait_s = 0.0
        """Of these; with the longest sync and the longest lag of the loop it tells who held a job up."""

    def flush(self, now_ms: int) -> None:
        """Hand the next groups to the journal, unless enough is under way."""
        self.seal()
        while self._in_flight < limits.GROUPS_IN_FLIGHT_MAX:
            if not self._sealed:
                if self._in_flight and self._core.open_group_bytes() < limits.GROUP_BYTES_SOFT:
                    break
                if not self._take():
                    break
            number, payload = self._sealed.popleft()
            self._sealed_bytes -= len(payload)
            self._sink.append(number, payload, now_ms)
            self._in_flight += 1
            self.written += 1
        self._admit()

    def seal(self) -> None:
        """Close the open group once it is large; called after each decision that may be. While the disk is slow or full
        the open group takes all that workers settle, and it must not outgrow a segment of the journal."""
        size = self._core.open_group_bytes()
        if size and self._opened_s is None:
            self._opened_s = self._loop.time()
        if size >= limits.GROUP_BYTES_SEALED:
            self._take()

    def _take(self) -> bool:
        """The open group waits for the journal from now on; False when it is empty."""
        taken = self._core.take_group()
        if taken is None:
            return False
        size = len(taken[1])
        self._began.append((taken[0], self._opened_s if self._opened_s is not None else self._loop.time()))
        self._opened_s = None
        self._sealed.append(taken)
        self._sealed_bytes += size
        self._retained.append((taken[0], size))
        self.retained_bytes += size
        return True

    def _staged_bytes(self) -> int:
        return self._sealed_bytes + self._core.open_group_bytes()

    def on_durable(self, number: int) -> None:
        """The journal's word, already on the loop. Groups become durable in order."""
        self._in_flight -= number - self.durable
        self.durable = number
        now_s = self._loop.time()
        while self._began and self._began[0][0] <= number:
            wait_s = now_s - self._began.popleft()[1]
            self.longest_wait_s = max(self.longest_wait_s, wait_s)
            self.on_wait(now_s, wait_s)
        waiters = self._waiters
        while waiters and waiters[0][0] <= number:
            _, waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def on_folded(self, position: int) -> None:
        """The store holds everything up to `position`."""
        while self._retained and self._retained[0][0] <= position:
            self.retained_bytes -= self._retained.popleft()[1]

    async def wait(self, group: int) -> None:
        """Return once `group` is durable. Groups are waited for in the order in which they were named, which hardly
        ever decreases: one that is named late waits for those before it in the line as well."""
        if group > self.durable:
            waiter = self._loop.create_future()
            self._waiters.append((group, waiter))
            await waiter

    async def room(self) -> None:
        """Return when the open group has room for another batch of submits; callers pass in the order in which they
        came."""
        if not self._room and self._staged_bytes() < limits.STAGED_BYTES_MAX:
            return
        waiter = self._loop.create_future()
        self._room.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._admit()
            raise

    def _admit(self) -> None:
        """Let the first of those who wait for room pass; its submit brings the next beat, which admits the next."""
        while self._room and self._staged_bytes() < limits.STAGED_BYTES_MAX:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break


def threadsafe(loop: asyncio.AbstractEventLoop, function: Callable[[int], None]) -> Callable[[int], None]:
    """Run `function` on the loop when called from another thread; silent once the loop is closed."""

    def call(value: int) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(function, value)

    return call
