"""What the reference core remembers. Plain data; the rules stand in the sibling modules, one per kind of decision."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from wheeld.core.api import HISTOGRAM_BUCKETS, HORIZON_START, CoreConfig, Counters, Restored
from wheeld.core.reference.ready import ReadyQueue
from wheeld.core.reference.timers import Timers
from wheeld.model import limits
from wheeld.model.entry import PRODUCER_BODY, pack_entry
from wheeld.model.ids import unpack_id
from wheeld.model.limits import LEAD_MS_MAX, PRODUCER_BATCHES_REMEMBERED, RESIDENT_OVERHEAD_BYTES
from wheeld.model.spec import Spec, unpack_spec


@dataclass(slots=True)
class Job:
    """A resident job. It waits for its time (armed in the wheel), or is ready (`stamp` set; the wheel then holds its
    expiry, if any), or is
    leased (`lease` set)."""

    job_id: bytes
    due_ms: int
    attempt: int
    record: bytes
    spec: Spec
    in_backlog: bool = False
    stamp: int = 0
    lease: Lease | None = None

    @property
    def size(self) -> int:
        return RESIDENT_OVERHEAD_BYTES + len(self.record)


@dataclass(slots=True, eq=False)
class Lease:
    """A worker's right to one attempt. `delivered` once its frame was given out; `fire_ms` is then the time of that."""

    job: Job
    session: Session
    fencing: int
    lease_ms: int
    fire_ms: int
    delivered: bool = False
    redelivery: bool = False


@dataclass(slots=True, eq=False)
class Session:
    """A worker's session: outlives its streams. `leases` by fencing token, in order of granting."""

    name: bytes
    worker: bytes
    leases: dict[int, Lease] = field(default_factory=dict)
    bytes_outstanding: int = 0
    stream: Stream | None = None


@dataclass(slots=True)
class Frame:
    """Leases that leave together: not before `release_ms`, not before `group` is durable."""

    release_ms: int
    group: int
    leases: list[Lease]
    size: int = 0


@dataclass(slots=True, eq=False)
class Stream:
    """One attached stream and its credit."""

    number: int
    session: Session
    queues: list[Queue]
    max_jobs: int
    max_bytes: int
    lease_ms: int
    frames: list[Frame] = field(default_factory=list)
    revoked: list[tuple[int, bytes, int, int]] = field(default_factory=list)
    """(group, job id, fencing, code)"""

    def has_credit(self) -> bool:
        return len(self.session.leases) < self.max_jobs and self.session.bytes_outstanding < self.max_bytes


@dataclass(slots=True, eq=False)
class Queue:
    """A queue: what is ready, who listens, how late its jobs fired."""

    path: bytes
    paused: bool = False
    backlog: bool = False
    spills: int = 0
    running: int = 0
    ready: ReadyQueue = field(default_factory=ReadyQueue)
    ready_bytes: int = 0
    streams: list[Stream] = field(default_factory=list)
    turn: int = 0
    release_skew: list[int] = field(default_factory=lambda: [0] * HISTOGRAM_BUCKETS)
    receive_skew: list[int] = field(default_factory=lambda: [0] * HISTOGRAM_BUCKETS)


@dataclass(slots=True)
class KeyRecord:
    """An idempotency key that is known to the core. `job_id` of zeros: known not to be in the store. `group` 0:
    learnt from the store."""

    job_id: bytes
    content_hash: int
    create_ms: int
    group: int


@dataclass(slots=True)
class Producer:
    """Batches of one producer session: batch number -> (content hash, base now_ms, first seq, count, shard)."""

    batches: dict[int, tuple[int, int, int, int, int]] = field(default_factory=dict)
    highest: int = 0

    def remember(self, batch_no: int, batch: tuple[int, int, int, int, int]) -> None:
        """Add a batch; forget those out of the window."""
        self.highest = max(self.highest, batch_no)
        self.batches[batch_no] = batch
        for old in [number for number in self.batches if number + PRODUCER_BATCHES_REMEMBERED <= self.highest]:
            del self.batches[old]


