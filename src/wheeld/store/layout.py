"""Tables, keys and records of the store, as they lie on disk.

Owns every layout that docs/storage-format.md describes, apart from those of model/ (specs, outcomes, producer
bodies). Does not own LMDB. Invariants: keys are big endian, so that they sort; records are little endian and begin
with a version byte.
"""

from __future__ import annotations

import datetime
import struct
from enum import IntEnum
from itertools import pairwise
from typing import Final, NamedTuple

from wheeld.model import limits
from wheeld.model.ids import ID_BYTES, pack_id, unpack_id

RECORD_VERSION: Final = 1


class Table(IntEnum):
    """Tables as the fold numbers them. META is written beside the fold, HISTORY lies in environments of its own."""

    JOBS = 0
    STATE = 1
    LEASES = 2
    MOVED = 3
    BACKLOG = 4
    KEYS = 5
    SESSIONS = 6
    DEAD = 7
    QUEUES = 8
    HISTORY = 9
    META = 10


MAIN_TABLES: Final = tuple(table for table in Table if table is not Table.HISTORY)

BLOCK_HEAD: Final = struct.Struct("<BBH")
BLOCK_ROW: Final = struct.Struct("<II")
STATE_HEAD: Final = struct.Struct("<BBHIQ")
LEASE_HEAD: Final = struct.Struct("<BBHIQQQQ16s")
KEY_RECORD: Final = struct.Struct("<B16sQQ")
QUEUE_RECORD: Final = struct.Struct("<BB")
HISTORY_HEAD: Final = struct.Struct("<BQ")
POSITION_RECORD: Final = struct.Struct("<BQQ")
WATERMARK_RECORD: Final = struct.Struct("<BQ")
JOBS_RECORD: Final = struct.Struct("<BQ")
SHARD_RECORD: Final = struct.Struct("<BxxxIQQ")
FORMAT_RECORD: Final = struct.Struct("<B16sHQ")

SHARD_BUCKET: Final = struct.Struct(">HI")
MOVED_KEY: Final = struct.Struct(">HI16s")
WAITING_KEY: Final = struct.Struct(">BBQ16s")
DEAD_KEY: Final = struct.Struct(">BQ16s")
IDEMPOTENCY_KEY: Final = struct.Struct(">I16s")
SESSION_KEY: Final = struct.Struct(">16sQ")
HISTORY_KEY: Final = struct.Struct(">16sHB")

STATE_PATCH: Final = struct.Struct("<H6xQ")
"""attempt, due_ms: what RELEASE and RESCHEDULE change; the error stays."""
LEASE_PATCH: Final = struct.Struct("<QI")
"""expire_ms, lease_ms: what RENEW changes."""

META_FORMAT: Final = b"format"
META_POSITION: Final = b"position"
META_WATERMARK: Final = b"watermark"
META_JOBS: Final = b"jobs"
META_SHARD: Final = b"shard"

ATTEMPT_ENDED: Final = 0
JOB_ENDED: Final = 1


class State(NamedTuple):
    """A state record: what has changed since the submit."""

    state: int
    attempt: int
    due_ms: int
    error: bytes

    def pack(self) -> bytes:
        """The record's bytes."""
        return STATE_HEAD.pack(RECORD_VERSION, self.state, self.attempt, len(self.error), self.due_ms) + self.error


class Lease(NamedTuple):
    """A lease record. `expire_ms` is wall clock; `fire_ms` is when its frame was, or is to be, released."""

    attempt: int
    lease_ms: int
    fencing: int
    due_ms: int
    expire_ms: int
    fire_ms: int
    session: bytes
    worker: bytes

    def pack(self) -> bytes:
        """The record's bytes."""
        head = LEASE_HEAD.pack(
            RECORD_VERSION, len(self.worker), self.attempt, self.lease_ms, self.fencing, self.due_ms, self.expire_ms,
            self.fire_ms, self.session,
        )  # fmt: skip
        return head + self.worker


def require_version(record: bytes, size: int, what: str) -> None:
    """ValueError for a record that this version cannot read."""
    if len(record) < size or record[0] != RECORD_VERSION:
        raise ValueError(f"{what} record of {len(record)} bytes, version {record[0] if record else None}: not readable")


