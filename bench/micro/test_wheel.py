"""Arm, cancel and expire of the wheel beside heapq, sortedcontainers and the reference; one op table over all rivals.

    pytest bench/micro/test_wheel.py -m "not large"     (-m large: 10 and 50 million)

Owns the rivals' adapters and the workload: due times uniform over an hour, keys in scattered order, batches of 10,000.
Each round works on a wheel with `timers` resident. Figures per operation stand in `extra_info["ns_per_op"]`.
"""

from __future__ import annotations

import heapq
import random
from array import array
from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol

import pytest

from wheeld.wheel.native import NativeWheel
from wheeld.wheel.reference import ReferenceWheel

HORIZON_MS = 3_600_000
BATCH = 10_000
ROUNDS = 20


class Rival(Protocol):
    """The operations measured."""

    def arm_many(self, keys: array[int], dues_ms: array[int]) -> Any: ...
    def cancel_many(self, keys: array[int]) -> Any: ...
    def advance(self, now_ms: int, limit: int) -> Any: ...


class HeapTimers:
    """heapq with lazy cancel, as asyncio does it."""

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, int]] = []
        self.order: dict[int, int] = {}
        self.armed_so_far = 0

    def arm_many(self, keys: array[int], dues_ms: array[int]) -> None:
        for key, due_ms in zip(keys, dues_ms, strict=True):
            self.armed_so_far += 1
            self.order[key] = self.armed_so_far
            heapq.heappush(self.heap, (due_ms, self.armed_so_far, key))

    def cancel_many(self, keys: array[int]) -> None:
        for key in keys:
            self.order.pop(key, None)

    def advance(self, now_ms: int, limit: int) -> list[int]:
        expired: list[int] = []
        while self.heap and self.heap[0][0] <= now_ms and len(expired) < limit:
            _, order, key = heapq.heappop(self.heap)
            if self.order.get(key) == order:
                del self.order[key]
                expired.append(key)
        return expired


class SortedTimers:
    """sortedcontainers.SortedList with a dict from key to entry."""

    def __init__(self) -> None:
        containers = pytest.importorskip("sortedcontainers")
        self.timers = containers.SortedList()
        self.entries: dict[int, tuple[int, int, int]] = {}
        self.armed_so_far = 0

    def arm_many(self, keys: array[int], dues_ms: array[int]) -> None:
        for key, due_ms in zip(keys, dues_ms, strict=True):
            self.armed_so_far += 1
            self.entries[key] = (due_ms, self.armed_so_far, key)
            self.timers.add(self.entries[key])

    def cancel_many(self, keys: array[int]) -> None:
        for key in keys:
            entry = self.entries.pop(key, None)
            if entry is not None:
                self.timers.remove(entry)

    def advance(self, now_ms: int, limit: int) -> list[int]:
        due = list(islice(self.timers.irange(maximum=(now_ms, 2**63, 0)), limit))
        del self.timers[: len(due)]
        for _, _, key in due:
            del self.entries[key]
        return [key for _, _, key in due]


RIVALS: dict[str, Callable[[int], Rival]] = {
    "native": lambda keys: NativeWheel(0, keys),
    "heapq": lambda keys: HeapTimers(),
    "sortedcontainers": lambda keys: SortedTimers(),
    "reference": lambda keys: ReferenceWheel(0, keys),
}
MILLION = 1_000_000
CASES = [pytest.param(name, MILLION, id=f"{name}-1M") for name in RIVALS if name != "reference"]
CASES += [pytest.param("reference", BATCH * ROUNDS * 2, id="reference-400k")]
CASES += [pytest.param("native", n * MILLION, id=f"native-{n}M", marks=pytest.mark.large) for n in (10, 50)]


def resident(name: str, timers: int) -> tuple[Rival, array[int], array[int]]:
    """A rival with `timers` armed, and the keys and due times in arming order."""
    rng = random.Random(1)
    # Shuffling tens of millions in Python takes long; a stride coprime to the count scatters keys just as well.
    stride = 7_368_787
    keys = array("I", (index * stride % timers for index in range(timers)))
    dues_ms = array("Q", (rng.randrange(1, HORIZON_MS) for _ in range(timers)))
    rival = RIVALS[name](timers)
    rival.arm_many(keys, dues_ms)
    return rival, keys, dues_ms


def report(benchmark: Any, timers: int, rival: Rival, operations: int = BATCH) -> None:
    benchmark.extra_info["ns_per_op"] = round(benchmark.stats["min"] * 1e9 / operations, 1)
    benchmark.extra_info["ns_per_op_median"] = round(benchmark.stats["median"] * 1e9 / operations, 1)
    if isinstance(rival, NativeWheel):
        benchmark.extra_info["bytes_per_timer"] = round(rival.memory_bytes() / timers, 1)


@pytest.mark.parametrize(("name", "timers"), CASES)
@pytest.mark.timeout(600)
def test_arm(benchmark: Any, name: str, timers: int) -> None:
    """Arms a batch of keys that were cancelled before, so that exactly `timers` are resident after it."""
    rival, keys, dues_ms = resident(name, timers)
    batches = iter(range(ROUNDS))

    def cancelled_batch() -> tuple[tuple[array[int], array[int]], dict[str, Any]]:
        at = next(batches) * BATCH
        rival.cancel_many(keys[at : at + BATCH])
        return (keys[at : at + BATCH], dues_ms[at : at + BATCH]), {}

    benchmark.pedantic(rival.arm_many, setup=cancelled_batch, rounds=ROUNDS)
    report(benchmark, timers, rival)


@pytest.mark.parametrize(("name", "timers"), CASES)
@pytest.mark.timeout(600)
def test_cancel(benchmark: Any, name: str, timers: int) -> None:
    rival, keys, _ = resident(name, timers)
    batches = iter(range(ROUNDS))

    def next_batch() -> tuple[tuple[array[int]], dict[str, Any]]:
        at = next(batches) * BATCH
        return (keys[at : at + BATCH],), {}

    benchmark.pedantic(rival.cancel_many, setup=next_batch, rounds=ROUNDS)
    report(benchmark, timers, rival)


@pytest.mark.parametrize(("name", "timers"), CASES)
@pytest.mark.timeout(600)
def test_expire(benchmark: Any, name: str, timers: int) -> None:
    """Expires batch after batch from the front: cascades are paid for on the way."""
    rival, _, _ = resident(name, timers)
    expired = benchmark.pedantic(rival.advance, args=(HORIZON_MS, BATCH), rounds=ROUNDS)
    assert len(expired) == BATCH
    report(benchmark, timers, rival)
