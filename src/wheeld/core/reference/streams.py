"""Worker sessions and their streams: attach, resume, credit, detach."""

from __future__ import annotations

from collections.abc import Sequence

from wheeld.core.reference.dispatch import add_to_frame, start_lease
from wheeld.core.reference.settle import drop_lease, take_back
from wheeld.core.reference.state import Lease, Session, State, Stream
from wheeld.model import errors
from wheeld.model.batch import REVOKED, TOKEN
from wheeld.model.job import JobState


def open_stream(
    state: State,
    now_ms: int,
    boot_ms: int,
    number: int,
    name: bytes,
    worker: bytes,
    queues: Sequence[bytes],
    max_jobs: int,
    max_bytes: int,
    lease_ms: int,
    held: bytes,
) -> tuple[int, int, bytes]:
    """See Core.open_stream."""
    session = state.sessions.get(name)
    if session is None:
        session = state.sessions[name] = Session(name, worker)
    elif session.stream is not None:
        detach(state, now_ms, session.stream)
    session.worker = worker
    stream = Stream(number, session, [], max_jobs, max_bytes, lease_ms)
    session.stream = stream
    state.sessions[name] = session
    state.streams[number] = stream
    for path in dict.fromkeys(queues):
        queue = state.queue(path)
        stream.queues.append(queue)
        queue.streams.append(stream)
    held_tokens = [TOKEN.unpack_from(held, at) for at in range(0, len(held), TOKEN.size)]
    resumed, gone = 0, []
    for job_id, fencing in held_tokens:
        lease = session.leases.get(fencing)
        if lease is not None and lease.job.job_id == job_id:
            resumed += 1
        else:
            gone.append(REVOKED.pack(job_id, fencing, code_of_gone(state, job_id, fencing)))
    holds = {fencing for _, fencing in held_tokens}
    for lease in [lease for fencing, lease in session.leases.items() if fencing not in holds]:
        redeliver(state, now_ms, boot_ms, stream, lease)
    return state.barrier(), resumed, b"".join(gone)


def code_of_gone(state: State, job_id: bytes, fencing: int) -> int:
    """Why a token that a worker claims to hold is not its lease any more."""
    known = state.settled.get(fencing)
    if known is not None and known[0] == job_id:
        return known[1] or errors.LEASE_EXPIRED
    return errors.TOKEN_UNKNOWN


def redeliver(state: State, now_ms: int, boot_ms: int, stream: Stream, lease: Lease) -> None:
    """The session lost sight of a lease: the same attempt goes out again under a higher fencing token."""
    job = lease.job
    session = stream.session
    drop_lease(state, lease, errors.LEASE_FENCED, JobState.RUNNING)
    again = start_lease(state, now_ms, boot_ms, session, job, lease.lease_ms, redelivery=True)
    state.counters.redelivered += 1
    add_to_frame(state, now_ms, stream, again)


def detach(state: State, now_ms: int, stream: Stream) -> None:
    """Take the stream out of its queues and take back what it was not yet given."""
    frames, stream.frames = stream.frames, []
    for queue in stream.queues:
        at = queue.streams.index(stream)
        del queue.streams[at]
        if queue.turn > at:
            queue.turn -= 1
        if queue.turn >= len(queue.streams):
            queue.turn = 0
    stream.session.stream = None
    del state.streams[stream.number]
    for frame in frames:
        for lease in frame.leases:
            if state.leases.get(lease.fencing) is lease:
                take_back(state, now_ms, lease)
    if not stream.session.leases:
        state.sessions.pop(stream.session.name, None)


def close_stream(state: State, now_ms: int, number: int) -> int:
    """See Core.close_stream. A stream that another one replaced is gone already."""
    stream = state.streams.get(number)
    if stream is not None:
        detach(state, now_ms, stream)
    return state.barrier()


def set_credit(state: State, number: int, max_jobs: int, max_bytes: int) -> None:
    """See Core.set_credit."""
    stream = state.streams.get(number)
    if stream is not None:
        stream.max_jobs, stream.max_bytes = max_jobs, max_bytes
