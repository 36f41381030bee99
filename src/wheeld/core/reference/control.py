"""Decisions about single jobs and queues: get, cancel, reschedule, pause.

A job that is not resident is decided on the row that the store gave, provided that nothing happened to it since that
was read.
"""

from __future__ import annotations

from wheeld.core.reference.loads import is_stale
from wheeld.core.reference.settle import drop_lease, stage_outcome, take_back
from wheeld.core.reference.state import Job, State
from wheeld.model import errors, limits
from wheeld.model.entry import RESCHEDULE_BODY, TO_BACKLOG, WAS_BACKLOG, EntryKind, pack_tail
from wheeld.model.job import JobState, waiting_state
from wheeld.model.rows import ROW_BACKLOG, ROW_LEASED, Row, unpack_rows
from wheeld.model.spec import unpack_spec

Answer = tuple[int, int, bytes]
"""(code, group, row)."""


def row_of(now_ms: int, job: Job, state_after: int | None = None) -> bytes:
    """The job as a row, with the state that a user sees."""
    lease = job.lease
    shown = JobState.RUNNING if lease else waiting_state(job.attempt, job.due_ms, now_ms)
    return Row(
        job_id=job.job_id,
        due_ms=job.due_ms,
        fencing=lease.fencing if lease else 0,
        attempt=job.attempt,
        state=int(shown) if state_after is None else state_after,
        flags=(ROW_BACKLOG if job.in_backlog else 0) | (ROW_LEASED if lease else 0),
        lease_ms=lease.lease_ms if lease else 0,
        fire_ms=lease.fire_ms if lease else 0,
        session=lease.session.name if lease else bytes(16),
        worker=lease.session.worker if lease else b"",
        error=b"",
        spec=job.record,
    ).pack()


def get(state: State, now_ms: int, job_id: bytes) -> bytes | None:
    """See Core.get."""
    job = state.jobs.get(job_id)
    if job is None:
        return None
    if job.lease is not None and not job.lease.delivered and job.due_ms > now_ms:
        # Granted ahead of its time: for a user it has not begun.
        return row_of(now_ms, Job(job_id, job.due_ms, job.attempt - 1, job.record, job.spec, job.in_backlog))
    return row_of(now_ms, job)


def find(state: State, job_id: bytes, row: bytes, load: int) -> tuple[int, Job | None]:
    """(code, job): the resident one, or one made of the store's row, which is not in the table."""
    job = state.jobs.get(job_id)
    if job is not None:
        return errors.OK, job
    if not row:
        return errors.JOB_NOT_FOUND, None
    if is_stale(state, job_id, load):
        return errors.STORE_BUSY, None
    stored = unpack_rows(row)[0]
    if stored.state not in (JobState.SCHEDULED, JobState.RETRYING) or stored.flags & ROW_LEASED:
        return errors.JOB_FINISHED if stored.state == JobState.FAILED else errors.STORE_BUSY, None
    spec = unpack_spec(stored.spec)
    return errors.OK, Job(job_id, stored.due_ms, stored.attempt, stored.spec, spec, bool(stored.flags & ROW_BACKLOG))


def cancel(state: State, now_ms: int, job_id: bytes, row: bytes, load: int) -> Answer:
    """See Core.cancel."""
    code, job = find(state, job_id, row, load)
    if job is None:
        return code, state.barrier(), b""
    lease = job.lease
    stage_outcome(state, now_ms, job, lease, EntryKind.CANCEL, JobState.CANCELLED, 0, b"", b"")
    state.counters.cancelled += 1
    after = row_of(now_ms, job, JobState.CANCELLED)
    if lease is not None:
        stream = lease.session.stream
        if lease.delivered and stream is not None:
            stream.revoked.append((state.barrier(), job_id, lease.fencing, errors.CANCELLED))
        drop_lease(state, lease, errors.CANCELLED, JobState.CANCELLED)
    if job_id in state.jobs:
        state.remove(job)
    else:
        note_departure(state, job_id)
    return errors.OK, state.barrier(), after


def note_departure(state: State, job_id: bytes) -> None:
    """A job that was decided upon without being resident: rows read before are out of date."""
    if state.loads:
        state.departures += 1
        state.departed.append(job_id)
        state.departed_ids[job_id] = state.departures


def reschedule(state: State, now_ms: int, job_id: bytes, due_ms: int, row: bytes, load: int) -> Answer:
    """See Core.reschedule."""
    due_ms = max(due_ms, now_ms)
    if due_ms > now_ms + limits.SCHEDULE_AHEAD_MS_MAX:
        return errors.SCHEDULE_TOO_FAR, state.barrier(), b""
    code, job = find(state, job_id, row, load)
    if job is None:
        return code, state.barrier(), b""
    if job.lease is not None:
        if job.lease.delivered:
            return errors.JOB_RUNNING, state.barrier(), b""
        take_back(state, now_ms, job.lease)
    flags = (WAS_BACKLOG if job.in_backlog else 0) | (TO_BACKLOG if due_ms < state.watermark_ms else 0)
    body = RESCHEDULE_BODY.pack(job_id, job.due_ms, due_ms, job.attempt)
    tail = pack_tail(job.spec.priority, job.spec.queue) if flags else b""
    state.stage_job(EntryKind.RESCHEDULE, flags, job_id, now_ms, body + tail)
    state.counters.rescheduled += 1
    resident = job_id in state.jobs
    if resident:
        state.unplace(job)
    job.due_ms, job.in_backlog = due_ms, bool(flags & TO_BACKLOG)
    after = row_of(now_ms, job)
    if not resident and (job.in_backlog or state.keeps(due_ms, job_id, job.spec.queue)):
        job = state.insert(job_id, due_ms, job.attempt, job.record, job.in_backlog)
        resident = True
    if resident:
        state.place(job)
    else:
        note_departure(state, job_id)
    return errors.OK, state.barrier(), after


def set_queue(state: State, now_ms: int, path: bytes, paused: bool) -> int:
    """See Core.set_queue."""
    queue = state.queue(path)
    queue.paused = paused
    state.stage(EntryKind.QUEUE, 0, 0, now_ms, bytes((paused, len(path))) + path)
    if paused:
        for stream in list(state.streams.values()):
            for frame in stream.frames:
                for lease in frame.leases:
                    if state.leases.get(lease.fencing) is lease and lease.job.spec.queue == path:
                        take_back(state, now_ms, lease)
    return state.barrier()
