"""The simulated machine: disks that survive, a node that starts and dies, a clock that is stepped, and calls that may
never return.

Owns the lives of the node. Invariant: what belonged to a dead life touches neither the disks nor a worker any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tests.sim.book import Book, BrokenPromise
from tests.sim.journal import MemoryJournal
from tests.sim.loop import SimLoop
from tests.sim.plan import Plan
from tests.sim.store import MemoryStore
from wheeld.coordination.local import LocalCoordinator
from wheeld.core.api import LEASES, CoreConfig
from wheeld.driver.checkpoints import Room
from wheeld.driver.driver import NodeDriver, Parts
from wheeld.runtime.tasks import TaskSupervisor

T = TypeVar("T")
STORE_UUID = b"simulated store."
TRACE_LINES_MAX = 200_000


class NodeDownError(Exception):
    """The call's fate is unknown: the node was down, died, or the caller lost patience."""


class SimDeadline:
    """See wheeld.driver.pump.Deadline."""

    def __init__(self, loop: SimLoop, callback: Callable[[bool], None]) -> None:
        self._loop, self._callback = loop, callback
        self._handle: asyncio.Handle | None = None
        self._deadline_ms: int | None = None
        self.closed = False

    def arm(self, deadline_ms: int) -> None:
        if self.closed or deadline_ms == self._deadline_ms:
            return
        self._deadline_ms = deadline_ms
        self._place()

    def _place(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._deadline_ms is not None:
            wait_us = max(self._deadline_ms * 1000 - self._loop.clock.wall_us(), 0)
            self._handle = self._loop.call_at((self._loop.boot_us + wait_us) / 1e6, self._fire)

    def _fire(self) -> None:
        self._deadline_ms = None
        if not self.closed:
            self._callback(False)

    def stepped(self) -> None:
        """The wall clock was set."""
        self._place()
        self._loop.call_soon(lambda: None if self.closed else self._callback(True))

    def close(self) -> None:
        self.closed = True
        if self._handle is not None:
            self._handle.cancel()


class Life:
    """One life of the node, from its start to its death."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.journal = world.journal.open(self._on_durable)
        self.store = world.store.open()
        self.tasks = TaskSupervisor(self._on_crash)
        self.deadlines: list[SimDeadline] = []
        self.calls: dict[asyncio.Task[Any], None] = {}
        self.background: dict[asyncio.Task[Any], None] = {}
        self.serving = self.dead = False
        self.driver = NodeDriver(
            Parts(
                config=world.config,
                open_core=world.open_core,
                journal=self.journal,
                store=self.store,
                clock=world.clock,
                open_deadline=self._open_deadline,
                tasks=self.tasks,
                room=Room(lambda: 0 if world.disk_full else 1 << 50),
                coordinator=LocalCoordinator(),
            )
        )

    def _on_durable(self, number: int) -> None:
        self.driver.on_durable(number)

    def _open_deadline(self, callback: Callable[[bool], None]) -> SimDeadline:
        self.deadlines.append(SimDeadline(self.world.loop, callback))
        return self.deadlines[-1]

    def _on_crash(self, name: str, error: BaseException) -> None:
        self.world.fail(RuntimeError(f"task {name} died: {error!r}"), error)

    async def start(self) -> None:
        before = dict.fromkeys(asyncio.all_tasks())
        await self.driver.start()
        self.background = {
            task: None
            for task in sorted(asyncio.all_tasks() - set(before), key=asyncio.Task.get_name)
            if task in self.tasks._tasks
        }
        self.serving = not self.dead

    def kill(self) -> None:
        """Power off."""
        self.dead, self.serving = True, False
        self.journal.crash()
        self.store.dead = True
        for deadline in self.deadlines:
            deadline.close()
        for task in [*self.calls, *self.background]:
            task.cancel()


class World:
    """See the module."""

    def __init__(self, seed: int, plan: Plan, open_core: Callable[..., Any], loop: SimLoop) -> None:
        self.seed, self.plan, self.open_core, self.loop, self.clock = seed, plan, open_core, loop, loop.clock
        self.journal = MemoryJournal(self.chance("journal"))
        self.book = Book(self.clock, self.journal)
        self.config = CoreConfig(
            STORE_UUID,
            shards=plan.shards,
            bucket_width_ms=plan.bucket_width_ms,
            resident_bytes_max=plan.resident_bytes_max,
            recent_keys_max=plan.recent_keys_max,
            departed_max=plan.departed_max,
        )
        self.store = MemoryStore(self.journal, self.chance("store"), plan.shards, plan.bucket_width_ms)
        self.life: Life | None = None
        self.lives = 0
        self.calm = self.over = self.disk_full = False
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()
        self.death = asyncio.Event()
        self.totals: dict[str, int] = {}
        self._hash = hashlib.sha256()
        self.lines: list[str] = []

    def chance(self, name: str) -> random.Random:
        """A source of chance of its own for each part, so that one part's draws do not move another's."""
        return random.Random(f"{self.seed} {name}")

    def trace(self, line: str) -> None:
        """Write down what happened."""
        text = f"{self.loop.boot_us} {line}"
        self._hash.update(text.encode())
        if len(self.lines) < TRACE_LINES_MAX:
            self.lines.append(text)

    @property
    def trace_hash(self) -> str:
        return self._hash.hexdigest()

    def fail(self, error: BaseException, cause: BaseException | None = None) -> None:
        """The run is lost; the first error counts."""
        if self.failure is None:
            error.__cause__ = error.__cause__ or cause
            self.failure = error
            self.trace(f"FAILED {error!r}")
        self.failed.set()

    # -- lives -----------------------------------------------------------------------
    async def boot(self) -> None:
        """Start the node over its disks."""
        assert self.life is None
        self.lives += 1
        life = self.life = Life(self, self.lives)
        self.death = asyncio.Event()
        self.trace(f"boot {self.lives} at group {self.journal.last_group}")
        starting = asyncio.ensure_future(life.start())
        life.calls[starting] = None
        try:
            await starting
        except asyncio.CancelledError:
            if not life.dead:
                raise
        self.trace(f"serving {self.lives}")

    def crash(self) -> None:
        """Kill the node, whatever it is doing."""
        life, self.life = self.life, None
        if life is None:
            return
        self.trace(f"crash {life.number}")
        self.book.counts["crashes"] += 1
        self.add_totals(life)
        life.kill()
        for queue in self.book.paused:
            if self.book.paused[queue] is None:
                self.book.paused.pop(queue)
                break
        self.death.set()

    def add_totals(self, life: Life) -> None:
        """Keep the counters of a life that ends."""
        if not hasattr(life.driver, "checkpoints"):
            return
        counters = life.driver.core.counters()
        for name in (
            "spilled",
            "loaded",
            "load_skipped",
            "taken_back",
            "lease_expirations",
            "expired",
            "failed",
            "renewed",
            "duplicates",
            "stale_settles",
        ):
            self.totals[name] = self.totals.get(name, 0) + getattr(counters, name)
        for name, value in (
            ("passes", life.driver.far.passes),
            ("pages", life.driver.far.pages),
            ("groups", life.driver.groups.written),
        ):
            self.totals[name] = self.totals.get(name, 0) + value

    def step_wall(self, step_ms: int) -> None:
        """Set the wall clock."""
        self.trace(f"step {step_ms}")
        self.book.counts["steps forward" if step_ms > 0 else "steps back"] += 1
        self.book.last_step_ms = self.clock.boot_ms()
        self.clock.step_wall(step_ms)
        if self.life is not None:
            for deadline in self.life.deadlines:
                deadline.stepped()

    # -- calls -----------------------------------------------------------------------
    async def call(self, make: Callable[[NodeDriver], Awaitable[T]], patience_s: float = 0) -> T:
        """Call the node as the edge does. NodeDownError: nobody knows whether it was done."""
        life = self.life
        if life is None or not life.serving:
            raise NodeDownError
        task: asyncio.Task[T] = asyncio.ensure_future(make(life.driver))  # type: ignore[arg-type]
        life.calls[task] = None
        timer = self.loop.call_later(patience_s, task.cancel) if patience_s else None
        try:
            return await task
        except asyncio.CancelledError:
            if life.dead or (timer is not None and task.cancelled()):
                raise NodeDownError from None
            raise
        finally:
            life.calls.pop(task, None)
            if timer is not None:
                timer.cancel()

    def guard(self, action: Callable[[], None]) -> None:
        """Run something that may find a broken promise, where nobody would hear of it."""
        try:
            action()
        except BrokenPromise as error:
            self.fail(error)


class SimOutbox:
    """See wheeld.driver.api.Outbox: hands messages to a worker's link."""

    def __init__(
        self, world: World, session: bytes, receive: Callable[[int, list[Any], bytes], None], closed: Callable[[], None]
    ) -> None:
        self._world, self._session, self._receive, self._closed = world, session, receive, closed
        self._life = world.life

    def deliver(self, kind: int, count: int, data: bytes, fire_us: int) -> None:
        world, life = self._world, self._life
        if life is None or life.dead:
            return
        world.trace(f"deliver {kind} {count} {hashlib.sha256(data).hexdigest()[:8]}")
        tokens: list[Any] = []
        if kind == LEASES:
            try:
                tokens = world.book.delivered(life.number, self._session, data)
            except BrokenPromise as error:
                world.fail(error)
                return
        self._receive(kind, tokens, data)

    def closed(self, code: int, detail: str) -> None:
        self._closed()
