"""What the native core costs per job: submit (near, far, keyed), tick with grants, release, ack, lives, memory, stalls.

    pytest bench/micro/test_core.py -s

Owns the workload: batches of 1,000 jobs of 128 bytes payload, one queue, one stream, on a core with `RESIDENT` jobs.
Figures are processor time around the core's calls alone (wall time says more of the machine's other users); they stand
in `extra_info["ns_per_job"]` and are printed with `-s`. Most rows work in memory that is fresh from the system, whose
first touch they pay for; `test_steady` works in memory that was used before, as a daemon does after its first minutes.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from itertools import islice
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


def items(dues_ms: list[int]) -> Iterator[bytes]:
    """Items that differ in their time alone."""
    marker = 0x0123456789ABCDEF
    record = Spec(b"main/mail", b"send", bytes(128), schedule_ms=marker).pack()
    before, after = (packed.ITEM_HEAD.pack(len(record), 0, 0, 0) + record).split(struct.pack("<Q", marker))
    return (before + due + after for due in map(struct.Struct("<Q").pack, dues_ms))


def keyed_items(dues_ms: list[int]) -> Iterator[bytes]:
    for number, due_ms in enumerate(dues_ms):
        record = Spec(b"main/mail", b"send", bytes(128), b"k%d" % number, schedule_ms=due_ms).pack()
        yield packed.ITEM_HEAD.pack(len(record), 0, 0, 0) + record


def batches(dues_ms: list[int], key: bool = False) -> list[bytes]:
    """Submit batches of jobs due at the given times."""
    found = []
    made = (keyed_items if key else items)(dues_ms)
    while chosen := list(islice(made, BATCH)):
        found.append(packed.SUBMIT_HEAD.pack(len(chosen), 0, 0, packed.NO_SESSION, 0) + b"".join(chosen))
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


def tokens_of(frames: list[bytes]) -> list[tuple[bytes, int]]:
    tokens = []
    for data in frames:
        at = 0
        while at < len(data):
            length, job_id, fencing = struct.unpack_from("<I16sQ", data, at)
            tokens.append((job_id, fencing))
            at += 4 + length
    return tokens


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
    tokens = tokens_of(frames)
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


def test_steady(benchmark: Any) -> None:
    """Lives beside a million others: each millisecond a batch comes, and an earlier one is granted and settled."""
    resident, warm, rounds, delay = 1_000_000, 200, 400, 100
    core = new_core()
    fill(core, scattered(resident, START_MS + HOUR_MS // 2, HOUR_MS // 2))
    core.open_stream(START_MS, 0, 1, SESSION, b"w", [b"main/mail"], 1 << 30, 1 << 40, 30_000, b"")
    spent = dict.fromkeys(("submit", "tick", "release", "ack", "take group"), 0.0)

    def timed(name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.thread_time()
        answer = call(*arguments)
        spent[name] += time.thread_time() - began
        return answer

    def step(number: int) -> None:
        now_ms = START_MS + number
        for batch in batches([now_ms + delay] * BATCH):
            timed("submit", core.submit, now_ms, batch)
        while timed("tick", core.tick, now_ms, number, 0, True):
            pass
        group = timed("take group", core.take_group)
        messages = timed("release", core.release, now_ms * 1000, group[0], 1 << 30)
        for batch in settle_batches(tokens_of([message.data for message in messages])):
            timed("ack", core.settle, now_ms, number, SESSION, batch)
        timed("take group", core.take_group)

    for number in range(warm):
        step(number)
    before = core.counters().acked
    spent.update(dict.fromkeys(spent, 0.0))

    def run() -> None:
        for number in range(warm, warm + rounds):
            step(number)

    benchmark.pedantic(run, rounds=1, iterations=1)
    counters = core.counters()
    assert counters.acked - before == rounds * BATCH
    assert counters.resident_jobs == resident + delay * BATCH
    for name, seconds in (spent | {"whole": sum(spent.values())}).items():
        benchmark.extra_info[f"{name}, ns_per_job"] = round(seconds * 1e9 / rounds / BATCH, 1)
        print(f"\nsteady {name}: {seconds * 1e9 / rounds / BATCH:.0f} ns a job")


def test_longest_call_while_growing(benchmark: Any) -> None:
    """No single call may hold up the loop for longer than half a millisecond, growth of tables included."""
    jobs = 2_000_000
    dues_ms = scattered(jobs, START_MS + 1_000, HOUR_MS // 2)
    spans: list[float] = []
    core = new_core()

    def run() -> None:
        for first in range(0, jobs, 100_000):
            for batch in batches(dues_ms[first : first + 100_000]):
                began = time.thread_time()
                core.submit(START_MS, batch)
                spans.append(time.thread_time() - began)
                core.take_group()

    benchmark.pedantic(run, rounds=1, iterations=1)
    spans.sort()
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)):
        longest_us = spans[int(len(spans) * share) - 1] * 1e6
        benchmark.extra_info[f"{name}, us"] = round(longest_us)
        print(f"\ncall of {BATCH} while growing to {jobs:,}: {name} {longest_us:.0f} us")


def test_memory_of_a_resident_job(benchmark: Any) -> None:
    core = new_core()
    before, _ = core.memory_bytes()
    benchmark.pedantic(lambda: fill(core, scattered(RESIDENT, START_MS + 1_000, HOUR_MS // 2)), rounds=1, iterations=1)
    tables, records = core.memory_bytes()
    benchmark.extra_info["bytes_per_job"] = round((tables - before) / RESIDENT, 1)
    print(f"\nresident job: {(tables - before) / RESIDENT:.0f} bytes beside its record of {records // RESIDENT}")
    assert core.counters().resident_jobs == RESIDENT
