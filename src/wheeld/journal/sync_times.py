"""How long the last syncs took, for whoever must choose how far to run ahead of them.

Owns a ring of durations: written by the writer thread, read by the driver. Invariant: bounded, and reading never blocks
the writer.
"""

from __future__ import annotations

from array import array
from typing import Final

REMEMBERED: Final = 1024


class SyncTimes:
    """The last 1,024 durations, and the longest of all."""

    def __init__(self) -> None:
        self._ring_ns = array("Q", bytes(8 * REMEMBERED))
        self._count = 0
        self.longest_ns = 0

    def add(self, elapsed_ns: int) -> None:
        """Remember one duration; writer thread only."""
        self._ring_ns[self._count % REMEMBERED] = elapsed_ns
        self._count += 1
        self.longest_ns = max(self.longest_ns, elapsed_ns)

    def quantile_ms(self, quantile: float) -> float:
        """The duration that this share of the remembered ones does not exceed; 0.0 while there are none."""
        if not 0.0 <= quantile <= 1.0:
            raise ValueError(f"a quantile lies between 0 and 1, not {quantile}")
        known = sorted(self._ring_ns[: min(self._count, REMEMBERED)])
        if not known:
            return 0.0
        return known[min(len(known) - 1, int(quantile * len(known)))] / 1e6
