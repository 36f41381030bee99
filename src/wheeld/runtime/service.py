"""The start/stop contract that every long-lived part of the daemon keeps.

Owns the states and their order; a subclass says what starting and stopping mean. Invariants: a service lives once (new,
starting, started, stopping, stopped); `start` and `stop` may be called any number of times, by anyone, in any order and
at once; `on_start` runs at most once; `on_stop` runs exactly once if `start` was ever called, and never beside
`on_start`.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterable


class ServiceState(enum.Enum):
    """Where a service is in its one life."""

    NEW = "new"
    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ServiceStoppedError(Exception):
    """The service was stopped before it had started, or is asked to start again."""


class Service:
    """See the module. `on_stop` must bear an `on_start` that failed, or was cancelled anywhere or before it ran."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = ServiceState.NEW
        self._start_task: asyncio.Task[None] | None = None
        self._stop_task: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    async def on_start(self) -> None:
        """Bring the service up; an exception stops it and reaches whoever starts it."""

    async def on_stop(self) -> None:
        """Bring the service down and let go of all that `on_start` took."""

    async def start(self) -> None:
        """Return when the service is up. A cancelled caller does not cancel it for the others; stop() does."""
        if self.state in (ServiceState.STOPPING, ServiceState.STOPPED):
            raise ServiceStoppedError(f"{self.name} was stopped")
        if self._start_task is None:
            self.state = ServiceState.STARTING
            self._start_task = asyncio.create_task(self._run_start(), name=f"start {self.name}")
        task = self._start_task
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise ServiceStoppedError(f"{self.name} was stopped while it started") from None
            raise
        if self.state is not ServiceState.STARTED:
            raise ServiceStoppedError(f"{self.name} was stopped while it started")

    async def stop(self) -> None:
        """Return when the service is down; a start under way is cancelled. A cancelled caller does not end it."""
        if self._stop_task is None:
            entered = self._start_task is not None
            self.state = ServiceState.STOPPING
            self._stop_task = asyncio.create_task(self._run_stop(entered), name=f"stop {self.name}")
        await asyncio.shield(self._stop_task)

    async def wait_stopped(self) -> None:
        """Return when the service is down, whoever stopped it."""
        await self._stopped.wait()

    async def _run_start(self) -> None:
        try:
            await self.on_start()
        except Exception:
            # Not awaited: the stop waits for this task.
            if self._stop_task is None:
                self.state = ServiceState.STOPPING
                self._stop_task = asyncio.create_task(self._run_stop(True), name=f"stop {self.name}")
            raise
        if self.state is ServiceState.STARTING:
            self.state = ServiceState.STARTED

    async def _run_stop(self, entered: bool) -> None:
        try:
            if self._start_task is not None:
                if not self._start_task.done():
                    self._start_task.cancel()
                await asyncio.wait([self._start_task])
                if not self._start_task.cancelled():
                    self._start_task.exception()  # its starters have it; here it only must not count as unseen
            if entered:
                await self.on_stop()
        finally:
            self.state = ServiceState.STOPPED
            self._stopped.set()


class ServiceGroup(Service):
    """Services that start in order and stop in reverse; one that fails to stop does not keep the rest up."""

    def __init__(self, name: str, services: Iterable[Service]) -> None:
        super().__init__(name)
        self._services = list(services)

    async def on_start(self) -> None:
        """See Service."""
        for service in self._services:
            await service.start()

    async def on_stop(self) -> None:
        """See Service."""
        failures: list[Exception] = []
        for service in reversed(self._services):
            try:
                await service.stop()
            except Exception as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup(f"{self.name}: services failed to stop", failures)
