"""What only the native wheel promises: buffers as they are, bounded memory, no second thread inside."""

from __future__ import annotations

import threading
from array import array

import pytest

from wheeld.wheel.native import NativeWheel


def test_takes_memoryviews_and_read_only_buffers() -> None:
    wheel = NativeWheel(0, keys=3)
    wheel.arm_many(memoryview(array("I", [0, 1, 2]))[1:], memoryview(array("Q", [7, 8]).tobytes()).cast("Q"))
    assert list(wheel.advance(8, 10)) == [1, 2]


def test_refuses_a_buffer_of_the_wrong_width() -> None:
    wheel = NativeWheel(0, keys=3)
    with pytest.raises(ValueError, match="mismatch"):
        wheel.arm_many(array("Q", [1]), array("Q", [1]))
    with pytest.raises(OverflowError):
        wheel.advance(-1, 10)


def test_memory_is_bounded_under_rearming_and_given_back() -> None:
    many = 50_000
    wheel = NativeWheel(0, keys=many)
    empty_bytes = wheel.memory_bytes()
    keys = array("I", range(many))
    for round_ in range(30):
        wheel.arm_many(keys, array("Q", range(round_ + 1, round_ + 1 + many * 70, 70)))
    wheel.check()
    # A record takes 16 bytes, the dead are half of the live, and arenas double: far below 30 rounds of records.
    assert (wheel.memory_bytes() - empty_bytes) / many < 16 * 1.5 * 2
    assert len(wheel.advance(2**40, many)) == many
    assert wheel.memory_bytes() <= empty_bytes + 64 * 1024


def test_few_timers_far_apart_cost_little() -> None:
    wheel = NativeWheel(0, keys=1000)
    empty_bytes = wheel.memory_bytes()
    wheel.arm_many(array("I", range(1000)), array("Q", range(1, 4_000_000, 4000)))
    assert wheel.memory_bytes() - empty_bytes <= 192 * 1024


def test_a_second_thread_is_refused_not_raced() -> None:
    many = 1_000_000
    wheel = NativeWheel(0, keys=many)
    keys, dues = array("I", range(many)), array("Q", range(1, many + 1))
    outcomes: set[bool] = set()

    def arm_repeatedly() -> None:
        # Until they have met; pytest's own limit ends threads that never do.
        while len(outcomes) < 2:
            try:
                wheel.arm_many(keys, dues)
                outcomes.add(True)
            except RuntimeError:
                outcomes.add(False)

    threads = [threading.Thread(target=arm_repeatedly) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {True, False}
    wheel.check()
    assert len(wheel) == many
