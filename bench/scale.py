"""As many far jobs as are asked for, or as the disk holds: load them, kill -9, restart, then a million in one
millisecond.

`python -m bench.scale --jobs 100000000`. Prints a line every few seconds; writes JSON. The data directory lies in the
system's temporary folder (TMPDIR decides). "pressure" counts batches that the daemon refused with STORE_BUSY; they were
sent again after the delay that it named.

Nothing lost, at any size: the far jobs are counted as their batches are accepted (8 bytes a batch, no ledger), the
burst's jobs one by one. In the end the daemon is stopped, which folds all that is durable, and the store's own count of
unfinished jobs must be what was accepted less what was settled. With --verify the whole store is read as well: each
job, each index.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import uvloop

from bench.daemon import Daemon
from bench.drain import DrainWorker
from bench.flood import Flood
from bench.ledger import Ledger
from bench.owned import kill_and_probe
from bench.watch import Watch
from wheeld.bench.judge import Report, percentile
from wheeld.bench.load import now_us
from wheeld.bench.messages import batch_due, payload_of
from wheeld.bench.render import table, write_json
from wheeld.bench.workloads import Terms, fresh_queue, judge
from wheeld.store.verify import verify_store

DAY_MS = 86_400_000
VARIANTS = 200
RESULTS = Path(__file__).parent / "results" / "local" / "scale.json"
FOLD_PATIENCE_S = 600
RESTART_S = 40
"""Between the last of the burst's submits and its time."""
BURST_RATE_LEAST = 15_000
"""Slower than this, the burst's jobs are still being submitted when they are due."""


@dataclass(frozen=True)
class Size:
    """What is asked for."""

    jobs: int
    burst: int
    disk_floor: int
    span_days: int
    align_s: int
    settle_s: float
    verify: bool


async def load(daemon: Daemon, watch: Watch, flood: Flood, terms: Terms, size: Size) -> Report:
    """Far jobs, due uniformly from tomorrow on, until there are enough or the disk is full enough."""
    queue, payload, draw = fresh_queue("scale"), payload_of(terms.payload_bytes), random.Random(11)
    base = now_us() // 1000 + DAY_MS
    span_ms = size.span_days * DAY_MS
    batches = [
        batch_due(queue, payload, [base + draw.randrange(span_ms) for _ in range(terms.batch)]) for _ in range(VARIANTS)
    ]
    rounds = (size.jobs - size.burst) // terms.batch
    before = await watch.look()
    took = await flood.send(batches, rounds, stop=lambda: free_bytes(daemon) < size.disk_floor)
    lag_s = await watch.until_folded(FOLD_PATIENCE_S)
    await asyncio.sleep(size.settle_s)
    after = await watch.look()
    assert before is not None
    assert after is not None
    rates = sorted(rate_over(flood.marks, took))
    report = Report("scale-load", terms=terms.stated(span_days=size.span_days, due="uniform, from tomorrow on"))
    report.figures = {
        "jobs": flood.accepted,
        "seconds": round(took, 1),
        "jobs_per_s": round(flood.accepted / took),
        "jobs_per_s_slowest_tenth": round(percentile(rates, 0.0)),
        "jobs_per_s_fastest_tenth": round(percentile(rates, 1.0)),
        "rss_before_mb": round(before.rss / 1e6, 1),
        "rss_peak_mb": round(watch.peak("rss") / 1e6, 1),
        "rss_after_mb": round(after.rss / 1e6, 1),
        "memory_bytes_per_job": round((after.rss - before.rss) / max(flood.accepted, 1), 3),
        "keeper_anon_peak_mb": round(watch.peak("keeper_anon") / 1e6, 1),
        "disk_gb": round(after.disk / 1e9, 3),
        "disk_bytes_per_job": round((after.disk - before.disk) / max(flood.accepted, 1), 1),
        "unfolded_peak_mb": round(watch.peak("wheeld_journal_retained_bytes") / 1e6, 1),
        "folded_after_s": round(lag_s, 2),
        **flood.figures(),
    }
    if flood.accepted < rounds * terms.batch:
        report.terms["stopped"] = f"at the disk floor of {size.disk_floor / 1e9:.1f} GB"
    return report


def free_bytes(daemon: Daemon) -> int:
    """Of the file system that the daemon writes to."""
    return shutil.disk_usage(daemon.directory).free


def rate_over(marks: list[tuple[float, int]], took: float, parts: int = 10) -> list[float]:
    """Jobs a second in each of `parts` equal spans of time."""
    ends, at = [0], 0
    for part in range(1, parts + 1):
        while at < len(marks) and marks[at][0] <= took * part / parts:
            at += 1
        ends.append(marks[at - 1][1] if at else 0)
    return [(later - earlier) / (took / parts) for earlier, later in pairwise(ends)]


