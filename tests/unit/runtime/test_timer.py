"""The firing clock: the kernel's timer, and the loop's view of it with steps of the clock played in."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time

import pytest

from wheeld.runtime import _timer
from wheeld.runtime.timer import FiringTimer

PATIENCE_S = 60.0


def wall_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


def test_a_timer_fires_once_and_not_before_its_time() -> None:
    timer = _timer.TimerFd()
    assert timer.arm(wall_ns() + 3_600_000_000_000) == _timer.NONE
    assert timer.read() == _timer.NONE
    deadline_ns = wall_ns() + 20_000_000
    assert timer.arm(deadline_ns) == _timer.NONE
    assert select.select([timer.fileno()], [], [], PATIENCE_S)[0]
    assert wall_ns() >= deadline_ns
    assert timer.read() == _timer.FIRED
    assert timer.read() == _timer.NONE
    timer.close()


@pytest.mark.parametrize("deadline_ns", [0, 1, 1_000_000_000])
def test_a_past_deadline_fires_at_once_and_zero_is_one(deadline_ns: int) -> None:
    timer = _timer.TimerFd()
    timer.arm(deadline_ns)
    assert select.select([timer.fileno()], [], [], PATIENCE_S)[0]
    assert timer.read() == _timer.FIRED


def test_rearming_and_disarming_take_the_fire_before_back() -> None:
    timer = _timer.TimerFd()
    timer.arm(1)
    assert select.select([timer.fileno()], [], [], PATIENCE_S)[0]
    timer.arm(wall_ns() + 3_600_000_000_000)
    assert timer.read() == _timer.NONE
    timer.arm(1)
    assert select.select([timer.fileno()], [], [], PATIENCE_S)[0]
    timer.disarm()
    assert timer.read() == _timer.NONE


def test_a_closed_timer_refuses_and_its_descriptor_is_gone() -> None:
    timer = _timer.TimerFd()
    fd = timer.fileno()
    timer.close()
    timer.close()
    assert timer.fileno() == -1
    for call in (lambda: timer.arm(1), timer.disarm, timer.read):
        with pytest.raises(ValueError, match="closed"):
            call()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.skipif("WHEELD_TEST_CLOCK_STEP" not in os.environ, reason="sets the machine's clock (to its own time)")
def test_a_step_is_told_once_by_read_or_by_arming() -> None:
    timer = _timer.TimerFd()
    far_ns = wall_ns() + 3_600_000_000_000
    timer.arm(far_ns)
    time.clock_settime_ns(time.CLOCK_REALTIME, wall_ns())
    assert timer.read() == _timer.STEPPED
    assert timer.read() == _timer.NONE
    time.clock_settime_ns(time.CLOCK_REALTIME, wall_ns())
    assert timer.arm(1) == _timer.STEPPED
    assert select.select([timer.fileno()], [], [], PATIENCE_S)[0]
    assert timer.read() == _timer.FIRED
    timer.disarm()
    time.clock_settime_ns(time.CLOCK_REALTIME, wall_ns())
    assert timer.read() == _timer.STEPPED


class SteppedSource:
    """A deadline source that reports what the test tells it to, made readable through a pipe."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        self.armed: list[int | None] = []
        self.arm_outcome = _timer.NONE
        self._outcome = _timer.NONE

    def happen(self, outcome: int) -> None:
        self._outcome = outcome
        os.write(self._write_fd, b"x")

    def fileno(self) -> int:
        return self._read_fd

    def arm(self, deadline_ns: int) -> int:
        self.armed.append(deadline_ns)
        outcome, self.arm_outcome = self.arm_outcome, _timer.NONE
        return outcome

    def disarm(self) -> int:
        self.armed.append(None)
        outcome, self.arm_outcome = self.arm_outcome, _timer.NONE
        return outcome

    def read(self) -> int:
        os.read(self._read_fd, 1)
        return self._outcome

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)


