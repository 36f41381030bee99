"""Ready jobs of one queue, ordered by urgency.

A job's place is `due_ms + (9 - priority) * ageing`: a constant, so that ageing needs no re-sorting; ties go to the
one that came first.
Each priority level is a run of entries that came in order, plus a small heap for those that did not (retries, pages
of the backlog).
Entries are never searched: a job that left is recognised by its stamp. Invariant: the entries of a run never decrease.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterator

from wheeld.model.limits import PRIORITY_AGEING_MS, PRIORITY_MAX

Entry = tuple[int, int, bytes, int]
"""(place, push number, job id, stamp)."""


def place_of(due_ms: int, priority: int) -> int:
    """Where a job stands: smaller is more urgent."""
    return due_ms + (PRIORITY_MAX - priority) * PRIORITY_AGEING_MS


class Level:
    """One priority: a run and a heap. `marked` entries at the run's head have their backlog rows already; `high` is the
    least urgent entry that the heap got since it was last empty."""

    __slots__ = ("head", "heap", "high", "marked", "run")

    def __init__(self) -> None:
        self.run: list[Entry] = []
        self.head = 0
        self.marked = 0
        self.heap: list[Entry] = []
        self.high: Entry = (0, 0, b"", 0)

    def push(self, entry: Entry) -> None:
        if self.head == len(self.run):
            self.run.clear()
            self.head = self.marked = 0
        if not self.run or entry[0] >= self.run[-1][0]:
            self.run.append(entry)
        else:
            self.high = max(self.high, entry) if self.heap else entry
            heapq.heappush(self.heap, entry)

    def first(self) -> Entry | None:
        run = self.run[self.head] if self.head < len(self.run) else None
        if not self.heap:
            return run
        return self.heap[0] if run is None or self.heap[0] < run else run

    def pop(self) -> Entry:
        if self.head == len(self.run) or (self.heap and self.heap[0] < self.run[self.head]):
            return heapq.heappop(self.heap)
        entry = self.run[self.head]
        self.head += 1
        self.marked = max(self.marked - 1, 0)
        return entry

    def last(self) -> Entry | None:
        """The least urgent entry. A heap that may have it becomes part of the run, so that the end of both is one."""
        if self.heap and (self.head == len(self.run) or self.high > self.run[-1]):
            run = self.run[self.head :]
            self.marked = min(self.marked, bisect.bisect(run, self.heap[0]))
            self.run, self.head, self.heap = sorted(run + self.heap), 0, []
        return self.run[-1] if self.head < len(self.run) else None

    def pop_last(self) -> Entry:
        """Take what `last` gave."""
        entry = self.run.pop()
        self.marked = min(self.marked, len(self.run) - self.head)
        return entry


class ReadyQueue:
    """The levels of a queue. Counts include entries whose job has left; `live` does not."""

    __slots__ = ("levels", "live")

    def __init__(self) -> None:
        self.levels = [Level() for _ in range(PRIORITY_MAX + 1)]
        self.live = 0

    def push(self, due_ms: int, priority: int, number: int, job_id: bytes, stamp: int) -> None:
        self.levels[priority].push((place_of(due_ms, priority), number, job_id, stamp))

    def first_level(self) -> Level | None:
        """The level whose first entry is the most urgent."""
        best: Level | None = None
        best_entry: Entry | None = None
        for level in self.levels:
            entry = level.first()
            if entry is not None and (best_entry is None or entry[:2] < best_entry[:2]):
                best, best_entry = level, entry
        return best

    def last_level(self) -> Level | None:
        """The level with the least urgent entry, which is the last of its run."""
        best: Level | None = None
        best_entry: Entry | None = None
        for level in self.levels:
            entry = level.last()
            if entry is not None and (best_entry is None or entry[:2] > best_entry[:2]):
                best, best_entry = level, entry
        return best

    def entries(self) -> Iterator[Entry]:
        """Every entry, in no useful order."""
        for level in self.levels:
            yield from level.run[level.head :]
            yield from level.heap
