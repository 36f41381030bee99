"""What the curve's table says of a cell, and which cells are left out."""

from __future__ import annotations

from array import array

import pytest

from bench.micro import curve
from bench.micro.rivals import RIVALS

ROW = {
    "timers": 10,
    "cancel_ns": 1.0,
    "expire_jump_ns": 1.0,
    "expire_steps_ns": None,
    "step_ns": None,
    "bytes_per_timer": 8,
}


def test_medians_over_the_rounds_and_ratios_to_the_native_wheel() -> None:
    rows = [{"rival": "native", "arm_ns": cost, **ROW} for cost in (10.0, 30.0, 20.0)]
    rows += [{"rival": "heapq", "arm_ns": cost, **ROW} for cost in (50.0, 70.0, 900.0)]
    lines = curve.table(curve.medians(rows)).splitlines()
    assert lines[2].startswith("| 10 | native | 20 | 1 | 1 | - | - |")
    assert lines[3].startswith("| 10 | heapq | 70 (3.5×) | 1 (1×) |")


def test_what_is_left_out_is_listed_with_its_reason() -> None:
    rows = [{"rival": "reference", "timers": 10, "left_out": "minutes"}]
    assert curve.table(curve.medians(rows)).endswith("* reference at 10: left out: minutes")


def test_a_cell_that_does_not_fit_the_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "available_bytes", lambda: 8 * 10**9)
    assert curve.why_not("native", 50_000_000) == ""
    assert curve.why_not("heapq", 50_000_000) == "needs about 14 GB, 8 GB are free"
    assert "minutes" in curve.why_not("reference", 10_000_000)


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_keeps_time_and_forgets_what_was_cancelled(name: str) -> None:
    if name.startswith("Sorted"):
        pytest.importorskip("sortedcontainers")
    rival = RIVALS[name](6)
    rival.fill(array("I", [3, 0, 1]), array("Q", [30, 10, 20]))
    rival.arm_many(array("I", [4, 2]), array("Q", [10, 25]))
    rival.cancel_many(array("I", [1]))
    assert sorted(rival.advance(9, 100_000)) == []
    assert sorted(rival.advance(10, 100_000)) == [0, 4]
    assert list(rival.advance(29, 100_000)) == [2]
    assert list(rival.advance(30, 100_000)) == [3]
    assert list(rival.advance(99, 100_000)) == []
