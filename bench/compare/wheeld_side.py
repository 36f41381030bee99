"""wheeld in the comparison: the workloads of `wheeld bench` on a daemon of its own, and the SDK for single submits.

Owns: nothing but the call and the names that the table wants.
"""

from __future__ import annotations

import asyncio
import time

import uvloop

from bench.compare.accounting import complain, received_per_s
from bench.compare.peer import DAY_MS, FAR_DUE, in_flight_report, single_report
from bench.compare.plan import DUE_IN_MS, Plan
from bench.compare.process import memory_bytes
from bench.daemon import Daemon
from bench.owned import kill_and_probe, settle_down
from wheeld import Client
from wheeld.bench import workloads
from wheeld.bench.judge import Report
from wheeld.bench.messages import payload_of

HOW = {
    "submit": "unary BatchCreateJobs, messages prepared beforehand, 4 in flight",
    "lease_ack": "one lease stream, acked in the order of arrival; lease and ack durable",
    "skew": "one lease stream; lease and ack durable",
    "burst": "one lease stream; lease and ack durable",
    "pending": "as in submit; memory of daemon and storekeeper, disk of the store once the journal is folded",
    "single": "SDK, one await per job, each a message on its SubmitJobs stream",
    "in_flight": "SDK, one await per job, 256 coroutines; the client shares messages by itself",
}


def run(workload: str, plan: Plan) -> Report:
    """One workload on a fresh daemon."""
    return uvloop.run(_on_daemon(workload, plan))


async def _on_daemon(workload: str, plan: Plan) -> Report:
    daemon = Daemon()
    try:
        await daemon.start()
        report = await (_pending(plan, daemon) if workload == "pending" else _measure(workload, plan, daemon.address))
    finally:
        daemon.remove()
    report.name = workload
    report.terms = {
        "batch": 1,
        "payload_bytes": plan.payload_bytes,
        "how": HOW[workload],
        **report.terms,
        "durability": workloads.DURABILITY,
    }
    return report


async def _measure(workload: str, plan: Plan, address: str) -> Report:
    terms = workloads.Terms(address, payload_bytes=plan.payload_bytes, batch=plan.batch)
    if workload == "submit":
        report = await workloads.submit(terms, plan.jobs, 0)
        report.figures["lost"] = plan.jobs - int(report.figures["distinct_ids"])
    elif workload == "lease_ack":
        report = await workloads.lifecycle(terms, plan.jobs)
    elif workload == "skew":
        report = await workloads.skew(terms, plan.rate, plan.seconds)
    elif workload == "burst":
        report = await workloads.burst(terms, plan.burst_jobs)
        last_s = float(report.figures["last_received_s"])
        report.figures["received_per_s"] = received_per_s(int(report.figures["jobs"]), last_s)
    elif workload == "single":
        report = await _single(plan, address)
    else:
        report = await _in_flight(plan, address)
    return report


async def _pending(plan: Plan, daemon: Daemon) -> Report:
    terms = workloads.Terms(daemon.address, payload_bytes=plan.payload_bytes, batch=plan.batch)
    half = plan.far_jobs // plan.batch // 2 * plan.batch
    found, ids, failures = list[tuple[int, int]](), 0, list[str]()
    for jobs in (half, plan.far_jobs - half):
        if jobs:
            load = await workloads.submit(terms, jobs, spread_ms=30 * DAY_MS, base_delay_ms=30 * DAY_MS)
            ids += int(load.figures["distinct_ids"])
            failures += load.failures
        await settle_down(daemon)
        found.append((memory_bytes(daemon.pid), daemon.disk_bytes()))
    report = await kill_and_probe(daemon, terms)
    restarted = report.figures
    report.terms |= {"jobs": plan.far_jobs, "due": FAR_DUE}
    report.figures = {
        "jobs": plan.far_jobs,
        "memory_bytes_per_job": round((found[1][0] - found[0][0]) / (plan.far_jobs - half), 1),
        "disk_bytes_per_job": round((found[1][1] - found[0][1]) / (plan.far_jobs - half), 1),
        "lost": plan.far_jobs - ids,
        "serving_s": restarted["serving_s"],
        "first_on_time_job_s": restarted["first_on_time_job_s"],
    }
    report.failures += failures
    return report


async def _single(plan: Plan, address: str) -> Report:
    payload, ids, latencies = payload_of(plan.payload_bytes), set(), []
    async with Client(address) as client:
        await client.server_info()
        began = time.monotonic()
        for _ in range(plan.singles):
            sent = time.perf_counter_ns()
            ids.add((await client.submit("bench", payload, delay=DUE_IN_MS / 1000)).job_id)
            latencies.append((time.perf_counter_ns() - sent) // 1000)
        took = time.monotonic() - began
    report = single_report(plan.singles, took, sorted(latencies), plan.singles - len(ids))
    complain(report)
    return report


async def _in_flight(plan: Plan, address: str) -> Report:
    payload, ids, jobs = payload_of(plan.payload_bytes), set(), iter(range(plan.in_flight_jobs))

    async def caller(client: Client) -> None:
        for _ in jobs:
            ids.add((await client.submit("bench", payload, delay=DUE_IN_MS / 1000)).job_id)

    async with Client(address) as client:
        await client.server_info()
        began = time.monotonic()
        await asyncio.gather(*(caller(client) for _ in range(plan.window)))
        took = time.monotonic() - began
    report = in_flight_report(plan.in_flight_jobs, took, plan.window, plan.in_flight_jobs - len(ids))
    complain(report)
    return report
