"""An idle process that times its own loop: what the machine does to a deadline while nobody holds it up.

`python -m wheeld.bench.idle SECONDS` runs the daemon's probe on a loop that has nothing else to do, and prints its
counts as [all, own], for `stalls`: what a hypervisor takes away is in no account of the process, so that the daemon's
figures mean little without an idle neighbour's.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from wheeld.bench.histogram import Histogram, histogram_of
from wheeld.model import limits
from wheeld.runtime.clock import SystemClock
from wheeld.runtime.probe import LoopProbe
from wheeld.runtime.timer import FiringTimer

Counts = tuple[list[int], list[int]]


async def idle(seconds: float) -> Counts:
    """The probe's counts by bucket after so many seconds: of all lag, and of what is left without waiting for a CPU."""
    loop = asyncio.get_running_loop()
    probe = LoopProbe(SystemClock(), lambda callback: FiringTimer(loop, callback), limits.LOOP_PROBE_PERIOD_MS)
    try:
        await asyncio.sleep(seconds)
    finally:
        probe.stop()
    return probe.lag.counts, probe.own.counts


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
    found: Counts = ([], []) if process.returncode else json.loads(out)
    return {"idle": histogram_of(found[0]), "idle_own": histogram_of(found[1])}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(idle(float(sys.argv[1])))) + "\n")
