"""The writer: folds journal groups into the store, one commit after another.

Owns every write to LMDB. Does not own the journal, nor when to write (the keeper asks). Invariants: the position is
read inside the write transaction and stored with what it stands for; history is committed before it, so that a crash
between repeats only puts of the same rows; a transaction that failed leaves nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, Final, Protocol

import lmdb

from wheeld.model import limits
from wheeld.model.ids import ID_BYTES
from wheeld.model.job import JobState
from wheeld.model.spec import SPEC_HEAD
from wheeld.store import blocks, layout
from wheeld.store._fold import DELETE, PATCH, PUT, Fold
from wheeld.store.environment import HistoryDays, MainStore, Transaction
from wheeld.store.layout import RECORD_VERSION, Table
from wheeld.store.pace import Pace

PRUNE_EVERY_MS: Final = 10 * limits.MINUTE_MS


class StoreFullError(Exception):
    """The disk, the quota of the file system or the map has no room: nothing was changed, the same work can be tried
    again.
    """


class StoreCorruptError(Exception):
    """Journal and store contradict each other, or an entry cannot be folded: no checkpoint can go on."""


class JournalBehindError(Exception):
    """A group was asked for that the journal does not hold (yet)."""


class Group(Protocol):
    """A journal group, as the journal's reader gives it."""

    @property
    def number(self) -> int: ...
    @property
    def payload(self) -> bytes | memoryview: ...


class GroupSource(Protocol):
    """What the writer needs of a journal reader: the groups after those read so far, up to one."""

    def read(self, up_to_group: int) -> Iterator[Group]: ...


