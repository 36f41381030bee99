"""Waiting jobs by due time: the load of a range, and where a range must be cut so that it fits a budget.

Owns no transaction: works in a snapshot, in slices (each `yield` is one), so that the caller can serve others
between. A range of whole buckets is walked; of a bucket that is taken in parts, `dues` tells which jobs a part needs.
Invariant: a job is given once. By the walk over `jobs` when it is due in its id's bucket, or there by its place in the
lists when it is as it was submitted and by its `state` row when it is not; by its `moved` row when it is due elsewhere.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

from wheeld.model import limits
from wheeld.model.ids import NO_ID
from wheeld.store import layout
from wheeld.store._load import DueQuery, IdSet, Measure, note_rows
from wheeld.store._rows import RowFilter, last_id, pack_blocks
from wheeld.store.dues import BUCKET_MAX, Dues, bucket_keys
from wheeld.store.layout import SHARD_BUCKET, Table
from wheeld.store.snapshot import Place, Snapshot

RESIDENT_OVERHEAD: Final = 200
"""More than a job's rows take beyond its spec, for the bound that needs no walk."""
WALK_SHARE: Final = 0.3
"""From this share of a bucket's blocks on, walking over all of them is cheaper than looking for each."""


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
    for rows in _moved_rows(snapshot, first, last, after, before):
        yield without_backlog(rows)
    for bucket in sorted({first, last}):
        part = _part_of(snapshot, bucket, after, before)
        dues = (yield from snapshot.store.dues.find(snapshot, bucket, *part)) if _few_have_changed(snapshot) else None
        if dues is None or dues.share_of_blocks(DueQuery(*part)) > WALK_SHARE:
            continue
        for rows in _rows_by_due(snapshot, bucket, dues, part, waiting):
            yield without_backlog(rows)
        first, last = (first + 1, last) if bucket == first else (first, last - 1)
    at_home = snapshot.row_filter(after, before, waiting_only=True, home_only=True)
    for shard in range(snapshot.store.shards if first <= last else 0):
        for rows in _rows_at_home(snapshot, bucket_keys(shard, first)[0], bucket_keys(shard, last)[1], at_home):
            yield without_backlog(rows)


def _part_of(snapshot: Snapshot, bucket: int, after: Place, before: Place) -> tuple[Place, Place]:
    """What of a range lies within a bucket."""
    width = snapshot.store.bucket_width_ms
    return max(after, (bucket * width, NO_ID)), min(before, ((bucket + 1) * width, NO_ID))


def _rows_at_home(snapshot: Snapshot, start: bytes, end: bytes, at_home: RowFilter) -> Iterator[bytes]:
    """Parallel walks over the blocks of `jobs` and the few `state` and `leases` rows of the same ids."""
    for items in snapshot.slices(Table.JOBS, start, end):
        lowest, highest = items[0][0], last_id(*items[-1])
        states = snapshot.between(Table.STATE, lowest, highest)
        leases = snapshot.between(Table.LEASES, lowest, highest)
        yield pack_blocks(items, states, leases, at_home)


def _moved_rows(snapshot: Snapshot, first: int, last: int, after: Place, before: Place) -> Iterator[bytes]:
    """The rows of a range that are not due in their ids' buckets."""
    anywhere = snapshot.row_filter(after, before, waiting_only=True, home_only=False)
    for shard in range(snapshot.store.shards):
        for items in snapshot.slices(Table.MOVED, bucket_keys(shard, first)[0], bucket_keys(shard, last)[1]):
            ids = [layout.id_of_key(key) for key, _ in items]
            states = snapshot.of_ids(Table.STATE, ids)
            due = [job_id for job_id in ids if job_id not in states or _is_due(states[job_id], after, before)]
            yield from snapshot.rows_of(due, anywhere, in_backlog=False)


def _is_due(state: bytes, after: Place, before: Place) -> bool:
    """Whether the job of a state record may lie in a range."""
    return after[0] <= layout.state_due_ms(state) <= before[0]


def _rows_by_due(
    snapshot: Snapshot, bucket: int, dues: Dues, part: tuple[Place, Place], waiting: IdSet | None
) -> Iterator[bytes]:
    """The rows of a part of a bucket, at a cost by what the part has."""
    changed = IdSet()
    yield from _changed_rows(snapshot, bucket, part, changed)
    at_home = snapshot.row_filter(*part, waiting_only=True, home_only=True)
    for ids in dues.select(DueQuery(*part, changed, waiting)):
        yield from snapshot.rows_of(ids, at_home, in_backlog=False, as_submitted=True)


