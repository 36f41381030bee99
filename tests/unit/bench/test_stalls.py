"""What the stall benchmark makes of a page of metrics."""

from __future__ import annotations

import math

from wheeld.bench.histogram import between, bound_of, figures_of, histogram_of
from wheeld.bench.idle import idle
from wheeld.bench.judge import Report
from wheeld.bench.slo import check_levels, parse_level
from wheeld.bench.stalls import histograms
from wheeld.metrics.names import LOOP_LAG_BUCKETS_SECONDS
from wheeld.runtime.probe import LagHistogram


def page(counts: list[int]) -> str:
    bounds = ["0.0005", "0.001", "+Inf"]
    lines = [f'wheeld_loop_lag_seconds_bucket{{le="{le}"}} {n}.0' for le, n in zip(bounds, counts, strict=True)]
    return "\n".join(["# TYPE x histogram", 'wheeld_other_bucket{le="1"} 9.0', *lines])


def test_only_what_was_counted_between_two_looks_counts() -> None:
    found = between(histograms(page([90, 90, 90]))["loop"], histograms(page([188, 189, 190]))["loop"])
    assert found == [(0.0005, 98.0), (0.001, 99.0), (math.inf, 100.0)]
    figures = figures_of("loop", found)
    assert figures["loop_p50_ms"] == 0.5 and figures["loop_p99_ms"] == 1.0 and figures["loop_max_ms"] == math.inf
    assert figures["loop_over_half_ms_percent"] == 2.0


def test_no_sample_meets_no_level() -> None:
    report = Report("stalls", figures=figures_of("loop", histograms("")["loop"]))
    check_levels(report, [parse_level("loop_p99=500us")])
    assert len(report.failures) == 1
    assert math.isnan(bound_of([(1.0, 0.0)], 0.5))


def test_a_sample_lies_below_its_bound() -> None:
    histogram = LagHistogram()
    for lag_us in (0, 500, 501, 10_000_000):
        histogram.add(lag_us)
    at_half = LOOP_LAG_BUCKETS_SECONDS.index(0.0005)
    assert histogram.counts[0] == 1 and histogram.counts[at_half] == 1 and histogram.counts[at_half + 1] == 1
    assert histogram.counts[-1] == 1 and histogram.total_us == 10_001_001


def test_a_probe_makes_the_same_histogram_as_its_metrics() -> None:
    probe = LagHistogram()
    for lag_us in (0, 500, 501, 10_000_000):
        probe.add(lag_us)
    found = histogram_of(probe.counts)
    assert dict(found)[0.0005] == 2.0 and found[-1] == (math.inf, 4.0)
    assert math.isnan(bound_of(histogram_of([]), 0.5))


async def test_an_idle_loop_is_sampled() -> None:
    counts, own = await idle(0.3)
    assert sum(counts) == sum(own) >= 1