class State:
    """Everything. Written by the rule modules, through the methods here where more than one field must move
    together."""

    def __init__(self, config: CoreConfig, restored: Restored, now_ms: int, boot_ms: int) -> None:
        self.config = config
        self.epoch = restored.epoch
        self.seq = max(restored.next_seq, default=1)
        self.index = list(restored.index) or [0] * config.shards
        self.shard = 0
        self.fencing = restored.epoch << 40
        self.group = restored.group + 1
        self.buffer = bytearray()
        self.watermark_ms = restored.watermark_ms
        self.horizon: tuple[int, bytes] = HORIZON_START
        self.jobs: dict[bytes, Job] = {}
        self.resident_bytes = 0
        self.held: Counter[bytes] = Counter()
        """Queue path -> bytes that its jobs hold in memory."""
        self.tick_began = 0
        """Bytes of the open group when the tick began."""
        self.wheel: Timers[bytes] = Timers(now_ms)
        self.lease_timers: Timers[int] = Timers(boot_ms)
        self.leases: dict[int, Lease] = {}
        self.sessions: dict[bytes, Session] = {}
        self.streams: dict[int, Stream] = {}
        self.queues: dict[bytes, Queue] = {}
        self.pushes = 0
        self.queue_turn = 0
        self.keys: OrderedDict[bytes, KeyRecord] = OrderedDict()
        self.keys_complete = not restored.has_keys
        self.checkpointed_group = restored.group
        self.producers: OrderedDict[bytes, Producer] = OrderedDict()
        self.settled: OrderedDict[int, tuple[bytes, int, int]] = OrderedDict()
        """fencing -> (job id, code, state after): the newest tokens that were settled or revoked."""
        self.loads: dict[int, int] = {}
        """load number -> departures counted when it began."""
        self.load_number = 0
        self.departures = 0
        self.departed: deque[bytes] = deque()
        self.departed_ids: dict[bytes, int] = {}
        """job id -> the departure number at which it last left, kept while a load is under way."""
        self.counters = Counters()
        for path in restored.paused_queues:
            self.queue(path).paused = True
        for path in restored.backlog_queues:
            self.queue(path).backlog = True
        self._restore_producers(restored.producers)

    def _restore_producers(self, bodies: bytes) -> None:
        for session, batch_no, content, base_ms, first, count, shard in PRODUCER_BODY.iter_unpack(bodies):
            producer = self.producers.setdefault(session, Producer())
            self.producers.move_to_end(session)
            producer.remember(batch_no, (content, base_ms, first, count, shard))

    def queue(self, path: bytes) -> Queue:
        found = self.queues.get(path)
        if found is None:
            found = self.queues[path] = Queue(path)
        return found

    def stage(self, kind: int, flags: int, shard: int, now_ms: int, body: bytes) -> None:
        """Write an entry into the open group."""
        self.index[shard] += 1
        self.buffer += pack_entry(kind, flags, shard, self.epoch, self.index[shard], now_ms, body)

    def stage_job(self, kind: int, flags: int, job_id: bytes, now_ms: int, body: bytes) -> None:
        """Write an entry of a job: its shard is in its id."""
        self.stage(kind, flags, unpack_id(job_id).shard, now_ms, body)

    def barrier(self) -> int:
        return self.group if self.buffer else self.group - 1

    def below_horizon(self, due_ms: int, job_id: bytes) -> bool:
        return (due_ms, job_id) < self.horizon

    def keeps(self, due_ms: int, job_id: bytes, path: bytes) -> bool:
        """Whether a waiting job belongs into memory: below the horizon, or near and of a small queue."""
        near = due_ms < self.wheel.now + limits.NEAR_MS
        return self.below_horizon(due_ms, job_id) or (near and self.is_small(path))

    def is_small(self, path: bytes) -> bool:
        """The queue holds little: what fills memory is not its doing."""
        return self.held[path] < self.config.resident_bytes_max // limits.SMALL_QUEUE_SHARE

    def staged_in_tick(self) -> int:
        return len(self.buffer) - self.tick_began

    def insert(self, job_id: bytes, due_ms: int, attempt: int, record: bytes, in_backlog: bool) -> Job:
        job = Job(job_id, due_ms, attempt, record, unpack_spec(record), in_backlog)
        self.jobs[job_id] = job
        self.resident_bytes += job.size
        self.held[job.spec.queue] += job.size
        return job

    def remove(self, job: Job) -> None:
        """The job leaves memory (it ended, went to the far tier, or to the backlog)."""
        self.unplace(job)
        del self.jobs[job.job_id]
        self.resident_bytes -= job.size
        self.held[job.spec.queue] -= job.size
        if self.loads:
            self.departures += 1
            self.departed.append(job.job_id)
            self.departed_ids[job.job_id] = self.departures
            if len(self.departed) > self.config.departed_max:
                self.loads.clear()
                self.forget_departed()

    def forget_departed(self) -> None:
        """Drop what no load under way can bring back."""
        keep_from = min(self.loads.values(), default=self.departures)
        while self.departed and self.departures - len(self.departed) < keep_from:
            number = self.departures - len(self.departed) + 1
            job_id = self.departed.popleft()
            if self.departed_ids.get(job_id) == number:
                del self.departed_ids[job_id]

    def unplace(self, job: Job) -> None:
        """The job waits no more: neither armed nor ready."""
        self.wheel.cancel(job.job_id)
        if job.stamp:
            job.stamp = 0
            queue = self.queue(job.spec.queue)
            queue.ready.live -= 1
            queue.ready_bytes -= job.size

    def place(self, job: Job) -> None:
        """A job without a lease waits for its time or for a worker, or leaves for the far tier."""
        if not job.in_backlog and not self.keeps(job.due_ms, job.job_id, job.spec.queue):
            self.remove(job)
        elif job.due_ms <= self.wheel.now:
            self.push_ready(job)
        else:
            if job.in_backlog:
                self.queue(job.spec.queue)  # known from now on: when it is sent away, its queue has a backlog
            self.wheel.arm(job.job_id, job.due_ms)

    def push_ready(self, job: Job) -> None:
        self.pushes += 1
        job.stamp = self.pushes
        queue = self.queue(job.spec.queue)
        queue.ready_bytes += job.size
        queue.ready.live += 1
        queue.ready.push(job.due_ms, job.spec.priority, self.pushes, job.job_id, job.stamp)
        if job.spec.expire_ms:
            # The wheel runs up to LEAD_MS_MAX ahead; this keeps the expiry from coming early.
            self.wheel.arm(job.job_id, job.spec.expire_ms + LEAD_MS_MAX)
