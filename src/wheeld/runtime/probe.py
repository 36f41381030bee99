"""How long the event loop makes a deadline wait: the rule of half a millisecond, watched at all times.

Owns a deadline of its own, a sample every `period_ms`. A sample is the time from the deadline to the callback: whatever
held the loop or the GIL then held up frames just so. The part of it that is the process's own doing is counted beside
it: less what its threads waited for a CPU since the sample before. Invariant: a late sample never delays the next
deadline, so a long stall shows as long, and counts once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from wheeld.metrics.names import LOOP_LAG_BUCKETS_SECONDS
from wheeld.model import limits
from wheeld.runtime.clock import Clock
from wheeld.runtime.timer import OpenDeadline
from wheeld.runtime.waiting import CpuWaiting

_BOUNDS_US = [round(bound * 1e6) for bound in LOOP_LAG_BUCKETS_SECONDS]


class LagHistogram:
    """Counts since start, by `LOOP_LAG_BUCKETS_SECONDS` and one bucket above them."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_US) + 1)
        self.total_us = 0

    def add(self, lag_us: int) -> None:
        """One sample."""
        self.counts[bisect_left(_BOUNDS_US, lag_us)] += 1
        self.total_us += lag_us


class LoopProbe:
    """See the module."""

    def __init__(self, clock: Clock, open_deadline: OpenDeadline, period_ms: int) -> None:
        self._clock, self._period_ms = clock, period_ms
        self._recent = array("q", bytes(8 * limits.LOOP_PROBE_SAMPLES))
        self._waiting = CpuWaiting()
        self._waited_ns = self._waiting.total_ns()
        self.lag, self.own = LagHistogram(), LagHistogram()
        self.samples = 0
        self.stalls = 0
        self.longest_us = 0
        self._deadline = open_deadline(self._on_deadline)
        self._due_ms = 0
        self._arm()

    def catch_up(self) -> None:
        """The pump looks after deadlines between two decisions of one turn: the probe's is served as theirs are."""
        if self._clock.wall_ms() >= self._due_ms:
            self._on_deadline(False)

    def stop(self) -> None:
        """Take no further sample."""
        self._deadline.close()
        self._waiting.close()

    def facts(self) -> dict[str, int | float | str]:
        """Percentiles of the last samples, in microseconds, and totals."""
        recent = sorted(self._recent[: min(self.samples, limits.LOOP_PROBE_SAMPLES)]) or [0]
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
        waited_ns = self._waiting.total_ns()
        waited_us, self._waited_ns = (waited_ns - self._waited_ns) // 1000, waited_ns
        if not stepped and lag_us >= 0:
            self._recent[self.samples % limits.LOOP_PROBE_SAMPLES] = lag_us
            self.samples += 1
            self.stalls += lag_us > limits.STALL_US
            self.longest_us = max(self.longest_us, lag_us)
            self.lag.add(lag_us)
            self.own.add(max(lag_us - waited_us, 0))
        self._arm()
