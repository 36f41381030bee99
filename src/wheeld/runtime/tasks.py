"""Tasks that cannot die unseen.

Owns every task it spawned until that task ends. Invariant: an exception in any of them reaches `on_crash`, which stops
the node; so does the end of a task that was meant to run for as long as the node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class TaskEndedError(Exception):
    """A task that should have run for ever has returned."""


class TaskSupervisor:
    """Spawns tasks and watches them. `on_crash` gets the task's name and the error, on the loop, once per crash."""

    def __init__(self, on_crash: Callable[[str, BaseException], None]) -> None:
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[None]] = set()
        self._for_ever: set[asyncio.Task[None]] = set()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str, *, for_ever: bool = False) -> asyncio.Task[None]:
        """Run a coroutine; its owner may cancel the task, which counts as a proper end."""
        if self._stopping:
            coroutine.close()
            raise RuntimeError(f"task {name} was spawned after the supervisor had stopped")
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        if for_ever:
            self._for_ever.add(task)
        task.add_done_callback(self._on_done)
        return task

    def report(self, part: str, error: BaseException) -> None:
        """A crash of something that is no task but must stop the node all the same."""
        self._on_crash(part, error)

    async def stop(self) -> None:
        """Cancel all tasks and wait for their end; harmless when repeated. Crashes on the way down are reported."""
        self._stopping = True
        while others := self._tasks - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        for_ever = task in self._for_ever
        self._for_ever.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._on_crash(task.get_name(), error)
        elif for_ever and not self._stopping:
            self._on_crash(
                task.get_name(), TaskEndedError(f"task {task.get_name()} ended though it should run for ever")
            )
