"""Rows that come from the store: loads, the horizon, the backlog, the watermark, keys."""

from __future__ import annotations

import struct

from wheeld.core.reference.settle import take_back
from wheeld.core.reference.spill import stage_backlog
from wheeld.core.reference.state import Job, KeyRecord, Lease, Session, State
from wheeld.model.entry import CLOSE_BODY, EntryKind
from wheeld.model.job import JobState
from wheeld.model.rows import ROW_BACKLOG, ROW_LEASED, Row, unpack_rows

KEY_RECORD = struct.Struct("<16s16sQQ")


def begin_load(state: State) -> tuple[int, int]:
    """See Core.begin_load."""
    state.load_number += 1
    state.loads[state.load_number] = state.departures
    return state.load_number, state.barrier()


def open_horizon(state: State, due_ms: int, job_id: bytes) -> tuple[int, int]:
    """See Core.open_horizon."""
    state.horizon = max(state.horizon, (due_ms, job_id))
    return begin_load(state)


def is_stale(state: State, job_id: bytes, load: int) -> bool:
    """The job left memory after the load began (or the load is not known any more): the row may be out of date."""
    began = state.loads.get(load)
    return began is None or state.departed_ids.get(job_id, 0) > began


def load(state: State, now_ms: int, boot_ms: int, number: int, rows: bytes) -> int:
    """See Core.load."""
    if number not in state.loads:
        return -1
    taken = 0
    for row in unpack_rows(rows):
        wanted = row.flags & (ROW_LEASED | ROW_BACKLOG) or state.below_horizon(row.due_ms, row.job_id)
        waiting = row.flags & ROW_LEASED or row.state in (JobState.SCHEDULED, JobState.RETRYING)
        known = row.job_id in state.jobs or (row.flags & ROW_LEASED and row.fencing in state.leases)
        if not wanted or not waiting or known or is_stale(state, row.job_id, number):
            state.counters.load_skipped += 1
            continue
        take(state, now_ms, boot_ms, row)
        taken += 1
    state.counters.loaded += taken
    return taken


def take(state: State, now_ms: int, boot_ms: int, row: Row) -> None:
    """Make a row's job resident: leased as it was, with its whole time again, or waiting."""
    job = state.insert(row.job_id, row.due_ms, row.attempt, row.spec, bool(row.flags & ROW_BACKLOG))
    if not row.flags & ROW_LEASED:
        state.place(job)
        return
    session = state.sessions.get(row.session)
    if session is None:
        session = state.sessions[row.session] = Session(row.session, row.worker)
    lease = Lease(job, session, row.fencing, row.lease_ms, row.fire_ms, delivered=True)
    job.lease = lease
    state.leases[row.fencing] = session.leases[row.fencing] = lease
    session.bytes_outstanding += len(row.spec)
    state.queue(job.spec.queue).running += 1
    state.lease_timers.arm(row.fencing, boot_ms + row.lease_ms)


def end_load(state: State, number: int) -> None:
    """See Core.end_load."""
    state.loads.pop(number, None)
    state.forget_departed()


def provide_keys(state: State, records: bytes) -> None:
    """See Core.provide_keys."""
    for hashed, job_id, content_hash, create_ms in KEY_RECORD.iter_unpack(records):
        if hashed not in state.keys:
            state.keys[hashed] = KeyRecord(job_id, content_hash, create_ms, 0)


def checkpointed(state: State, group: int) -> None:
    """See Core.checkpointed."""
    if group > state.checkpointed_group:
        state.checkpointed_group = group
        state.shard = (state.shard + 1) % state.config.shards


def close_before(state: State, now_ms: int, watermark_ms: int, entries_max: int) -> bool:
    """See Core.close_before. The runs are in order, so their marked heads are not looked at again."""
    if state.wheel.next() < watermark_ms:
        # Jobs due below it that no tick has made ready yet would be left behind.
        return False
    left = entries_max
    for queue in state.queues.values():
        for level in queue.ready.levels:
            while level.head + level.marked < len(level.run):
                _, _, job_id, stamp = level.run[level.head + level.marked]
                job = state.jobs.get(job_id)
                if job is not None and job.stamp == stamp:
                    if job.due_ms >= watermark_ms:
                        break
                    if not job.in_backlog:
                        if left == 0:
                            return False
                        left -= 1
                        stage_backlog(state, now_ms, job)
                level.marked += 1
            for _, _, job_id, stamp in sorted(level.heap):
                job = state.jobs.get(job_id)
                if job is not None and job.stamp == stamp and job.due_ms < watermark_ms and not job.in_backlog:
                    if left == 0:
                        return False
                    left -= 1
                    stage_backlog(state, now_ms, job)
    if watermark_ms > state.watermark_ms:
        state.watermark_ms = watermark_ms
        state.stage(EntryKind.CLOSE, 0, 0, now_ms, CLOSE_BODY.pack(watermark_ms))
    return True


def backlog_drained(state: State, path: bytes, spills: int) -> bool:
    """See Core.backlog_drained."""
    queue = state.queue(path)
    if queue.spills != spills:
        return False
    queue.backlog = False
    return True


def rebase(state: State, now_ms: int) -> None:
    """See Core.rebase. Jobs are placed anew in the order of (due, id), so that both implementations agree. Grants that
    no worker was given yet and whose time is to come again are taken back first, in the order of their tokens."""
    for fencing in sorted(state.leases):
        lease = state.leases[fencing]
        if not lease.delivered and lease.job.due_ms > now_ms:
            take_back(state, now_ms, lease)
    waiting = [job for job in state.jobs.values() if job.lease is None]
    for job in waiting:
        state.unplace(job)
    state.wheel = type(state.wheel)(now_ms)
    for queue in state.queues.values():
        for level in queue.ready.levels:
            level.run.clear()
            level.heap.clear()
            level.head = level.marked = 0
    for job in sorted(waiting, key=order):
        state.place(job)


def order(job: Job) -> tuple[int, bytes]:
    return job.due_ms, job.job_id
