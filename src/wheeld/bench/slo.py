"""Service levels: `p99=2ms`, `loop_p99=500us` against the figures of a report."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wheeld.bench.judge import Report

_FORM = re.compile(r"((?:loop_|loop_own_|batch_)?(?:p50|p90|p99|p99\.9|max))=(\d+(?:\.\d+)?)(us|ms|s)\Z")
_TO_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Level:
    """A percentile of the skew and what it may be at most."""

    name: str
    limit_ms: float


def parse_level(text: str) -> Level:
    """`p99=2ms`, `p99.9=500us`, `max=1s`. ValueError says what is accepted."""
    found = _FORM.match(text.strip())
    if found is None:
        raise ValueError(
            f"`{text}` is no service level: write p50, p90, p99, p99.9 or max, `=`, and a time such as 2ms; "
            "`submit` has batch_p50 and batch_p99, `stalls` loop_p99 and loop_own_p99"
        )
    return Level(found[1], float(found[2]) * _TO_MS[found[3]])


def check_levels(report: Report, levels: list[Level]) -> None:
    """Add a failure to the report for each level that it misses; a report without the figure misses it."""
    for level in levels:
        reached = report.figures.get(f"{level.name}_ms")
        report.terms[f"slo_{level.name}_ms"] = level.limit_ms
        if not isinstance(reached, (int, float)) or not reached <= level.limit_ms:
            report.failures.append(
                f"SLO missed: {level.name} is {reached} ms, at most {level.limit_ms:g} ms is allowed"
            )