class Callbacks:
    """Collects what the timer calls and lets the test wait for it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bool] = asyncio.Queue()

    def __call__(self, stepped: bool) -> None:
        self.queue.put_nowait(stepped)

    async def next(self) -> bool:
        return await asyncio.wait_for(self.queue.get(), PATIENCE_S)


async def test_the_callback_runs_at_the_deadline_and_the_timer_takes_the_next() -> None:
    callbacks = Callbacks()
    timer = FiringTimer(asyncio.get_running_loop(), callbacks)
    for _ in range(3):
        deadline_ms = wall_ns() // 1_000_000 + 5
        timer.arm(deadline_ms)
        assert timer.deadline_ms == deadline_ms
        assert await callbacks.next() is False
        assert wall_ns() >= deadline_ms * 1_000_000
        assert timer.deadline_ms is None
    timer.close()
    timer.close()


async def test_an_earlier_deadline_replaces_a_later_one_and_disarm_silences() -> None:
    callbacks = Callbacks()
    timer = FiringTimer(asyncio.get_running_loop(), callbacks)
    timer.arm(wall_ns() // 1_000_000 + 3_600_000)
    timer.arm(0)
    assert await callbacks.next() is False
    timer.arm(wall_ns() // 1_000_000 + 3_600_000)
    timer.disarm()
    assert timer.deadline_ms is None
    timer.arm(0)
    assert await callbacks.next() is False
    assert callbacks.queue.empty()
    timer.close()


async def test_a_step_rearms_the_deadline_before_it_is_told() -> None:
    source, callbacks = SteppedSource(), Callbacks()
    timer = FiringTimer(asyncio.get_running_loop(), callbacks, source)
    timer.arm(7)
    source.happen(_timer.STEPPED)
    assert await callbacks.next() is True
    assert source.armed == [None, 7_000_000, 7_000_000]
    assert timer.deadline_ms == 7
    source.happen(_timer.FIRED)
    assert await callbacks.next() is False
    timer.close()


async def test_a_step_is_told_while_nothing_is_armed() -> None:
    source, callbacks = SteppedSource(), Callbacks()
    timer = FiringTimer(asyncio.get_running_loop(), callbacks, source)
    source.happen(_timer.STEPPED)
    assert await callbacks.next() is True
    assert source.armed == [None]
    timer.close()


async def test_a_step_that_arming_reports_is_told_after_the_caller() -> None:
    source, callbacks = SteppedSource(), Callbacks()
    timer = FiringTimer(asyncio.get_running_loop(), callbacks, source)
    source.arm_outcome = _timer.STEPPED
    timer.arm(7)
    assert callbacks.queue.empty()
    assert await callbacks.next() is True
    assert source.armed[-1] == 7_000_000
    timer.close()


async def test_a_closed_timer_tells_nothing_more() -> None:
    source, callbacks = SteppedSource(), Callbacks()
    timer = FiringTimer(asyncio.get_running_loop(), callbacks, source)
    source.arm_outcome = _timer.STEPPED
    timer.arm(7)
    timer.close()
    await asyncio.sleep(0)
    assert callbacks.queue.empty()


def test_timer_slack_must_be_positive() -> None:
    with pytest.raises(ValueError, match="zero"):
        _timer.set_timer_slack(0)
    _timer.set_timer_slack(50_000)


def test_a_child_dies_with_its_parent() -> None:
    child = (
        "import os, signal\nfrom wheeld.runtime import _timer\n"
        "_timer.set_parent_death_signal(signal.SIGKILL)\nprint(os.getpid(), flush=True)\nsignal.pause()\n"
    )
    parent = (
        f"import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "sys.stdout.buffer.write(p.stdout.readline())\nsys.stdout.flush()\nsys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    watched = os.pidfd_open(int(process.stdout.readline()))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert select.select([watched], [], [], PATIENCE_S)[0], "the child outlived its parent"
    os.close(watched)
