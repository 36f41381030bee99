"""Workloads that look at more than one load: fires beside a stream of submits, fires across a restart, memory of far
jobs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise

import grpc.aio

from wheeld.bench.judge import Report, account, skew_figures
from wheeld.bench.load import LeaseWorker, RawCall, Submitter, connect, now_us
from wheeld.bench.messages import batch_due, payload_of
from wheeld.bench.workloads import Terms, fresh_queue, judge, skew, submit
from wheeld.wire.pb.v1 import admin_service_pb2

DAY_MS = 86_400_000
PROBE_EVERY_MS = 10


async def mixed(terms: Terms, rate: int, seconds: float, submit_rate: int) -> Report:
    """The skew workload while another process submits far jobs at `submit_rate`."""
    arguments = [terms.address, str(submit_rate), str(seconds + 3), str(terms.payload_bytes)]
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wheeld.bench.background", *arguments, stdout=asyncio.subprocess.PIPE
    )
    report = await skew(terms, rate, seconds)
    out, _ = await other.communicate()
    report.name = "mixed"
    report.terms["background_submit_rate"] = submit_rate
    report.figures["background_jobs"] = int(out)
    report.figures["background_jobs_per_s"] = round(int(out) / (seconds + 3))
    return report


async def server_info(address: str) -> admin_service_pb2.GetServerInfoResponse:
    """What the daemon says of itself."""
    async with connect(address) as channel:
        call: RawCall = channel.unary_unary("/wheeld.v1.AdminService/GetServerInfo")
        return admin_service_pb2.GetServerInfoResponse.FromString(await call(b"", timeout=10))


async def footprint(terms: Terms, jobs: int) -> Report:
    """`jobs` due from next month on; what the daemon says that it holds in memory before and after."""
    before = await server_info(terms.address)
    report = await submit(terms, jobs, spread_ms=30 * DAY_MS, base_delay_ms=30 * DAY_MS)
    after = await server_info(terms.address)
    report.name = "footprint"
    grown = after.resident_bytes - before.resident_bytes
    report.figures |= {
        "resident_jobs_before": before.resident_jobs,
        "resident_jobs_after": after.resident_jobs,
        "resident_bytes_grown": grown,
        "memory_bytes_per_job": round(grown / int(report.figures["jobs"]), 3),
    }
    return report


async def restart(terms: Terms, seconds: float) -> Report:
    """A job every 10 ms, for somebody to kill and start the daemon meanwhile: how long no job arrived, and that none is
    missing.
    """
    queue = fresh_queue("restart")
    start_ms = now_us() // 1000 + 1000
    dues = [start_ms + PROBE_EVERY_MS * position for position in range(int(seconds * 1000 / PROBE_EVERY_MS))]
    submitter = Submitter(terms.address, 1)
    at = range(0, len(dues), terms.batch)
    await submitter.send(
        [batch_due(queue, payload_of(terms.payload_bytes), dues[i : i + terms.batch]) for i in at], len(at)
    )
    accepted = submitter.accepted()
    await submitter.close()
    workers: list[LeaseWorker] = []

    async def serve() -> None:
        worker = LeaseWorker(terms.address, queue, queue, terms.worker_credit)
        workers.append(worker)
        await worker.run()

    await again_until(
        serve, dues[-1] * 1000 + 20_000_000, lambda: sum(len(worker.job_ids) for worker in workers) >= len(accepted)
    )
    arrived = [job_id for worker in workers for job_id in worker.job_ids]
    due_ms = [due for worker in workers for due in worker.due_ms]
    receive_us = [at for worker in workers for at in worker.receive_us]
    order = sorted(receive_us)
    gaps = [later - earlier for earlier, later in pairwise(order)]
    report = Report(
        "restart", terms=terms.stated(seconds=seconds, probe=f"a job every {PROBE_EVERY_MS} ms; kill -9 is up to you")
    )
    report.figures = {
        "jobs": len(arrived),
        "connections": len(workers),
        "longest_gap_s": round(max(gaps, default=0) / 1e6, 3),
        **skew_figures(due_ms, receive_us),
        **account(accepted, arrived),
    }
    report.terms["redelivered"] = "a job in flight at the kill may arrive twice, under a higher token"
    redelivered = int(report.figures.pop("duplicated"))
    report.figures["delivered_again"] = redelivered
    judge(report, done=len(set(arrived)) == len(accepted))
    return report


async def again_until(serve: Callable[[], Awaitable[None]], deadline_us: int, done: Callable[[], bool]) -> None:
    """Run `serve`, and again when it breaks, until `done` or the deadline."""
    while now_us() < deadline_us and not done():
        task = asyncio.ensure_future(serve())
        while not task.done() and not done() and now_us() < deadline_us:
            await asyncio.wait({task}, timeout=0.1)
        task.cancel()
        ended = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(ended, Exception) and not isinstance(ended, grpc.aio.AioRpcError):
            raise ended
        await asyncio.sleep(0.02)
