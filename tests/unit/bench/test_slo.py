"""Which service levels there are, and when a report misses one."""

from __future__ import annotations

import pytest

from wheeld.bench.judge import Report
from wheeld.bench.slo import Level, check_levels, parse_level


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("p99=2ms", Level("p99", 2.0)),
        ("p99.9=500us", Level("p99.9", 0.5)),
        ("loop_own_p99=500us", Level("loop_own_p99", 0.5)),
        ("batch_p99=1s", Level("batch_p99", 1000.0)),
    ],
)
def test_levels_that_are_read(text: str, level: Level) -> None:
    assert parse_level(text) == level


@pytest.mark.parametrize("text", ["p98=2ms", "p99=2", "p99", "lap_p99=2ms", ""])
def test_levels_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no service level"):
        parse_level(text)


def test_a_level_is_missed_above_its_limit_only() -> None:
    report = Report("skew", figures={"p99_ms": 2.0, "p50_ms": float("nan")})
    check_levels(report, [Level("p99", 2.0)])
    assert not report.failures
    check_levels(report, [Level("p99", 1.9), Level("p50", 100.0)])
    assert len(report.failures) == 2
