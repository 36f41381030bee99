"""Waiting for a CPU, as the kernel counts it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from wheeld.runtime.waiting import LOOK_EVERY, CpuWaiting


def test_the_sum_never_decreases_as_threads_come_and_go() -> None:
    waiting = CpuWaiting()
    seen = [waiting.total_ns()]
    for _ in range(3):
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        seen += [waiting.total_ns() for _ in range(LOOK_EVERY)]
        done.set()
        thread.join()
        seen += [waiting.total_ns() for _ in range(LOOK_EVERY)]
    assert seen == sorted(seen)
    waiting.close()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count")
def test_two_busy_threads_on_one_cpu_wait() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    waiting, stop = CpuWaiting(), threading.Event()

    def busy() -> None:
        # Hashing a large buffer gives up the GIL: the threads compete for the CPU, not for the interpreter.
        import hashlib

        block = bytes(1 << 20)
        while not stop.is_set():
            hashlib.sha256(block).digest()

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        import hashlib

        # Pytest's own limit ends a wait that is never counted.
        while waiting.total_ns() <= 1_000_000:
            hashlib.sha256(bytes(1 << 20)).digest()
    finally:
        stop.set()
        thread.join()
        os.sched_setaffinity(0, allowed)
        waiting.close()
