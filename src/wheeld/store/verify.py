"""Check a data directory offline: does the store agree with itself and with its journal? Changes nothing.

Owns the rules of what must hold between tables. Invariant: a store that only the storekeeper has written has no
problems here, after any crash.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import lmdb

from wheeld.journal.verify import verify_journal
from wheeld.model import limits
from wheeld.model.entry import unpack_outcome
from wheeld.model.errors import StartFailure
from wheeld.model.ids import ID_BYTES, NO_ID, unpack_id
from wheeld.model.job import TERMINAL, JobState
from wheeld.model.spec import Spec, unpack_spec
from wheeld.store import layout
from wheeld.store.checkpoint import read_shard
from wheeld.store.directory import DataDirectory, read_format
from wheeld.store.environment import HistoryDays, MainStore
from wheeld.store.layout import State, Table
from wheeld.store.snapshot import Snapshot

PROBLEMS_MAX: Final = 1000


@dataclass
class StoreReport:
    """What verify_store found. `complete` is False when it stopped at PROBLEMS_MAX."""

    directory: Path
    position: int = 0
    journal_last_group: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    history_rows: int = 0
    problems: list[str] = field(default_factory=list)
    complete: bool = True


def verify_store(directory: Path) -> StoreReport:
    """Read the whole store in the data directory `directory`, which no daemon may be using."""
    report = StoreReport(directory)
    try:
        data = DataDirectory(directory, read_format(directory))
        journal = verify_journal(data.journal, data.store_uuid)
        report.journal_last_group = journal.last_group
        report.problems += journal.problems
        store = MainStore(data, readonly=True)
    except (StartFailure, lmdb.Error, OSError) as error:
        report.problems.append(str(error))
        return report
    snapshot = Snapshot(store)
    try:
        report.position = snapshot.position
        report.counts = {table.name.lower(): snapshot.entries(table) for table in layout.MAIN_TABLES}
        if journal.last_group and snapshot.position > journal.last_group:
            report.problems.append(
                f"the store holds group {snapshot.position}, the journal ends at {journal.last_group}"
            )
        for problem in _problems(snapshot, HistoryDays(data.history, readonly=True), report):
            report.problems.append(problem)
            if len(report.problems) >= PROBLEMS_MAX:
                report.complete = False
                break
    finally:
        snapshot.close()
        store.close()
    return report


def _problems(snapshot: Snapshot, history: HistoryDays, report: StoreReport) -> Iterator[str]:
    yield from _jobs(snapshot)
    yield from _states(snapshot)
    yield from _leases(snapshot)
    yield from _moved(snapshot)
    yield from _waiting(snapshot)
    yield from _dead(snapshot)
    yield from _small_tables(snapshot)
    yield from _history(history, report)


def _rows(snapshot: Snapshot, table: Table) -> Iterator[tuple[bytes, bytes]]:
    yield from snapshot.cursor(table)


def _state(snapshot: Snapshot, job_id: bytes) -> State | None:
    """The job's state row, if there is a readable one: unreadable ones are reported once, by `_states`."""
    record = snapshot.get(Table.STATE, job_id)
    try:
        return layout.unpack_state(record) if record is not None else None
    except ValueError:
        return None


def _spec(snapshot: Snapshot, job_id: bytes) -> Spec | None:
    """The job's spec, if there is a readable one: unreadable ones are reported once, by `_jobs`."""
    try:
        record = snapshot.spec(job_id)
        return unpack_spec(record) if record is not None else None
    except ValueError:
        return None


def _exists(snapshot: Snapshot, job_id: bytes) -> bool:
    """Whether there is such a job; jobs of an unreadable block are taken to be there, for `_blocks` reports it."""
    try:
        return snapshot.spec(job_id) is not None
    except ValueError:
        return True


def _due_ms(snapshot: Snapshot, job_id: bytes) -> int | None:
    """When the job is due; None when there is no such job."""
    spec, state = _spec(snapshot, job_id), _state(snapshot, job_id)
    if spec is None:
        return None
    return state.due_ms if state is not None else spec.schedule_ms


def _blocks(snapshot: Snapshot) -> Iterator[tuple[str, list[tuple[bytes, bytes]]]]:
    """Each block's problem, if it has one, and its jobs as far as they can be told."""
    behind, before = NO_ID, NO_ID
    for key, block in _rows(snapshot, Table.JOBS):
        try:
            rows = layout.unpack_block(key, block)
        except ValueError as error:
            yield str(error), []
            continue
        problem = ""
        if before != NO_ID and key <= behind:
            problem = f"the block of jobs {key.hex()} begins within the one before, {before.hex()}"
        elif len(block) > snapshot.store.block_bytes_max and len(rows) > 1:
            problem = f"the block of jobs {key.hex()} holds {len(rows)} jobs in {len(block)} bytes, more than a page"
        behind, before = rows[-1][0], key
        yield problem, rows


def _jobs(snapshot: Snapshot) -> Iterator[str]:
    """Blocks are in order and as many as counted; for what holds for each job see `_job`."""
    next_seq = [read_shard(snapshot.store, snapshot.txn, shard)[0] for shard in range(snapshot.store.shards)]
    found, readable = 0, True
    for problem, rows in _blocks(snapshot):
        if problem:
            yield problem
        readable = readable and bool(rows)
        found += len(rows)
        for job_id, record in rows:
            yield from _job(snapshot, next_seq, job_id, record)
    if readable and found != snapshot.entries(Table.JOBS):
        yield f"the blocks hold {found} jobs, {snapshot.entries(Table.JOBS)} are counted"


