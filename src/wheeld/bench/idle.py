"""An idle process that times its own loop: what the machine does to a deadline while nobody holds it up.

`python -m wheeld.bench.idle SECONDS` samples as the daemon's probe does, every 10 ms with the same timer and the same
account of waiting for a CPU, and prints its lags in microseconds, as [all, own], for `stalls`: what a hypervisor takes
away is in no account of the process, so the daemon's figures mean little without an idle neighbour's.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from wheeld.bench.histogram import Histogram, histogram_of
from wheeld.model import limits
from wheeld.runtime.clock import SystemClock
from wheeld.runtime.timer import FiringTimer
from wheeld.runtime.waiting import CpuWaiting

Lags = tuple[list[int], list[int]]


class Idler:
    """Samples until it is stopped."""

    def __init__(self) -> None:
        self.lags_us: Lags = ([], [])
        self._clock, self._waiting = SystemClock(), CpuWaiting()
        self._waited_ns = self._waiting.total_ns()
        self._timer = FiringTimer(asyncio.get_running_loop(), self._on_deadline)
        self._due_ms = 0
        self._arm()

    def stop(self) -> None:
        """Take no further sample."""
        self._timer.close()
        self._waiting.close()

    def _arm(self) -> None:
        self._due_ms = self._clock.wall_ms() + limits.LOOP_PROBE_PERIOD_MS
        self._timer.arm(self._due_ms)

    def _on_deadline(self, stepped: bool) -> None:
        lag_us = self._clock.wall_us() - self._due_ms * 1000
        waited_ns = self._waiting.total_ns()
        waited_us, self._waited_ns = (waited_ns - self._waited_ns) // 1000, waited_ns
        if not stepped and lag_us >= 0:
            self.lags_us[0].append(lag_us)
            self.lags_us[1].append(max(lag_us - waited_us, 0))
        self._arm()


async def idle(seconds: float) -> Lags:
    """The lags of so many seconds, in microseconds: all of each, and what is left without waiting for a CPU."""
    idler = Idler()
    try:
        await asyncio.sleep(seconds)
    finally:
        idler.stop()
    return idler.lags_us


async def idle_apart(seconds: float) -> dict[str, Histogram]:
    """The same in a process of its own, as histograms; without samples when it failed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wheeld.bench.idle", str(seconds), stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    found: Lags = ([], []) if process.returncode else json.loads(out)
    return {"idle": histogram_of(found[0]), "idle_own": histogram_of(found[1])}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(idle(float(sys.argv[1])))) + "\n")
