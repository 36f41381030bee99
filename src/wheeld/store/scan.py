"""Waiting jobs by due time: the load of a range, and where a range must be cut so that it fits a budget.

Owns no transaction: works in a snapshot, in slices (each `yield` is one), so that the caller can serve others
between. Invariant: a job is given once: by the walk over `jobs` when it is due in its id's bucket, by its `moved` row
when it is not.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

from wheeld.model.ids import NO_ID
from wheeld.store import layout
from wheeld.store._load import Measure, cut_rows, note_rows
from wheeld.store._rows import RowFilter, last_id, pack_blocks
from wheeld.store.layout import SHARD_BUCKET, Table
from wheeld.store.snapshot import Place, Snapshot

BUCKET_MAX: Final = (1 << 32) - 1
RESIDENT_OVERHEAD: Final = 200
"""More than a job's rows take beyond its spec, for the bound that needs no walk."""


def bucket_range(snapshot: Snapshot, after: Place, before: Place) -> tuple[int, int]:
    """First and last bucket that may hold jobs of the range."""
    width = snapshot.store.bucket_width_ms
    last_ms = before[0] - 1 if before[1] == NO_ID and before[0] > 0 else before[0]
    return min(after[0] // width, BUCKET_MAX), min(last_ms // width, BUCKET_MAX)


def scan(snapshot: Snapshot, after: Place, before: Place) -> Iterator[bytes]:
    """Runs of rows of the waiting jobs with after <= (due, id) < before that the backlog does not have, each of bounded
    size; some may be empty. Those of the backlog come by its pages: a restart must not read millions of them first.
    """
    if after >= before:
        return
    first, last = bucket_range(snapshot, after, before)
    waiting = yield from snapshot.backlog_ids(after[0], before[0])
    without_backlog = waiting.drop if waiting is not None else snapshot.without_backlog
    at_home = snapshot.row_filter(after, before, waiting_only=True, home_only=True)
    anywhere = snapshot.row_filter(after, before, waiting_only=True, home_only=False)
    for shard in range(snapshot.store.shards):
        start, end = SHARD_BUCKET.pack(shard, first), _after_bucket(shard, last)
        for rows in _rows_at_home(snapshot, start, end, at_home):
            yield without_backlog(rows)
        for items in snapshot.slices(Table.MOVED, start, end):
            for rows in snapshot.rows_of([layout.id_of_key(key) for key, _ in items], anywhere, in_backlog=False):
                yield without_backlog(rows)


def _rows_at_home(snapshot: Snapshot, start: bytes, end: bytes, at_home: RowFilter) -> Iterator[bytes]:
    """Parallel walks over the blocks of `jobs` and the few `state` and `leases` rows of the same ids."""
    for items in snapshot.slices(Table.JOBS, start, end):
        lowest, highest = items[0][0], last_id(*items[-1])
        states = snapshot.between(Table.STATE, lowest, highest)
        leases = snapshot.between(Table.LEASES, lowest, highest)
        yield pack_blocks(items, states, leases, at_home)


def _after_bucket(shard: int, bucket: int) -> bytes:
    return SHARD_BUCKET.pack(shard, bucket + 1) if bucket < BUCKET_MAX else (shard + 1).to_bytes(2, "big")


def plan(snapshot: Snapshot, after: Place, until_ms: int, budget_bytes: int) -> Generator[None, None, Place]:
    """The place up to which the rows behind `after` fit the budget; (until_ms, NO_ID) when all do. At least one row
    always fits.
    """
    everything = (until_ms, NO_ID)
    if after >= everything or _fits_without_a_look(snapshot, budget_bytes):
        return everything
    width = snapshot.store.bucket_width_ms
    bucket, last = bucket_range(snapshot, after, everything)
    left = budget_bytes
    while (found := _next_bucket(snapshot, bucket, last)) is not None:
        start = max(after, (found * width, NO_ID))
        end = min(everything, ((found + 1) * width, NO_ID))
        measure = Measure(start[0], end[0] - start[0] + 1)
        for rows in scan(snapshot, start, end):
            measure.add(rows)
            yield
        if measure.total > left:
            return (yield from _cut_bucket(snapshot, start, end, measure, left, budget_bytes))
        left -= measure.total
        bucket = found + 1
    return everything


def _fits_without_a_look(snapshot: Snapshot, budget_bytes: int) -> bool:
    stat = snapshot.txn.stat(snapshot.tables[Table.JOBS])
    pages = stat["leaf_pages"] + stat["overflow_pages"]
    errors = snapshot.txn.stat(snapshot.tables[Table.STATE])
    pages += errors["leaf_pages"] + errors["overflow_pages"]
    return bool(pages * stat["psize"] + snapshot.entries(Table.JOBS) * RESIDENT_OVERHEAD <= budget_bytes)


def _next_bucket(snapshot: Snapshot, bucket: int, last: int) -> int | None:
    """The first bucket from `bucket` to `last` that any shard has rows in."""
    found: list[int] = []
    if bucket > last:
        return None
    for table in (Table.JOBS, Table.MOVED):
        cursor = snapshot.cursor(table)
        for shard in range(snapshot.store.shards):
            if cursor.set_range(SHARD_BUCKET.pack(shard, bucket)):
                shard_found, bucket_found = SHARD_BUCKET.unpack_from(cursor.key())
                if shard_found == shard and bucket_found <= last:
                    found.append(bucket_found)
    return min(found, default=None)


def _cut_bucket(
    snapshot: Snapshot, start: Place, end: Place, measure: Measure, left: int, budget_bytes: int
) -> Generator[None, None, Place]:
    """The cut within one bucket: the millisecond by a count of bytes for each, the id by sorting that millisecond's."""
    nothing_yet = left == budget_bytes
    due_ms, left, some_before = measure.cut(left)
    if left < budget_bytes // 2:
        # Full enough: a part of the next millisecond is not worth another walk.
        return due_ms, NO_ID
    noted = bytearray()
    for rows in scan(snapshot, max(start, (due_ms, NO_ID)), min(end, (due_ms + 1, NO_ID))):
        note_rows(rows, noted)
        yield
    job_id = cut_rows(noted, left, nothing_yet and not some_before)
    return (due_ms, job_id) if job_id is not None else min(end, (due_ms + 1, NO_ID))
