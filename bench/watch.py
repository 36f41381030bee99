"""What a daemon takes while a load runs: memory of both processes, disk, and how far the store is behind.

Owns: the samples, one every few seconds, printed as they are taken. Does not own the daemon. Invariant: a sample that
cannot be taken (the daemon is down) is left out, never made up.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from bench.daemon import Daemon

HEADER = "    time      jobs done   jobs/s   rss MB  keeper  resident  retained    disk GB   spilled  horizon s"


@dataclass(frozen=True)
class Sample:
    """One look."""

    at_s: float
    jobs: int
    jobs_per_s: float
    rss: int
    keeper_anon: int
    disk: int
    metrics: dict[str, float] = field(repr=False)

    def line(self) -> str:
        """For people."""
        found = self.metrics
        horizon_s = found.get("wheeld_horizon_timestamp_seconds", 0) - time.time()
        return (
            f"{self.at_s:8.1f} {self.jobs:14,} {self.jobs_per_s:8,.0f} {self.rss / 1e6:8.0f} "
            f"{self.keeper_anon / 1e6:7.0f} {found.get('wheeld_resident_bytes', 0) / 1e6:9.1f} "
            f"{found.get('wheeld_journal_retained_bytes', 0) / 1e6:9.1f} {self.disk / 1e9:10.3f} "
            f"{found.get('wheeld_jobs_spilled_total', 0):9,.0f} {horizon_s:10.1f}"
        )


def parse_metrics(text: str) -> dict[str, float]:
    """The samples without labels of a metrics page."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if not line.startswith("#") and "{" not in name and value:
            found[name] = float(value)
    return found


def scrape(address: str) -> dict[str, float]:
    """Metrics of the daemon whose HTTP side listens there."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        return parse_metrics(answer.read().decode())


class Watch:
    """`async with Watch(daemon, lambda: jobs, period_s)`: samples until the end of the block."""

    def __init__(self, daemon: Daemon, jobs: Callable[[], int], period_s: float, *, quiet: bool = False) -> None:
        self._daemon, self._jobs, self._period_s, self._quiet = daemon, jobs, period_s, quiet
        self._began = time.monotonic()
        self.samples: list[Sample] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._quiet:
            sys.stdout.write(HEADER + "\n")
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._period_s)

    async def look(self) -> Sample | None:
        """One sample now; None while the daemon is down."""
        with contextlib.suppress(OSError, RuntimeError):
            metrics = await asyncio.to_thread(scrape, self._daemon.http)
            disk = await asyncio.to_thread(self._daemon.disk_bytes)
            now_s, jobs = time.monotonic() - self._began, self._jobs()
            before = self.samples[-1] if self.samples else None
            rate = (jobs - before.jobs) / max(now_s - before.at_s, 1e-9) if before else 0.0
            sample = Sample(
                now_s, jobs, rate, self._daemon.resident_bytes(), self._daemon.keeper_resident_bytes(), disk, metrics
            )
            self.samples.append(sample)
            if not self._quiet:
                sys.stdout.write(sample.line() + "\n")
                sys.stdout.flush()
            return sample
        return None

    async def until_folded(self, patience_s: float) -> float:
        """Wait until the store holds all that is durable; the seconds that it took."""
        began = time.monotonic()
        while time.monotonic() - began < patience_s:
            metrics = await asyncio.to_thread(scrape, self._daemon.http)
            if metrics["wheeld_journal_retained_bytes"] == 0 and metrics["wheeld_open_group_bytes"] == 0:
                return time.monotonic() - began
            await asyncio.sleep(0.1)
        raise RuntimeError(f"the store is still behind after {patience_s} s")

    def peak(self, name: str) -> float:
        """The highest value of a field of the samples, or of a metric."""
        values = [getattr(sample, name, None) or sample.metrics.get(name, 0.0) for sample in self.samples]
        return max(values, default=0.0)

    def series(self) -> dict[str, list[tuple[float, float]]]:
        """For the report's plots."""
        return {
            "jobs": [(sample.at_s, sample.jobs) for sample in self.samples],
            "jobs_per_s": [(sample.at_s, sample.jobs_per_s) for sample in self.samples],
            "rss_bytes": [(sample.at_s, sample.rss) for sample in self.samples],
            "keeper_anon_bytes": [(sample.at_s, sample.keeper_anon) for sample in self.samples],
            "disk_bytes": [(sample.at_s, sample.disk) for sample in self.samples],
            "resident_bytes": [(s.at_s, s.metrics.get("wheeld_resident_bytes", 0)) for s in self.samples],
            "retained_bytes": [(s.at_s, s.metrics.get("wheeld_journal_retained_bytes", 0)) for s in self.samples],
        }
