"""Decisions about single jobs, wherever they are: ask the core, and when it does not hold the job, the store, then
the core again."""

from __future__ import annotations

from collections.abc import Callable

from wheeld.core.api import Core
from wheeld.driver.api import JobView
from wheeld.driver.groups import Groups
from wheeld.driver.pump import Pump
from wheeld.model import errors, limits
from wheeld.model.entry import Outcome
from wheeld.model.errors import Refused
from wheeld.model.ids import id_to_text
from wheeld.model.job import TERMINAL, JobState, waiting_state
from wheeld.model.rows import ROW_LEASED, Row, unpack_rows
from wheeld.model.spec import Spec
from wheeld.runtime.clock import Clock
from wheeld.store.api import Store, StoreFull

Decide = Callable[[bytes, int], tuple[int, int, bytes]]


class Jobs:
    """See the module."""

    def __init__(self, core: Core, groups: Groups, pump: Pump, store: Store, clock: Clock) -> None:
        self._core, self._groups, self._pump, self._store, self._clock = core, groups, pump, store, clock

    async def cancel(self, job_id: bytes) -> JobView:
        """See Driver.cancel."""
        return await self._decide(job_id, lambda row, load: self._core.cancel(self._clock.wall_ms(), job_id, row, load))

    async def reschedule(self, job_id: bytes, due_ms: int) -> JobView:
        """See Driver.reschedule."""
        return await self._decide(
            job_id, lambda row, load: self._core.reschedule(self._clock.wall_ms(), job_id, due_ms, row, load)
        )

    async def _decide(self, job_id: bytes, decide: Decide) -> JobView:
        code, group, row = decide(b"", 0)
        for _ in range(limits.JOB_READS_MAX):
            if code not in (errors.JOB_NOT_FOUND, errors.STORE_BUSY):
                break
            load, position = self._core.begin_load()
            try:
                await self._settled(position)
                stored = await self._row(job_id, position)
                if not stored:
                    await self._refuse_absent(job_id, position)
                code, group, row = decide(stored, load)
            finally:
                self._core.end_load(load)
        if code:
            raise Refused(code, f"job {id_to_text(job_id)}")
        await self._settled(group)
        return JobView(unpack_rows(row)[0])

    async def _refuse_absent(self, job_id: bytes, position: int) -> None:
        """Neither resident nor in the store: it may have come back while we read, else it ended or never was."""
        if self._core.get(self._clock.wall_ms(), job_id) is not None:
            return
        if await self._history(job_id, position):
            raise Refused(errors.JOB_FINISHED, f"job {id_to_text(job_id)}")
        raise Refused(errors.JOB_NOT_FOUND, f"job {id_to_text(job_id)}")

    async def get(self, job_id: bytes) -> JobView:
        """See Driver.get. The errors of earlier attempts are read from the store."""
        resident = self._core.get(self._clock.wall_ms(), job_id)
        position = self._core.barrier_group()
        await self._settled(position)
        if resident is not None:
            row = unpack_rows(resident)[0]
            ended = await self._history(job_id, position) if row.attempt else []
            return JobView(row, 0, ended[-1][1] if ended else None)
        stored = await self._row(job_id, position)
        ended = await self._history(job_id, position)
        finish_ms, outcome = ended[-1] if ended else (0, None)
        if stored:
            row = unpack_rows(stored)[0]
            waits = row.state in (JobState.SCHEDULED, JobState.RETRYING) and not row.flags & ROW_LEASED
            state = waiting_state(row.attempt, row.due_ms, self._clock.wall_ms()) if waits else row.state
            return JobView(row._replace(state=int(state)), finish_ms if state == JobState.FAILED else 0, outcome)
        if outcome is None:
            raise Refused(errors.JOB_NOT_FOUND, f"job {id_to_text(job_id)}")
        return JobView(row_of_outcome(outcome), finish_ms, outcome)

    async def attempts(self, job_id: bytes) -> list[tuple[int, Outcome]]:
        """See Driver.attempts."""
        position = self._core.barrier_group()
        await self._settled(position)
        return await self._history(job_id, position)

    async def _row(self, job_id: bytes, position: int) -> bytes:
        try:
            return await self._store.read([job_id], position)
        except StoreFull:
            raise no_room(job_id) from None

    async def _history(self, job_id: bytes, position: int) -> list[tuple[int, Outcome]]:
        """Ended attempts, oldest first. By their numbers: a wall clock that was stepped back mixes up their times."""
        try:
            found = await self._store.attempts(job_id, position)
        except StoreFull:
            raise no_room(job_id) from None
        return sorted(
            ((finish_ms, outcome) for finish_ms, outcome in found),
            key=lambda ended: (ended[1].attempt, ended[1].state in TERMINAL, ended[0]),
        )

    async def _settled(self, group: int) -> None:
        self._pump.kick()
        await self._groups.wait(group)


def no_room(job_id: bytes) -> Refused:
    """What the store must fold first finds no room on the disk: the job cannot be read now."""
    return Refused(errors.STORE_FULL, f"job {id_to_text(job_id)} cannot be read: the data directory's disk is full")


def row_of_outcome(outcome: Outcome) -> Row:
    """A job that has ended, as far as its history tells: the payload is gone with it."""
    spec = Spec(
        queue=outcome.queue,
        type=outcome.type,
        labels=outcome.labels,
        priority=outcome.priority,
        schedule_ms=outcome.schedule_ms,
    )
    return Row(
        outcome.job_id,
        outcome.due_ms,
        outcome.fencing,
        outcome.attempt,
        outcome.state,
        0,
        0,
        outcome.fire_ms,
        bytes(16),
        outcome.worker,
        outcome.error,
        spec.pack(),
    )
