"""Waiting jobs by due time: the load of a range, and where a range must be cut so that it fits a budget.

Owns no transaction: works in a snapshot, in slices (each `yield` is one), so that the caller can serve others
between. Invariant: a job is given once: by the walk over `jobs` when it is due in its id's bucket, by its `moved` row
when it is not.
"""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator
from typing import Final

from wheeld.model.ids import NO_ID
from wheeld.model.rows import unpack_rows
from wheeld.store import layout
from wheeld.store._fold import RowFilter, measure_rows, pack_rows
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
    backlog_end_ms = snapshot.backlog_end_ms()
    at_home = snapshot.row_filter(after, before, waiting_only=True, home_only=True)
    anywhere = snapshot.row_filter(after, before, waiting_only=True, home_only=False)
    for shard in range(snapshot.store.shards):
        start, end = SHARD_BUCKET.pack(shard, first), _after_bucket(shard, last)
        for rows in _rows_at_home(snapshot, start, end, at_home):
            yield snapshot.without_backlog(rows, backlog_end_ms)
        for items in snapshot.slices(Table.MOVED, start, end):
            for rows in snapshot.rows_of([layout.id_of_key(key) for key, _ in items], anywhere, in_backlog=False):
                yield snapshot.without_backlog(rows, backlog_end_ms)


def _rows_at_home(snapshot: Snapshot, start: bytes, end: bytes, at_home: RowFilter) -> Iterator[bytes]:
    """Parallel walks over `jobs` and the few `state` and `leases` rows of the same ids."""
    for items in snapshot.slices(Table.JOBS, start, end):
        lowest, highest = items[0][0], items[-1][0]
        states = snapshot.between(Table.STATE, lowest, highest)
        leases = snapshot.between(Table.LEASES, lowest, highest)
        yield pack_rows(items, states, leases, at_home)


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
        lengths = array("Q", bytes(8 * (end[0] - start[0] + 1)))
        for rows in scan(snapshot, start, end):
            measure_rows(rows, start[0], memoryview(lengths))
            yield
        total = sum(lengths)
        if total > left:
            return (yield from _cut_bucket(snapshot, start, end, lengths, left, budget_bytes))
        left -= total
        bucket = found + 1
    return everything


def _fits_without_a_look(snapshot: Snapshot, budget_bytes: int) -> bool:
    stat = snapshot.txn.stat(snapshot.tables[Table.JOBS])
    pages = stat["leaf_pages"] + stat["overflow_pages"]
    errors = snapshot.txn.stat(snapshot.tables[Table.STATE])
    pages += errors["leaf_pages"] + errors["overflow_pages"]
    return bool(pages * stat["psize"] + stat["entries"] * RESIDENT_OVERHEAD <= budget_bytes)


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
    snapshot: Snapshot, start: Place, end: Place, lengths: array[int], left: int, budget_bytes: int
) -> Generator[None, None, Place]:
    """The cut within one bucket: the millisecond by a count of bytes for each, the id by sorting that millisecond's."""
    first, at = left == budget_bytes, 0
    while at < len(lengths) and lengths[at] <= left:
        left -= lengths[at]
        at += 1
    due_ms = start[0] + at
    if left < budget_bytes // 2:
        # Full enough: a part of the next millisecond is not worth another walk.
        return due_ms, NO_ID
    found: list[tuple[bytes, int]] = []
    for rows in scan(snapshot, max(start, (due_ms, NO_ID)), min(end, (due_ms + 1, NO_ID))):
        found += [(row.job_id, len(row.pack())) for row in unpack_rows(rows)]
        yield
    found.sort()
    for number, (job_id, length) in enumerate(found):
        if length > left and not (first and number == 0 and at == _first_with_rows(lengths)):
            return due_ms, job_id
        left = max(0, left - length)
    return min(end, (due_ms + 1, NO_ID))


def _first_with_rows(lengths: array[int]) -> int:
    return next((at for at, length in enumerate(lengths) if length), len(lengths))
