"""The Core protocol: what the driver may ask of the node's state machine.

Two implementations keep it: `reference` (plain Python, the readable specification) and `native` (C, what runs). Given
the same calls they write the same entries, give the same answers and have the same `state_hash`.

Owns: resident jobs, ready queues, leases, streams and their frames, recent keys, producer batches, queue settings,
counters.
Does not own: time (an argument: wall clock `now_ms` / `now_us`, and `boot_ms` for lease TTLs), disk, sockets, the far
jobs.
Invariants: a decision mutates at once and its entry stands in the open group; nothing that shows a decision leaves the
process before the group named in the answer is durable; `release` gives a lease frame out only when its group is
durable and its `schedule_time` has come.

Groups: entries gather in the open group. `take_group` closes it. An answer's group is the last one that holds anything
staged so far, so that "durable up to that group" also covers what a read could have shown.

Loads: whatever comes from the store was read at a position; `begin_load` names the group that the read must cover, and
from then on the core remembers which jobs left memory, so that a late row cannot bring a finished job back.

Horizon: jobs with (due_ms, id) below `horizon` are resident or have a backlog row; others live in the store alone, but
for near jobs of small queues (limits.NEAR_MS, limits.SMALL_QUEUE_SHARE): those stay in memory as they came.
Watermark: every unfinished job due below it has a backlog row or a lease, so that a restart never scans old buckets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from wheeld.model import limits
from wheeld.model.ids import NO_ID

LEASES = 1
"""Kind of a released message: a lease frame (model/batch.py GRANT_HEAD + spec, repeated)."""
REVOKED = 2
"""Kind of a released message: revoked tokens (model/batch.py REVOKED, repeated)."""

HISTOGRAM_BUCKETS = 16 * 38
"""Log-linear skew histogram in microseconds: values below 16 exactly, then 16 buckets per power of two, the last one
open."""


class Released(NamedTuple):
    """One message for one stream. `count` is its number of leases or tokens."""

    stream: int
    kind: int
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody calls
    data: bytes


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """Facts that do not change while the node runs. `store_uuid` (16 bytes) keys the hashes of idempotency and
    routing keys."""

    store_uuid: bytes
    shards: int = limits.SHARDS_DEFAULT
    bucket_width_ms: int = limits.BUCKET_WIDTH_MS
    resident_bytes_max: int = limits.RESIDENT_BYTES_DEFAULT
    recent_keys_max: int = limits.RECENT_KEYS_MAX
    departed_max: int = limits.DEPARTED_REMEMBERED_MAX


@dataclass(frozen=True, slots=True)
class Restored:
    """What the store knew at recovery. `producers` is a run of PRODUCER bodies; `backlog_queues` have rows that are
    not resident."""

    group: int = 0
    next_seq: Sequence[int] = ()
    index: Sequence[int] = ()
    epoch: int = 1
    watermark_ms: int = 0
    paused_queues: Sequence[bytes] = ()
    backlog_queues: Sequence[bytes] = ()
    has_keys: bool = False
    producers: bytes = b""


@dataclass(slots=True)
class Counters:
    """Totals since start. Plain numbers, read at a metrics scrape."""

    submitted: int = 0
    duplicates: int = 0
    refused: int = 0
    granted: int = 0
    released_frames: int = 0
    released_leases: int = 0
    taken_back: int = 0
    redelivered: int = 0
    acked: int = 0
    nacked: int = 0
    renewed: int = 0
    stale_settles: int = 0
    lease_expirations: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    rescheduled: int = 0
    spilled: int = 0
    loaded: int = 0
    load_skipped: int = 0
    resident_jobs: int = 0
    resident_bytes: int = 0
    leases: int = 0
    ready: int = 0
    armed: int = 0
    streams: int = 0
    open_group_bytes: int = 0


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue as it stands. `ready` counts resident jobs that wait for a worker (or were pulled ahead of their
    time)."""

    queue: bytes
    paused: bool
    ready: int
    running: int
    backlog: bool
    spills: int
    streams: int
    credit: int
    oldest_due_ms: int
    release_skew: bytes = field(default=b"", repr=False)
    receive_skew: bytes = field(default=b"", repr=False)


