"""Workloads that need a daemon of their own: memory over a minute of submits, memory and disk of far jobs, time from
kill -9 to the next fire.
"""

from __future__ import annotations

import asyncio
import random
import time

from bench.daemon import Daemon
from bench.flood import Flood
from bench.watch import Watch
from wheeld.bench.judge import Report
from wheeld.bench.load import LeaseWorker, Submitter, now_us
from wheeld.bench.messages import batch_due, payload_of
from wheeld.bench.workloads import VARIANTS, Terms, fresh_queue, submit

DAY_MS = 86_400_000
PROBE_JOBS = 3000
FLAT_BYTES = 64 << 20
"""Memory counts as flat when its middle third and its last differ by less than this."""


async def footprint(daemon: Daemon, terms: Terms, jobs: int) -> Report:
    """`jobs` due from next month on: what they cost in memory and on disk once they are folded."""
    await settle_down(daemon)
    resident, disk = daemon.resident_bytes(), daemon.disk_bytes()
    load = await submit(terms, jobs, spread_ms=30 * DAY_MS, base_delay_ms=30 * DAY_MS)
    await settle_down(daemon)
    after, disk_after = daemon.resident_bytes(), daemon.disk_bytes()
    report = Report("footprint", terms=terms.stated(jobs=jobs, due="uniform over 30 days, from 30 days on"))
    report.figures = {
        "jobs": jobs,
        "resident_before_mb": round(resident / 1e6, 1),
        "resident_after_mb": round(after / 1e6, 1),
        "memory_bytes_per_job": round((after - resident) / jobs, 2),
        "disk_bytes_per_job": round((disk_after - disk) / jobs, 1),
        "submit_jobs_per_s": load.figures["jobs_per_s"],
        "keeper_anon_mb": round(daemon.keeper_resident_bytes() / 1e6, 1),
    }
    report.failures = load.failures
    return report


async def sustained(daemon: Daemon, terms: Terms, seconds: float) -> Report:
    """Submits at full speed over 30 days, and what becomes of the daemon's memory meanwhile."""
    queue, payload, draw = fresh_queue("sustained"), payload_of(terms.payload_bytes), random.Random(11)
    base = now_us() // 1000 + DAY_MS
    batches = [
        batch_due(queue, payload, [base + draw.randrange(30 * DAY_MS) for _ in range(terms.batch)])
        for _ in range(VARIANTS)
    ]
    flood = Flood(terms.address, terms.batch, terms.in_flight)
    async with Watch(daemon, lambda: flood.accepted, max(seconds / 30, 0.25), quiet=True) as watch:
        ends = time.monotonic() + seconds
        took = await flood.send(batches, 1 << 30, stop=lambda: time.monotonic() > ends)
        lag_s = await watch.until_folded(60)
    await flood.close()
    report = Report("sustained", terms=terms.stated(seconds=seconds, due="uniform over 30 days, from tomorrow on"))
    report.series = watch.series() | {"submitted": [(at, count) for at, count in flood.marks]}
    middle, last = third(watch, took, 1), third(watch, took, 2)
    report.figures = {
        "jobs": flood.accepted,
        "seconds": round(took, 1),
        "jobs_per_s": round(flood.accepted / took),
        "slowest_batch_s": round(flood.slowest_s, 3),
        "rss_middle_third_mb": round(middle / 1e6, 1),
        "rss_last_third_mb": round(last / 1e6, 1),
        "rss_peak_mb": round(watch.peak("rss") / 1e6, 1),
        "keeper_anon_peak_mb": round(watch.peak("keeper_anon") / 1e6, 1),
        "unfolded_peak_mb": round(watch.peak("wheeld_journal_retained_bytes") / 1e6, 1),
        "folded_after_s": round(lag_s, 2),
        **{f"refused_{name}": count for name, count in flood.refusals.items()},
        "memory": "flat" if last - middle < FLAT_BYTES else "grows",
    }
    if report.figures["memory"] == "grows":
        report.failures.append(f"memory grows: {(last - middle) / 1e6:.0f} MB from the middle third to the last")
    return report


def third(watch: Watch, took: float, number: int) -> float:
    """The highest resident memory in a third of the run."""
    begin, end = took * number / 3, took * (number + 1) / 3
    return max((sample.rss for sample in watch.samples if begin <= sample.at_s < end), default=0)


async def settle_down(daemon: Daemon, still_s: float = 2.5) -> None:
    """Wait until the store's files have not changed for a while."""
    size, since = daemon.disk_bytes(), time.monotonic()
    while time.monotonic() - since < still_s:
        await asyncio.sleep(0.25)
        if daemon.disk_bytes() != size:
            size, since = daemon.disk_bytes(), time.monotonic()


async def restart(daemon: Daemon, terms: Terms, pending: int) -> Report:
    """With `pending` far jobs and jobs due every 10 ms: kill -9, start again, when does the next due job reach a
    worker?
    """
    await submit(terms, pending, spread_ms=30 * DAY_MS, base_delay_ms=DAY_MS)
    report = await kill_and_probe(daemon, terms)
    report.terms["pending"] = pending
    report.figures = {"pending": pending, **report.figures}
    return report


async def kill_and_probe(daemon: Daemon, terms: Terms, patience_s: float = 60) -> Report:
    """Jobs due every 10 ms, kill -9, start again: when does the next due job reach a worker?"""
    queue = fresh_queue("restart")
    begin_ms = now_us() // 1000
    dues = [begin_ms + 10 * position for position in range(PROBE_JOBS)]
    submitter = Submitter(terms.address, 1)
    await submitter.send([batch_due(queue, payload_of(terms.payload_bytes), dues)], 1)
    await submitter.close()
    daemon.kill()
    killed_us = now_us()
    serving = await daemon.start(http=False)
    worker = LeaseWorker(daemon.address, queue, queue, terms.worker_credit)
    task = asyncio.create_task(worker.run())
    deadline = time.monotonic() + patience_s
    fired_us = 0
    while not fired_us and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        on_time = [at for due, at in zip(worker.due_ms, worker.receive_us, strict=True) if at - due * 1000 < 50_000]
        fired_us = min(on_time, default=0)
    first_us = worker.first_us
    await worker.close()
    task.cancel()
    report = Report(
        "restart",
        terms=terms.stated(probe="a job every 10 ms, due while the daemon was down and after"),
    )
    report.figures = {
        "probe_jobs": PROBE_JOBS,
        "serving_s": round(serving, 3),
        "first_late_job_s": round((first_us - killed_us) / 1e6, 3),
        "first_on_time_job_s": round((fired_us - killed_us) / 1e6, 3),
    }
    if not fired_us:
        report.failures.append(f"no job arrived on time within {patience_s} s")
    return report
