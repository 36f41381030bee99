"""The clocks: units, and which of them a step of the wall clock moves."""

from __future__ import annotations

import time

import pytest

from wheeld.runtime.clock import SimClock, SystemClock


def test_the_system_clock_reads_wall_and_boot_time_rounded_down() -> None:
    clock = SystemClock()
    before_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    wall_ms, wall_us = clock.wall_ms(), clock.wall_us()
    after_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    assert before_ns // 1_000_000 <= wall_ms <= after_ns // 1_000_000
    assert before_ns // 1_000 <= wall_us <= after_ns // 1_000
    boot_ms = clock.boot_ms()
    assert 0 <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000 - boot_ms < 1000


def test_a_sim_clock_moves_only_when_told() -> None:
    clock = SimClock(wall_ms=5_000, boot_ms=100)
    clock.advance(0.5)
    assert (clock.wall_ms(), clock.wall_us(), clock.boot_ms()) == (5_000, 5_000_500, 100)
    clock.advance(0.5)
    assert (clock.wall_ms(), clock.boot_ms()) == (5_001, 101)
    clock.step_wall(-2_000)
    assert (clock.wall_ms(), clock.boot_ms()) == (3_001, 101)
    clock.set_wall_ms(9_000)
    assert (clock.wall_us(), clock.boot_ms()) == (9_000_000, 101)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
