"""From due to delivered: expire, pull, grant, release. What leaves past the cap stands in `spill`.

`tick` pulls jobs out of the wheel up to `lead_ms` before their time, grants them to streams with credit and stages
the grants; `release`
gives the frames out once durable and due. So the journal's sync lies before the schedule time, not behind it.
"""

from __future__ import annotations

from wheeld.core.api import LEASES, REVOKED, Released, histogram_index
from wheeld.core.reference.settle import expire_lease, stage_outcome
from wheeld.core.reference.spill import spill
from wheeld.core.reference.state import Frame, Job, Lease, Queue, Session, State, Stream
from wheeld.core.reference.timers import NEVER
from wheeld.model import batch as packed
from wheeld.model import limits
from wheeld.model.entry import GRANT_BODY, WAS_BACKLOG, EntryKind, pack_tail
from wheeld.model.job import JobState


def tick(state: State, now_ms: int, boot_ms: int, lead_ms: int, grants_allowed: bool) -> bool:
    """See Core.tick."""
    state.tick_began = len(state.buffer)
    expired_all = expire_leases(state, now_ms, boot_ms)
    pulled_all = pull_due(state, now_ms, lead_ms)
    granted_all = not grants_allowed or grant(state, now_ms, boot_ms)
    spilled_all = spill(state, now_ms)
    return not (expired_all and pulled_all and granted_all and spilled_all)


def expire_leases(state: State, now_ms: int, boot_ms: int) -> bool:
    """End leases whose time is over; those past the tick's bytes are armed again for the next tick. False: some are
    left."""
    lapsed = state.lease_timers.advance(boot_ms, limits.EXPIRIES_PER_TICK_MAX)
    done = len(lapsed) < limits.EXPIRIES_PER_TICK_MAX
    for fencing in lapsed:
        if state.staged_in_tick() < limits.TICK_BYTES_MAX // 2:
            expire_lease(state, now_ms, state.leases[fencing])
        else:
            state.lease_timers.arm(fencing, boot_ms)
            done = False
    return done


def pull_due(state: State, now_ms: int, lead_ms: int) -> bool:
    """Make jobs ready whose time is near; end those that were not started within theirs, as far as the tick's bytes
    go. False: some are left."""
    due = state.wheel.advance(now_ms + lead_ms, limits.EXPIRIES_PER_TICK_MAX)
    done = len(due) < limits.EXPIRIES_PER_TICK_MAX
    for job_id in due:
        job = state.jobs[job_id]
        if not job.stamp:
            state.push_ready(job)
        elif state.staged_in_tick() < limits.TICK_BYTES_MAX // 2:
            expire_job(state, now_ms, job)
        else:
            state.wheel.arm(job_id, now_ms + lead_ms)
            done = False
    return done


def expire_job(state: State, now_ms: int, job: Job) -> None:
    """The job was not started within its time."""
    stage_outcome(state, now_ms, job, None, EntryKind.EXPIRE, JobState.EXPIRED, 0, b"start timeout", b"")
    state.counters.expired += 1
    state.remove(job)


def grant(state: State, now_ms: int, boot_ms: int) -> bool:
    """Queues take turns; within a queue its streams do. False when the budget ended first."""
    budget = limits.GRANTS_PER_TICK_MAX
    queues = list(state.queues.values())
    idle = 0
    while queues and idle < len(queues):
        if budget == 0 or is_full(state):
            return False
        queue = queues[state.queue_turn % len(queues)]
        state.queue_turn = (state.queue_turn + 1) % len(queues)
        granted = grant_queue(state, now_ms, boot_ms, queue, min(budget, limits.QUEUE_TURN_JOBS))
        budget -= granted
        idle = 0 if granted else idle + 1
    return True


def grant_queue(state: State, now_ms: int, boot_ms: int, queue: Queue, jobs_max: int) -> int:
    """Take up to `jobs_max` of a queue's jobs and grant them, one stream after the other; those whose time to start is
    over end instead, and count as well, so that no tick stages more than its bounds allow."""
    taken = 0
    while taken < jobs_max and not queue.paused and not is_full(state):
        stream = next_stream(queue)
        job = pop_ready(state, queue) if stream is not None else None
        if stream is None or job is None:
            break
        if job.spec.expire_ms and job.spec.expire_ms <= now_ms:
            expire_job(state, now_ms, job)
        else:
            give(state, now_ms, boot_ms, stream, job)
        taken += 1
    return taken


def is_full(state: State) -> bool:
    """The tick has staged what it may, but for what is spilled."""
    return state.staged_in_tick() >= limits.TICK_BYTES_MAX // 4 * 3


def next_stream(queue: Queue) -> Stream | None:
    """The next stream of the queue, in turn, that has credit. A turn lasts while the stream has credit, so that
    frames are large."""
    for step in range(len(queue.streams)):
        at = (queue.turn + step) % len(queue.streams)
        if queue.streams[at].has_credit():
            queue.turn = at
            return queue.streams[at]
    return None


def pop_ready(state: State, queue: Queue) -> Job | None:
    """The most urgent job that is still there."""
    while True:
        level = queue.ready.first_level()
        if level is None:
            return None
        _, _, job_id, stamp = level.pop()
        job = state.jobs.get(job_id)
        if job is None or job.stamp != stamp:
            continue
        return job