async def burst(daemon: Daemon, terms: Terms, size: Size, watch: Watch) -> list[Report]:
    """`burst` more jobs, all due in one millisecond of a full minute; kill -9 and restart with them on disk; then they
    fire.
    """
    queue, ledger = fresh_queue("boundary"), Ledger()
    lead_s = size.burst / BURST_RATE_LEAST + RESTART_S
    due_ms = (int(time.time() + lead_s) // size.align_s + 1) * size.align_s * 1000
    flood = Flood(terms.address, terms.batch, terms.in_flight, ledger)
    message = batch_due(queue, payload_of(terms.payload_bytes), [due_ms] * terms.batch)
    await flood.send([message], size.burst // terms.batch)
    submitted_ahead_s = due_ms / 1000 - time.time()
    await flood.close()
    await watch.until_folded(FOLD_PATIENCE_S)
    restarted = await kill_and_probe(daemon, terms)
    restarted.name = "scale-restart"
    restarted.figures["seconds_to_the_burst"] = round(due_ms / 1000 - time.time(), 1)
    await asyncio.sleep(max(due_ms / 1000 - time.time() - 5, 0))
    worker = DrainWorker(terms.address, queue, ledger, terms.worker_credit)
    worker.start()
    done = await worker.wait_settled(ledger.accepted, max(due_ms / 1000 - time.time(), 0) + 60)
    await watch.look()
    await worker.close()
    report = Report("scale-burst", terms=terms.stated(workers=1, due=f"one millisecond, on {size.align_s} s exactly"))
    report.figures = {
        "jobs": worker.settled,
        "submitted_ahead_s": round(submitted_ahead_s, 1),
        "first_received_s": round((worker.first_us - due_ms * 1000) / 1e6, 3),
        "p50_s": round(percentile(sorted(worker.late_us), 0.5) / 1e6, 3),
        "last_received_s": round((worker.last_receive_us - due_ms * 1000) / 1e6, 3),
        "last_acked_s": round((worker.settled_us - due_ms * 1000) / 1e6, 3),
        "rss_peak_mb": round(watch.peak("rss") / 1e6, 1),
        **ledger.figures(),
    }
    judge(report, done)
    return [restarted, report]


def account(daemon: Daemon, loaded: Report, restarted: Report, burst: Report, size: Size) -> Report:
    """What the store holds at the end beside what it must hold. The restart's probe jobs may or may not have run."""
    daemon.stop()
    stored = daemon.stored_jobs()
    expected = int(loaded.figures["jobs"]) + int(burst.figures["lost"])
    probes = int(restarted.figures["probe_jobs"])
    report = Report("scale-account", terms={"counted": "by the store, after a stop of the daemon"})
    report.figures = {"stored_jobs": stored, "far_jobs_accepted": expected, "probe_jobs_left_at_most": probes}
    if not expected <= stored <= expected + probes:
        report.failures.append(f"the store holds {stored} jobs, not {expected} to {expected + probes}")
    if size.verify:
        found = verify_store(daemon.directory / "data")
        report.figures["problems_found"] = len(found.problems)
        report.failures += found.problems[:3]
    return report


async def main(size: Size, payload_bytes: int, period_s: float, options: list[str]) -> list[Report]:
    """Load, kill, restart, burst, against one daemon."""
    daemon = Daemon(*options)
    terms_of = {"payload_bytes": payload_bytes}
    try:
        await daemon.start()
        terms = Terms(daemon.address, **terms_of)
        flood = Flood(terms.address, terms.batch, terms.in_flight)
        async with Watch(daemon, lambda: flood.accepted, period_s) as watch:
            loaded = await load(daemon, watch, flood, terms, size)
        await flood.close()
        loaded.series = watch.series()
        print(table([loaded]), flush=True)
        if not size.burst:
            return [loaded]
        async with Watch(daemon, lambda: 0, period_s) as watch:
            reports = [loaded, *await burst(daemon, terms, size, watch)]
        reports[-1].series = watch.series()
        reports.append(
            await asyncio.to_thread(account, daemon, loaded, restarted=reports[1], burst=reports[2], size=size)
        )
        print(table(reports[1:]), flush=True)
        return reports
    finally:
        daemon.remove()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000_000, help="far jobs, the burst's included")
    parser.add_argument("--burst", type=int, default=1_000_000, help="jobs due in one millisecond; 0: none, no restart")
    parser.add_argument("--payload", type=int, default=128, help="bytes")
    parser.add_argument("--span-days", type=int, default=30)
    parser.add_argument(
        "--align-s", type=int, default=60, help="the burst's time is a multiple of this: 3600 = the hour"
    )
    parser.add_argument("--disk-floor", type=float, default=8.0, help="GB that stay free")
    parser.add_argument("--settle-s", type=float, default=3.0, help="quiet time before memory is read")
    parser.add_argument(
        "--verify", action="store_true", help="read the whole store in the end: minutes for ten million"
    )
    parser.add_argument("--period-s", type=float, default=5.0, help="between the printed lines")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--serve-option", action="append", default=[], help="passed to wheeld serve; repeat for more")
    given = parser.parse_args()
    wanted = Size(
        given.jobs,
        given.burst,
        int(given.disk_floor * 1e9),
        given.span_days,
        given.align_s,
        given.settle_s,
        given.verify,
    )
    found = uvloop.run(main(wanted, given.payload, given.period_s, given.serve_option))
    write_json(found, given.json)
    print(f"\nwritten: {given.json}")
    sys.exit(1 if any(report.failures for report in found) else 0)
