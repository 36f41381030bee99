"""What the plots show, short of drawing it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from bench.report import Measured, draw, load, skew_curves, throughput


def test_throughput_sums_to_the_count() -> None:
    marks = [(0.1, 10.0), (0.2, 30.0), (1.0, 40.0)]
    points = throughput(marks, parts=4)
    assert [rate for _, rate in points] == [120.0, 0.0, 0.0, 40.0]
    assert [at for at, _ in points] == [0.125, 0.375, 0.625, 0.875]


def test_throughput_of_nothing_is_nothing() -> None:
    assert throughput([]) == []


def test_skew_is_the_median_over_the_rounds() -> None:
    def measured(p50: float) -> Measured:
        figures = {"p50_ms": p50, "p90_ms": 2.0, "p99_ms": 3.0, "p99.9_ms": 4.0}
        return Measured("redis", {"name": "skew", "figures": figures, "terms": {"rate": 5000}})

    curves = skew_curves([measured(1.0), measured(9.0), measured(1.5)])
    assert curves == {"redis, 5000/s": [(0.5, 1.5), (0.9, 2.0), (0.99, 3.0), (0.999, 4.0)]}


def test_both_kinds_of_file_are_read_and_drawn(tmp_path: Path) -> None:
    report = {"name": "submit", "figures": {}, "terms": {}, "series": {"submitted": [[0.5, 10], [1.0, 20]]}}
    (tmp_path / "system.json").write_text(json.dumps([report]))
    broken = {"system": "celery", "report": {}}
    (tmp_path / "compare.json").write_text(json.dumps({"runs": [{"system": "redis", "report": report}, broken]}))
    measured = load(tmp_path)
    assert [item.source for item in measured] == ["redis", "wheeld (system)"]
    written = draw(measured, tmp_path / "plots", "svg")
    assert [path.name for path in written] == ["submit-over-time.svg"]
    assert written[0].stat().st_size > 1000