class Checkpointer:
    """Brings the store up to a group. `slice_guard` is held while rows are written and free while waiting for disks."""

    def __init__(
        self,
        store: MainStore,
        history: HistoryDays,
        open_journal: Callable[[int], GroupSource],
        slice_guard: AbstractContextManager[Any],
        fold_bytes_max: int = limits.FOLD_BYTES_MAX,
    ) -> None:
        self._store = store
        self._history = history
        self._open_journal = open_journal
        self._guard = slice_guard
        self._pace = Pace(fold_bytes_max)
        self._fold = Fold(store.shards, store.bucket_width_ms)
        self._pruned_ms = 0
        self.time_ms = 0

    def advance(self, target: int) -> int:
        """Fold groups up to `target`, or as many as one commit takes. The position that is durable afterwards."""
        self._fold.reset()
        try:
            with self._store.begin(write=True) as txn:
                position = read_position(self._store, txn)
                if position >= target:
                    txn.abort()
                    return position
                last = self._fold_groups(position, target)
                self._fold.finish()
                self._write_history()
                self._write_main(txn, last)
        except (lmdb.Error, OSError) as error:
            if is_full(error, self._store.directory.path):
                raise StoreFullError(str(error)) from error
            raise
        finally:
            self._fold.reset()
        return last

    def _fold_groups(self, position: int, target: int) -> int:
        last = position
        try:
            for group in self._open_journal(position).read(target):
                if group.number != last + 1:
                    raise StoreCorruptError(
                        f"the store stands at group {last}, the journal goes on with {group.number}"
                    )
                try:
                    self._fold.apply(group.payload)
                except ValueError as error:
                    raise StoreCorruptError(f"group {group.number}: {error}") from error
                last = group.number
                if self._fold.bytes_used > self._pace.fold_bytes:
                    break
        except JournalBehindError:
            # What came before the hole is good; the next attempt fails at its first group.
            if last == position:
                raise
        if last == position:
            raise JournalBehindError(f"the journal ends at group {position}, {target} is asked for")
        # By the newest entries alone: a clock that was once far ahead must not age what comes after it was set right.
        self.time_ms = self._fold.time_ms
        return last

    def _slices(self, table: Table, kind: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """The table's operations of one kind, in order; the guard is held while the consumer works on a slice."""
        start = 0
        while True:
            with self._guard:
                items, start = self._fold.take(table, kind, start, limits.STORE_SLICE_ROWS)
                if not items:
                    return
                yield items

    def _write_history(self) -> None:
        """One transaction a day; the guard is free while a day is committed."""
        start, day, txn = 0, b"", None
        try:
            while True:
                with self._guard:
                    items, start = self._fold.take(Table.HISTORY, PUT, start, limits.STORE_SLICE_ROWS)
                if not items:
                    break
                for prefix, rows in groupby(items, key=lambda item: item[0][:4]):
                    if prefix != day:
                        if txn is not None:
                            txn.commit()
                        day, txn = prefix, self._history.environment(int.from_bytes(prefix, "big")).begin(write=True)
                    assert txn is not None
                    with self._guard, txn.cursor() as cursor:
                        cursor.putmulti([(key[4:], value) for key, value in rows])
            if txn is not None:
                txn.commit()
        except BaseException:
            if txn is not None:
                txn.abort()
            raise

    def _write_main(self, txn: Transaction, last: int) -> None:
        tables = self._store.tables
        self._unmove_released(txn)
        for table in layout.MAIN_TABLES:
            if table is Table.META or self._fold.count(table) == 0:
                continue
            if table is Table.JOBS:
                self._write_jobs(txn)
                continue
            if txn.stat(tables[table])["entries"]:
                for items in self._slices(table, DELETE):
                    for key, _ in items:
                        txn.delete(key, db=tables[table])
            if table in (Table.STATE, Table.LEASES):
                patch = self._patch_state if table is Table.STATE else self._patch_lease
                for items in self._slices(table, PATCH):
                    for key, value in items:
                        patch(txn, key, value)
            with txn.cursor(tables[table]) as cursor:
                for items in self._slices(table, PUT):
                    cursor.putmulti(self._bounded_sessions(txn, items) if table is Table.SESSIONS else items)
        self._write_meta(txn, last)
        self._forget(txn)

    def _write_jobs(self, txn: Transaction) -> None:
        """Blocks, and how many jobs they hold."""
        try:
            with txn.cursor(self._store.tables[Table.JOBS]) as cursor:
                ended = blocks.remove_ended(self._fold, cursor, self._guard)
                put = blocks.put_new(self._fold, cursor, self._store.block_bytes_max, self._guard)
        except ValueError as error:
            raise StoreCorruptError(str(error)) from error
        record = layout.JOBS_RECORD.pack(RECORD_VERSION, read_jobs(self._store, txn) + put.added - ended)
        txn.put(layout.META_JOBS, record, db=self._store.tables[Table.META])
        self._pace.learn(put.places)

    def _unmove_released(self, txn: Transaction) -> None:
        """A released lease of the store knows in which bucket its job was due."""
        for items in self._slices(Table.MOVED, PATCH):
            for job_id, _ in items:
                record = txn.get(job_id, db=self._store.tables[Table.LEASES])
                if record is None:
                    raise StoreCorruptError(f"job {job_id.hex()} is released and has no lease")
                bucket = layout.unpack_lease(record).due_ms // self._store.bucket_width_ms
                txn.delete(layout.moved_key(job_id, bucket), db=self._store.tables[Table.MOVED])

    def _patch_state(self, txn: Transaction, job_id: bytes, patch: bytes) -> None:
        """New attempt and due time, the old error; no row for a job that is as it was submitted."""
        attempt, due_ms = layout.STATE_PATCH.unpack(patch)
        tables = self._store.tables
        record = txn.get(job_id, db=tables[Table.STATE])
        error = layout.unpack_state(record).error if record is not None else b""
        try:
            spec = blocks.read_specs(txn.cursor(tables[Table.JOBS]), [job_id]).get(job_id)
        except ValueError as unreadable:
            raise StoreCorruptError(str(unreadable)) from unreadable
        if spec is None:
            raise StoreCorruptError(f"job {job_id.hex()} is changed and does not exist")
        if attempt == 0 and not error and due_ms == SPEC_HEAD.unpack_from(spec)[7]:
            txn.delete(job_id, db=tables[Table.STATE])
            return
        state = layout.State(JobState.RETRYING if attempt else JobState.SCHEDULED, attempt, due_ms, error)
        txn.put(job_id, state.pack(), db=tables[Table.STATE])

    def _patch_lease(self, txn: Transaction, job_id: bytes, patch: bytes) -> None:
        expire_ms, lease_ms = layout.LEASE_PATCH.unpack(patch)
        record = txn.get(job_id, db=self._store.tables[Table.LEASES])
        if record is None:
            raise StoreCorruptError(f"the lease of job {job_id.hex()} is renewed and does not exist")
        lease = layout.unpack_lease(record)._replace(expire_ms=expire_ms, lease_ms=lease_ms)
        txn.put(job_id, lease.pack(), db=self._store.tables[Table.LEASES])

    def _bounded_sessions(self, txn: Transaction, items: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The newest rows of each session; older ones are removed from the store as well."""
        kept: list[tuple[bytes, bytes]] = []
        cursor = txn.cursor(self._store.tables[Table.SESSIONS])
        for session, group in groupby(items, key=lambda item: item[0][:ID_BYTES]):
            rows = list(group)
            newest = rows[-1][0]
            beyond = cursor.set_range(session + b"\xff" * 9)
            if (cursor.prev() if beyond else cursor.last()) and cursor.key().startswith(session):
                newest = max(newest, cursor.key())
            oldest = layout.SESSION_KEY.unpack(newest)[1] - limits.PRODUCER_BATCHES_REMEMBERED + 1
            first_kept = layout.SESSION_KEY.pack(session, max(0, oldest))
            kept += [row for row in rows if row[0] >= first_kept]
            found = cursor.set_range(session)
            while found and cursor.key() < first_kept:
                found = cursor.delete()
        return kept

    def _write_meta(self, txn: Transaction, last: int) -> None:
        meta = self._store.tables[Table.META]
        for shard, next_seq, index, epoch in self._fold.shards():
            old = read_shard(self._store, txn, shard)
            record = layout.SHARD_RECORD.pack(
                RECORD_VERSION, max(epoch, old[2]), max(next_seq, old[0]), max(index, old[1])
            )
            txn.put(layout.shard_key(shard), record, db=meta)
        if self._fold.watermark_ms > read_watermark(self._store, txn):
            txn.put(
                layout.META_WATERMARK, layout.WATERMARK_RECORD.pack(RECORD_VERSION, self._fold.watermark_ms), db=meta
            )
        txn.put(layout.META_POSITION, layout.POSITION_RECORD.pack(RECORD_VERSION, last, self.time_ms), db=meta)

    def _forget(self, txn: Transaction) -> None:
        """Drop idempotency keys whose day has come, and now and then the producer rows that are too old to be asked
        for.
        """
        cursor = txn.cursor(self._store.tables[Table.KEYS])
        end = (self.time_ms // limits.DAY_MS + 1).to_bytes(4, "big")
        found = cursor.first()
        for _ in range(limits.FORGET_ROWS_PER_COMMIT):
            if not found or cursor.key()[:4] >= end:
                break
            found = cursor.delete()
        if self._pruned_ms <= self.time_ms < self._pruned_ms + PRUNE_EVERY_MS:
            return
        self._pruned_ms = self.time_ms
        cursor = txn.cursor(self._store.tables[Table.SESSIONS])
        found = cursor.first()
        while found:
            old = session_time(cursor.value()) + limits.SESSION_AGE_MS_MAX < self.time_ms
            found = cursor.delete() if old else cursor.next()


def is_full(error: Exception, place: str | os.PathLike[str]) -> bool:
    """Whether an error says that the file system of `place` has no room, rather than that something is broken. LMDB
    tells a short write as EIO; that transaction is over and nothing refers to its pages, so it can be made again.
    """
    if isinstance(error, lmdb.MapFullError | lmdb.DiskError):
        return True
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", 0)
    if isinstance(error, lmdb.Error) and code == errno.EIO:
        found = os.statvfs(place)
        return found.f_bavail * found.f_frsize < limits.DISK_FULL_BYTES
    return code in (errno.ENOSPC, errno.EDQUOT)


def session_time(record: bytes) -> int:
    """When the batch of a session row was decided."""
    return int.from_bytes(record[33:41], "little")


def read_position(store: MainStore, txn: Transaction) -> int:
    """The last group that the store holds; 0 for a new store."""
    record = txn.get(layout.META_POSITION, db=store.tables[Table.META])
    return int(layout.POSITION_RECORD.unpack(record)[1]) if record is not None else 0


def read_time(store: MainStore, txn: Transaction) -> int:
    """The time of the newest entries that the store has folded."""
    record = txn.get(layout.META_POSITION, db=store.tables[Table.META])
    return int(layout.POSITION_RECORD.unpack(record)[2]) if record is not None else 0


def read_jobs(store: MainStore, txn: Transaction) -> int:
    """How many jobs the store's blocks hold."""
    record = txn.get(layout.META_JOBS, db=store.tables[Table.META])
    return int(layout.JOBS_RECORD.unpack(record)[1]) if record is not None else 0


def read_watermark(store: MainStore, txn: Transaction) -> int:
    """Waiting jobs due before it stand in the backlog."""
    record = txn.get(layout.META_WATERMARK, db=store.tables[Table.META])
    return int(layout.WATERMARK_RECORD.unpack(record)[1]) if record is not None else 0


def read_shard(store: MainStore, txn: Transaction, shard: int) -> tuple[int, int, int]:
    """next_seq, index and epoch of a shard."""
    record = txn.get(layout.shard_key(shard), db=store.tables[Table.META])
    if record is None:
        return 0, 0, 0
    _, epoch, next_seq, index = layout.SHARD_RECORD.unpack(record)
    return next_seq, index, epoch
