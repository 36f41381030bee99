"""What ends or changes a lease: ack, nack, release, renewal, expiry. Every way out of RUNNING passes through `finish`
or `take_back`."""

from __future__ import annotations

from typing import NamedTuple

from wheeld.core.api import histogram_index
from wheeld.core.reference.state import Job, Lease, State
from wheeld.model import errors, limits
from wheeld.model.batch import (
    CALL_PREFIX_BYTES,
    NO_DELAY,
    NO_SESSION,
    OP_ACK,
    OP_NACK,
    OP_RELEASE,
    OP_RENEW,
    RESULT_REPEATED,
    SETTLE_BATCH_HEAD,
    SETTLE_HEAD,
    SETTLE_NO_RETRY,
    SETTLE_RESULT,
)
from wheeld.model.entry import RELEASE_BODY, RENEW_BODY, TO_BACKLOG, WAS_BACKLOG, EntryKind, Outcome, pack_tail
from wheeld.model.ids import unpack_id
from wheeld.model.job import JobState, waiting_state
from wheeld.model.retry import backoff_ms

LEASE_EXPIRED_TEXT = b"lease expired"
_ANY_CALL = bytes(16 - CALL_PREFIX_BYTES)


class Settle(NamedTuple):
    """One item of a settle batch."""

    op: int
    flags: int
    retry_delay_ms: int
    extend_ms: int
    fencing: int
    job_id: bytes
    receive_us: int
    error: bytes
    result: bytes


def unpack_settles(batch: bytes) -> list[Settle]:
    count, _ = SETTLE_BATCH_HEAD.unpack_from(batch)
    items = []
    at = SETTLE_BATCH_HEAD.size
    for _ in range(count):
        op, flags, error_len, result_len, delay, extend, fencing, job_id, receive_us = SETTLE_HEAD.unpack_from(
            batch, at
        )
        error_at = at + SETTLE_HEAD.size
        result_at = error_at + error_len
        at = result_at + result_len
        items.append(
            Settle(
                op, flags, delay, extend, fencing, job_id, receive_us, batch[error_at:result_at], batch[result_at:at]
            )
        )
    return items


def settle(state: State, now_ms: int, boot_ms: int, session: bytes, batch: bytes) -> tuple[int, bytes]:
    """See Core.settle."""
    results = [settle_one(state, now_ms, boot_ms, session, item) for item in unpack_settles(batch)]
    return state.barrier(), b"".join(results)


def settle_one(state: State, now_ms: int, boot_ms: int, session: bytes, item: Settle) -> bytes:
    """Decide one item and pack its result."""
    lease = state.leases.get(item.fencing)
    if lease is None or lease.job.job_id != item.job_id or not lease.delivered:
        return refuse_stale(state, item)
    if not may_settle(session, lease.session.name):
        return pack_result(item.op, errors.LEASE_NOT_YOURS, 0, JobState.RUNNING, 0)
    if item.receive_us:
        late_us = max(item.receive_us - lease.job.due_ms * 1000, 0)
        state.queue(lease.job.spec.queue).receive_skew[histogram_index(late_us)] += 1
    after, expire_ms = JobState.RUNNING, 0
    if item.op == OP_ACK:
        after = finish(state, now_ms, lease, EntryKind.ACK, JobState.SUCCEEDED, 0, b"", item.result)
        state.counters.acked += 1
    elif item.op == OP_NACK:
        delay = None if item.retry_delay_ms == NO_DELAY else item.retry_delay_ms
        after = fail(state, now_ms, lease, EntryKind.NACK, delay, bool(item.flags & SETTLE_NO_RETRY), item.error)
        state.counters.nacked += 1
    elif item.op == OP_RELEASE:
        after = take_back(state, now_ms, lease)
    elif item.op == OP_RENEW:
        expire_ms = renew(state, now_ms, boot_ms, lease, item.extend_ms)
    return pack_result(item.op, 0, 0, after, expire_ms)


def may_settle(session: bytes, holder: bytes) -> bool:
    """Whether a caller of this session may settle a lease that `holder` has. See Core.settle."""
    if session in (NO_SESSION, holder):
        return True
    return session[CALL_PREFIX_BYTES:] == _ANY_CALL and session[:CALL_PREFIX_BYTES] == holder[:CALL_PREFIX_BYTES]


def pack_result(op: int, code: int, flags: int, after: int, expire_ms: int) -> bytes:
    return SETTLE_RESULT.pack(op, code, flags, after, 0, expire_ms)


def refuse_stale(state: State, item: Settle) -> bytes:
    """A token that holds no lease: settled before (fine, unless it was taken away), or older than the job's present
    lease, or unknown."""
    known = state.settled.get(item.fencing)
    if known is not None and known[0] == item.job_id:
        _, code, after = known
        if code == 0 and item.op == OP_RENEW:
            code = errors.LEASE_EXPIRED
        if code:
            state.counters.stale_settles += 1
        return pack_result(item.op, code, 0 if code else RESULT_REPEATED, after, 0)
    state.counters.stale_settles += 1
    job = state.jobs.get(item.job_id)
    if job is None:
        return pack_result(item.op, errors.TOKEN_UNKNOWN, 0, 0, 0)
    if job.lease is not None:
        return pack_result(item.op, errors.LEASE_FENCED, 0, JobState.RUNNING, 0)
    return pack_result(item.op, errors.LEASE_EXPIRED, 0, JobState.RETRYING if job.attempt else JobState.SCHEDULED, 0)


