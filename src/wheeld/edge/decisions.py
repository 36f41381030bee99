"""Calls of the driver that decide something, shielded from whoever asked for them.

Owns the tasks that run them. Invariant: once begun, a decision runs to its end, even when the caller's RPC is
cancelled; its outcome is then dropped, but what it did stands and is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from wheeld.model.errors import WheeldError
from wheeld.runtime.logs import get_logger

T = TypeVar("T")


class Decisions:
    """See the module."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it on its own; the caller may wait for the task through `asyncio.shield`, or watch it."""
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        self._idle.clear()
        task.add_done_callback(self._on_done)
        return task

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it and return its result; a cancelled caller leaves, the decision goes on."""
        return await asyncio.shield(self.begin(coroutine))

    async def wait_idle(self) -> None:
        """Return when none is running."""
        await self._idle.wait()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not self._running:
            self._idle.set()
        if task.cancelled():
            return
        # Asking for the exception also marks it as seen: the caller may be gone.
        error = task.exception()
        if error is not None and not isinstance(error, WheeldError):
            get_logger("edge").error("decision failed", error=repr(error))
