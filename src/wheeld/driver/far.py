"""The far tier's side of the loop: raise the horizon before jobs come due, page the backlog in when workers have
credit, move the watermark.

Owns: when and how much to load. Invariants: the watermark never passes what is fully loaded; a load that the core
abandoned is repeated, so that every job below the horizon is resident, in the backlog or known to have ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from wheeld.core.api import Core, QueueView
from wheeld.driver.groups import Groups
from wheeld.driver.pump import Pump
from wheeld.model import limits
from wheeld.model.ids import NO_ID
from wheeld.runtime.clock import Clock
from wheeld.store.api import BacklogPage, Store, StoreFull

FIRST_PASS_MS = 15_000
"""After a start, the nearest jobs are loaded alone, so that the next one fires soon."""
URGENT_MS = 500
"""A horizon as near as this is raised even when no memory is free."""
PASS_SHARE = 0.125
"""The least part of the byte cap that a pass is made for: each one waits until the store has folded up to it."""
POLL_S = 0.02
IDLE_POLL_S = 0.5
LOAD_SHARE = 0.8
"""Loads fill this share of the byte cap; the rest is for submits."""
RESWEEP_MS = 5_000
"""How often a sweep of a backlog begins anew because jobs were spilled behind it."""
FULL_RETRY_S = 1.0
"""While the disk is full the store cannot reach a load's position; what is resident goes on, and acks with it."""
WATERMARK_PERIOD_S = 5.0


@dataclass(slots=True)
class Sweep:
    """How far a queue's backlog was read. `spills`: the queue's spill count when the sweep began; a later spill may
    lie behind `key`."""

    key: bytes
    spills: int
    began_ms: int


@dataclass(slots=True)
class Load:
    """Pages that are read as of one position; `page` is the one under way."""

    number: int
    position: int
    sweep: Sweep
    began_ms: int
    page: asyncio.Task[BacklogPage]