def _few_have_changed(snapshot: Snapshot) -> bool:
    """Whether memory is spent on the ids of all jobs that have changed, whichever bucket they are of."""
    return snapshot.entries(Table.STATE) + snapshot.entries(Table.LEASES) <= limits.SCAN_CHANGED_IDS_MAX


def _changed_rows(snapshot: Snapshot, bucket: int, part: tuple[Place, Place], changed: IdSet | None) -> Iterator[bytes]:
    """The rows of a part of a bucket whose jobs have changed since their submit. Afterwards `changed`, if any, has all
    jobs of the bucket that have changed or are leased.
    """
    at_home = snapshot.row_filter(*part, waiting_only=True, home_only=True)
    for shard in range(snapshot.store.shards):
        start, end = bucket_keys(shard, bucket)
        if changed is not None:
            for items in snapshot.slices(Table.LEASES, start, end):
                changed.add([key for key, _ in items])
                yield b""
        for items in snapshot.slices(Table.STATE, start, end):
            if changed is not None:
                changed.add([key for key, _ in items])
            due = [key for key, state in items if _is_due(state, *part)]
            yield from snapshot.rows_of(due, at_home, in_backlog=False)


def plan(snapshot: Snapshot, after: Place, until_ms: int, budget_bytes: int) -> Generator[bytes, None, Place]:
    """The place up to which the rows behind `after` fit the budget; (until_ms, NO_ID) when all do. At least one row
    always fits. It may lie nearer than it must where more of the backlog is due, or more jobs have changed, than memory
    is spent on.
    """
    everything = (until_ms, NO_ID)
    bucket, last = bucket_range(snapshot, after, everything)
    snapshot.store.dues.drop_before(bucket)
    if after >= everything or _fits_without_a_look(snapshot, budget_bytes):
        return everything
    left = budget_bytes
    while (found := _next_bucket(snapshot, bucket, last)) is not None:
        start, end = _part_of(snapshot, found, after, everything)
        dues = yield from snapshot.store.dues.build(snapshot, found, start)
        part = _Part(snapshot, found, dues, start, min(end, dues.cover))
        measure = yield from part.measure()
        if measure.total > left:
            return (yield from part.cut(measure, left, budget_bytes))
        if dues.cover < end:
            return dues.cover
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


class _Part:
    """What a plan counts of one bucket: the lists' jobs, and the rows of those that have changed."""

    def __init__(self, snapshot: Snapshot, bucket: int, dues: Dues, start: Place, end: Place) -> None:
        self._snapshot, self._bucket, self._dues = snapshot, bucket, dues
        self._start, self._end = start, end
        self._changed = IdSet() if _few_have_changed(snapshot) else None
        self._waiting: IdSet | None = None

    def _rows(self, start: Place, end: Place, changed: IdSet | None) -> Iterator[bytes]:
        without_backlog = self._waiting.drop if self._waiting is not None else self._snapshot.without_backlog
        for rows in _changed_rows(self._snapshot, self._bucket, (start, end), changed):
            yield without_backlog(rows)
        for rows in _moved_rows(self._snapshot, self._bucket, self._bucket, start, end):
            yield without_backlog(rows)

    def measure(self) -> Generator[bytes, None, Measure]:
        """The bytes of the part by millisecond."""
        self._waiting = yield from self._snapshot.backlog_ids(self._start[0], self._end[0])
        measure = Measure(self._start[0], self._end[0] - self._start[0] + 1)
        for rows in self._rows(self._start, self._end, self._changed):
            measure.add(rows)
            yield b""
        yield from self._dues.measure(measure, DueQuery(self._start, self._end, self._changed, self._waiting))
        return measure

    def cut(self, measure: Measure, left: int, budget_bytes: int) -> Generator[bytes, None, Place]:
        """The cut within the bucket: the millisecond by what each holds, the id by that millisecond's jobs in order."""
        nothing_yet = left == budget_bytes
        due_ms, left, some_before = measure.cut(left)
        if left < budget_bytes // 2:
            # Full enough: a part of the next millisecond is not worth another look.
            return due_ms, NO_ID
        start, end = max(self._start, (due_ms, NO_ID)), min(self._end, (due_ms + 1, NO_ID))
        noted = bytearray()
        for rows in self._rows(start, end, None):
            note_rows(rows, noted)
            yield b""
        query = DueQuery(start, end, self._changed, self._waiting)
        job_id = self._dues.cut(query, noted, left, take_first=nothing_yet and not some_before)
        return (due_ms, job_id) if job_id is not None else end
