"""Arm, cancel and expire of the wheel beside its rivals as pytest-benchmark sees them, to compare two commits with.

    pytest bench/micro/test_wheel.py -m "not large"     (-m large: 10 and 50 million)

The figures to quote, memory and the curve over size come from `python -m bench.micro.curve`. Owns the workload: due
times uniform over an hour, keys in scattered order, batches of 10,000. Each round works on a wheel with `timers`
resident. Figures per operation stand in `extra_info["ns_per_op"]`.
"""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest

from bench.micro.rivals import RIVALS, Rival
from wheeld.wheel.native import NativeWheel

HORIZON_MS = 3_600_000
BATCH = 10_000
ROUNDS = 20


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
    if name.startswith("Sorted"):
        pytest.importorskip("sortedcontainers")
    rival = RIVALS[name](timers)
    rival.fill(keys, dues_ms)
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
    # A SortedDict gives the millisecond whole in which the limit is reached.
    assert BATCH <= len(expired) < BATCH + 100
    report(benchmark, timers, rival)
