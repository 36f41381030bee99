"""The SDK as programs use it: one await per job, bulk, single calls, a worker with handlers. `python -m bench.sdk`.

Owns: the load, which runs in this process, on the public API alone. Does not own: what the daemon can do (bench.run).
Invariant: each job has a number in its payload; a run counts how often each number was answered or came to a handler.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from bench.daemon import Daemon
from wheeld.bench.judge import Report, percentile
from wheeld.bench.render import table, write_json
from wheeld.bench.workloads import DURABILITY, fresh_queue
from wheeld.client.app import App
from wheeld.client.client import Client
from wheeld.client.jobs import JobOptions, encode_job
from wheeld.worker.worker import Worker

RESULTS = Path(__file__).parent / "results" / "local" / "sdk.json"
PAYLOAD_BYTES = 128
NUMBER_BYTES = 8
FAR_S = 3600.0
PATIENCE_S = 30.0
CREDIT = 2000


@dataclass(frozen=True)
class Terms:
    """What every workload here is run with."""

    address: str
    loop: str
    rounds: int

    def stated(self, **more: float | str) -> dict[str, float | int | str]:
        """For the report."""
        return {"durability": DURABILITY, "payload_bytes": PAYLOAD_BYTES, "loop": self.loop, "processes": 1, **more}


def payload_of(number: int) -> bytes:
    """128 bytes that say which job it is."""
    return number.to_bytes(NUMBER_BYTES, "big").ljust(PAYLOAD_BYTES, b"x")


def counted(times: bytearray) -> dict[str, float | int | str]:
    """`times`: how often each number was seen."""
    return {"lost": times.count(0), "duplicated": sum(times) - (len(times) - times.count(0))}


class Clock:
    """Wall time and this process's processor time since it was made."""

    def __init__(self) -> None:
        self.began_s, self._cpu_s = time.perf_counter(), time.process_time()

    def stop(self, jobs: int) -> tuple[float, float]:
        """(jobs/s, processor microseconds a job)."""
        return jobs / (time.perf_counter() - self.began_s), (time.process_time() - self._cpu_s) / jobs * 1e6


def judged(
    report: Report, rounds: Sequence[tuple[float, float]], checks: Sequence[dict[str, float | int | str]]
) -> Report:
    """What the clocks of all rounds said: the median rate, the worst, the best; failures where a count is not zero."""
    ordered = sorted(rate for rate, _ in rounds)
    report.figures["jobs_per_s"] = round(percentile(ordered, 0.5))
    report.figures["worst_per_s"], report.figures["best_per_s"] = round(ordered[0]), round(ordered[-1])
    report.figures["client_cpu_us"] = round(percentile(sorted(cpu for _, cpu in rounds), 0.5), 2)
    for name in ("lost", "duplicated"):
        report.figures[name] = sum(int(check[name]) for check in checks)
        if report.figures[name]:
            report.failures.append(f"{report.figures[name]} {name}")
    return report


async def submit_awaited(terms: Terms, jobs: int, in_flight: int, delay_s: float = FAR_S) -> Report:
    """`in_flight` coroutines, each of which awaits one `client.submit` after another."""
    report = Report(f"await_{in_flight}", terms=terms.stated(jobs=jobs, in_flight=in_flight, delay_s=delay_s))
    rounds, checks, late_s = [], [], []
    for _ in range(terms.rounds):
        queue, ids, numbers = fresh_queue("sdk"), [""] * jobs, iter(range(jobs))

        async def one(client: Client, queue: str, ids: list[str], numbers: Any) -> None:
            for number in numbers:
                began = time.perf_counter()
                handle = await client.submit("bench", payload_of(number), queue=queue, delay=delay_s)
                late_s.append(time.perf_counter() - began)
                ids[number] = handle.job_id

        async with Client(terms.address) as client:
            await client.submit("bench", delay=delay_s)
            clock = Clock()
            await asyncio.gather(*(one(client, queue, ids, numbers) for _ in range(in_flight)))
            rounds.append(clock.stop(jobs))
        checks.append({"lost": ids.count(""), "duplicated": jobs - len(set(ids))})
    late_s.sort()
    judged(report, rounds, checks)
    report.figures["await_p50_ms"] = round(percentile(late_s, 0.5) * 1000, 3)
    report.figures["await_p99_ms"] = round(percentile(late_s, 0.99) * 1000, 3)
    return report


