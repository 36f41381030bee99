"""The two clocks that the daemon reads, behind a Protocol.

Owns nothing. Everything that decides takes time as an argument; only drivers, edges and tests hold a Clock. Wall time
says when a job is due; boot time, which no step of the wall clock touches and which counts suspend, measures leases and
timeouts.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch, rounded down: a job due at D is never due early."""

    def wall_us(self) -> int:
        """Microseconds since the epoch, rounded down."""

    def boot_ms(self) -> int:
        """Milliseconds of CLOCK_BOOTTIME."""


class SystemClock:
    """The kernel's clocks."""

    def wall_ms(self) -> int:
        """See Clock."""
        return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1_000_000

    def wall_us(self) -> int:
        """See Clock."""
        return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1_000

    def boot_ms(self) -> int:
        """See Clock."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class SimClock:
    """A clock that moves only when told: `advance` moves both clocks, `step_wall` the wall clock alone."""

    def __init__(self, wall_ms: int = 1_700_000_000_000, boot_ms: int = 1_000_000) -> None:
        self._wall_us = wall_ms * 1000
        self._boot_us = boot_ms * 1000

    def wall_ms(self) -> int:
        """See Clock."""
        return self._wall_us // 1000

    def wall_us(self) -> int:
        """See Clock."""
        return self._wall_us

    def boot_ms(self) -> int:
        """See Clock."""
        return self._boot_us // 1000

    def advance(self, elapsed_ms: float) -> None:
        """Let time pass."""
        if elapsed_ms < 0:
            raise ValueError("time does not pass backwards; step_wall does")
        elapsed_us = round(elapsed_ms * 1000)
        self._wall_us += elapsed_us
        self._boot_us += elapsed_us

    def step_wall(self, step_ms: int) -> None:
        """Step the wall clock, forward or back."""
        self._wall_us += step_ms * 1000

    def set_wall_ms(self, wall_ms: int) -> None:
        """Set the wall clock."""
        self._wall_us = wall_ms * 1000
