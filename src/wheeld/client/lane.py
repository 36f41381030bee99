"""A standing thread for calls that come alone.

gRPC's `.future` starts a thread for a call when no other is under way, which costs about as much as the call itself; a
program that awaits one submit after another would pay it each time. Owns one daemon thread, which ends when it has had
nothing to do for a while. Invariant: it makes one call at a time; a caller that finds it busy goes another way.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

IDLE_S_MAX: Final = 5.0


class _Task(NamedTuple):
    call: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answered: asyncio.Future[Any]


class Lane:
    """Used from any event loop: `claim` it, then `run` exactly one call."""

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._alive = False

    def claim(self) -> bool:
        """Whether the caller has it for one call."""
        return self._free.acquire(blocking=False)

    async def run(self, call: Callable[[], Any]) -> Any:
        """What the blocking call returns or raises. A cancelled waiter leaves; the call goes on to its end."""
        loop = asyncio.get_running_loop()
        task = _Task(call, loop, loop.create_future())
        if not self._alive:
            self._alive = True
            threading.Thread(target=self._serve, name="wheeld call", daemon=True).start()
        self._tasks.put(task)
        return await task.answered

    def _serve(self) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=IDLE_S_MAX)
            except queue.Empty:
                if self._free.acquire(blocking=False):
                    self._alive = False
                    self._free.release()
                    return
                continue
            self._make(task)

    def _make(self, task: _Task) -> None:
        answer, error = None, None
        try:
            answer = task.call()
        except Exception as failure:
            error = failure
        self._free.release()
        try:
            task.loop.call_soon_threadsafe(_hand_over, task.answered, answer, error)
        except RuntimeError:
            # The loop was closed; nobody waits any more.
            pass


def _hand_over(answered: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    if answered.done():
        return
    if error is not None:
        answered.set_exception(error)
    else:
        answered.set_result(answer)
