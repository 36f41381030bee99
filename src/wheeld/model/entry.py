"""Entries: the decisions that the journal keeps, the storekeeper folds and (in a cluster) followers receive.

An entry is a decision with its outcome; folding never refuses and needs nothing but entries. Little endian.

Head, 32 bytes: u32 length (whole entry), u8 kind, u8 flags, u16 shard, u32 epoch, u32 0, u64 index (per shard, +1
each), u64 now_ms.
Bodies (every job entry begins with the 16-byte job id):

    SUBMIT      id, 16 B key hash (zeros: no key), u64 content hash, u64 due_ms, spec record
    GRANT       id, u64 fencing, u64 due_ms, u64 expire_ms, u32 lease_ms, u16 attempt, u8 worker_len, u8 redelivery,
    16 B session, worker, [tail]
    ACK NACK LEASE_EXPIRE CANCEL EXPIRE   an outcome, see `Outcome`
    RELEASE     id, u64 fencing, u64 due_ms, u16 attempt (after), 6 pad, [tail]
    RENEW       id, u64 fencing, u64 expire_ms, u32 lease_ms, 4 pad
    RESCHEDULE  id, u64 old due_ms, u64 new due_ms, u16 attempt, 6 pad, [tail]
    BACKLOG     id, u64 due_ms, tail
    PRODUCER    16 B session, u64 batch_no, u64 content hash, u64 base now_ms, u64 first seq, u32 count, u16 shard, 2
    pad
    QUEUE       u8 paused, u8 queue_len, queue path
    CLOSE       u64 watermark_ms
    EPOCH       (nothing; the head names shard and epoch)

tail (present when flags has TO_BACKLOG or WAS_BACKLOG; on SUBMIT and outcomes the body says it already): u8 priority,
u8 queue_len, queue.

Flags: TO_BACKLOG: after this entry the job waits with a due time below the watermark: the fold adds its backlog row
(due after).
WAS_BACKLOG: before it, the job had a backlog row (due before): the fold removes it. Rescheduling may carry both.
Where the job's due bucket differs from its id's bucket, the fold keeps a `moved` row: derived from old and new due,
so not flagged.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

ENTRY_HEAD = struct.Struct("<IBBHIIQQ")
SUBMIT_BODY = struct.Struct("<16s16sQQ")
GRANT_BODY = struct.Struct("<16sQQQIHBB16s")
OUTCOME_BODY = struct.Struct("<16sQQQQQIHBBHHBBBB")
RELEASE_BODY = struct.Struct("<16sQQH6x")
RENEW_BODY = struct.Struct("<16sQQI4x")
RESCHEDULE_BODY = struct.Struct("<16sQQH6x")
BACKLOG_BODY = struct.Struct("<16sQ")
PRODUCER_BODY = struct.Struct("<16sQQQQIH2x")
QUEUE_BODY = struct.Struct("<BB")
CLOSE_BODY = struct.Struct("<Q")
TAIL_HEAD = struct.Struct("<BB")

assert (ENTRY_HEAD.size, SUBMIT_BODY.size, GRANT_BODY.size, OUTCOME_BODY.size) == (32, 48, 64, 72)
assert (RELEASE_BODY.size, RENEW_BODY.size, RESCHEDULE_BODY.size, BACKLOG_BODY.size, PRODUCER_BODY.size) == (
    40,
    40,
    40,
    24,
    56,
)

TO_BACKLOG = 1
WAS_BACKLOG = 2


class EntryKind(IntEnum):
    """What was decided. Numbers are on disk: never reuse one."""

    SUBMIT = 1
    GRANT = 2
    ACK = 3
    NACK = 4
    LEASE_EXPIRE = 5
    RELEASE = 6
    RENEW = 7
    CANCEL = 8
    EXPIRE = 9
    RESCHEDULE = 10
    BACKLOG = 11
    PRODUCER = 12
    QUEUE = 13
    CLOSE = 14
    EPOCH = 15


OUTCOMES = frozenset({EntryKind.ACK, EntryKind.NACK, EntryKind.LEASE_EXPIRE, EntryKind.CANCEL, EntryKind.EXPIRE})


class EntryHead(NamedTuple):
    """The fixed head of an entry."""

    length: int
    kind: int
    flags: int
    shard: int
    epoch: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    now_ms: int


class Outcome(NamedTuple):
    """How an attempt or a job ended: the body of ACK, NACK, LEASE_EXPIRE, CANCEL and EXPIRE, and of a history row.

    OUTCOME_BODY: id, fencing u64 (0: no lease was held), old due_ms u64, new due_ms u64 (RETRYING, else 0), fire_ms
    u64 (frame released or
    to be released; 0: never), schedule_ms u64, u32 result_len, u16 attempt, u8 state after, u8 priority, u16
    error_len, u16 labels_len,
    u8 worker_len, u8 queue_len, u8 type_len, u8 cause (the entry's kind); then queue | type | worker | labels | error |
    result. `finish` is the head's now_ms.
    """

    job_id: bytes
    fencing: int
    due_ms: int
    new_due_ms: int
    fire_ms: int
    schedule_ms: int
    attempt: int
    state: int
    priority: int
    cause: int
    queue: bytes
    type: bytes
    worker: bytes
    labels: bytes
    error: bytes
    result: bytes

    def pack(self) -> bytes:
        """The body's bytes."""
        head = OUTCOME_BODY.pack(
            self.job_id,
            self.fencing,
            self.due_ms,
            self.new_due_ms,
            self.fire_ms,
            self.schedule_ms,
            len(self.result),
            self.attempt,
            self.state,
            self.priority,
            len(self.error),
            len(self.labels),
            len(self.worker),
            len(self.queue),
            len(self.type),
            self.cause,
        )
        return b"".join((head, self.queue, self.type, self.worker, self.labels, self.error, self.result))


def unpack_outcome(body: bytes | memoryview) -> Outcome:
    """The outcome in an entry's body or a history row's tail."""
    (
        job_id,
        fencing,
        due_ms,
        new_due_ms,
        fire_ms,
        schedule_ms,
        result_len,
        attempt,
        state,
        priority,
        error_len,
        labels_len,
        worker_len,
        queue_len,
        type_len,
        cause,
    ) = OUTCOME_BODY.unpack_from(body)
    at = OUTCOME_BODY.size
    parts = []
    for length in (queue_len, type_len, worker_len, labels_len, error_len, result_len):
        parts.append(bytes(body[at : at + length]))
        at += length
    return Outcome(job_id, fencing, due_ms, new_due_ms, fire_ms, schedule_ms, attempt, state, priority, cause, *parts)


def pack_entry(kind: int, flags: int, shard: int, epoch: int, index: int, now_ms: int, body: bytes) -> bytes:
    """A whole entry."""
    return ENTRY_HEAD.pack(ENTRY_HEAD.size + len(body), kind, flags, shard, epoch, 0, index, now_ms) + body


def pack_tail(priority: int, queue: bytes) -> bytes:
    """The location of a job in the backlog."""
    return TAIL_HEAD.pack(priority, len(queue)) + queue


def iterate_entries(group: bytes | memoryview) -> list[tuple[EntryHead, memoryview]]:
    """Heads and bodies of the entries in a group's payload. ValueError when the lengths do not add up."""
    view = memoryview(group)
    found = []
    at = 0
    while at < len(view):
        if at + ENTRY_HEAD.size > len(view):
            raise ValueError(f"entry head cut at byte {at} of {len(view)}")
        length, kind, flags, shard, epoch, _, index, now_ms = ENTRY_HEAD.unpack_from(view, at)
        if length < ENTRY_HEAD.size or at + length > len(view):
            raise ValueError(f"entry at byte {at} says {length} bytes, the group has {len(view) - at}")
        found.append(
            (EntryHead(length, kind, flags, shard, epoch, index, now_ms), view[at + ENTRY_HEAD.size : at + length])
        )
        at += length
    return found
