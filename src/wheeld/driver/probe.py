"""How long the event loop makes a deadline wait: the rule of half a millisecond, watched at all times.

Owns a deadline of its own, a sample every `period_ms`. A sample is the time from the deadline to the callback: whatever
held the loop or the GIL then held up frames just so. Invariant: a late sample never delays the next deadline, so a long
stall shows as long, and counts once.
"""

from __future__ import annotations

from array import array

from wheeld.driver.pump import OpenDeadline
from wheeld.runtime.clock import Clock

SAMPLES = 4096
STALL_US = 500


class LoopProbe:
    """See the module."""

    def __init__(self, clock: Clock, open_deadline: OpenDeadline, period_ms: int) -> None:
        self._clock, self._period_ms = clock, period_ms
        self._recent = array("q", bytes(8 * SAMPLES))
        self.samples = 0
        self.stalls = 0
        self.longest_us = 0
        self._deadline = open_deadline(self._on_deadline)
        self._due_ms = 0
        self._arm()

    def stop(self) -> None:
        """Take no further sample."""
        self._deadline.close()

    def facts(self) -> dict[str, int | float | str]:
        """Percentiles of the last samples, in microseconds, and totals."""
        recent = sorted(self._recent[: min(self.samples, SAMPLES)]) or [0]
        return {
            "loop_lag_us_p50": recent[len(recent) // 2],
            "loop_lag_us_p99": recent[len(recent) * 99 // 100],
            "loop_lag_us_p999": recent[len(recent) * 999 // 1000],
            "loop_lag_us_max": self.longest_us,
            "loop_samples": self.samples,
            "loop_stalls": self.stalls,
        }

    def _arm(self) -> None:
        self._due_ms = self._clock.wall_ms() + self._period_ms
        self._deadline.arm(self._due_ms)

    def _on_deadline(self, stepped: bool) -> None:
        lag_us = self._clock.wall_us() - self._due_ms * 1000
        if not stepped and lag_us >= 0:
            self._recent[self.samples % SAMPLES] = lag_us
            self.samples += 1
            self.stalls += lag_us > STALL_US
            self.longest_us = max(self.longest_us, lag_us)
        self._arm()