class FarTier:
    """See the module."""

    def __init__(
        self, core: Core, groups: Groups, pump: Pump, store: Store, clock: Clock, resident_bytes_max: int
    ) -> None:
        self._core, self._groups, self._pump, self._store, self._clock = core, groups, pump, store, clock
        self._bytes_max = resident_bytes_max
        self._fill_bytes = int(resident_bytes_max * LOAD_SHARE)
        self._pass_bytes_min = int(resident_bytes_max * PASS_SHARE)
        self._pass_ms = 0
        self._sweeps: dict[bytes, Sweep] = {}
        self._primed: dict[bytes, Load] = {}
        """Loads that were begun ahead: the store folds up to their position while the ready jobs are handed out."""
        self.loaded_until_ms = 0
        """All waiting jobs due before this are resident or in the backlog."""
        self.passes = 0
        self.pages = 0

    async def load_leases(self) -> None:
        """Bring back every lease, with its whole time anew."""
        await self._fill(self._store.leases)

    async def first_pass(self) -> None:
        """Load what comes due next, from the watermark on."""
        now_ms = self._clock.wall_ms()
        watermark_ms = self._core.watermark_ms()
        await self._raise((watermark_ms, NO_ID), max(now_ms, watermark_ms) + FIRST_PASS_MS)

    async def run_horizon(self) -> None:
        """Keep memory filled with what is near."""
        while True:
            due_ms, _ = self._core.horizon()
            now_ms = self._clock.wall_ms()
            # Full of jobs that nobody takes, memory must not hold up what comes due: the core spills the former. When
            # it is full of jobs that are not due yet, the core sends those away, and they must be read again.
            ahead_ms = 2 * self._pass_ms if self._core.counters().ready else 0
            urgent = due_ms <= now_ms + max(URGENT_MS, ahead_ms)
            if due_ms < now_ms + limits.HORIZON_MS * 3 // 4 and (urgent or self._free_bytes() > self._pass_bytes_min):
                began_ms = self._clock.boot_ms()
                await self._raise(self._core.horizon(), now_ms + limits.HORIZON_MS)
                self._pass_ms = self._clock.boot_ms() - began_ms
            behind = self._core.horizon()[0] < now_ms + limits.MINUTE_MS
            await asyncio.sleep(POLL_S if behind else IDLE_POLL_S)

    async def run_backlog(self) -> None:
        """Give queues with workers the head of their backlog."""
        try:
            while True:
                wanted = [view for view in self._core.queues() if view.backlog and not view.paused and view.streams]
                for view in wanted:
                    if view.ready < limits.BACKLOG_READY_LOW and self._has_room(view):
                        await self._page_in(view)
                self._drop_primed({view.queue for view in wanted}, self._clock.boot_ms() - limits.BACKLOG_PRIMED_MS_MAX)
                await asyncio.sleep(POLL_S if wanted else IDLE_POLL_S)
        finally:
            self._drop_primed(set(), 0)

    async def run_watermark(self) -> None:
        """Close buckets that lie behind, in slices."""
        while True:
            while (target_ms := self._closable_ms()) > self._core.watermark_ms():
                if self._core.close_before(self._clock.wall_ms(), target_ms, limits.CLOSE_ENTRIES_MAX):
                    break
                self._pump.kick()
                await self._groups.wait(self._core.barrier_group())
                # When nothing was written, the core waits for a beat that makes due jobs ready.
                await asyncio.sleep(0)
            self._pump.kick()
            await asyncio.sleep(WATERMARK_PERIOD_S)

    def _closable_ms(self) -> int:
        """Up to where buckets may be closed: past, loaded, resident. Asked anew each time, for all three may fall."""
        until_ms = min(self._clock.wall_ms(), self.loaded_until_ms, self._core.horizon()[0])
        return until_ms - until_ms % limits.BUCKET_WIDTH_MS

    def _has_room(self, view: QueueView) -> bool:
        """Whether pages of the queue may come. One with nothing ready takes from the rest of the cap, and past it when
        the core has ready jobs of others to spill."""
        counters = self._core.counters()
        spare = not view.ready and (counters.ready > 0 or counters.resident_bytes < self._bytes_max)
        return spare or self._free_bytes() > 0

    def _free_bytes(self) -> int:
        return self._fill_bytes - self._core.counters().resident_bytes

    async def _raise(self, start: tuple[int, bytes], until_ms: int) -> None:
        """Load the waiting jobs from `start` up to `until_ms`, or as many as fit."""
        horizon = self._core.horizon()
        least = self._pass_bytes_min if self._core.counters().ready else limits.LOAD_BYTES_MIN
        budget = max(self._free_bytes(), least)
        # What the store has not folded takes room as well: when it is much, a plan without it would overfill memory.
        position = self._groups.durable if self._groups.retained_bytes > budget // 4 else 0
        try:
            cut = await self._store.plan(start, until_ms, budget, position)
        except StoreFull:
            await asyncio.sleep(FULL_RETRY_S)
            return
        if cut <= start or self._core.horizon() != horizon:
            # Lowered while the store planned: from `start` on would leave a gap that nobody loads.
            return
        self.loaded_until_ms = min(self.loaded_until_ms, start[0])
        await self._fill(lambda position: self._store.scan(start, cut, position), self._core.open_horizon(*cut))
        self.passes += 1
        self.loaded_until_ms = cut[0]

    async def _fill(self, read: Callable[[int], AsyncIterator[bytes]], begun: tuple[int, int] | None = None) -> None:
        """Run a load to its end; when the core has forgotten too much meanwhile, run it again."""
        while True:
            load, position = begun or self._core.begin_load()
            begun = None
            try:
                self._pump.kick()
                await self._groups.wait(position)
                whole = True
                async for rows in read(position):
                    if self._core.load(self._clock.wall_ms(), self._clock.boot_ms(), load, rows) < 0:
                        whole = False
                        break
                    self._pump.kick()
                if whole:
                    return
            except StoreFull:
                await asyncio.sleep(FULL_RETRY_S)
            finally:
                self._core.end_load(load)

    async def _page_in(self, view: QueueView) -> None:
        """Pages of a queue's backlog, all read as of one position, until enough of its jobs are ready or memory is
        full. Then the next load is begun at once, so that its position is folded when its first page is needed, unless
        that was done for many queues already."""
        sweep = self._sweep_of(view)
        load = self._primed.pop(view.queue, None)
        if load is not None and load.sweep is not sweep:
            self._end(load)
            load = None
        load = load or self._begin(view.queue, sweep)
        left = limits.BACKLOG_LOAD_JOBS_MAX
        try:
            while left > 0:
                rows, key, more = await load.page
                taken = self._core.load(self._clock.wall_ms(), self._clock.boot_ms(), load.number, rows)
                sweep.key = key
                self.pages += 1
                self._pump.kick()
                if taken < 0 or not more:
                    del self._sweeps[view.queue]
                    if taken >= 0:
                        self._core.backlog_drained(view.queue, sweep.spills)
                    return
                left -= max(taken, 1)
                if self._free_bytes() <= 0 or self._core.counters().ready >= limits.BACKLOG_READY_HIGH:
                    break
                load.page = self._request(view.queue, load.position, key)
            if len(self._primed) < limits.BACKLOG_PRIMED_MAX:
                self._primed[view.queue] = self._begin(view.queue, sweep)
        except StoreFull:
            await asyncio.sleep(FULL_RETRY_S)
        finally:
            self._end(load)

    def _begin(self, queue: bytes, sweep: Sweep) -> Load:
        """Begin a load of a queue's pages and ask for the first of them."""
        number, position = self._core.begin_load()
        self._pump.kick()
        page = self._request(queue, position, sweep.key)
        return Load(number, position, sweep, self._clock.boot_ms(), page)

    def _request(self, queue: bytes, position: int, key: bytes) -> asyncio.Task[BacklogPage]:
        limit = min(limits.BACKLOG_PAGE_BYTES, max(self._free_bytes(), limits.LOAD_BYTES_MIN))
        return asyncio.create_task(self._page(queue, position, key, limit), name="backlog page")

    async def _page(self, queue: bytes, position: int, key: bytes, limit: int) -> BacklogPage:
        await self._groups.wait(position)
        return await self._store.backlog(queue, key, limit, position)

    def _end(self, load: Load) -> None:
        """The core may forget what has left since the load began."""
        self._core.end_load(load.number)
        if load.page.done() and not load.page.cancelled():
            load.page.exception()
        load.page.cancel()

    def _drop_primed(self, wanted: set[bytes], since_ms: int) -> None:
        """End what was begun ahead for queues that do not want it, or too long ago."""
        for queue, load in list(self._primed.items()):
            if queue not in wanted or load.began_ms < since_ms:
                self._end(self._primed.pop(queue))

    def _sweep_of(self, view: QueueView) -> Sweep:
        """The sweep to go on with. Begun anew now and then while jobs are spilled: they may lie behind its key."""
        sweep, now_ms = self._sweeps.get(view.queue), self._clock.boot_ms()
        if sweep is None or (sweep.spills != view.spills and now_ms >= sweep.began_ms + RESWEEP_MS):
            sweep = self._sweeps[view.queue] = Sweep(b"", view.spills, now_ms)
        return sweep