def give(state: State, now_ms: int, boot_ms: int, stream: Stream, job: Job) -> None:
    """Lease a waiting job to the stream's session."""
    state.unplace(job)
    job.attempt += 1
    lease_ms = job.spec.lease_ms or stream.lease_ms
    lease = start_lease(state, now_ms, boot_ms, stream.session, job, lease_ms, redelivery=False)
    state.counters.granted += 1
    add_to_frame(state, now_ms, stream, lease)


def start_lease(
    state: State, now_ms: int, boot_ms: int, session: Session, job: Job, lease_ms: int, *, redelivery: bool
) -> Lease:
    """Stage the grant and arm its expiry. The time counts from the later of now and the schedule time."""
    state.fencing += 1
    start_ms = max(now_ms, job.due_ms)
    lease = Lease(job, session, state.fencing, lease_ms, start_ms, redelivery=redelivery)
    job.lease = lease
    state.leases[lease.fencing] = session.leases[lease.fencing] = lease
    session.bytes_outstanding += len(job.record)
    state.queue(job.spec.queue).running += 1
    flags = WAS_BACKLOG if job.in_backlog else 0
    body = GRANT_BODY.pack(
        job.job_id,
        lease.fencing,
        job.due_ms,
        start_ms + lease_ms,
        lease_ms,
        job.attempt,
        len(session.worker),
        redelivery,
        session.name,
    )
    tail = pack_tail(job.spec.priority, job.spec.queue) if flags else b""
    state.stage_job(EntryKind.GRANT, flags, job.job_id, now_ms, body + session.worker + tail)
    job.in_backlog = False
    state.lease_timers.arm(lease.fencing, boot_ms + (start_ms - now_ms) + lease_ms)
    return lease


def add_to_frame(state: State, now_ms: int, stream: Stream, lease: Lease) -> None:
    """Put the lease into the stream's last frame when it fits there, else into a new one."""
    release_ms = max(now_ms, lease.job.due_ms)
    size = packed.GRANT_HEAD.size + len(lease.job.record)
    frame = stream.frames[-1] if stream.frames else None
    if (
        frame is None
        or frame.release_ms != release_ms
        or frame.group != state.group
        or len(frame.leases) >= limits.FRAME_JOBS_MAX
        or frame.size + size > limits.FRAME_BYTES_MAX
    ):
        frame = Frame(release_ms, state.group, [])
        stream.frames.append(frame)
    frame.leases.append(lease)
    frame.size += size


def release(state: State, now_us: int, durable_group: int, jobs_max: int) -> list[Released]:
    """See Core.release."""
    out: list[Released] = []
    budget = jobs_max
    for stream in state.streams.values():
        gone = [token for token in stream.revoked if token[0] <= durable_group]
        if gone:
            stream.revoked = [token for token in stream.revoked if token[0] > durable_group]
            data = b"".join(packed.REVOKED.pack(job_id, fencing, code) for _, job_id, fencing, code in gone)
            out.append(Released(stream.number, REVOKED, len(gone), data))
        kept: list[Frame] = []
        for frame in stream.frames:
            if budget <= 0 or frame.group > durable_group or frame.release_ms * 1000 > now_us:
                kept.append(frame)
                continue
            count, data = encode_frame(state, now_us, frame)
            budget -= len(frame.leases)
            if count:
                out.append(Released(stream.number, LEASES, count, data))
        stream.frames = kept
    return out


def encode_frame(state: State, now_us: int, frame: Frame) -> tuple[int, bytes]:
    """The frame's leases that still stand; each counts as delivered now."""
    parts: list[bytes] = []
    for lease in frame.leases:
        job = lease.job
        if state.leases.get(lease.fencing) is not lease:
            continue
        lease.delivered = True
        # The lease's time runs since the grant: the worker must not believe in more than the timer gives.
        expire_ms = lease.fire_ms + lease.lease_ms
        lease.fire_ms = max(now_us // 1000, job.due_ms)
        if not lease.redelivery:
            late_us = max(now_us - job.due_ms * 1000, 0)
            state.queue(job.spec.queue).release_skew[histogram_index(late_us)] += 1
        flags = packed.GRANT_REDELIVERY if lease.redelivery else 0
        length = packed.GRANT_HEAD.size - 4 + len(job.record)
        parts.append(
            packed.GRANT_HEAD.pack(
                length,
                job.job_id,
                lease.fencing,
                job.due_ms,
                expire_ms,
                lease.lease_ms,
                job.attempt,
                flags,
                len(job.record),
            )
            + job.record
        )
    state.counters.released_leases += len(parts)
    state.counters.released_frames += 1 if parts else 0
    return len(parts), b"".join(parts)


def next_wake_ms(state: State, now_ms: int, boot_ms: int, lead_ms: int, durable_group: int) -> int:
    """See Core.next_wake_ms."""
    wake = NEVER
    if len(state.wheel):
        wake = max(state.wheel.next() - lead_ms, 0)
    if len(state.lease_timers):
        wake = min(wake, now_ms + max(state.lease_timers.next() - boot_ms, 0))
    for stream in state.streams.values():
        for frame in stream.frames:
            if frame.group <= durable_group:
                wake = min(wake, frame.release_ms)
        if any(group <= durable_group for group, _, _, _ in stream.revoked):
            wake = min(wake, now_ms)
    return wake
