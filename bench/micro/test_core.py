"""What the native core costs per job: submit (near, far, keyed), tick with grants, release, ack, memory.

    pytest bench/micro/test_core.py -s

Owns the workload: batches of 1,000 jobs of 128 bytes payload, one queue, one stream, on a core with `RESIDENT` jobs.
Figures are processor time around the core's calls alone (wall time says more of the machine's other users); they stand
in `extra_info["ns_per_job"]` and are printed with `-s`.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from wheeld.core.api import CoreConfig, Restored
from wheeld.core.native import NativeCore
from wheeld.model import batch as packed
from wheeld.model.spec import Spec

BATCH = 1_000
RESIDENT = 500_000
ROUNDS = 20
START_MS = 1_760_000_000_000
HOUR_MS = 3_600_000
SESSION = b"s" * 16


def new_core() -> NativeCore:
    core = NativeCore(CoreConfig(store_uuid=bytes(range(16)), resident_bytes_max=1 << 40), Restored(), START_MS, 0)
    load, _ = core.open_horizon(START_MS + HOUR_MS, b"\xff" * 16)
    core.end_load(load)
    return core


def batches(dues_ms: list[int], key: bool = False) -> list[bytes]:
    """Submit batches of jobs due at the given times."""
    found = []
    for first in range(0, len(dues_ms), BATCH):
        parts = [packed.SUBMIT_HEAD.pack(len(dues_ms[first : first + BATCH]), 0, 0, packed.NO_SESSION, 0)]
        for number, due_ms in enumerate(dues_ms[first : first + BATCH], first):
            record = Spec(b"main/mail", b"send", bytes(128), b"k%d" % number if key else b"", schedule_ms=due_ms).pack()
            parts.append(packed.ITEM_HEAD.pack(len(record), 0, 0, 0) + record)
        found.append(b"".join(parts))
    return found


def scattered(count: int, first_ms: int, span_ms: int) -> list[int]:
    """Times that no order connects, the same in every run."""
    return [first_ms + number * 2_654_435_761 % span_ms for number in range(count)]


def settle_batches(tokens: list[tuple[bytes, int]]) -> list[bytes]:
    found = []
    for first in range(0, len(tokens), BATCH):
        chosen = tokens[first : first + BATCH]
        items = [
            packed.SETTLE_HEAD.pack(packed.OP_ACK, 0, 0, 0, packed.NO_DELAY, 0, fence, job, 0) for job, fence in chosen
        ]
        found.append(packed.SETTLE_BATCH_HEAD.pack(len(items), 0) + b"".join(items))
    return found


def fill(core: NativeCore, dues_ms: list[int]) -> None:
    for batch in batches(dues_ms):
        core.submit(START_MS, batch)
        core.take_group()


def report(benchmark: Any, name: str, jobs: int, run: Callable[[], None]) -> None:
    """One pass over prepared work; ns per job."""
    began = time.thread_time()
    benchmark.pedantic(run, rounds=1, iterations=1)
    cost = (time.thread_time() - began) * 1e9 / jobs
    benchmark.extra_info["ns_per_job"] = round(cost, 1)
    print(f"\n{name}: {cost:.0f} ns a job")


@pytest.mark.parametrize("kind", ["near", "far", "keyed"])
def test_submit(benchmark: Any, kind: str) -> None:
    core = new_core()
    fill(core, scattered(RESIDENT, START_MS + 1_000, HOUR_MS // 2))
    first_ms = START_MS + (2 * HOUR_MS if kind == "far" else 1_000)
    prepared = batches(scattered(BATCH * ROUNDS * 5, first_ms, HOUR_MS // 2), key=kind == "keyed")

    def run() -> None:
        for batch in prepared:
            core.submit(START_MS, batch)
            core.take_group()

    report(benchmark, f"submit {kind}", BATCH * ROUNDS * 5, run)


def test_fire_and_ack(benchmark: Any) -> None:
    """100,000 jobs come due over a second on a core with many others; every step of their way is timed apart."""
    jobs = 100_000
    core = new_core()
    fill(core, scattered(RESIDENT, START_MS + 60_000, HOUR_MS // 2))
    fill(core, scattered(jobs, START_MS + 1_000, 1_000))
    core.open_stream(START_MS, 0, 1, SESSION, b"w", [b"main/mail"], 1 << 30, 1 << 40, 30_000, b"")
    spent = {"tick and grant": 0.0, "take group": 0.0, "release": 0.0, "ack": 0.0, "next wake": 0.0}
    frames: list[bytes] = []

    def timed(name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.thread_time()
        answer = call(*arguments)
        spent[name] += time.thread_time() - began
        return answer

    def run() -> None:
        for now_ms in range(START_MS + 1_000, START_MS + 2_001):
            while timed("tick and grant", core.tick, now_ms, now_ms - START_MS, 5, True):
                pass
            group = timed("take group", core.take_group)
            durable = group[0] if group else core.barrier_group()
            frames.extend(message.data for message in timed("release", core.release, now_ms * 1000, durable, 1 << 30))
            timed("next wake", core.next_wake_ms, now_ms, now_ms - START_MS, 5, durable)

    benchmark.pedantic(run, rounds=1, iterations=1)
    tokens = []
    for data in frames:
        at = 0
        while at < len(data):
            length, job_id, fencing = struct.unpack_from("<I16sQ", data, at)
            tokens.append((job_id, fencing))
            at += 4 + length
    assert len(tokens) == jobs
    for batch in settle_batches(tokens):
        timed("ack", core.settle, START_MS + 3_000, 3_000, SESSION, batch)
        core.take_group()
    assert core.counters().acked == jobs
    for name, seconds in spent.items():
        benchmark.extra_info[f"{name}, ns_per_job"] = round(seconds * 1e9 / jobs, 1)
        print(f"\n{name}: {seconds * 1e9 / jobs:.0f} ns a job")


def test_storm(benchmark: Any) -> None:
    """A million jobs due in one millisecond: until the last one is granted and encoded."""
    jobs = 1_000_000
    core = new_core()
    fill(core, [START_MS + 1_000] * jobs)
    core.open_stream(START_MS, 0, 1, SESSION, b"w", [b"main/mail"], 1 << 30, 1 << 40, 30_000, b"")
    given = 0

    def run() -> None:
        nonlocal given
        again = True
        while again:
            again = core.tick(START_MS + 1_000, 1_000, 5, True)
            group = core.take_group()
            durable = group[0] if group else core.barrier_group()
            given += sum(message.count for message in core.release((START_MS + 1_000) * 1000, durable, 1 << 30))

    report(benchmark, "storm: tick, take, release", jobs, run)
    assert given == jobs


def test_memory_of_a_resident_job(benchmark: Any) -> None:
    core = new_core()
    before, _ = core.memory_bytes()
    benchmark.pedantic(lambda: fill(core, scattered(RESIDENT, START_MS + 1_000, HOUR_MS // 2)), rounds=1, iterations=1)
    tables, records = core.memory_bytes()
    benchmark.extra_info["bytes_per_job"] = round((tables - before) / RESIDENT, 1)
    print(f"\nresident job: {(tables - before) / RESIDENT:.0f} bytes beside its record of {records // RESIDENT}")
    assert core.counters().resident_jobs == RESIDENT
