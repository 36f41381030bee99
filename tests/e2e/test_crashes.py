"""kill -9 under load, many rounds: nothing lost, early, done twice, created twice or delivered without a reason.

WHEELD_E2E_ROUNDS asks for more rounds, WHEELD_SEED repeats a run.
"""

from __future__ import annotations

import pytest

from tests.e2e.checker.history import Verdict
from tests.e2e.conftest import MakeRun, rounds
from tests.e2e.harness.daemon import is_alive, wait_until
from tests.e2e.harness.run import Run

pytestmark = pytest.mark.timeout(900)
RATE = ("--rate", "800")


def begin(run: Run) -> Run:
    """Load on it: two workers and a producer, and some jobs through."""
    run.daemon.start()
    run.add_worker()
    run.add_worker()
    run.add_producer(*RATE)
    wait_until(lambda: run.accepted() > 200, "the load is under way")
    return run


def assert_good(verdict: Verdict) -> None:
    assert not verdict.faults, verdict


@pytest.mark.parametrize("victim", ["daemon", "keeper", "worker"])
def test_kill(make_run: MakeRun, victim: str) -> None:
    run = begin(make_run())
    pid = run.daemon.pid
    for _ in range(count := rounds(4)):
        run.pause(0.1, 1.0)
        run.crash(victim)
    if victim == "keeper":
        assert run.daemon.pid == pid and is_alive(pid), "the death of a storekeeper must not end the daemon"
    verdict = run.finish(100 * count)
    assert verdict.counts[f"crashes of {victim}"] == count
    assert_good(verdict)


def test_kill_in_quick_succession(make_run: MakeRun) -> None:
    """The next kill comes while the daemon still recovers."""
    run = begin(make_run())
    for _ in range(rounds(5)):
        run.daemon.kill()
        run.count("daemon")
        run.daemon.spawn()
        run.pause(0.1, 0.9)
    run.daemon.kill()
    run.daemon.start()
    assert_good(run.finish(200))


def test_kill_of_anything(make_run: MakeRun) -> None:
    run = begin(make_run())
    run.add_producer("--rate", "300", "--batch", "7", "--spread-ms", "100")
    for _ in range(rounds(6)):
        run.pause(0.0, 0.6)
        run.crash(run.rng.choice(("daemon", "keeper", "worker")))
    assert_good(run.finish(500))


def test_drain(make_run: MakeRun) -> None:
    """SIGTERM under load: exit 0, workers may settle, what they hold comes back after the next start."""
    run = begin(make_run("--drain-timeout", "1s"))
    for _ in range(rounds(2)):
        run.pause(0.2, 0.8)
        run.count("drain")
        assert run.daemon.stop() == 0, run.daemon.log_tail()
        run.daemon.start()
    assert_good(run.finish(300))


def test_freeze(make_run: MakeRun) -> None:
    """SIGSTOP for longer than a lease: everything is late then, nothing is wrong."""
    import os
    import signal

    run = begin(make_run())
    for pid in (run.daemon.pid, run.daemon.keeper_pid()):
        os.kill(pid, signal.SIGSTOP)
        run.pause(2.2, 2.5)
        os.kill(pid, signal.SIGCONT)
        run.pause(0.5, 0.6)
    assert_good(run.finish(300))
