"""A driver over the native core, in virtual time, whose background tasks do not run: nothing beats but what must.

Owns nothing that the product uses. A wake-up that is lost shows at once: no poll, no checkpoint and no other client
covers for it, and the loop has nothing left to do, or waits for the beat of an idle minute.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

from tests.sim.journal import MemoryJournal
from tests.sim.loop import SimLoop
from tests.sim.store import MemoryStore
from tests.sim.world import SimDeadline
from wheeld.coordination.local import LocalCoordinator
from wheeld.core.api import LEASES, CoreConfig
from wheeld.core.factory import open_core
from wheeld.driver.checkpoints import Room
from wheeld.driver.driver import NodeDriver, Parts
from wheeld.model import batch as packed
from wheeld.model.spec import Spec
from wheeld.runtime.clock import SimClock

STORE_UUID = b"a node laid bare"


class NoTasks:
    """A TaskSupervisor that keeps the background tasks from running."""

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str, *, for_ever: bool = False) -> None:
        coroutine.close()

    def report(self, part: str, error: BaseException) -> None:
        raise AssertionError(f"{part} broke") from error


class BareNode:
    """See the module. `slow`: share of syncs that take up to 1.5 s."""

    def __init__(self, loop: SimLoop, seed: int, slow: float = 0.0) -> None:
        self.loop, self.clock = loop, loop.clock
        self.disk = MemoryJournal(random.Random(f"journal {seed}"))
        self.disk.slow = slow
        self.journal = self.disk.open(self._on_durable)
        self.store = MemoryStore(self.disk, random.Random(f"store {seed}"), 2, 600_000)
        self.client = self.store.open()
        parts: Any = Parts(
            config=CoreConfig(STORE_UUID, 2, 600_000, 1 << 30),
            open_core=open_core,
            journal=self.journal,
            store=self.client,
            clock=self.clock,
            open_deadline=lambda callback: SimDeadline(loop, callback),
            tasks=NoTasks(),  # type: ignore[arg-type]
            room=Room(lambda: 1 << 50),
            coordinator=LocalCoordinator(),
        )
        self.driver = NodeDriver(parts)

    def _on_durable(self, number: int) -> None:
        self.driver.on_durable(number)

    async def submit(self, specs: list[Spec]) -> list[int]:
        """Submit; the codes of the items."""
        batch = packed.SUBMIT_HEAD.pack(len(specs), 0, 0, packed.NO_SESSION, 0)
        for spec in specs:
            record = spec.pack()
            batch += packed.ITEM_HEAD.pack(len(record), 0, 0, 0) + record
        results = await self.driver.submit(batch)
        return [results[at] for at in range(0, len(results), packed.SUBMIT_RESULT.size)]

    async def ack(self, session: bytes, leases: list[tuple[bytes, int]]) -> list[int]:
        """Ack; the codes of the items."""
        batch = packed.SETTLE_BATCH_HEAD.pack(len(leases), 0) + b"".join(
            packed.SETTLE_HEAD.pack(packed.OP_ACK, 0, 0, 0, packed.NO_DELAY, 0, fencing, job_id, 0)
            for job_id, fencing in leases
        )
        results = await self.driver.settle(session, batch)
        return [results[at + 1] for at in range(0, len(results), packed.SETTLE_RESULT.size)]


class Outbox:
    """Hands each lease to `on_lease`: (job id, fencing token, due time). Revocations are not listened to."""

    def __init__(self, on_lease: Callable[[bytes, int, int], None]) -> None:
        self._on_lease = on_lease

    def deliver(self, kind: int, count: int, data: bytes, fire_us: int) -> None:
        at = 0
        for _ in range(count if kind == LEASES else 0):
            length, job_id, fencing, due_ms, *_ = packed.GRANT_HEAD.unpack_from(data, at)
            self._on_lease(job_id, fencing, due_ms)
            at += 4 + length

    def closed(self, code: int, detail: str) -> None:
        raise AssertionError(detail)


def run_bare(seed: int, story: Callable[[BareNode], Coroutine[Any, Any, None]], slow: float = 0.0) -> None:
    """Tell a story with a started node; an exception of a callback fails it."""
    loop = SimLoop(SimClock(), seed)
    broken: list[BaseException] = []
    loop.set_exception_handler(
        lambda _, context: broken.append(context.get("exception") or RuntimeError(context["message"]))
    )

    async def live() -> None:
        node = BareNode(loop, seed, slow)
        await node.driver.start()
        await story(node)
        await node.driver.stop()

    try:
        loop.run_until_complete(live())
    finally:
        loop.close()
    if broken:
        raise broken[0]
