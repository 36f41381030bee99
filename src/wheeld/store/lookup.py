"""Reads by name: jobs by id, idempotency keys, backlog pages, leases, attempts, and what a restart must know.

Owns no transaction; works in a snapshot and in slices, like `scan`. Invariant: an answer is bounded by what was asked
for.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice
from typing import Final

from wheeld.model import limits
from wheeld.model.ids import ID_BYTES
from wheeld.store import layout
from wheeld.store.api import Recovery
from wheeld.store.checkpoint import read_shard, read_time, session_time
from wheeld.store.environment import HistoryDays
from wheeld.store.layout import Table
from wheeld.store.snapshot import HIGHEST_ID, Snapshot

KEYS_PER_PAGE_STEP: Final = 128
KEYS_PER_SLICE: Final = 500


def read(snapshot: Snapshot, ids: list[bytes]) -> Iterator[bytes]:
    """Rows of the ids that exist, whatever their state."""
    return snapshot.any_rows_of(ids)


def find_keys(snapshot: Snapshot, hashes: list[bytes]) -> Iterator[bytes]:
    """For each hash a key record, or one zero byte for each byte of it."""
    days = list(_key_days(snapshot))
    for at in range(0, len(hashes), KEYS_PER_SLICE):
        yield b"".join(_find_key(snapshot, days, key_hash) for key_hash in hashes[at : at + KEYS_PER_SLICE])


def _key_days(snapshot: Snapshot) -> Iterator[bytes]:
    """The days of the table, newest first: of two submits with one key the newer one counts."""
    cursor = snapshot.cursor(Table.KEYS)
    found = cursor.last()
    while found:
        day: bytes = cursor.key()[:4]
        yield day
        found = cursor.prev() if cursor.set_range(day) else False


def _find_key(snapshot: Snapshot, days: list[bytes], key_hash: bytes) -> bytes:
    for day in days:
        record = snapshot.get(Table.KEYS, day + key_hash)
        if record is not None:
            return record
    return bytes(layout.KEY_RECORD.size)


def leases(snapshot: Snapshot) -> Iterator[bytes]:
    """Rows of all leased jobs; none of them has a backlog row."""
    for items in snapshot.slices(Table.LEASES, b"", HIGHEST_ID):
        yield from snapshot.any_rows_of((job_id for job_id, _ in items), in_backlog=False)


def backlog_page(
    snapshot: Snapshot, queue: bytes, after_key: bytes, limit_bytes: int
) -> Generator[bytes, None, tuple[bytes, bool]]:
    """Rows of a queue's backlog behind a key, in its order, until `limit_bytes` are reached; then the key to go on
    after, and whether there is more. At least one row comes when there is one.
    """
    prefix = queue + b"\x00"
    cursor = snapshot.cursor(Table.BACKLOG)
    found = cursor.set_range(max(prefix, after_key))
    if found and cursor.key() == after_key:
        found = cursor.next()
    used, last = 0, after_key
    while found and cursor.key().startswith(prefix):
        if used >= limit_bytes:
            return last, True
        keys = list(islice(cursor.iternext(values=False), KEYS_PER_PAGE_STEP))
        if not keys[-1].startswith(prefix):
            keys = [key for key in keys if key.startswith(prefix)]
        last = keys[-1]
        found = cursor.next()
        for rows in snapshot.any_rows_of((layout.id_of_key(key) for key in keys), in_backlog=True):
            used += len(rows)
            yield rows
    return last, False


def attempts(history: HistoryDays, job_id: bytes) -> Iterator[tuple[int, bytes]]:
    """(finish_ms, outcome body) of the job's history rows: newest days first, within a day the last attempt first."""
    for day in history.days():
        with history.environment(day).begin() as txn, txn.cursor() as cursor:
            rows: list[tuple[int, bytes]] = []
            for key, value in cursor.iternext() if cursor.set_range(job_id) else ():
                if key[:ID_BYTES] != job_id:
                    break
                layout.require_version(value, layout.HISTORY_HEAD.size, "history")
                rows.append((layout.HISTORY_HEAD.unpack_from(value)[1], value[layout.HISTORY_HEAD.size :]))
        yield from reversed(rows)


def recovery(snapshot: Snapshot) -> Generator[bytes, None, Recovery]:
    """What the core must know to go on; sessions come as chunks before it."""
    shards = [read_shard(snapshot.store, snapshot.txn, shard) for shard in range(snapshot.store.shards)]
    now_ms = read_time(snapshot.store, snapshot.txn)
    for items in snapshot.slices(Table.SESSIONS, b"", b"\xff" * 25):
        yield b"".join(value[1:] for _, value in items if session_time(value) + limits.SESSION_AGE_MS_MAX >= now_ms)
    return Recovery(
        position=snapshot.position,
        next_seq=[shard[0] for shard in shards],
        index=[shard[1] for shard in shards],
        epoch=[shard[2] for shard in shards],
        watermark_ms=snapshot.watermark_ms,
        queues={key: bool(record[1]) for key, record in snapshot.cursor(Table.QUEUES).iternext()},
        backlog_queues=list(_backlog_queues(snapshot)),
        has_keys=snapshot.entries(Table.KEYS) > 0,
        counts={table.name.lower(): snapshot.entries(table) for table in layout.MAIN_TABLES},
    )


def _backlog_queues(snapshot: Snapshot) -> Iterator[bytes]:
    cursor = snapshot.cursor(Table.BACKLOG)
    found = cursor.first()
    while found:
        queue: bytes = cursor.key().split(b"\x00", 1)[0]
        yield queue
        found = cursor.set_range(queue + b"\x01")
