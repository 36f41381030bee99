"""The comparison's arithmetic: what is counted as lost, early or twice, and what a ratio says."""

from __future__ import annotations

from typing import Any

import pytest

from bench.compare.accounting import Receipts, burst_figures, counts, lease_ack_figures, skew_report
from bench.compare.plan import SYSTEMS, WORKLOADS, Plan, applies, plan_for, schedule
from bench.compare.ratios import Measure, Run, cell, cell_text, counts_table, figures_table

DUE_MS = 1_000_000


def received(*arrivals: tuple[int, int]) -> Receipts:
    """(job number, microseconds after DUE_MS), each."""
    receipts = Receipts()
    for number, after_us in arrivals:
        receipts.add([number], DUE_MS * 1000 + after_us)
    return receipts


def run(number: int, system: str, workload: str = "submit", **figures: float) -> Run:
    report: dict[str, Any] = {"name": workload, "figures": figures, "terms": {}, "failures": []}
    return Run(number, workload, system, report)


RATE = Measure("submit", "jobs_per_s", "rate", True, "submit")


def test_counts_tell_lost_early_duplicated_and_foreign_apart() -> None:
    receipts = received((0, 5), (1, -1), (1, 7), (9, 0))
    assert counts([DUE_MS] * 4, receipts) == {"lost": 2, "early": 1, "duplicated": 1, "foreign": 1}


def test_a_job_due_later_is_judged_by_its_own_due_time() -> None:
    dues = [DUE_MS, DUE_MS + 10]
    assert counts(dues, received((0, 9_999), (1, 9_999)))["early"] == 1
    assert counts(dues, received((0, 9_999), (1, 10_000)))["early"] == 0


def test_a_batch_arrives_at_one_moment() -> None:
    receipts = Receipts()
    receipts.add([3, 4], 10)
    receipts.add([5], 20)
    assert list(receipts.receive_us) == [10, 10, 20]


def test_skew_counts_from_the_intended_time() -> None:
    dues = [DUE_MS + number for number in range(100)]
    receipts = received(*((number, number * 1000 + 2_500) for number in range(100)))
    report = skew_report(dues, receipts)
    assert (report.figures["p50_ms"], report.figures["max_ms"]) == (2.5, 2.5)
    assert report.series["skew_ms"][-1] == (0.099, 2.5)


def test_lease_ack_runs_from_the_first_receipt_to_the_last_ack() -> None:
    receipts = received((0, 1_000_000), (1, 1_500_000))
    receipts.acked_us = DUE_MS * 1000 + 2_000_000
    figures = lease_ack_figures([DUE_MS] * 2, receipts)
    assert (figures["seconds"], figures["jobs_per_s"]) == (1.0, 2)


def test_burst_runs_from_the_due_time() -> None:
    receipts = received((0, 100_000), (1, 500_000))
    receipts.acked_us = DUE_MS * 1000 + 600_000
    figures = burst_figures([DUE_MS] * 2, receipts)
    assert (figures["last_received_s"], figures["last_acked_s"], figures["received_per_s"]) == (0.5, 0.6, 4)


def test_nothing_received_is_all_lost_and_no_rate() -> None:
    figures = burst_figures([DUE_MS] * 3, Receipts())
    assert figures["lost"] == 3
    assert (
        cell([run(0, "wheeld", "burst", **figures)], Measure("burst", "received_per_s", "", True, "burst"), "wheeld")
        is None
    )


def test_the_ratio_is_the_median_of_each_rounds_own() -> None:
    runs = [run(number, "wheeld", jobs_per_s=ours, jobs=9) for number, ours in enumerate((100, 10, 90))]
    runs += [run(number, "redis", jobs_per_s=theirs, jobs=9) for number, theirs in enumerate((50, 10, 30))]
    found = cell(runs, RATE, "redis")
    assert found is not None
    assert (found.value, found.ratio) == (30, 2.0)


def test_less_is_better_turns_the_ratio() -> None:
    late = Measure("skew", "p99_ms", "late", False, "skew")
    runs = [run(0, "wheeld", "skew", p99_ms=2.0), run(0, "redis", "skew", p99_ms=6.0)]
    found = cell(runs, late, "redis")
    assert found is not None
    assert found.ratio == 3.0


def test_a_round_without_ours_gives_a_value_and_no_ratio() -> None:
    found = cell([run(0, "redis", jobs_per_s=5.0)], RATE, "redis")
    assert found is not None
    assert (found.value, found.ratio) == (5.0, None)


@pytest.mark.parametrize(("theirs", "has_ratio"), [(10, True), (5, False)])
def test_times_are_compared_only_at_the_same_count(theirs: int, has_ratio: bool) -> None:
    last = Measure("burst", "last_received_s", "last", False, "burst", True)
    runs = [run(0, "wheeld", "burst", last_received_s=1.0, jobs=10)]
    runs.append(run(0, "celery", "burst", last_received_s=4.0, jobs=theirs))
    found = cell(runs, last, "celery")
    assert found is not None
    assert (found.ratio is not None) is has_ratio


def test_a_faulty_run_is_marked_and_a_broken_one_is_listed() -> None:
    faulty = Run(
        0, "submit", "redis", {"figures": {"jobs_per_s": 5.0, "lost": 2}, "terms": {}, "failures": ["lost: 2"]}
    )
    broken = Run(0, "submit", "celery", {}, "no broker")
    runs = [run(0, "wheeld", jobs_per_s=10.0, lost=0), faulty, broken]
    assert "5† (2×)" in figures_table(runs, ["wheeld", "redis", "celery"])
    listed = counts_table(runs, ["wheeld", "redis", "celery"]).splitlines()
    assert "| submit | redis | 1 | 0 | 2 | - | - | - | lost: 2 |" in listed
    assert any("no broker" in line for line in listed)


def test_our_own_cell_has_no_ratio() -> None:
    found = cell([run(0, "wheeld", jobs_per_s=1234.0)], RATE, "wheeld")
    assert cell_text(found, "wheeld") == "1,234"


def test_every_round_runs_every_system_on_every_workload_once_in_changing_order() -> None:
    planned = list(schedule(4, WORKLOADS, SYSTEMS, seed=1))
    assert len(planned) == len(set(planned)) == 4 * len(WORKLOADS) * len(SYSTEMS)
    orders = {tuple(s for n, w, s in planned if (n, w) == (number, "skew")) for number in range(4)}
    assert len(orders) > 1
    assert planned == list(schedule(4, WORKLOADS, SYSTEMS, seed=1))


def test_a_slow_peer_has_smaller_counts_unless_told_otherwise() -> None:
    ours, slow, same = Plan(), plan_for("beanstalkd", 1, False), plan_for("beanstalkd", 1, True)
    assert slow.jobs < ours.jobs == same.jobs
    assert (slow.rate, slow.payload_bytes) == (ours.rate, ours.payload_bytes)
    assert plan_for("redis", 1, False) == plan_for("wheeld", 1, False) == ours


def test_scaling_keeps_whole_batches() -> None:
    small = plan_for("redis", 0.0001, False)
    assert (small.jobs, small.in_flight_jobs) == (small.batch, small.window)
    assert small.seconds == 1.0


def test_only_those_that_cannot_stand_the_rate_have_one_of_their_own() -> None:
    own = [system for system in SYSTEMS if applies(system, "skew_own", plan_for(system, 1, False))]
    assert own == ["beanstalkd", "celery"]
    assert not applies("celery", "skew", plan_for("celery", 1, False))
