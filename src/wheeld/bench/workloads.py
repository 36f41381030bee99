"""The workloads: submit, lifecycle, skew, burst. Each runs against any daemon on a queue of its own, and leaves nothing
behind but far jobs where it says so.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from dataclasses import dataclass

from wheeld.bench.judge import Report, account, percentile, skew_figures
from wheeld.bench.load import LeaseWorker, Submitter, now_us
from wheeld.bench.messages import batch_after, batch_due, payload_of

DURABILITY = "fsync before each answer"
VARIANTS = 50
"""Different messages that a run over random times cycles through."""


@dataclass(frozen=True)
class Terms:
    """What a workload is run with."""

    address: str
    payload_bytes: int = 128
    batch: int = 1000
    in_flight: int = 4
    worker_credit: int = 20_000

    def messages_for(self, jobs: int) -> int:
        """How many whole batches hold so many jobs."""
        return -(-jobs // self.batch)

    def stated(self, **more: float | str) -> dict[str, float | int | str]:
        """For the report."""
        return {
            "durability": DURABILITY,
            "payload_bytes": self.payload_bytes,
            "batch": self.batch,
            "in_flight": self.in_flight,
            "client": "one process, prepared bytes, unary BatchCreateJobs",
            **more,
        }


def fresh_queue(name: str) -> str:
    """A queue that nobody else uses."""
    return f"bench-{name}-{uuid.uuid4().hex[:8]}"


async def submit(
    terms: Terms, jobs: int, spread_ms: int, base_delay_ms: int = 3_600_000, seconds: float = 0.0
) -> Report:
    """Submit `jobs` far jobs, or for `seconds`: all at now + 1 h, or spread uniformly over `spread_ms` after that."""
    queue, payload = fresh_queue("submit"), payload_of(terms.payload_bytes)
    base = now_us() // 1000 + base_delay_ms
    if spread_ms:
        draw = random.Random(11)
        messages = [
            batch_due(queue, payload, [base + draw.randrange(spread_ms) for _ in range(terms.batch)])
            for _ in range(VARIANTS)
        ]
    else:
        messages = [batch_due(queue, payload, [base] * terms.batch)]
    submitter = Submitter(terms.address, terms.in_flight)
    rounds = 1 << 30 if seconds else terms.messages_for(jobs)
    took = await submitter.send(messages, rounds, until=time.monotonic() + seconds if seconds else 0.0)
    wanted = len(submitter.latencies_us) * terms.batch
    accepted = submitter.accepted()
    await submitter.close()
    latencies = sorted(submitter.latencies_us)
    report = Report("submit", terms=terms.stated(jobs=wanted, spread_ms=spread_ms, due="now + 1 h and later"))
    report.figures = {
        "jobs": len(accepted),
        "seconds": round(took, 3),
        "jobs_per_s": round(len(accepted) / took),
        "batch_p50_ms": round(percentile(latencies, 0.5) / 1000, 2),
        "batch_p99_ms": round(percentile(latencies, 0.99) / 1000, 2),
        "distinct_ids": len(set(accepted)),
    }
    report.series["submitted"] = [(at, count * terms.batch) for at, count in submitter.marks]
    if len(set(accepted)) != wanted or not wanted:
        report.failures.append("ids are missing or not distinct")
    return report


async def lifecycle(terms: Terms, jobs: int) -> Report:
    """Submit `jobs` due at once, then let one worker lease and ack them all; the clock runs from its first lease to its
    last settled ack.
    """
    queue, payload = fresh_queue("lifecycle"), payload_of(terms.payload_bytes)
    submitter = Submitter(terms.address, terms.in_flight)
    await submitter.send([batch_after(queue, payload, terms.batch, 0)], terms.messages_for(jobs))
    accepted = submitter.accepted()
    worker = LeaseWorker(terms.address, queue, queue, terms.worker_credit)
    task = asyncio.create_task(worker.run())
    done = await worker.wait_settled(len(accepted), 30)
    await worker.close()
    task.cancel()
    await submitter.close()
    seconds = (worker.settled_us - worker.first_us) / 1e6
    report = Report(
        "lifecycle", terms=terms.stated(jobs=len(accepted), workers=1, worker_credit=terms.worker_credit, ack="fsync")
    )
    report.figures = {
        "jobs": worker.settled,
        "seconds": round(seconds, 3),
        "jobs_per_s": round(worker.settled / seconds),
        "refused_acks": worker.refused,
        **account(accepted, worker.job_ids),
    }
    judge(report, done)
    return report


async def attached(worker: LeaseWorker, task: asyncio.Task[None]) -> None:
    """Return when the stream is open; raise what ended it before."""
    opening = asyncio.create_task(worker.opened.wait())
    await asyncio.wait({opening, task}, return_when=asyncio.FIRST_COMPLETED)
    opening.cancel()
    if task.done():
        task.result()


async def skew(terms: Terms, rate: int, seconds: float, lead_s: float = 2.0) -> Report:
    """Jobs due at a steady rate, submitted at least `lead_s` ahead; each receipt is judged against the job's own
    schedule time.
    """
    queue, payload = fresh_queue("skew"), payload_of(terms.payload_bytes)
    worker = LeaseWorker(terms.address, queue, queue, terms.worker_credit)
    task = asyncio.create_task(worker.run())
    await attached(worker, task)
    submitter = Submitter(terms.address, terms.in_flight)
    jobs = int(rate * seconds)
    start_ms = now_us() // 1000 + int(lead_s * 1000) + jobs // 50
    dues = [start_ms + position * 1000 // rate for position in range(jobs)]
    batches = [batch_due(queue, payload, dues[at : at + terms.batch]) for at in range(0, jobs, terms.batch)]
    ahead_ms = start_ms - now_us() // 1000
    await submitter.send(batches, len(batches))
    accepted = submitter.accepted()
    done = await worker.wait_settled(len(accepted), max(ahead_ms / 1000, 0) + 30)
    await worker.close()
    task.cancel()
    await submitter.close()
    report = Report(
        "skew",
        terms=terms.stated(
            rate=rate,
            seconds=seconds,
            workers=1,
            acks="gathered for up to 5 ms",
            measured="schedule time to receipt at the worker",
        ),
    )
    report.figures = {
        "jobs": len(worker.job_ids),
        **skew_figures(worker.due_ms, worker.receive_us),
        **account(accepted, worker.job_ids),
    }
    late = sorted(zip(worker.due_ms, worker.receive_us, strict=True))
    step = max(len(late) // 600, 1)
    report.series["skew_ms"] = [
        ((due - start_ms) / 1000, (receive - due * 1000) / 1000) for due, receive in late[::step]
    ]
    judge(report, done)
    return report


async def burst(terms: Terms, jobs: int, lead_s: float = 0.0) -> Report:
    """`jobs` due in one millisecond; when did the last one arrive, and when was the last ack durable?"""
    queue, payload = fresh_queue("burst"), payload_of(terms.payload_bytes)
    due_ms = now_us() // 1000 + int((lead_s or 3 + jobs / 60_000) * 1000)
    submitter = Submitter(terms.address, terms.in_flight)
    await submitter.send([batch_due(queue, payload, [due_ms] * terms.batch)], terms.messages_for(jobs))
    accepted = submitter.accepted()
    submitted_ahead = due_ms * 1000 - now_us()
    worker = LeaseWorker(terms.address, queue, queue, terms.worker_credit)
    task = asyncio.create_task(worker.run())
    done = await worker.wait_settled(len(accepted), max(submitted_ahead / 1e6, 0) + 30)
    await worker.close()
    task.cancel()
    await submitter.close()
    report = Report("burst", terms=terms.stated(jobs=len(accepted), workers=1, worker_credit=terms.worker_credit))
    figures = skew_figures(worker.due_ms, worker.receive_us)
    report.figures = {
        "jobs": len(worker.job_ids),
        "submitted_ahead_s": round(submitted_ahead / 1e6, 2),
        "last_received_s": round((max(worker.receive_us, default=0) - due_ms * 1000) / 1e6, 3),
        "last_acked_s": round((worker.settled_us - due_ms * 1000) / 1e6, 3),
        **{name: figures[name] for name in ("p50_ms", "p99_ms", "max_ms", "early")},
        **account(accepted, worker.job_ids),
    }
    if submitted_ahead < 0:
        report.failures.append("the jobs were still being submitted when they came due: give more lead")
    judge(report, done)
    return report


def judge(report: Report, done: bool) -> None:
    """Lost, early and duplicated must be zero."""
    if not done:
        report.failures.append("not every job was settled in time")
    if report.figures.get("jobs") == 0:
        report.failures.append("no job was measured")
    for name in ("lost", "early", "duplicated", "foreign", "refused_acks"):
        if report.figures.get(name):
            report.failures.append(f"{name}: {report.figures[name]}")
