"""How far jobs are prepared ahead of their time: as far as a group lately took from its first decision until it was
durable.

Owns the longest waits of the last minutes. What counts is the whole way of a decision, not the sync alone: it waits for
the group under way, for its own, and for the loop. Invariant: between its least and its most; further at once, nearer
only when a long wait is forgotten, for slow syncs come in bouts.
"""

from __future__ import annotations

from collections import deque

from wheeld.model import limits


class Lead:
    """See the module. Times in seconds are the loop's."""

    def __init__(self, ms_min: int, ms_max: int) -> None:
        self._ms_min, self._ms_max = ms_min, ms_max
        self._longest: deque[tuple[int, float]] = deque()
        """(period, longest wait in it) of periods whose wait no later one exceeds; longest first."""
        self.ms = ms_min

    def saw(self, now_s: float, wait_s: float) -> None:
        """A group became durable, so long after its first decision."""
        period, longest = int(now_s / limits.LEAD_PERIOD_S), self._longest
        if longest and wait_s <= longest[-1][1] and longest[-1][0] == period:
            return
        while longest and longest[-1][1] <= wait_s:
            longest.pop()
        longest.append((period, wait_s))
        while longest[0][0] <= period - limits.LEAD_PERIODS:
            longest.popleft()
        wanted_ms = int(longest[0][1] * 1000 * limits.LEAD_PERCENT / 100) + 1
        self.ms = min(max(wanted_ms, self._ms_min), self._ms_max)
