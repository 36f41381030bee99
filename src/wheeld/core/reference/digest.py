"""One number for the whole state, the same for every implementation: the sum over resident jobs, plus the counters
that decide the future."""

from __future__ import annotations

import struct

from wheeld.core.reference.state import Job, State
from wheeld.model.siphash import siphash128

JOB = struct.Struct("<16sQHBBQQ16s")
"""id, due, attempt, state (1 armed, 2 ready, 3 leased, 4 delivered), in backlog, fencing, record length, session."""
WHOLE = struct.Struct("<QQQQQQ16sQQQ")
"""seq, shard, fencing, group, watermark, horizon due, horizon id, resident bytes, leases, sum of entry indexes."""
ZERO_KEY = bytes(16)
_MASK = (1 << 64) - 1


def digest_job(job: Job) -> int:
    lease = job.lease
    place = (4 if lease.delivered else 3) if lease else (2 if job.stamp else 1)
    data = JOB.pack(
        job.job_id,
        job.due_ms,
        job.attempt,
        place,
        job.in_backlog,
        lease.fencing if lease else 0,
        len(job.record),
        lease.session.name if lease else ZERO_KEY,
    )
    return int.from_bytes(siphash128(ZERO_KEY, data)[:8], "little")


def state_hash(state: State) -> int:
    """See Core.state_hash."""
    whole = WHOLE.pack(
        state.seq,
        state.shard,
        state.fencing,
        state.group,
        state.watermark_ms,
        state.horizon[0],
        state.horizon[1],
        state.resident_bytes,
        len(state.leases),
        sum(state.index),
    )
    total = int.from_bytes(siphash128(ZERO_KEY, whole)[:8], "little")
    return (total + sum(digest_job(job) for job in state.jobs.values())) & _MASK
