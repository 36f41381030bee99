"""The node's driver: the only caller of the core, on one event loop.

Owns: the lifecycle (recover, serve, drain, stop) and the doors (what is refused before it becomes an entry). Does not
own: decisions (core), disk (journal, store), the network (edge). Invariant: an answer leaves only after its group is
durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wheeld.coordination.api import Coordinator
from wheeld.core.api import Core, CoreConfig, Counters, QueueView
from wheeld.driver.api import JobView, Opened, Outbox
from wheeld.driver.checkpoints import Checkpoints, JournalView, Room
from wheeld.driver.far import FarTier
from wheeld.driver.groups import Groups
from wheeld.driver.jobs import Jobs
from wheeld.driver.lead import Lead
from wheeld.driver.pump import Pump
from wheeld.driver.recovery import epoch_of, restored_from
from wheeld.driver.repeats import answer_repeats
from wheeld.driver.slices import slices_of
from wheeld.model import errors, limits
from wheeld.model.batch import DONE, NEED_KEYS
from wheeld.model.entry import Outcome
from wheeld.model.errors import Refused
from wheeld.model.ids import NO_ID
from wheeld.runtime.clock import Clock
from wheeld.runtime.probe import LoopProbe
from wheeld.runtime.tasks import TaskSupervisor
from wheeld.runtime.timer import OpenDeadline
from wheeld.store.api import Store

KEY_RECORD_ABSENT = NO_ID + bytes(16)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a driver is made of; `daemon/node.py` puts it together."""

    config: CoreConfig
    open_core: Callable[..., Core]
    journal: JournalView
    store: Store
    clock: Clock
    open_deadline: OpenDeadline
    tasks: TaskSupervisor
    room: Room
    coordinator: Coordinator
    lead_ms_min: int = limits.LEAD_MS_DEFAULT
    lead_ms_max: int = limits.LEAD_MS_MAX
    probe_period_ms: int = 0
    """How often the event loop's lag is sampled; 0: not at all."""


