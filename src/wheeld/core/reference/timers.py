"""A sorted timer set with the wheel's contract: exact, FIFO within one time, at most one timer for a key. Never reads
a clock."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
NEVER = (1 << 64) - 1


class Timers(Generic[Key]):
    """`now` is the last time advanced to. Arming at or before it fires at the next `advance`."""

    def __init__(self, now: int) -> None:
        self.now = now
        self._heap: list[tuple[int, int, Key]] = []
        self._armed: dict[Key, int] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._armed)

    def arm(self, key: Key, due: int) -> None:
        self._sequence += 1
        self._armed[key] = self._sequence
        heapq.heappush(self._heap, (max(due, self.now), self._sequence, key))

    def cancel(self, key: Key) -> None:
        self._armed.pop(key, None)

    def _drop_dead(self) -> None:
        while self._heap and self._armed.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)

    def next(self) -> int:
        self._drop_dead()
        return self._heap[0][0] if self._heap else NEVER

    def advance(self, now: int, limit: int) -> list[Key]:
        """Keys due up to `now`, at most `limit`. Where the limit bit, time stops at the first one left."""
        expired: list[Key] = []
        while now >= self.now:
            self._drop_dead()
            if not self._heap or self._heap[0][0] > now:
                self.now = now
                break
            if len(expired) == limit:
                self.now = self._heap[0][0]
                break
            due, _, key = heapq.heappop(self._heap)
            self.now = max(self.now, due)
            del self._armed[key]
            expired.append(key)
        return expired
