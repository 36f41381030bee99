"""Reading a log-linear histogram: percentiles and coarser buckets, as pure functions over counts and upper bounds.

Owns the arithmetic. The counts and their bounds are the core's. Invariant: a percentile is never below the true one,
and above it by less than its bucket's width.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

QUANTILES = (0.5, 0.9, 0.99, 0.999)


def counts_of(packed: bytes) -> list[int]:
    """The counts in a view's packed histogram (u64 of this machine)."""
    counts = array("Q")
    counts.frombytes(packed)
    return counts.tolist()


def quantile(counts: Sequence[int], bounds: Sequence[int], fraction: float) -> int:
    """The bound below or at which `fraction` of all values lie; 0 when there are none."""
    total = sum(counts)
    if not total:
        return 0
    rank = min(total, max(1, math.ceil(total * fraction)))
    seen = 0
    for count, bound in zip(counts, bounds, strict=True):
        seen += count
        if seen >= rank:
            return bound
    return bounds[-1]


def maximum(counts: Sequence[int], bounds: Sequence[int]) -> int:
    """The bound of the highest bucket that holds something; 0 when none does."""
    return max((bound for count, bound in zip(counts, bounds, strict=True) if count), default=0)


def add(many: Iterable[Sequence[int]], size: int) -> list[int]:
    """The sum of several histograms of one shape."""
    total = [0] * size
    for counts in many:
        for at, count in enumerate(counts):
            if count:
                total[at] += count
    return total


def cumulative(counts: Sequence[int], bounds: Sequence[int], coarse: Sequence[float]) -> tuple[list[int], float]:
    """(how many values lie at or below each coarse bound, then all of them; sum of the values, from their buckets'
    bounds).
    """
    found = [0] * (len(coarse) + 1)
    total = 0.0
    at = 0
    running = 0
    for count, bound in zip(counts, bounds, strict=True):
        while at < len(coarse) and bound > coarse[at]:
            found[at] = running
            at += 1
        running += count
        total += count * bound
    for rest in range(at, len(found)):
        found[rest] = running
    return found, total
