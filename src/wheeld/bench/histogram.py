"""Histograms of the loop's lag as the benchmark reads them: cumulative counts, from metrics or from a probe.

Owns their percentiles. Does not own the bounds (`metrics`). Invariant: a percentile is the upper bound of its bucket,
so it never looks better than it was.
"""

from __future__ import annotations

import math
from itertools import accumulate

from wheeld.metrics.names import LOOP_LAG_BUCKETS_SECONDS
from wheeld.model import limits

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
RULE_S = limits.STALL_US / 1e6

Histogram = list[tuple[float, float]]
"""(bound in seconds, samples at or below it), ascending."""


def histogram_of(counts: list[int]) -> Histogram:
    """The same of a probe's counts, one for each bucket; empty for none."""
    return list(zip((*LOOP_LAG_BUCKETS_SECONDS, math.inf), map(float, accumulate(counts)), strict=bool(counts)))


def between(before: Histogram, after: Histogram) -> Histogram:
    """What was counted from one look to the next."""
    return [(bound, later - earlier) for (_, earlier), (bound, later) in zip(before, after, strict=True)]


def bound_of(found: Histogram, quantile: float) -> float:
    """The bound at or below which this share of the samples lies, in seconds; NaN without samples."""
    total = found[-1][1] if found else 0
    if not total:
        return float("nan")
    return next(bound for bound, count in found if count >= total * quantile)


def figures_of(name: str, found: Histogram) -> dict[str, float | int | str]:
    """Percentiles in ms (upper bounds of their buckets), and the share of samples past the rule."""
    figures: dict[str, float | int | str] = {
        f"{name}_{label}_ms": round(bound_of(found, quantile) * 1000, 3) for label, quantile in QUANTILES.items()
    }
    total = found[-1][1] if found else 0
    within = next((count for bound, count in found if bound >= RULE_S), 0)
    figures[f"{name}_over_half_ms_percent"] = round(100 * (total - within) / max(total, 1), 2)
    return figures