class Core(Protocol):
    """See the module's docstring. All times in ms unless named otherwise; ids, sessions and hashes are 16 bytes."""

    # -- hot -----------------------------------------------------------------
    def submit(self, now_ms: int, batch: bytes) -> tuple[int, int, bytes]:
        """(outcome, group, records): see model/batch.py DONE, NEED_KEYS, REFUSED. NEED_KEYS and REFUSED have decided
        nothing."""

    def settle(self, now_ms: int, boot_ms: int, session: bytes, batch: bytes) -> tuple[int, bytes]:
        """(group, settle results). LEASE_NOT_YOURS answers an item whose lease another session holds. A session whose
        last 8 bytes are zeros stands for every session with its first 8; one of zeros alone skips the check."""

    def tick(self, now_ms: int, boot_ms: int, lead_ms: int, grants_allowed: bool) -> bool:
        """Expire leases, pull due jobs up to `now_ms + lead_ms`, grant what credit allows, spill past the cap. True:
        call again, work is left. What it stages is bounded (limits.TICK_BYTES_MAX and the counts beside it); what
        leaves memory past the cap, and in which order, stands in reference/spill.py."""

    def release(self, now_us: int, durable_group: int, jobs_max: int) -> list[Released]:
        """Messages that may leave now. Leases in them count as delivered and their skew is recorded at `now_us`."""

    def next_wake_ms(self, now_ms: int, boot_ms: int, lead_ms: int, durable_group: int) -> int:
        """Wall-clock ms at which `tick` or `release` next has something to do (maybe earlier, never later); 2**64 - 1
        when nothing waits."""

    def take_group(self) -> tuple[int, bytes | memoryview] | None:
        """Close the open group: (number, entries), or None when it is empty. Whoever holds the entries holds the memory
        that they were written to: nothing is copied."""

    def open_group_bytes(self) -> int:
        """Bytes in the open group."""

    def barrier_group(self) -> int:
        """The group that must be durable before anything decided so far may be shown."""

    # -- streams ---------------------------------------------------------------
    def open_stream(
        self,
        now_ms: int,
        boot_ms: int,
        stream: int,
        session: bytes,
        worker: bytes,
        queues: Sequence[bytes],
        max_jobs: int,
        max_bytes: int,
        lease_ms: int,
        held: bytes,
    ) -> tuple[int, int, bytes]:
        """Attach a stream to its session. `held`: tokens (24 B each) that the worker still has. Leases of the session
        that it does not list are
        granted again with a higher fencing token as redeliveries. -> (group, resumed leases, REVOKED records of
        tokens not held any more).
        A stream already attached to the session is detached as by `close_stream`.
        """

    def set_credit(self, stream: int, max_jobs: int, max_bytes: int) -> None:
        """Change how much the stream may have outstanding."""

    def close_stream(self, now_ms: int, boot_ms: int, stream: int) -> int:
        """Detach: frames not given out are taken back without spending an attempt. -> group."""

    # -- control ---------------------------------------------------------------
    def get(self, now_ms: int, job_id: bytes) -> bytes | None:
        """The job's row (model/rows.py), or None when it is not resident. `state` is as a user sees it (PENDING
        included)."""

    def cancel(self, now_ms: int, job_id: bytes, row: bytes, load: int) -> tuple[int, int, bytes]:
        """(code, group, row after). `row`/`load`: what the store said of a job that is not resident (b"", 0: nothing
        yet).
        Codes: OK; JOB_NOT_FOUND (not resident: ask the store); JOB_FINISHED; STORE_BUSY (the row is out of date: read
        again).
        """

    def reschedule(self, now_ms: int, job_id: bytes, due_ms: int, row: bytes, load: int) -> tuple[int, int, bytes]:
        """As `cancel`; `due_ms` below now means now. A delivered lease: JOB_RUNNING; beyond the bound:
        SCHEDULE_TOO_FAR."""

    def set_queue(self, now_ms: int, queue: bytes, paused: bool) -> int:
        """Pause or resume a queue; pausing takes back frames not yet given out. -> group."""

    # -- the far tier ------------------------------------------------------------
    def begin_load(self) -> tuple[int, int]:
        """(load number, position that the read must cover)."""

    def open_horizon(self, due_ms: int, job_id: bytes) -> tuple[int, int]:
        """Raise the horizon and begin the load that fills the gap: (load number, position)."""

    def load(self, now_ms: int, boot_ms: int, load: int, rows: bytes) -> int:
        """Take rows in: those that are resident, or left since the load began, are skipped. -> rows taken, or -1 when
        the load was abandoned
        (too many departures: begin again). Rows at or past the horizon are skipped, unless leased or from the backlog.
        """

    def end_load(self, load: int) -> None:
        """The load is complete or given up."""

    def provide_keys(self, records: bytes) -> None:
        """Answers to NEED_KEYS: {16 B hash, 16 B id (zeros: not in the store), u64 content hash, u64 create_ms} each.
        Never overrides what is known."""

    def checkpointed(self, group: int) -> None:
        """Everything up to `group` is in the store: keys of it may be forgotten; new jobs go to the next shard."""

    def close_before(self, now_ms: int, watermark_ms: int, entries_max: int) -> bool:
        """Give waiting jobs due below the watermark their backlog rows; True once all have and the watermark was
        raised."""

    def backlog_drained(self, queue: bytes, spills: int) -> bool:
        """The store has no further backlog rows for the queue, as of a sweep begun when its spill count was `spills`.
        False: sweep again."""

    def rebase(self, now_ms: int) -> None:
        """The wall clock stepped back to `now_ms`: waiting jobs wait for their times again; nothing that was granted
        fires twice."""

    # -- views -------------------------------------------------------------------
    def horizon(self) -> tuple[int, bytes]:
        """(due_ms, id): jobs below are resident."""

    def watermark_ms(self) -> int:
        """See the module's docstring."""

    def queues(self) -> list[QueueView]:
        """All queues that the core knows, in the order in which it met them."""

    def counters(self) -> Counters:
        """Totals and sizes."""

    def state_hash(self) -> int:
        """64 bits over resident jobs and counters; equal for equal states, whatever the implementation."""


HORIZON_START = (0, NO_ID)


def histogram_index(value_us: int) -> int:
    """The bucket of a value in microseconds."""
    if value_us < 16:
        return max(value_us, 0)
    exponent = value_us.bit_length() - 5
    return min((exponent + 1) * 16 + (value_us >> exponent) - 16, HISTOGRAM_BUCKETS - 1)


def histogram_upper_us(index: int) -> int:
    """The largest value that falls into a bucket."""
    if index < 16:
        return index
    exponent = index // 16 - 1
    return ((index % 16 + 17) << exponent) - 1
