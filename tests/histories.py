"""Random valid histories: what a core could have written into its journal, group by group.

Owns a small model of jobs, just enough to keep the entries valid; it is no core. Everything comes from the given
source of chance, so a seed repeats a history. Invariant: each entry follows the transition table and tells the truth
about due times, attempts and backlog.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from wheeld.model import entry as e
from wheeld.model.entry import EntryKind, Outcome
from wheeld.model.ids import pack_id
from wheeld.model.job import JobState
from wheeld.model.limits import DAY_MS
from wheeld.model.spec import Spec

START_MS = 1_800_000_000_000
QUEUES = (b"main/mail", b"main/mailing", b"other/reports")


@dataclass
class Job:
    """A live job as the model sees it."""

    id: bytes
    spec: Spec
    due_ms: int
    attempt: int = 0
    fencing: int = 0
    leased: bool = False
    backlogged: bool = False


class History:
    """A stream of groups. `jobs` are those that wait or run, `dead` those that failed, `ended` those that are gone."""

    def __init__(
        self,
        rng: random.Random,
        shards: int = 4,
        bucket_width_ms: int = 600_000,
        span_ms: int = 4 * 3_600_000,
        payload_sizes: tuple[int, ...] = (0, 10, 128, 3000),
    ) -> None:
        self.payload_sizes = payload_sizes
        self.rng, self.shards, self.bucket_width_ms, self.span_ms = rng, shards, bucket_width_ms, span_ms
        self.now_ms = START_MS
        self.watermark_ms = 0
        self.jobs: dict[bytes, Job] = {}
        self.dead: dict[bytes, Job] = {}
        self.ended: list[bytes] = []
        self._next_seq, self._index = [0] * shards, [0] * shards
        self._fencing = 0
        self._batches: dict[bytes, int] = {}

    def group(self, entries: int) -> bytes:
        """The payload of a group with about this many entries."""
        return b"".join(self._any_entry() for _ in range(entries))

    def _any_entry(self) -> bytes:
        rng = self.rng
        self.now_ms += rng.choice((0, 0, 1, 7, 300, 20_000))
        if rng.random() < 0.002:
            self.now_ms += DAY_MS // 2
        job = rng.choice(list(self.jobs.values())[-40:]) if self.jobs and rng.random() < 0.66 else None
        if job is None:
            return self._submit() if rng.random() < 0.8 else self._of_node()
        if job.leased:
            choice = rng.choice(("ack", "ack", "nack", "nack", "lease_expire", "release", "renew", "cancel", "grant"))
        else:
            choice = rng.choice(("grant", "grant", "grant", "grant", "cancel", "expire", "reschedule", "backlog"))
        result: bytes = getattr(self, f"_{choice}")(job)
        return result

    def _pack(self, kind: EntryKind, shard: int, body: bytes, flags: int = 0) -> bytes:
        self._index[shard] += 1
        return e.pack_entry(kind, flags, shard, 1 + self._index[shard] // 50, self._index[shard], self.now_ms, body)

    def _for_job(self, kind: EntryKind, job: Job, body: bytes, flags: int = 0) -> bytes:
        if flags and kind not in e.OUTCOMES and kind != EntryKind.SUBMIT:
            body += e.pack_tail(job.spec.priority, job.spec.queue)
        return self._pack(kind, int.from_bytes(job.id[:2], "big"), body, flags)

    def _was_backlog(self, job: Job) -> int:
        was, job.backlogged = job.backlogged, False
        return e.WAS_BACKLOG if was else 0

    def _to_backlog(self, job: Job) -> int:
        job.backlogged = job.due_ms < self.watermark_ms
        return e.TO_BACKLOG if job.backlogged else 0

    def _later(self) -> int:
        return self.now_ms + self.rng.randrange(self.span_ms)

    def _submit(self) -> bytes:
        rng = self.rng
        shard = rng.randrange(self.shards)
        due_ms = self._later()
        job_id = pack_id(shard, due_ms // self.bucket_width_ms, self._next_seq[shard])
        self._next_seq[shard] += rng.choice((1, 1, 2))
        spec = Spec(
            queue=rng.choice(QUEUES), type=rng.choice((b"", b"welcome")),
            payload=rng.randbytes(rng.choice(self.payload_sizes)), labels=rng.choice((b"", b"\x01a\x01b")),
            priority=rng.randrange(10), schedule_ms=due_ms, create_ms=self.now_ms,
        )  # fmt: skip
        if rng.random() < 0.05:
            spec = spec.at(schedule_ms=due_ms - 1)
        job = self.jobs[job_id] = Job(job_id, spec, due_ms)
        key_hash = rng.randbytes(16) if rng.random() < 0.2 else bytes(16)
        body = e.SUBMIT_BODY.pack(job_id, key_hash, rng.getrandbits(64), due_ms) + spec.pack()
        return self._for_job(EntryKind.SUBMIT, job, body, self._to_backlog(job))

    def _grant(self, job: Job) -> bytes:
        rng = self.rng
        redelivery, self._fencing = job.leased, self._fencing + 1
        job.attempt += not redelivery
        job.fencing, job.leased = self._fencing, True
        worker = rng.choice((b"", b"worker-1"))
        body = e.GRANT_BODY.pack(
            job.id,
            job.fencing,
            job.due_ms,
            self.now_ms + 30_000,
            30_000,
            job.attempt,
            len(worker),
            redelivery,
            rng.randbytes(16),
        )
        return self._for_job(EntryKind.GRANT, job, body + worker, self._was_backlog(job))

    def _renew(self, job: Job) -> bytes:
        lease_ms = self.rng.choice((30_000, 60_000))
        return self._for_job(
            EntryKind.RENEW, job, e.RENEW_BODY.pack(job.id, job.fencing, self.now_ms + lease_ms, lease_ms)
        )

    def _release(self, job: Job) -> bytes:
        job.leased = False
        job.attempt -= 1
        if self.rng.random() < 0.3:
            job.due_ms = self._later()
        body = e.RELEASE_BODY.pack(job.id, job.fencing, job.due_ms, job.attempt)
        return self._for_job(EntryKind.RELEASE, job, body, self._to_backlog(job))

    def _reschedule(self, job: Job) -> bytes:
        old_ms, job.due_ms = (
            job.due_ms,
            self.rng.choice((job.due_ms, job.spec.schedule_ms, self._later(), self._later())),
        )
        body = e.RESCHEDULE_BODY.pack(job.id, old_ms, job.due_ms, job.attempt)
        return self._for_job(EntryKind.RESCHEDULE, job, body, self._was_backlog(job) | self._to_backlog(job))

    def _backlog(self, job: Job) -> bytes:
        if job.backlogged:
            return self._cancel(job)
        job.backlogged = True
        return self._for_job(EntryKind.BACKLOG, job, e.BACKLOG_BODY.pack(job.id, job.due_ms), e.TO_BACKLOG)

    def _ack(self, job: Job) -> bytes:
        return self._outcome(EntryKind.ACK, job, JobState.SUCCEEDED)

    def _cancel(self, job: Job) -> bytes:
        return self._outcome(EntryKind.CANCEL, job, JobState.CANCELLED)

    def _expire(self, job: Job) -> bytes:
        return self._outcome(EntryKind.EXPIRE, job, JobState.EXPIRED)

    def _nack(self, job: Job) -> bytes:
        return self._outcome(
            EntryKind.NACK, job, self.rng.choice((JobState.RETRYING, JobState.RETRYING, JobState.FAILED))
        )

    def _lease_expire(self, job: Job) -> bytes:
        return self._outcome(EntryKind.LEASE_EXPIRE, job, self.rng.choice((JobState.RETRYING, JobState.FAILED)))

    def _outcome(self, kind: EntryKind, job: Job, state: JobState) -> bytes:
        rng, old_ms, flags = self.rng, job.due_ms, self._was_backlog(job)
        fencing = job.fencing if job.leased else 0
        job.leased = False
        if state == JobState.RETRYING:
            job.due_ms = self._later()
            flags |= self._to_backlog(job)
        else:
            del self.jobs[job.id]
            if state == JobState.FAILED:
                self.dead[job.id] = job
            else:
                self.ended.append(job.id)
        body = Outcome(
            job.id, fencing, old_ms, job.due_ms if state == JobState.RETRYING else 0, self.now_ms,
            job.spec.schedule_ms, job.attempt, state, job.spec.priority, kind, job.spec.queue, job.spec.type, b"w",
            job.spec.labels, b"it broke" if kind == EntryKind.NACK else b"", rng.randbytes(rng.choice((0, 40))),
        ).pack()  # fmt: skip
        return self._for_job(kind, job, body, flags)

    def _of_node(self) -> bytes:
        rng = self.rng
        shard = rng.randrange(self.shards)
        kind = rng.choice((EntryKind.PRODUCER, EntryKind.PRODUCER, EntryKind.QUEUE, EntryKind.CLOSE, EntryKind.EPOCH))
        if kind == EntryKind.PRODUCER:
            session = bytes((rng.randrange(3),)) * 16
            batch_no = self._batches[session] = self._batches.get(session, 0) + rng.choice((1, 1, 1, 40))
            first_seq = self._next_seq[shard]
            self._next_seq[shard] += 3
            return self._pack(kind, shard, e.PRODUCER_BODY.pack(session, batch_no, 1, self.now_ms, first_seq, 3, shard))
        if kind == EntryKind.QUEUE:
            queue = rng.choice(QUEUES)
            return self._pack(kind, shard, e.QUEUE_BODY.pack(rng.randrange(2), len(queue)) + queue)
        if kind == EntryKind.CLOSE:
            self.watermark_ms = max(self.watermark_ms, self.now_ms + rng.randrange(self.span_ms // 8))
            return self._pack(kind, shard, e.CLOSE_BODY.pack(self.watermark_ms))
        return self._pack(kind, shard, b"")