def unpack_state(record: bytes) -> State:
    """The state in a record."""
    require_version(record, STATE_HEAD.size, "state")
    _, state, attempt, error_len, due_ms = STATE_HEAD.unpack_from(record)
    if len(record) != STATE_HEAD.size + error_len:
        raise ValueError(f"state record of {len(record)} bytes says that its error has {error_len}")
    return State(state, attempt, due_ms, record[STATE_HEAD.size :])


def state_due_ms(record: bytes) -> int:
    """When the job of a state record is due."""
    require_version(record, STATE_HEAD.size, "state")
    due_ms: int = STATE_HEAD.unpack_from(record)[4]
    return due_ms


def unpack_lease(record: bytes) -> Lease:
    """The lease in a record."""
    require_version(record, LEASE_HEAD.size, "lease")
    _, worker_len, attempt, lease_ms, fencing, due_ms, expire_ms, fire_ms, session = LEASE_HEAD.unpack_from(record)
    if len(record) != LEASE_HEAD.size + worker_len:
        raise ValueError(f"lease record of {len(record)} bytes says that its worker has {worker_len}")
    worker = record[LEASE_HEAD.size :]
    return Lease(attempt, lease_ms, fencing, due_ms, expire_ms, fire_ms, session, worker)


def unpack_block(key: bytes, block: bytes) -> list[tuple[bytes, bytes]]:
    """(id, spec) of each job in a block of `jobs`. ValueError names a block that cannot be read. Hot paths have their
    own reader, in native/fold/wh_block.c.
    """
    try:
        require_version(block, BLOCK_HEAD.size, "block")
        shard, bucket, base_seq = unpack_id(key)
        rows, at = [], BLOCK_HEAD.size
        for _ in range(BLOCK_HEAD.unpack_from(block)[2]):
            distance, length = BLOCK_ROW.unpack_from(block, at)
            at += BLOCK_ROW.size + length
            rows.append((pack_id(shard, bucket, base_seq + distance), block[at - length : at]))
        ids = [job_id for job_id, _ in rows]
        if (
            at != len(block)
            or block[1]
            or key[ID_BYTES - 2 :] != bytes(2)
            or not ids
            or any(left >= right for left, right in pairwise(ids))
        ):
            raise ValueError("it contradicts itself")
    except (ValueError, struct.error) as error:
        raise ValueError(f"the block of jobs {key.hex()} cannot be read: {error}") from None
    return rows


def moved_key(job_id: bytes, bucket: int) -> bytes:
    """The key of the row that says: this job is due in `bucket`, not in its id's."""
    return MOVED_KEY.pack(unpack_id(job_id).shard, bucket, job_id)


def backlog_key(queue: bytes, priority: int, due_ms: int, job_id: bytes) -> bytes:
    """High priorities sort first, then early due times."""
    return queue + WAITING_KEY.pack(0, limits.PRIORITY_MAX - priority, due_ms, job_id)


def dead_key(queue: bytes, time_ms: int, job_id: bytes) -> bytes:
    """The dead letters of a queue, oldest first."""
    return queue + DEAD_KEY.pack(0, time_ms, job_id)


def key_expiry_day(create_ms: int) -> int:
    """The first day on which an idempotency key of that time may be forgotten."""
    return (create_ms + limits.IDEMPOTENCY_WINDOW_MS) // limits.DAY_MS + 1


def history_key(job_id: bytes, attempt: int, ended: int) -> bytes:
    """The key of a history row within its day."""
    return HISTORY_KEY.pack(job_id, attempt, ended)


def shard_key(shard: int) -> bytes:
    """The key of a shard's numbers in `meta`."""
    return META_SHARD + shard.to_bytes(2, "big")


def id_of_key(key: bytes) -> bytes:
    """The job id at the end of a moved, backlog or dead key."""
    return key[-ID_BYTES:]


def day_name(day: int) -> str:
    """The folder of a history day (days since 1970)."""
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()


def day_of_name(name: str) -> int | None:
    """The day of a history folder, None for a folder that is none."""
    try:
        return (datetime.date.fromisoformat(name) - datetime.date(1970, 1, 1)).days if len(name) == 10 else None
    except ValueError:
        return None