class NodeDriver:
    """See wheeld.driver.api.Driver."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sessions: dict[bytes, int] = {}
        self._session_of: dict[int, bytes] = {}
        self._last_stream = 0
        self.probe: LoopProbe | None = None
        self.draining = False

    # -- life ------------------------------------------------------------------
    async def start(self) -> None:
        """Recover: fold the journal's tail, restore the counters, bring leases and the nearest jobs back, then keep
        going."""
        parts = self._parts
        now_ms, boot_ms = parts.clock.wall_ms(), parts.clock.boot_ms()
        recovery = await parts.store.recover(parts.journal.last_group)
        epoch = epoch_of(parts.coordinator.acquire(recovery.epoch), recovery.epoch)
        restored = restored_from(recovery, parts.journal.last_group, epoch)
        self.core = parts.open_core(parts.config, restored, now_ms, boot_ms)
        self.groups = Groups(self.core, parts.journal, parts.journal.last_group)
        lead = Lead(parts.lead_ms_min, parts.lead_ms_max)
        self.pump = Pump(self.core, self.groups, parts.clock, parts.open_deadline, lead)
        self.far = FarTier(self.core, self.groups, self.pump, parts.store, parts.clock, parts.config.resident_bytes_max)
        self.jobs = Jobs(self.core, self.groups, self.pump, parts.store, parts.clock)
        self.checkpoints = Checkpoints(self.core, self.groups, self.pump, parts.store, parts.journal, parts.room)
        parts.store.on_position = self.checkpoints.on_position
        self.pump.on_crash = parts.tasks.report
        self.pump.grants_allowed = self.checkpoints.grants_allowed
        if parts.probe_period_ms:
            self.probe = LoopProbe(parts.clock, parts.open_deadline, parts.probe_period_ms)
            self.pump.on_catch_up = self.probe.catch_up
        self.pump.run()
        await self.far.load_leases()
        await self.far.first_pass()
        for run, name in (
            (self.far.run_horizon, "horizon"),
            (self.far.run_backlog, "backlog"),
            (self.far.run_watermark, "watermark"),
            (self.checkpoints.run, "checkpoints"),
        ):
            parts.tasks.spawn(run(), name, for_ever=True)

    def on_durable(self, number: int) -> None:
        """The journal's word, on the loop."""
        self.pump.on_durable(number)

    def drain(self) -> None:
        """Take no new work: submits are refused from now on, streams are told to go."""
        self.draining = True
        for outbox in list(self.pump.outboxes.values()):
            outbox.closed(errors.DRAINING, "the daemon is shutting down")

    async def stop(self) -> None:
        """Make everything decided durable and fold it. The background tasks have ended before."""
        self.draining = True
        for number in list(self.pump.outboxes):
            self.close_stream(number)
        self.pump.run()
        await self.groups.wait(self.core.barrier_group())
        self.pump.stop()
        if self.probe is not None:
            self.pump.on_catch_up = lambda: None
            self.probe.stop()
        await self._parts.store.checkpoint(self.groups.durable)

    # -- hot -------------------------------------------------------------------
    async def submit(self, batch: bytes) -> bytes:
        """See Driver.submit."""
        self.admit_submit()
        decided: list[tuple[int, bytes]] = []
        for part in slices_of(batch):
            if decided:
                await asyncio.sleep(0)
            decided.append(await self._decide_submit(part))
        await self.groups.wait(decided[-1][0])
        return b"".join(records for _, records in decided)

    async def _decide_submit(self, batch: bytes) -> tuple[int, bytes]:
        """(group to wait for, records)."""
        await self.groups.room()
        try:
            while True:
                outcome, group, records = self.core.submit(self._parts.clock.wall_ms(), batch)
                if outcome != NEED_KEYS:
                    break
                await self._look_up_keys(records)
        finally:
            # However this ends: who waits for room is let in by the next beat.
            self.pump.kick()
        self.groups.seal()
        self.pump.catch_up()
        if outcome != DONE:
            raise Refused(records[0], "the batch is refused as a whole")
        return group, records

    def admit_submit(self) -> None:
        """See Driver.admit_submit."""
        if self.draining:
            raise Refused(errors.DRAINING, "the daemon is shutting down")
        code, detail = self.checkpoints.refusal()
        if code:
            raise Refused(code, detail)

    async def _look_up_keys(self, hashes: bytes) -> None:
        """Ask the store for keys that memory does not know. Keys of this run that memory forgot were folded before it
        forgot them."""
        wanted = [hashes[at : at + 16] for at in range(0, len(hashes), 16)]
        lookups, folded = self.checkpoints.lookups, self.core.barrier_group() - 1
        lookups.append(folded)
        try:
            found = await self._parts.store.keys(wanted, 0)
        finally:
            lookups.remove(folded)
        records = []
        for hashed, known in zip(wanted, found, strict=True):
            if known is None:
                records.append(hashed + KEY_RECORD_ABSENT)
            else:
                job_id, content_hash, create_ms = known
                records.append(hashed + job_id + content_hash.to_bytes(8, "little") + create_ms.to_bytes(8, "little"))
        self.core.provide_keys(b"".join(records))

    async def settle(self, session: bytes, batch: bytes) -> bytes:
        """See Driver.settle."""
        clock = self._parts.clock
        group, results = self.core.settle(clock.wall_ms(), clock.boot_ms(), session, batch)
        self.groups.seal()
        self.pump.kick()
        self.pump.catch_up()
        await self.groups.wait(group)
        return await answer_repeats(batch, results, self.jobs.attempts)

    # -- streams -----------------------------------------------------------------
    async def open_stream(
        self,
        session: bytes,
        worker: bytes,
        queues: Sequence[bytes],
        max_jobs: int,
        max_bytes: int,
        lease_ms: int,
        held: bytes,
        outbox: Outbox,
    ) -> Opened:
        """See Driver.open_stream."""
        if self.draining:
            raise Refused(errors.DRAINING, "the daemon is shutting down")
        clock = self._parts.clock
        self._last_stream += 1
        number = self._last_stream
        replaced = self._sessions.get(session)
        self.pump.outboxes[number] = outbox
        self._sessions[session], self._session_of[number] = number, session
        group, resumed, revoked = self.core.open_stream(
            clock.wall_ms(), clock.boot_ms(), number, session, worker, queues, max_jobs, max_bytes, lease_ms, held
        )
        if replaced is not None:
            self._session_of.pop(replaced, None)
            old = self.pump.outboxes.pop(replaced, None)
            if old is not None:
                old.closed(errors.STREAM_PROTOCOL, "another stream of the same session took over")
        self.pump.kick()
        try:
            await self.groups.wait(group)
        except asyncio.CancelledError:
            # The caller will never learn the number by which to close it.
            self.close_stream(number)
            raise
        return Opened(number, resumed, revoked)

    def set_credit(self, number: int, max_jobs: int, max_bytes: int) -> None:
        """See Driver.set_credit."""
        self.core.set_credit(number, max_jobs, max_bytes)
        self.pump.kick()

    def close_stream(self, number: int) -> None:
        """See Driver.close_stream."""
        session = self._session_of.pop(number, None)
        if session is not None and self._sessions.get(session) == number:
            del self._sessions[session]
        self.pump.outboxes.pop(number, None)
        clock = self._parts.clock
        self.core.close_stream(clock.wall_ms(), clock.boot_ms(), number)
        self.pump.kick()

    # -- control -----------------------------------------------------------------
    async def get(self, job_id: bytes) -> JobView:
        """See Driver.get."""
        return await self.jobs.get(job_id)

    async def cancel(self, job_id: bytes) -> JobView:
        """See Driver.cancel."""
        return await self.jobs.cancel(job_id)

    async def reschedule(self, job_id: bytes, due_ms: int) -> JobView:
        """See Driver.reschedule."""
        return await self.jobs.reschedule(job_id, due_ms)

    async def attempts(self, job_id: bytes) -> list[tuple[int, Outcome]]:
        """See Driver.attempts."""
        return await self.jobs.attempts(job_id)

    async def set_queue(self, queue: bytes, paused: bool) -> QueueView:
        """See Driver.set_queue."""
        group = self.core.set_queue(self._parts.clock.wall_ms(), queue, paused)
        self.pump.kick()
        await self.groups.wait(group)
        return next(view for view in self.core.queues() if view.queue == queue)

    def queues(self) -> list[QueueView]:
        """See Driver.queues."""
        return self.core.queues()

    def counters(self) -> Counters:
        """See Driver.counters."""
        return self.core.counters()

    def facts(self) -> dict[str, int | float | str]:
        """See Driver.facts."""
        journal = self._parts.journal
        due_ms, _ = self.core.horizon()
        lag = self.probe.facts() if self.probe is not None else {}
        return lag | {
            "lead_ms": self.pump.lead.ms,
            "beats": self.pump.beats,
            "clock_steps": self.pump.clock_steps,
            "durable_group": self.groups.durable,
            "groups_written": self.groups.written,
            "retained_bytes": self.groups.retained_bytes,
            "store_position": self._parts.store.position,
            "horizon_ms": due_ms,
            "watermark_ms": self.core.watermark_ms(),
            "horizon_passes": self.far.passes,
            "backlog_pages": self.far.pages,
            "journal_bytes": journal.bytes_written,
            "journal_segments": journal.segments,
            "sync_ms_p50": journal.sync_ms_recent(0.5),
            "sync_ms_p999": journal.sync_ms_recent(0.999),
            "sync_ms_longest": journal.sync_ms_longest,
            "group_ms_longest": 1000 * self.groups.longest_wait_s,
            "resident_bytes_max": self._parts.config.resident_bytes_max,
            "submit_limit_bytes": limits.RETAINED_BYTES_SUBMIT_MAX,
        }
