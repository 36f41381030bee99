"""What leaves memory past the byte cap, and in which order.

Jobs that wait for their time leave first while they hold more than all that are ready: the horizon comes nearer by the
least step that frees an eighth of the cap. Of small queues they stay, unless the others cannot free as much. Else, or
when what waits for its time holds less than that, ready jobs go to the backlog: of the queue whose ready jobs hold the
most bytes (the first that the core met, of equals), its least urgent one first, which is the one with the latest place
(reference/ready.py), the newest of equals. Leased jobs never leave, nor do those due within `LEAD_MS_MAX`: they are
ready soon.

Owns: that order. Invariant: a job that leaves has a backlog row, or its time lies at or past the horizon.
"""

from __future__ import annotations

from wheeld.core.reference.state import Job, Queue, State
from wheeld.model import limits
from wheeld.model.entry import BACKLOG_BODY, EntryKind, pack_tail
from wheeld.model.ids import NO_ID


def spill(state: State, now_ms: int) -> bool:
    """Bring memory below its cap. False when the tick's share of spilling ended first."""
    if not is_over(state):
        return True
    ready_bytes = sum(queue.ready_bytes for queue in state.queues.values())
    leased_bytes = sum(lease.job.size for lease in state.leases.values())
    lower_first = state.resident_bytes - ready_bytes - leased_bytes > ready_bytes
    if lower_first and lower_horizon(state, now_ms):
        return not is_over(state)
    for _ in range(limits.SPILL_JOBS_PER_TICK_MAX):
        if not is_over(state):
            return True
        largest = max(state.queues.values(), key=lambda queue: queue.ready_bytes, default=None)
        if largest is None or largest.ready_bytes == 0:
            return lower_first or not lower_horizon(state, now_ms) or not is_over(state)
        spill_one(state, now_ms, largest)
    return not is_over(state)


def is_over(state: State) -> bool:
    return state.resident_bytes > state.config.resident_bytes_max


def spill_one(state: State, now_ms: int, queue: Queue) -> None:
    """One entry of the queue's end leaves; its job, if it still waits, goes to the backlog."""
    level = queue.ready.last_level()
    assert level is not None, "a queue with ready bytes has entries"
    _, _, job_id, stamp = level.pop_last()
    job = state.jobs.get(job_id)
    if job is not None and job.stamp == stamp:
        if not job.in_backlog:
            stage_backlog(state, now_ms, job)
        leave_with_row(state, job)


def leave_with_row(state: State, job: Job) -> None:
    """A job that has its backlog row leaves memory."""
    queue = state.queue(job.spec.queue)
    queue.backlog = True
    queue.spills += 1
    state.counters.spilled += 1
    state.remove(job)


def stage_backlog(state: State, now_ms: int, job: Job) -> None:
    """Give a waiting job its backlog row."""
    body = BACKLOG_BODY.pack(job.job_id, job.due_ms) + pack_tail(job.spec.priority, job.spec.queue)
    state.stage_job(EntryKind.BACKLOG, 0, job.job_id, now_ms, body)
    job.in_backlog = True


def lower_horizon(state: State, now_ms: int) -> bool:
    """Lower the horizon to the largest ms past the lead such that the jobs armed there or later hold a step of bytes;
    they leave for the store, where they already are (those that were paged in before the clock stepped back: in the
    backlog). False, and nothing leaves, when all that is armed past the lead holds less: memory is full of leases."""
    step_bytes = max(state.config.resident_bytes_max // limits.HORIZON_STEP_SHARE, 1)
    floor_ms = now_ms + limits.LEAD_MS_MAX
    armed = [job for job in state.jobs.values() if job.lease is None and not job.stamp and job.due_ms > floor_ms]
    large = [job for job in armed if not state.is_small(job.spec.queue)]
    for chosen in (large, armed):
        place_ms = place_of_step(chosen, step_bytes)
        if place_ms is None:
            continue
        state.horizon = min(state.horizon, (place_ms, NO_ID))
        for job in chosen:
            if job.due_ms >= place_ms and job.in_backlog:
                leave_with_row(state, job)
            elif job.due_ms >= place_ms:
                state.remove(job)
        return True
    return False


def place_of_step(jobs: list[Job], step_bytes: int) -> int | None:
    """The largest ms such that the jobs due then or later hold as many bytes."""
    held = 0
    for job in sorted(jobs, key=lambda job: job.due_ms, reverse=True):
        held += job.size
        if held >= step_bytes:
            return job.due_ms
    return None