def _job(snapshot: Snapshot, next_seq: list[int], job_id: bytes, record: bytes) -> Iterator[str]:
    """The spec decodes, the shard knows its number, and a job that is due elsewhere has its moved row."""
    parts, state = unpack_id(job_id), _state(snapshot, job_id)
    try:
        spec = unpack_spec(record)
    except ValueError as error:
        yield f"job {job_id.hex()}: {error}"
        return
    if parts.shard >= len(next_seq) or parts.seq >= next_seq[parts.shard]:
        yield f"job {job_id.hex()}: its shard gives out lower numbers next"
    due_ms = state.due_ms if state is not None else spec.schedule_ms
    bucket = due_ms // snapshot.store.bucket_width_ms
    is_moved = snapshot.get(Table.MOVED, layout.moved_key(job_id, bucket)) is not None
    has_failed = state is not None and state.state == JobState.FAILED
    if is_moved != (bucket != parts.bucket and not has_failed):
        yield f"job {job_id.hex()}: due in bucket {bucket}, {'has a' if is_moved else 'has no'} moved row"


def _states(snapshot: Snapshot) -> Iterator[str]:
    for job_id, record in _rows(snapshot, Table.STATE):
        if not _exists(snapshot, job_id):
            yield f"state of job {job_id.hex()}, which does not exist"
            continue
        try:
            state = layout.unpack_state(record)
        except ValueError as error:
            yield f"state of job {job_id.hex()}: {error}"
            continue
        if state.state in TERMINAL and state.state != JobState.FAILED:
            yield f"state of job {job_id.hex()}: it has ended and is still here"


def _leases(snapshot: Snapshot) -> Iterator[str]:
    for job_id, record in _rows(snapshot, Table.LEASES):
        state = _state(snapshot, job_id)
        if not _exists(snapshot, job_id):
            yield f"lease of job {job_id.hex()}, which does not exist"
        try:
            layout.unpack_lease(record)
            if state is not None and state.state == JobState.FAILED:
                yield f"lease of job {job_id.hex()}, which is a dead letter"
        except ValueError as error:
            yield f"lease of job {job_id.hex()}: {error}"


def _moved(snapshot: Snapshot) -> Iterator[str]:
    for key, _ in _rows(snapshot, Table.MOVED):
        _, bucket, job_id = layout.MOVED_KEY.unpack(key)
        due_ms = _due_ms(snapshot, job_id)
        if due_ms is None:
            yield f"moved row of job {job_id.hex()}, which does not exist"
        elif due_ms // snapshot.store.bucket_width_ms != bucket or bucket == unpack_id(job_id).bucket:
            yield f"moved row of job {job_id.hex()} names bucket {bucket}, it is due at {due_ms}"


def _waiting(snapshot: Snapshot) -> Iterator[str]:
    """Backlog rows are those of waiting jobs, under their queue, priority and due time."""
    for key, _ in _rows(snapshot, Table.BACKLOG):
        job_id = layout.id_of_key(key)
        spec, due_ms = _spec(snapshot, job_id), _due_ms(snapshot, job_id)
        if spec is None or due_ms is None:
            yield f"backlog row of job {job_id.hex()}, which does not exist"
            continue
        if layout.backlog_key(spec.queue, spec.priority, due_ms, job_id) != key:
            yield f"backlog row of job {job_id.hex()} is not where the job waits"
        if snapshot.get(Table.LEASES, job_id) is not None:
            yield f"backlog row of job {job_id.hex()}, which is leased"


def _dead(snapshot: Snapshot) -> Iterator[str]:
    """Dead letters are the jobs whose state says FAILED."""
    dead = set()
    for key, _ in _rows(snapshot, Table.DEAD):
        job_id = layout.id_of_key(key)
        dead.add(job_id)
        state = _state(snapshot, job_id)
        if state is None or state.state != JobState.FAILED:
            yield f"dead letter {job_id.hex()} has not failed"
        elif not _exists(snapshot, job_id):
            yield f"dead letter {job_id.hex()} has no spec"
    for job_id, record in _rows(snapshot, Table.STATE):
        if record[1] == JobState.FAILED and job_id not in dead:
            yield f"job {job_id.hex()} has failed and is no dead letter"


def _small_tables(snapshot: Snapshot) -> Iterator[str]:
    sizes = {Table.KEYS: layout.KEY_RECORD.size, Table.SESSIONS: 57, Table.QUEUES: layout.QUEUE_RECORD.size}
    for table, size in sizes.items():
        for key, record in _rows(snapshot, table):
            if len(record) != size or record[0] != layout.RECORD_VERSION:
                yield f"{table.name.lower()} row {key.hex()}: {len(record)} bytes that are no record of this version"


def _history(history: HistoryDays, report: StoreReport) -> Iterator[str]:
    for day in history.days():
        name = layout.day_name(day)
        try:
            with history.environment(day).begin() as txn:
                for key, record in txn.cursor():
                    report.history_rows += 1
                    yield from _history_row(name, key, record)
        except lmdb.Error as error:
            yield f"history of {name}: {error}"
    history.close()


def _history_row(day: str, key: bytes, record: bytes) -> Iterator[str]:
    try:
        layout.require_version(record, layout.HISTORY_HEAD.size, "history")
        outcome = unpack_outcome(record[layout.HISTORY_HEAD.size :])
    except (ValueError, struct.error) as error:
        yield f"history of {day}, {key.hex()}: {error}"
        return
    finish_ms = layout.HISTORY_HEAD.unpack_from(record)[1]
    if outcome.job_id != key[:ID_BYTES] or layout.day_name(finish_ms // limits.DAY_MS) != day:
        yield f"history of {day}, {key.hex()}: the row belongs elsewhere"
