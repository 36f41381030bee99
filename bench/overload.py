"""More than the daemon can do: is its memory bounded, are others served, are the errors clear, is nothing lost?

`python -m bench.overload --scale 0.1`. Scenarios, each against a daemon of its own with a small cap of memory:
flood: producers faster than the disk (4 KiB payloads, 32 batches in flight), for as long as it takes to be told
STORE_BUSY, and 30 s more at scale 1. stuck: half of the workers take leases and never settle them, half do not read
their streams; their leases lapse several times over. backlog: ten million due jobs, no worker. paused: ten million
due jobs in a paused queue with a worker. Meanwhile a bystander in a process of its own uses another queue. In the end
one worker drains everything, and the run counts what was lost or done twice.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop

from bench.daemon import Daemon
from bench.drain import DrainWorker, StuckWorker
from bench.flood import Flood
from bench.ledger import Ledger
from bench.watch import Watch
from wheeld.bench.judge import Report
from wheeld.bench.load import RawCall, connect, now_us
from wheeld.bench.messages import batch_after, batch_due, payload_of
from wheeld.bench.render import table, write_json
from wheeld.bench.workloads import DURABILITY, fresh_queue
from wheeld.wire.pb.v1 import queue_service_pb2

RESULTS = Path(__file__).parent / "results" / "local" / "overload.json"
MIB = 1 << 20
SLACK_SHARE = 1.25
SLACK_BYTES = 256 * MIB
"""Memory may grow to the cap times the share plus these bytes: indexes over the jobs, frames and messages under way."""
BATCH = 1000
BYSTANDER_RATE = 500
DRAIN_CREDIT = 20_000
PATIENCE_S = 60
STUCK_WORKERS = 8
STUCK_LEASE_S = 10
STUCK_LAPSES = 4
FLOOD_BUSY_S_MAX = 60
"""A daemon that has not said STORE_BUSY by then keeps up with its producers."""


@dataclass
class Run:
    """One scenario under way."""

    daemon: Daemon
    watch: Watch
    scale: float
    payload: bytes
    queue: str
    ledger: Ledger = field(default_factory=Ledger)
    figures: dict[str, float | int | str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def jobs(self, count: int) -> int:
        """At this run's scale, in whole batches."""
        return max(int(count * self.scale) // BATCH, 1) * BATCH

    async def submit_due_now(self, jobs: int, in_flight: int = 4) -> None:
        """Jobs that are due at once, as fast as the daemon takes them."""
        flood = Flood(self.daemon.address, BATCH, in_flight, self.ledger)
        took = await flood.send([batch_after(self.queue, self.payload, BATCH, 0)], jobs // BATCH)
        self.figures |= {"submit_s": round(took, 1), "submit_jobs_per_s": round(jobs / took), **flood.figures()}
        await flood.close()


async def flood(run: Run) -> None:
    """Producers faster than the disk."""
    batch, seconds = 500, max(30 * run.scale, 5)
    first_ms = now_us() // 1000 + int(seconds + FLOOD_BUSY_S_MAX + 10) * 1000
    payload = payload_of(4096)
    messages = [
        batch_due(run.queue, payload, [first_ms + at * 100 + position for position in range(batch)]) for at in range(20)
    ]
    began = time.monotonic()
    producers = Flood(run.daemon.address, batch, 32, run.ledger)

    def over() -> bool:
        """Both a while of it and a refusal were seen, or the daemon keeps up."""
        passed = time.monotonic() - began
        busy = producers.first_refusal_s
        return passed > seconds + FLOOD_BUSY_S_MAX or (busy is not None and passed > busy + seconds)

    took = await producers.send(messages, 1 << 30, stop=over)
    await producers.close()
    accepted = run.ledger.accepted
    run.figures |= {
        "payload_bytes": len(payload),
        "submit_s": round(took, 1),
        "submit_jobs_per_s": round(accepted / took),
        "submit_mb_per_s": round(accepted * len(payload) / took / 1e6, 1),
        "store_busy_after_s": "never" if producers.first_refusal_s is None else round(producers.first_refusal_s, 1),
        **producers.figures(),
    }


async def stuck(run: Run) -> None:
    """Workers that take leases and never settle, and workers that do not even read."""
    workers = [
        StuckWorker(run.daemon.address, run.queue, f"stuck-{at}", DRAIN_CREDIT, STUCK_LEASE_S, reads=at % 2 == 0)
        for at in range(STUCK_WORKERS)
    ]
    await asyncio.sleep(0.5)
    await run.submit_due_now(run.jobs(1_000_000))
    stuck_s = max(STUCK_LAPSES * STUCK_LEASE_S, 90 * run.scale)
    await asyncio.sleep(stuck_s)
    run.figures["stuck_s"] = stuck_s
    run.figures["lease_expirations"] = int(run.watch.peak("wheeld_lease_expirations_total"))
    run.figures["stuck_leases_read"] = sum(worker.taken for worker in workers)
    run.errors += [worker.why for worker in workers if worker.why]
    for worker in workers:
        await worker.close()


async def backlog(run: Run) -> None:
    """Due jobs and no worker."""
    await run.submit_due_now(run.jobs(10_000_000))
    await asyncio.sleep(10)


async def paused(run: Run) -> None:
    """Due jobs in a paused queue."""
    await pause(run, "PauseQueue")
    idle = DrainWorker(run.daemon.address, run.queue, run.ledger, DRAIN_CREDIT)
    idle.start()
    await idle.opened.wait()
    await run.submit_due_now(run.jobs(10_000_000))
    await asyncio.sleep(10)
    run.figures["delivered_while_paused"] = run.ledger.delivered
    if run.ledger.delivered:
        run.errors.append("a paused queue gave out jobs")
    await idle.close()
    await pause(run, "ResumeQueue")


async def pause(run: Run, verb: str) -> None:
    """PauseQueue or ResumeQueue."""
    request = queue_service_pb2.PauseQueueRequest(queue=run.queue).SerializeToString()
    async with connect(run.daemon.address) as channel:
        call: RawCall = channel.unary_unary(f"/wheeld.v1.QueueService/{verb}")
        await call(request, timeout=30)


SCENARIOS: dict[str, Callable[[Run], Awaitable[None]]] = {
    "flood": flood,
    "stuck": stuck,
    "backlog": backlog,
    "paused": paused,
}


async def drain(run: Run) -> bool:
    """One worker takes everything; whether all of it came."""
    worker = DrainWorker(run.daemon.address, run.queue, run.ledger, DRAIN_CREDIT)
    began = time.monotonic()
    worker.start()
    done = await worker.wait_settled(run.ledger.accepted, PATIENCE_S)
    seconds = time.monotonic() - began - (0 if done else PATIENCE_S)
    why = await worker.close()
    if why:
        run.errors.append(why)
    run.figures |= {
        "drain_s": round(seconds, 1),
        "drain_jobs_per_s": round(worker.settled / max(seconds, 1e-9)),
        "refused_acks": worker.refused,
    }
    return done


async def overload(name: str, scale: float, resident_bytes: int, payload_bytes: int, period_s: float) -> Report:
    """One scenario from start to account."""
    daemon = Daemon("--resident-bytes", str(resident_bytes))
    bystander = None
    try:
        await daemon.start()
        idle = daemon.resident_bytes()
        bystander = await start_bystander(daemon.address)
        ledger = Ledger()
        async with Watch(daemon, lambda: ledger.accepted + ledger.delivered, period_s) as watch:
            run = Run(daemon, watch, scale, payload_of(payload_bytes), fresh_queue(name), ledger)
            await asyncio.sleep(4)
            await SCENARIOS[name](run)
            await watch.look()
            loaded_peak = watch.peak("rss")
            done = await drain(run)
            await watch.look()
        out, _ = await bystander.communicate(b"")
        return reported(name, run, msgspec.json.decode(out), idle, loaded_peak, resident_bytes, done)
    finally:
        if bystander is not None and bystander.returncode is None:
            bystander.kill()
        daemon.remove()


async def start_bystander(address: str) -> asyncio.subprocess.Process:
    """In a process of its own, so that its clock does not wait for our loop."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.bystander", address, str(BYSTANDER_RATE)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


def reported(
    name: str,
    run: Run,
    felt: dict[str, float | int | str],
    idle: int,
    loaded_peak: float,
    resident_bytes: int,
    done: bool,
) -> Report:
    """The figures and the judgement."""
    allowed = idle + SLACK_SHARE * resident_bytes + SLACK_BYTES
    report = Report(f"overload-{name}", series=run.watch.series())
    report.terms = {
        "durability": DURABILITY,
        "scale": run.scale,
        "resident_bytes": resident_bytes,
        "payload_bytes": len(run.payload),
        "cap_on_rss": f"idle + {SLACK_SHARE} x resident_bytes + {SLACK_BYTES // MIB} MiB",
        "bystander": f"{BYSTANDER_RATE} jobs/s in another queue and process",
    }
    report.figures = {
        **run.figures,
        **run.ledger.figures(),
        "rss_idle_mb": round(idle / 1e6, 1),
        "rss_peak_loading_mb": round(loaded_peak / 1e6, 1),
        "rss_peak_mb": round(run.watch.peak("rss") / 1e6, 1),
        "rss_allowed_mb": round(allowed / 1e6, 1),
        "resident_peak_mb": round(run.watch.peak("wheeld_resident_bytes") / 1e6, 1),
        "unfolded_peak_mb": round(run.watch.peak("wheeld_journal_retained_bytes") / 1e6, 1),
        "keeper_anon_peak_mb": round(run.watch.peak("keeper_anon") / 1e6, 1),
        "spilled": int(run.watch.peak("wheeld_jobs_spilled_total")),
        **{f"bystander_{key}": value for key, value in felt.items()},
        "errors_seen": "; ".join(sorted(set(run.errors))) or "none",
    }
    report.figures["rss_peak_of_allowed_percent"] = round(100 * run.watch.peak("rss") / allowed)
    if not done:
        report.failures.append("the backlog was not drained: nothing came for a minute")
    if run.watch.peak("rss") > allowed:
        report.failures.append("memory above its cap")
    for key in ("lost", "duplicated", "foreign", "early", "bystander_lost", "bystander_duplicated", "bystander_early"):
        if report.figures[key]:
            report.failures.append(f"{key}: {report.figures[key]}")
    return report


async def main(
    names: list[str], scale: float, resident_bytes: int, payload_bytes: int, period_s: float
) -> list[Report]:
    """The scenarios, one after another."""
    reports = []
    for name in names:
        print(f"{name}:", flush=True)
        reports.append(await overload(name, scale, resident_bytes, payload_bytes, period_s))
        print(table(reports[-1:]), flush=True)
    return reports


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SCENARIOS), help="comma separated: " + ", ".join(SCENARIOS))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the stated sizes")
    parser.add_argument("--resident-bytes", type=int, default=256 * MIB, help="the daemon's cap of memory for jobs")
    parser.add_argument("--payload", type=int, default=128, help="bytes; the flood has its own")
    parser.add_argument("--period-s", type=float, default=2.0, help="between the printed lines")
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args()
    found = uvloop.run(main(given.only.split(","), given.scale, given.resident_bytes, given.payload, given.period_s))
    write_json(found, given.json)
    print(f"\nwritten: {given.json}")
    sys.exit(1 if any(report.failures for report in found) else 0)