def remember(state: State, lease: Lease, code: int, after: int) -> None:
    """Keep a token that ended, so that its late settle gets the right answer."""
    state.settled[lease.fencing] = (lease.job.job_id, code, after)
    if len(state.settled) > limits.SETTLED_TOKENS_REMEMBERED:
        state.settled.popitem(last=False)


def drop_lease(state: State, lease: Lease, code: int, after: int) -> None:
    """The lease ends; the job has none."""
    del state.leases[lease.fencing]
    state.lease_timers.cancel(lease.fencing)
    lease.job.lease = None
    session = lease.session
    del session.leases[lease.fencing]
    session.bytes_outstanding -= len(lease.job.record)
    state.queue(lease.job.spec.queue).running -= 1
    if session.stream is None and not session.leases:
        del state.sessions[session.name]
    if lease.delivered:
        remember(state, lease, code, after)


def stage_outcome(
    state: State,
    now_ms: int,
    job: Job,
    lease: Lease | None,
    kind: int,
    after: int,
    new_due_ms: int,
    error: bytes,
    result: bytes,
) -> None:
    """Write how an attempt, or a waiting job, ended."""
    flags = WAS_BACKLOG if job.in_backlog else 0
    if after == JobState.RETRYING and new_due_ms < state.watermark_ms:
        flags |= TO_BACKLOG
    spec = job.spec
    outcome = Outcome(
        job_id=job.job_id,
        fencing=lease.fencing if lease else 0,
        due_ms=job.due_ms,
        new_due_ms=new_due_ms,
        fire_ms=lease.fire_ms if lease else 0,
        schedule_ms=spec.schedule_ms,
        attempt=job.attempt,
        state=after,
        priority=spec.priority,
        cause=kind,
        queue=spec.queue,
        type=spec.type,
        worker=lease.session.worker if lease else b"",
        labels=spec.labels,
        error=error,
        result=result,
    )
    state.stage_job(kind, flags, job.job_id, now_ms, outcome.pack())
    job.in_backlog = bool(flags & TO_BACKLOG)


def finish(
    state: State, now_ms: int, lease: Lease, kind: int, after: JobState, code: int, error: bytes, result: bytes
) -> JobState:
    """The attempt ended and the job with it."""
    stage_outcome(state, now_ms, lease.job, lease, kind, after, 0, error, result)
    drop_lease(state, lease, code, after)
    state.remove(lease.job)
    return after


def fail(
    state: State, now_ms: int, lease: Lease, kind: int, delay_ms: int | None, no_retry: bool, error: bytes
) -> JobState:
    """The attempt failed (nack or expiry): the job waits for its next attempt, or goes to the dead letters."""
    job = lease.job
    code = errors.LEASE_EXPIRED if kind == EntryKind.LEASE_EXPIRE else 0
    spec = job.spec
    if no_retry or job.attempt >= spec.max_attempts:
        state.counters.failed += 1
        return finish(state, now_ms, lease, kind, JobState.FAILED, code, error, b"")
    if delay_ms is None:
        delay_ms = backoff_ms(
            initial_ms=spec.backoff_initial_ms,
            max_ms=spec.backoff_max_ms,
            percent=spec.backoff_percent,
            jitter_percent=spec.jitter_percent,
            attempt=job.attempt,
            seq=unpack_id(job.job_id).seq,
        )
    # A wall clock that was stepped back must not bring the next attempt before the time of this one.
    new_due_ms = max(now_ms + delay_ms, job.due_ms)
    stage_outcome(state, now_ms, job, lease, kind, JobState.RETRYING, new_due_ms, error, b"")
    drop_lease(state, lease, code, JobState.RETRYING)
    job.due_ms = new_due_ms
    state.place(job)
    return JobState.RETRYING


def take_back(state: State, now_ms: int, lease: Lease) -> JobState:
    """The lease is given back without spending the attempt, which a redelivery only repeats; the job waits again at the
    time it had."""
    job = lease.job
    job.attempt -= 1
    flags = TO_BACKLOG if job.due_ms < state.watermark_ms else 0
    body = RELEASE_BODY.pack(job.job_id, lease.fencing, job.due_ms, job.attempt)
    tail = pack_tail(job.spec.priority, job.spec.queue) if flags else b""
    state.stage_job(EntryKind.RELEASE, flags, job.job_id, now_ms, body + tail)
    state.counters.taken_back += 1
    after = waiting_state(job.attempt, job.due_ms, now_ms)
    drop_lease(state, lease, 0, after)
    job.in_backlog = bool(flags)
    state.place(job)
    return after


def renew(state: State, now_ms: int, boot_ms: int, lease: Lease, extend_ms: int) -> int:
    """Start the lease's time anew; returns when it then ends (wall clock)."""
    length_ms = extend_ms or lease.lease_ms
    expire_ms = now_ms + length_ms
    lease.lease_ms = length_ms
    body = RENEW_BODY.pack(lease.job.job_id, lease.fencing, expire_ms, length_ms)
    state.stage_job(EntryKind.RENEW, 0, lease.job.job_id, now_ms, body)
    state.lease_timers.arm(lease.fencing, boot_ms + length_ms)
    state.counters.renewed += 1
    return expire_ms


def expire_lease(state: State, now_ms: int, lease: Lease) -> None:
    """The worker was silent for too long. What it was never given (the journal stood still) spends no attempt."""
    if not lease.delivered:
        take_back(state, now_ms, lease)
        return
    stream = lease.session.stream
    state.counters.lease_expirations += 1
    fail(state, now_ms, lease, EntryKind.LEASE_EXPIRE, None, False, LEASE_EXPIRED_TEXT)
    if stream is not None:
        stream.revoked.append((state.barrier(), lease.job.job_id, lease.fencing, errors.LEASE_EXPIRED))