async def submit_bulk(terms: Terms, jobs: int) -> Report:
    """`client.submit_many`, encoding included."""
    report = Report("submit_many", terms=terms.stated(jobs=jobs))
    rounds, checks = [], []
    for _ in range(terms.rounds):
        options = JobOptions(queue=fresh_queue("sdk"))
        async with Client(terms.address) as client:
            await client.submit("bench", delay=FAR_S)
            clock = Clock()
            handles = await client.submit_many(
                encode_job("bench", payload_of(number), delay=FAR_S, options=options) for number in range(jobs)
            )
            rounds.append(clock.stop(jobs))
        ids = {handle.job_id for handle in handles if not isinstance(handle, Exception)}
        checks.append({"lost": jobs - len(handles), "duplicated": len(handles) - len(ids)})
    return judged(report, rounds, checks)


async def work(terms: Terms, jobs: int, kind: str) -> Report:
    """Jobs that are due wait in a queue; a worker starts and takes all. Clock: from the first job to the last settle.

    `kind`: `async` is a coroutine that does nothing but count, `context` one that looks at its context too, `batch` a
    batch handler.
    """
    report = Report(f"worker_{kind}", terms=terms.stated(jobs=jobs, credit=CREDIT, handler=kind))
    rounds, checks = [], []
    for _ in range(terms.rounds):
        measured, times = await work_once(terms, jobs, kind)
        rounds.append(measured)
        checks.append(counted(times))
    return judged(report, rounds, checks)


async def work_once(terms: Terms, jobs: int, kind: str) -> tuple[tuple[float, float], bytearray]:
    """(what the clock said, how often each came)."""
    times, queue, clock = bytearray(jobs), fresh_queue("sdk"), Clock()
    seen = 0
    app = App(terms.address)

    def see(payload: bytes) -> None:
        nonlocal clock, seen
        if not seen:
            clock = Clock()
        seen += 1
        times[int.from_bytes(payload[:NUMBER_BYTES], "big")] += 1

    async def plain(payload: bytes) -> None:
        see(payload)

    async def with_context(payload: bytes, *, ctx: Any) -> None:
        assert ctx.attempt and ctx.job_id and not ctx.labels
        see(payload)

    def by_frame(leases: Sequence[Any], _: int) -> None:
        for lease in leases:
            see(lease.payload)

    handlers: dict[str, Callable[..., Awaitable[None]]] = {"async": plain, "context": with_context}
    if kind in handlers:
        app.job("bench", queue=queue, raw=True)(handlers[kind])
    options = JobOptions(queue=queue)
    async with Client(terms.address) as client:
        await client.submit_many(encode_job("bench", payload_of(number), options=options) for number in range(jobs))
    worker = Worker(
        app, [queue], concurrency=CREDIT, lease_duration="120s", batch_handler=by_frame if kind == "batch" else None
    )
    running = asyncio.create_task(worker.run())
    deadline = time.monotonic() + PATIENCE_S
    while worker.counts.get("settled", 0) < jobs and time.monotonic() < deadline and not running.done():
        await asyncio.sleep(0.002)
    measured = clock.stop(jobs)
    worker.stop()
    await running
    return measured, times


async def run_one(name: str, terms: Terms, scale: float) -> Report:
    """One workload, at `scale` of its usual size."""
    kind, _, detail = name.partition("_")
    if kind == "await":
        in_flight = int(detail)
        return await submit_awaited(terms, max(int(scale * (1000 if in_flight == 1 else 60_000)), in_flight), in_flight)
    if kind == "submit":
        return await submit_bulk(terms, int(scale * 200_000))
    return await work(terms, int(scale * (200_000 if detail == "batch" else 60_000)), detail)


NAMES = ("await_1", "await_256", "await_2000", "submit_many", "worker_async", "worker_context", "worker_batch")


async def main(arguments: argparse.Namespace) -> list[Report]:
    """Each workload on a daemon of its own, unless one is named."""
    reports = []
    for name in arguments.only.split(","):
        daemon = None if arguments.address else Daemon(*arguments.serve_option)
        try:
            if daemon is not None:
                await daemon.start()
            address = arguments.address or daemon.address
            reports.append(await run_one(name, Terms(address, arguments.loop, arguments.rounds), arguments.scale))
            print(table(reports[-1:]), flush=True)
        finally:
            if daemon is not None:
                daemon.remove()
    return reports


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(NAMES), help="comma separated: " + ", ".join(NAMES))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual size")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run; the median counts")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="the program's event loop")
    parser.add_argument("--address", default="", help="a daemon that runs already, instead of one for each workload")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--serve-option", action="append", default=[], help="passed to wheeld serve; repeat for more")
    chosen = parser.parse_args()
    found = (uvloop.run if chosen.loop == "uvloop" else asyncio.run)(main(chosen))
    write_json(found, chosen.json)
    print(f"\nwritten: {chosen.json}")
    sys.exit(1 if any(report.failures for report in found) else 0)
