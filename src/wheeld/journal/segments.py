"""The segment files of an open journal: which hold groups, which stand ready, which may go.

Owns the two lists and their lock; makes no file operation, so that whoever asks never waits for the disk. The writer
takes from `ready`, the supply (a thread of its own) adds to it and takes from the old end of `used`. Invariants: the
last segment whose header is durable is never let go, for a start finds the journal by it; a segment that waits for its
first group is durable under its name.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from wheeld.journal.errors import JournalFailedError
from wheeld.model import limits


class UsedSegment(NamedTuple):
    """A segment that holds groups."""

    number: int
    path: Path
    first_group: int
    size: int


class ReadySegment(NamedTuple):
    """A segment that waits for its first group."""

    number: int
    path: Path
    size: int


class Segments:
    """See the module."""

    def __init__(self, segment_bytes: int, used: Sequence[UsedSegment], ready: Sequence[ReadySegment]) -> None:
        self.segment_bytes = segment_bytes
        self.next_number = used[-1].number + len(ready) + 1  # changed by the supply
        self.changed = threading.Condition()
        self.used = deque(used)
        self.ready = deque(ready)
        self.free_space_low = False  # written by the supply, read by anyone
        self.stalled = False  # written by the writer, read by anyone
        self.waited_for = False  # written by the writer: no group can go on without a new segment
        self.ended = False
        self._failure: JournalFailedError | None = None
        self._closing = False
        self._released_up_to = 0
        self._begun_group = used[-1].first_group
        self._begun_at: deque[float] = deque()

    @property
    def count(self) -> int:
        """Segment files that exist."""
        return len(self.used) + len(self.ready)

    @property
    def current(self) -> UsedSegment:
        """The segment that takes the next group."""
        return self.used[-1]

    # -- the writer's side -------------------------------------------------------
    def begin_next(self, first_group: int) -> UsedSegment:
        """Go on to the next ready segment; waits for one when there is none."""
        with self.changed:
            while not self.ready:
                if self._failure is not None:
                    raise self._failure
                if self._closing and self.free_space_low:
                    raise JournalFailedError("closed while groups waited for disk space: they are not durable")
                self.waited_for, self.stalled = True, self.free_space_low
                self.changed.wait()
            self.waited_for = self.stalled = False
            ready = self.ready.popleft()
            begun = UsedSegment(ready.number, ready.path, first_group, ready.size)
            self.used.append(begun)
            self._begun_at.append(time.monotonic())
            self.changed.notify_all()
            return begun

    def note_begun(self) -> None:
        """The current segment's header is durable, and its first group: the segments before it may go."""
        with self.changed:
            self._begun_group = self.current.first_group
            self.changed.notify_all()

    # -- anybody's side ----------------------------------------------------------
    def release(self, up_to_group: int) -> None:
        """The segments whose groups are all at most `up_to_group` may go."""
        with self.changed:
            if up_to_group > self._released_up_to:
                self._released_up_to = up_to_group
                self.changed.notify_all()

    def close_soon(self) -> None:
        """Nothing will be released any more: whoever waits for disk space need not."""
        with self.changed:
            self._closing = True
            self.changed.notify_all()

    def end(self) -> None:
        """No segment will be needed: the supply does what was released and ends."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    # -- the supply's side; the caller holds the lock -----------------------------
    @property
    def wanted(self) -> int:
        """How many ready segments there should be: one, and what the last second has used up."""
        horizon = time.monotonic() - limits.READY_WINDOW_MS / 1000
        while self._begun_at and self._begun_at[0] < horizon:
            self._begun_at.popleft()
        return min(1 + len(self._begun_at), limits.READY_AHEAD_MAX)

    def pop_released(self) -> UsedSegment | None:
        """The oldest segment, when nobody needs it any more."""
        if len(self.used) > 1 and self.used[1].first_group <= min(self._released_up_to + 1, self._begun_group):
            return self.used.popleft()
        return None

    # -- the supply's side; the caller does not hold the lock ----------------------
    def add_ready(self, segment: ReadySegment) -> None:
        """One more, under the next number; durable."""
        with self.changed:
            self.ready.append(segment)
            self.next_number += 1
            self.changed.notify_all()

    def note_space(self, low: bool) -> bool:
        """Remember whether the disk has no room for the next segment; True when that is news."""
        with self.changed:
            news = self.free_space_low != low
            self.free_space_low = low
            self.changed.notify_all()
            return news

    def fail(self, failure: JournalFailedError) -> None:
        """There will be no further segment."""
        with self.changed:
            self._failure = failure
            self.changed.notify_all()
