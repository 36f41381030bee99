"""The comparison's arithmetic: what is counted as lost, early or twice, and what a ratio says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.compare.accounting import (
    ON_TIME_US,
    Probe,
    Receipts,
    burst_figures,
    counts,
    lease_ack_figures,
    skew_report,
)
from bench.compare.estimate import run_seconds
from bench.compare.fence import fenced
from bench.compare.plan import SYSTEMS, WORKLOADS, Plan, applies, plan_for, schedule
from bench.compare.process import disk_bytes, family, memory_bytes
from bench.compare.ratios import Measure, Run, cell, cell_text, counts_table, figures_table
from bench.compare.single import PEERS, choice, peer_class
from bench.compare.sweep import SWEEPS, row, same

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
    assert slow.payload_bytes == ours.payload_bytes
    assert plan_for("redis", 1, False) == plan_for("wheeld", 1, False) == ours


def test_scaling_keeps_whole_batches() -> None:
    small = plan_for("redis", 0.0001, False)
    assert (small.jobs, small.in_flight_jobs) == (small.batch, small.window)
    assert small.seconds == 1.0


def test_only_those_that_cannot_stand_the_rate_have_one_of_their_own() -> None:
    own = [system for system in SYSTEMS if applies(system, "skew_own", plan_for(system, 1, False))]
    assert own == ["beanstalkd", "celery"]
    assert not any(applies(system, "skew", plan_for(system, 1, False)) for system in own)


def test_a_worker_knows_how_many_are_left() -> None:
    receipts = Receipts(3)
    receipts.add([0, 1], 5)
    assert receipts.left == 1
    receipts.add([1, 2], 6)
    assert receipts.left == 0


def test_a_probe_waits_for_a_job_on_time_and_takes_no_stranger_for_one() -> None:
    probe = Probe([DUE_MS, DUE_MS + 1_000])
    probe.add([0], DUE_MS * 1000 + ON_TIME_US)
    probe.add([2], DUE_MS * 1000)
    assert probe.left
    probe.add([1], DUE_MS * 1000 + 1_000_000 + ON_TIME_US - 1)
    assert (probe.left, probe.on_time_us) == (0, DUE_MS * 1000 + 1_000_000 + ON_TIME_US - 1)


def test_a_longer_plan_and_a_slower_disk_are_estimated_longer() -> None:
    small, large = plan_for("beanstalkd", 0.1, False), plan_for("beanstalkd", 1, False)
    for workload in WORKLOADS:
        if applies("beanstalkd", workload, large):
            assert run_seconds("beanstalkd", workload, small, 0.001) < run_seconds("beanstalkd", workload, large, 0.001)
    assert run_seconds("beanstalkd", "submit", large, 0.001) < run_seconds("beanstalkd", "submit", large, 0.01)


def test_every_system_is_driven_by_something_and_every_sweep_turns_a_choice_that_exists() -> None:
    assert set(PEERS) == set(SYSTEMS) - {"wheeld"}
    for sweep in SWEEPS:
        try:
            tuning = peer_class(sweep.system).tuning
        except ImportError as lack:
            pytest.skip(f"{lack.name} is not installed")
        assert any(same(str(value), str(tuning[sweep.choice])) for value in sweep.values), sweep


def test_choices_are_numbers_or_words() -> None:
    assert (choice("poll_ms=0.2"), choice("pool=solo")) == (("poll_ms", 0.2), ("pool", "solo"))


def test_a_sweep_marks_what_is_used_and_tells_what_broke() -> None:
    result = {"system": "redis", "choice": "poll_ms", "workload": "skew", "figure": "p99_ms", "used": "1.0"}
    result |= {"found": {"0": [3.0, None], "1": [5.0, 7.0], "5": [None]}, "errors": ["5: gone"]}
    assert row(result) == "| redis | poll_ms | skew, p99_ms | 0: 3, **1: 6**, 5: - | 5: gone |"


GRANDCHILD = """
import subprocess, sys
found = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True, stdout=subprocess.DEVNULL
)
print(found.pid, flush=True)
"""
RUN = f"""
import signal, subprocess, sys, time
from bench.compare.fence import fenced
# Whoever starts the tests in the background of a script has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with fenced() as folder:
    (folder / "data").mkdir()
    said = subprocess.run([sys.executable, "-c", {GRANDCHILD!r}], stdout=subprocess.PIPE, text=True, check=True).stdout
    print(folder, said.strip(), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_and_no_file(how: signal.Signals) -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", RUN], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        folder, pid = run.stdout.readline().decode().rsplit(maxsplit=1)
        assert (Path(folder).is_dir(), Path(f"/proc/{pid}").exists()) == (True, True)
        run.send_signal(how)
        try:
            run.wait(60)
        finally:
            run.kill()  # one that does not hear must not hold up the failure
    assert run.returncode
    assert (Path(folder).exists(), Path(f"/proc/{pid}").exists()) == (False, False)


def test_the_fence_goes_when_the_run_does() -> None:
    with fenced() as folder:
        (folder / "left").write_text("x")
    assert not folder.exists()


def test_a_family_has_its_grandchildren_and_their_memory() -> None:
    child_text = "b = bytes(1 << 25); print(1, flush=True); input()"
    text = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child_text!r}])"
    command = [sys.executable, "-c", text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert len(family(child.pid)) == 2
        assert memory_bytes(os.getpid()) > memory_bytes(child.pid) > 0
        child.communicate(b"\n")


def test_disk_counts_blocks_and_leaves_the_journal_out(tmp_path: Path) -> None:
    for name in ("pg_wal", "base"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * 10_000)
    sparse = tmp_path / "sparse"
    sparse.touch()
    os.truncate(sparse, 1 << 30)
    whole = disk_bytes(tmp_path)
    assert 20_000 <= whole < 1 << 20
    assert disk_bytes(tmp_path, "pg_wal") == whole // 2
