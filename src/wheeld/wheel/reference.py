"""The oracle: a wheel as dumb as possible, a dict and a sort.

Owns nothing clever, on purpose: it says what `Wheel` means, and the native wheel is tested against it. Does not aim at
speed: every advance sorts all timers. Invariant: a timer's rank is (effective due time, order of arming).
"""

from __future__ import annotations

import sys
from array import array

from wheeld.wheel.api import DueBuffer, KeyBuffer


class ReferenceWheel:
    """`Wheel` in plain Python."""

    def __init__(self, now_ms: int, keys: int = 0) -> None:
        self._now_ms = now_ms
        self._keys = keys
        self._armed_so_far = 0
        self._ranks: dict[int, tuple[int, int]] = {}

    def reserve(self, keys: int) -> None:
        self._keys = max(self._keys, keys)

    def arm_many(self, keys: KeyBuffer, dues_ms: DueBuffer) -> int:
        if len(keys) != len(dues_ms):
            raise ValueError("keys and dues differ in length")
        if any(key >= self._keys for key in keys):
            raise IndexError("a key is not reserved")
        late = 0
        for key, due_ms in zip(keys, dues_ms, strict=True):
            self._armed_so_far += 1
            self._ranks[key] = (max(due_ms, self._now_ms), self._armed_so_far)
            late += due_ms <= self._now_ms
        return late

    def cancel_many(self, keys: KeyBuffer) -> int:
        return sum(self._ranks.pop(key, None) is not None for key in keys)

    def armed(self, key: int) -> bool:
        return key in self._ranks

    def advance(self, now_ms: int, limit: int) -> array[int]:
        now_ms = max(now_ms, self._now_ms)
        due = sorted((rank, key) for key, rank in self._ranks.items() if rank[0] <= now_ms)
        expired = array("I", (key for _, key in due[:limit]))
        for key in expired:
            del self._ranks[key]
        self._now_ms = due[limit][0][0] if len(due) > limit else now_ms
        return expired

    def advance_done(self, now_ms: int) -> bool:
        return self._now_ms >= now_ms and all(due_ms > self._now_ms for due_ms, _ in self._ranks.values())

    def next_wake_ms(self) -> int | None:
        return min(self._ranks.values())[0] if self._ranks else None

    def now_ms(self) -> int:
        return self._now_ms

    def __len__(self) -> int:
        return len(self._ranks)

    def memory_bytes(self) -> int:
        return sys.getsizeof(self._ranks)

    def check(self) -> None:
        assert all(due_ms >= self._now_ms for due_ms, _ in self._ranks.values())
        assert all(key < self._keys for key in self._ranks)
