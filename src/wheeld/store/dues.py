"""Which jobs of a bucket are due when: 16 bytes of memory a job, read from the bucket's blocks once.

A bucket that does not fit into the daemon's memory is loaded in passes; what a pass wants is looked up here instead of
in all the bytes of the bucket. Owns the lists and how long they are kept; only the serving thread uses them. Does not
own what has changed since a job's submit: its `state`, `leases` and `moved` rows say that. Invariants: the lists hold
each job that was in the bucket's blocks at `position` and is due, as it was submitted, from `floor` to before `cover`;
ids of a shard only grow, so jobs that came since then stand behind those that were looked at.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

from wheeld.model import limits
from wheeld.model.ids import NO_ID
from wheeld.store import blocks
from wheeld.store._load import Cut, DueList, DueQuery, Measure
from wheeld.store.layout import SHARD_BUCKET, Table

if TYPE_CHECKING:
    from wheeld.store.snapshot import Place, Snapshot

IDS_PER_SLICE: Final = 128
BUCKET_MAX: Final = (1 << 32) - 1


class Dues:
    """The lists of one bucket as they were at a snapshot, ascending by shard. Jobs that came later may stand behind."""

    def __init__(self, lists: list[DueList], cover: Place) -> None:
        self._lists = lists
        self.cover = cover

    def measure(self, measure: Measure, query: DueQuery) -> Iterator[bytes]:
        """Count what the query asks for, in slices."""
        for found in self._lists:
            at = 0
            while at < len(found):
                at = found.measure(measure, query, at)
                yield b""

    def cut(self, query: DueQuery, noted: bytearray, left: int, *, take_first: bool) -> bytes | None:
        """The first id that does not fit into what is left, with the jobs that were noted; None: all fit."""
        cut = Cut(noted, left, take_first)
        for found in self._lists:
            if (job_id := found.cut(query, cut)) is not None:
                return job_id
        return cut.end()

    def select(self, query: DueQuery) -> Iterator[list[bytes]]:
        """The ids that the query asks for, ascending, in lists of bounded length; some may be empty."""
        for found in self._lists:
            at = 0
            while at < len(found):
                ids, at = found.select(query, at, IDS_PER_SLICE)
                yield ids

    def share_of_blocks(self, query: DueQuery) -> float:
        """About which share of the bucket's blocks hold jobs that the query asks for."""
        total = sum(found.blocks for found in self._lists)
        return sum(found.touched(query) for found in self._lists) / max(total, 1)


class BucketDues:
    """The lists of one bucket, kept from pass to pass."""

    def __init__(self, bucket: int, width_ms: int, floor: Place) -> None:
        self.bucket, self.floor = bucket, floor
        self._base_ms, self._width_ms = bucket * width_ms, width_ms
        self.cover: Place = (self._base_ms + width_ms, NO_ID)
        self.position = 0
        self._lists: dict[int, DueList] = {}

    def serves(self, after: Place, position: int) -> bool:
        """Whether the jobs behind a place stand here, for a snapshot of that position."""
        return self.floor <= after < self.cover and self.position <= position

    def follow(self, snapshot: Snapshot) -> Generator[bytes, None, Dues | None]:
        """Take in what the bucket has by now. None: another request went on to a later position meanwhile."""
        self.position = snapshot.position
        for shard in range(snapshot.store.shards):
            start, end = bucket_keys(shard, self.bucket)
            cursor = snapshot.cursor(Table.JOBS)
            if shard in self._lists and blocks.seek(cursor, self._lists[shard].next_id()):
                start = max(start, cursor.key())
            for items in snapshot.slices(Table.JOBS, start, end):
                if shard not in self._lists:
                    self._lists[shard] = DueList(start[: blocks.BUCKET_BYTES], self._base_ms, self._width_ms)
                self._lists[shard].add(items, DueQuery(self.floor, self.cover))
                yield b""
                if sum(map(len, self._lists.values())) > limits.DUES_MAX:
                    yield from self._lower_cover()
        return self._now() if self.position == snapshot.position else None

    def _now(self) -> Dues:
        return Dues([self._lists[shard] for shard in sorted(self._lists)], self.cover)

    def _lower_cover(self) -> Iterator[bytes]:
        """Let the half go that is due last."""
        dues, measure = self._now(), Measure(self._base_ms, self._width_ms)
        yield from dues.measure(measure, DueQuery(self.floor, self.cover, by_count=True))
        due_ms, left, _ = measure.cut(measure.total // 2)
        within = DueQuery((due_ms, NO_ID), (due_ms + 1, NO_ID), by_count=True)
        job_id = dues.cut(within, bytearray(), left, take_first=False)
        self.cover = min(self.cover, (due_ms, job_id) if job_id is not None else (due_ms + 1, NO_ID))
        for shard in list(self._lists):
            self._lists[shard] = self._lists[shard].keep(DueQuery(self.floor, self.cover))
            yield b""


class DueIndex:
    """The lists of the buckets that are being loaded. See the module."""

    def __init__(self) -> None:
        self._buckets: dict[int, BucketDues] = {}

    def drop_before(self, bucket: int) -> None:
        """Forget buckets that lie behind."""
        for old in [old for old in self._buckets if old < bucket]:
            del self._buckets[old]

    def build(self, snapshot: Snapshot, bucket: int, after: Place) -> Generator[bytes, None, Dues]:
        """A bucket's jobs from `after` on, as far as memory is spent on them: from the lists that are there, brought up
        to date, or from new ones, which are kept.
        """
        found = self._buckets.get(bucket)
        dues = None
        if found is not None and found.serves(after, snapshot.position):
            dues = yield from found.follow(snapshot)
        while dues is None or dues.cover <= after:
            found = BucketDues(bucket, snapshot.store.bucket_width_ms, after)
            self._keep(found)
            dues = yield from found.follow(snapshot)
        return dues

    def _keep(self, new: BucketDues) -> None:
        self._buckets.pop(new.bucket, None)
        while len(self._buckets) >= limits.DUES_BUCKETS_MAX:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[new.bucket] = new

    def find(self, snapshot: Snapshot, bucket: int, after: Place, before: Place) -> Generator[bytes, None, Dues | None]:
        """A bucket's jobs, from lists that are there, brought up to date; None when these do not have the range."""
        found = self._buckets.get(bucket)
        if found is None or not found.serves(after, snapshot.position):
            return None
        dues = yield from found.follow(snapshot)
        return dues if dues is not None and before <= dues.cover else None


def bucket_keys(shard: int, bucket: int) -> tuple[bytes, bytes]:
    """The keys between which the blocks of a bucket lie."""
    behind = SHARD_BUCKET.pack(shard, bucket + 1) if bucket < BUCKET_MAX else (shard + 1).to_bytes(2, "big")
    return SHARD_BUCKET.pack(shard, bucket), behind
