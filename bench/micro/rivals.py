"""Timers as one would otherwise keep them in Python, each driven the way that suits it; and the native wheel.

Owns: the adapters, one class for each rival. Does not own: the workload. Invariant: keys are dense numbers below the
capacity and each has at most one timer, for all rivals alike; all take whole batches, so that none pays a call per
timer that another saves.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Protocol

from wheeld.wheel.native import NativeWheel
from wheeld.wheel.reference import ReferenceWheel

KEY_BITS = 32
KEY_MASK = (1 << KEY_BITS) - 1
ADVANCE_LIMIT = 100_000
"""The most that one `advance` is asked for."""


class Rival(Protocol):
    """The operations measured. `fill` arms the first timers, in whatever way is the fastest for very many."""

    def fill(self, keys: array[int], dues_ms: array[int]) -> object: ...
    def arm_many(self, keys: array[int], dues_ms: array[int]) -> object: ...
    def cancel_many(self, keys: array[int]) -> object: ...
    def advance(self, now_ms: int, limit: int) -> array[int] | list[int]: ...


class Native(NativeWheel):
    """The wheel of the daemon, with one buffer for what expires, as the core keeps one."""

    def __init__(self, capacity: int) -> None:
        super().__init__(0, capacity)
        self._expired = array("I", bytes(4 * ADVANCE_LIMIT))

    def fill(self, keys: array[int], dues_ms: array[int]) -> None:
        self.arm_many(keys, dues_ms)

    def advance(self, now_ms: int, limit: int) -> array[int]:
        room = self._expired if limit == ADVANCE_LIMIT else memoryview(self._expired)[:limit]
        return self._expired[: self._raw.advance_into(now_ms, room)]


class Reference(ReferenceWheel):
    """The specification in Python."""

    def fill(self, keys: array[int], dues_ms: array[int]) -> None:
        self.arm_many(keys, dues_ms)


class HeapTimers:
    """heapq with tuples and lazy deletion, the usual way (asyncio's too): a cancelled entry stays until it comes up."""

    def __init__(self, capacity: int) -> None:
        self._heap: list[tuple[int, int]] = []
        self._dues_ms = array("Q", bytes(8 * capacity))

    def fill(self, keys: array[int], dues_ms: array[int]) -> None:
        self._note(keys, dues_ms)
        self._heap.extend(zip(dues_ms, keys, strict=True))
        heapify(self._heap)

    def _note(self, keys: array[int], dues_ms: array[int]) -> None:
        known = self._dues_ms
        for key, due_ms in zip(keys, dues_ms, strict=True):
            known[key] = due_ms

    def arm_many(self, keys: array[int], dues_ms: array[int]) -> None:
        heap, known, push = self._heap, self._dues_ms, heappush
        for key, due_ms in zip(keys, dues_ms, strict=True):
            known[key] = due_ms
            push(heap, (due_ms, key))

    def cancel_many(self, keys: array[int]) -> None:
        known = self._dues_ms
        for key in keys:
            known[key] = 0

    def advance(self, now_ms: int, limit: int) -> list[int]:
        heap, known, pop = self._heap, self._dues_ms, heappop
        expired: list[int] = []
        while heap and heap[0][0] <= now_ms and len(expired) < limit:
            due_ms, key = pop(heap)
            if known[key] == due_ms:
                known[key] = 0
                expired.append(key)
        return expired


class PackedHeapTimers:
    """heapq at its best: time and key in one integer, which compares faster and takes less room than a tuple."""

    def __init__(self, capacity: int) -> None:
        self._heap: list[int] = []
        self._dues_ms = array("Q", bytes(8 * capacity))

    def fill(self, keys: array[int], dues_ms: array[int]) -> None:
        known = self._dues_ms
        for key, due_ms in zip(keys, dues_ms, strict=True):
            known[key] = due_ms
        self._heap.extend([due_ms << KEY_BITS | key for key, due_ms in zip(keys, dues_ms, strict=True)])
        heapify(self._heap)

    def arm_many(self, keys: array[int], dues_ms: array[int]) -> None:
        heap, known, push = self._heap, self._dues_ms, heappush
        for key, due_ms in zip(keys, dues_ms, strict=True):
            known[key] = due_ms
            push(heap, due_ms << KEY_BITS | key)

    def cancel_many(self, keys: array[int]) -> None:
        known = self._dues_ms
        for key in keys:
            known[key] = 0

    def advance(self, now_ms: int, limit: int) -> list[int]:
        heap, known, pop, end = self._heap, self._dues_ms, heappop, (now_ms + 1) << KEY_BITS
        expired: list[int] = []
        while heap and heap[0] < end and len(expired) < limit:
            entry = pop(heap)
            key = entry & KEY_MASK
            if known[key] == entry >> KEY_BITS:
                known[key] = 0
                expired.append(key)
        return expired


class SortedListTimers:
    """sortedcontainers.SortedList of packed integers: arms by update, finds the due by one search, really removes."""

    def __init__(self, capacity: int) -> None:
        from sortedcontainers import SortedList

        self._timers = SortedList()
        self._dues_ms = array("Q", bytes(8 * capacity))

    def fill(self, keys: array[int], dues_ms: array[int]) -> None:
        self.arm_many(keys, dues_ms)

    def arm_many(self, keys: array[int], dues_ms: array[int]) -> None:
        known = self._dues_ms
        for key, due_ms in zip(keys, dues_ms, strict=True):
            known[key] = due_ms
        self._timers.update([due_ms << KEY_BITS | key for key, due_ms in zip(keys, dues_ms, strict=True)])

    def cancel_many(self, keys: array[int]) -> None:
        known, remove = self._dues_ms, self._timers.remove
        for key in keys:
            if due_ms := known[key]:
                remove(due_ms << KEY_BITS | key)
                known[key] = 0

    def advance(self, now_ms: int, limit: int) -> list[int]:
        timers, known, end = self._timers, self._dues_ms, (now_ms + 1) << KEY_BITS
        if not timers or timers[0] >= end:
            return []
        count = min(timers.bisect_left(end), limit)
        # One after another from the front: a slice deletion costs the same for few and four times as much for many.
        expired = [timers.pop(0) & KEY_MASK for _ in range(count)]
        for key in expired:
            known[key] = 0
        return expired


class SortedDictTimers:
    """sortedcontainers.SortedDict from a millisecond to the set of its keys: fewer entries to sort than timers. The set
    that reaches a limit is given whole."""

    def __init__(self, capacity: int) -> None:
        from sortedcontainers import SortedDict

        self._slots = SortedDict()
        self._dues_ms = array("Q", bytes(8 * capacity))

    def fill(self, keys: array[int], dues_ms: array[int]) -> None:
        known, slots = self._dues_ms, dict[int, set[int]]()
        for key, due_ms in zip(keys, dues_ms, strict=True):
            known[key] = due_ms
            slots.setdefault(due_ms, set()).add(key)
        self._slots.update(slots)

    def arm_many(self, keys: array[int], dues_ms: array[int]) -> None:
        known, slots = self._dues_ms, self._slots
        for key, due_ms in zip(keys, dues_ms, strict=True):
            known[key] = due_ms
            slot = slots.get(due_ms)
            if slot is None:
                slots[due_ms] = {key}
            else:
                slot.add(key)

    def cancel_many(self, keys: array[int]) -> None:
        known, slots = self._dues_ms, self._slots
        for key in keys:
            if due_ms := known[key]:
                slot = slots[due_ms]
                slot.remove(key)
                if not slot:
                    del slots[due_ms]
                known[key] = 0

    def advance(self, now_ms: int, limit: int) -> list[int]:
        known, slots = self._dues_ms, self._slots
        expired: list[int] = []
        while slots and slots.peekitem(0)[0] <= now_ms and len(expired) < limit:
            expired.extend(slots.popitem(0)[1])
        for key in expired:
            known[key] = 0
        return expired


RIVALS: dict[str, Callable[[int], Rival]] = {
    "native": Native,
    "heapq": HeapTimers,
    "heapq-packed": PackedHeapTimers,
    "SortedList": SortedListTimers,
    "SortedDict": SortedDictTimers,
    "reference": lambda capacity: Reference(0, capacity),
}
