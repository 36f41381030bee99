"""A driver without a core: it records what the edge asks and answers as it is told.

Owns nothing durable. Invariant: a decision counts as `decided` only when its coroutine has run to its end.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wheeld.core.api import HISTOGRAM_BUCKETS, LEASES, Counters, QueueView, histogram_index
from wheeld.driver.api import JobView, Opened, Outbox
from wheeld.model import batch as packed
from wheeld.model.entry import Outcome
from wheeld.model.errors import Refused
from wheeld.model.ids import pack_id
from wheeld.model.spec import Spec


def skew(*values_us: int) -> bytes:
    """A packed histogram."""
    counts = [0] * HISTOGRAM_BUCKETS
    for value_us in values_us:
        counts[histogram_index(value_us)] += 1
    return array("Q", counts).tobytes()


def queue_view(path: bytes, **changes: object) -> QueueView:
    """A queue at rest."""
    facts: dict[str, object] = {
        "queue": path, "paused": False, "ready": 0, "running": 0, "backlog": False, "spills": 0, "streams": 0,
        "credit": 0, "oldest_due_ms": 0, "release_skew": skew(), "receive_skew": skew(),
    }  # fmt: skip
    return QueueView(**{**facts, **changes})  # type: ignore[arg-type]


def lease_frame(count: int, first_fencing: int = 1, payload: bytes = b"") -> bytes:
    """A packed frame of `count` leases."""
    spec = Spec(queue=b"default/default", type=b"echo", payload=payload).pack()
    parts = []
    for fencing in range(first_fencing, first_fencing + count):
        head = packed.GRANT_HEAD.pack(
            packed.GRANT_HEAD.size - 4 + len(spec),
            pack_id(1, 2, fencing),
            fencing,
            1000,
            31_000,
            30_000,
            1,
            0,
            len(spec),
        )
        parts.append(head + spec)
    return b"".join(parts)


@dataclass
class Stream:
    """What the edge said when it opened a stream."""

    session: bytes
    worker: bytes
    queues: list[bytes]
    max_jobs: int
    held: bytes
    outbox: Outbox
    closed: int = 0


@dataclass
class FakeDriver:
    """See wheeld.driver.api.Driver. While `hold` is cleared, decisions wait before they end."""

    batches: list[bytes] = field(default_factory=list)
    settles: list[tuple[bytes, bytes]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    credits: list[tuple[int, int, int]] = field(default_factory=list)
    views: list[QueueView] = field(default_factory=list)
    jobs: dict[bytes, JobView] = field(default_factory=dict)
    refusal: Refused | None = None
    closed: Refused | None = None
    """Of submits, at the door."""
    revoked: bytes = b""
    on_open: Callable[[Stream], None] = lambda _stream: None
    decided: int = 0

    def __post_init__(self) -> None:
        self.hold = asyncio.Event()
        self.hold.set()
        self.changed = asyncio.Condition()
        self.holds: list[asyncio.Event] = []

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when what the edge asked for meets the condition."""
        async with self.changed, asyncio.timeout(60):
            await self.changed.wait_for(condition)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _decide(self) -> None:
        own = self.holds.pop(0) if self.holds else self.hold
        await self._tell()
        await own.wait()
        if self.refusal is not None:
            raise self.refusal
        self.decided += 1
        await self._tell()

    def admit_submit(self) -> None:
        if self.closed is not None:
            raise self.closed

    async def submit(self, batch: bytes) -> bytes:
        self.batches.append(batch)
        number = len(self.batches)
        await self._decide()
        count = packed.SUBMIT_HEAD.unpack_from(batch)[0]
        at, results = packed.SUBMIT_HEAD.size, []
        for seq in range(count):
            length, code, fault, _ = packed.ITEM_HEAD.unpack_from(batch, at)
            at += packed.ITEM_HEAD.size + length
            job_id = bytes(16) if code else pack_id(1, number, seq)
            results.append(packed.SUBMIT_RESULT.pack(code, fault, 0, 0, 0, job_id))
        return b"".join(results)

    async def settle(self, session: bytes, batch: bytes) -> bytes:
        self.settles.append((session, batch))
        await self._decide()
        count = packed.SETTLE_BATCH_HEAD.unpack_from(batch)[0]
        return packed.SETTLE_RESULT.pack(packed.OP_ACK, 0, 0, 5, 0, 0) * count

    async def open_stream(
        self, session: bytes, worker: bytes, queues: Sequence[bytes], max_jobs: int, max_bytes: int, lease_ms: int,
        held: bytes, outbox: Outbox,
    ) -> Opened:  # fmt: skip
        stream = Stream(session, worker, list(queues), max_jobs, held, outbox)
        self.streams.append(stream)
        self.on_open(stream)
        number = len(self.streams)
        await self._decide()
        return Opened(number, len(held) // packed.TOKEN.size, self.revoked)

    def deliver(self, number: int, count: int, first_fencing: int = 1, fire_us: int = 1) -> None:
        """A lease frame for a stream."""
        self.streams[number - 1].outbox.deliver(LEASES, count, lease_frame(count, first_fencing), fire_us)

    def set_credit(self, number: int, max_jobs: int, max_bytes: int) -> None:
        self.credits.append((number, max_jobs, max_bytes))
        self._soon()

    def close_stream(self, number: int) -> None:
        self.streams[number - 1].closed += 1
        self._soon()

    def _soon(self) -> None:
        self.last_told = asyncio.get_running_loop().create_task(self._tell())

    async def get(self, job_id: bytes) -> JobView:
        if self.refusal is not None:
            raise self.refusal
        return self.jobs[job_id]

    async def cancel(self, job_id: bytes) -> JobView:
        await self._decide()
        return self.jobs[job_id]

    async def reschedule(self, job_id: bytes, due_ms: int) -> JobView:
        await self._decide()
        view = self.jobs[job_id]
        self.jobs[job_id] = JobView(view.row._replace(due_ms=due_ms), view.finish_ms, view.outcome)
        return self.jobs[job_id]

    async def attempts(self, job_id: bytes) -> list[tuple[int, Outcome]]:
        return []

    async def set_queue(self, queue: bytes, paused: bool) -> QueueView:
        await self._decide()
        return queue_view(queue, paused=paused)

    def queues(self) -> list[QueueView]:
        return self.views

    def counters(self) -> Counters:
        return Counters(submitted=7, resident_jobs=3, resident_bytes=300)

    def facts(self) -> dict[str, int | float | str]:
        return {"lead_ms": 6, "durable_group": 12, "sync_ms_p50": 0.25}
