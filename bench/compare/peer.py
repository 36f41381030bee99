"""The workloads as any peer runs them: the same dues, the same counts, the same judge.

Owns: when things are sent and what is measured. Does not own: how a peer sends and receives, which is its file's
business. Invariant: everything that a client can prepare (encoding, numbering) is prepared before the clock starts, for
every peer, since the client of wheeld's own benchmark sends prepared bytes too.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from bench.compare.accounting import Receipts, burst_figures, complain, lease_ack_figures, now_us, skew_report
from bench.compare.plan import DUE_IN_MS, Plan
from wheeld.bench.judge import Report, percentile
from wheeld.bench.messages import payload_of

NUMBER_BYTES = 8
LEAD_S = 2.0
PREPARE_S = 10e-6
"""Of client time for each job, before it is sent."""

Marks = list[tuple[float, int]]
"""(seconds since the start, jobs answered so far)"""


class Peer(ABC):
    """One system on its own server. A job is told by its number, the first 8 of the payload's bytes."""

    name: ClassVar[str]
    durability: ClassVar[str]
    how: ClassVar[dict[str, str]]
    """For each workload, how this peer is driven: part of the report."""
    one_by_one: ClassVar[int] = 0
    """1 for a system whose calls carry one job each."""
    lead_factor: ClassVar[float] = 1.5
    """How far ahead the load begins, as a multiple of the time that submitting it should take."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._tail = payload_of(plan.payload_bytes)[NUMBER_BYTES:]

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What this machine lacks to run it, with the remedy; None when nothing."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Of the server and of what speaks to it."""

    @abstractmethod
    def start(self) -> None:
        """Start the server and connect."""

    @abstractmethod
    def stop(self) -> None:
        """Disconnect, end the server, delete its files."""

    @abstractmethod
    def prepare(self, dues_ms: Sequence[int], first: int = 0) -> Any:
        """The jobs `first`, `first` + 1, ... as `send` wants them, in batches."""

    @abstractmethod
    def send(self, prepared: Any) -> Marks:
        """Submit it all; returns when the last answer is there. Each answer means: durable."""

    @abstractmethod
    def stored(self) -> int:
        """How many jobs the server holds."""

    @abstractmethod
    def consume(self, receipts: Receipts, count: int, patience_s: float) -> None:
        """One worker: receive, record, ack, until `count` jobs are through or none came for `patience_s`."""

    @abstractmethod
    def send_singles(self, count: int, due_ms: int) -> list[int]:
        """One call per job by one caller; the microseconds of each."""

    @abstractmethod
    def send_in_flight(self, count: int, due_ms: int) -> None:
        """One job per message or statement, up to the plan's window of them unanswered."""

    def worker_ready(self) -> None:  # noqa: B027 - most peers consume in this process and have nothing to start
        """Start the worker when it is a process of its own; returns when it receives."""

    def payload(self, number: int) -> bytes:
        """Of the plan's size, telling the job's number."""
        return number.to_bytes(NUMBER_BYTES, "big") + self._tail

    def run(self, workload: str) -> Report:
        """One workload on the fresh server."""
        report = getattr(self, f"_{workload.removesuffix('_own')}")(workload)
        report.name = workload
        complain(report)
        plan = self.plan
        batch = self.one_by_one or (1 if workload in ("single", "in_flight") else plan.batch)
        stated = {"durability": self.durability, "payload_bytes": plan.payload_bytes, "batch": batch}
        report.terms = {**stated, "how": self.how[workload.removesuffix("_own")], **report.terms}
        return report

    def _submit(self, _: str) -> Report:
        jobs = self.plan.jobs
        prepared = self.prepare([now_us() // 1000 + DUE_IN_MS] * jobs)
        began = time.monotonic()
        marks = self.send(prepared)
        took = time.monotonic() - began
        report = Report("submit", terms={"jobs": jobs, "due": "now + 1 h"})
        report.figures = {"jobs": jobs, "seconds": round(took, 3), "jobs_per_s": round(jobs / took)}
        report.figures["lost"] = jobs - self.stored()
        report.series["submitted"] = [(at, float(count)) for at, count in marks]
        return report

    def _lease_ack(self, _: str) -> Report:
        dues = [now_us() // 1000] * self.plan.jobs
        self.send(self.prepare(dues))
        self.worker_ready()
        receipts = Receipts()
        self.consume(receipts, len(dues), 10)
        return Report("lease_ack", lease_ack_figures(dues, receipts), {"jobs": len(dues), "workers": 1})

    def _skew(self, workload: str) -> Report:
        rate = self.plan.own_rate if workload == "skew_own" else self.plan.rate
        jobs = int(rate * self.plan.seconds)
        self.worker_ready()
        start_ms = now_us() // 1000 + self._lead_ms(jobs)
        dues = [start_ms + number * 1000 // rate for number in range(jobs)]
        self.send(self.prepare(dues))
        ahead_s = start_ms / 1000 - time.time()
        receipts = Receipts()
        self.consume(receipts, jobs, max(ahead_s, 0) + 10)
        report = skew_report(dues, receipts)
        report.terms = {"rate": rate, "seconds": self.plan.seconds, "workers": 1, "jobs": jobs}
        self._check_ahead(report, ahead_s)
        return report

    def _burst(self, _: str) -> Report:
        jobs = self.plan.jobs
        self.worker_ready()
        due_ms = now_us() // 1000 + self._lead_ms(jobs)
        dues = [due_ms] * jobs
        self.send(self.prepare(dues))
        ahead_s = due_ms / 1000 - time.time()
        receipts = Receipts()
        self.consume(receipts, jobs, max(ahead_s, 0) + 10)
        report = Report("burst", burst_figures(dues, receipts), {"jobs": jobs, "workers": 1})
        self._check_ahead(report, ahead_s)
        return report

    def _lead_ms(self, jobs: int) -> int:
        """Measured with a batch that stays in the store: how long such peers take depends on the disk of the day."""
        prepared = self.prepare([now_us() // 1000 + DUE_IN_MS] * self.plan.batch, jobs)
        began = time.monotonic()
        self.send(prepared)
        took_s = (time.monotonic() - began) * jobs / self.plan.batch
        return int((LEAD_S + PREPARE_S * jobs + self.lead_factor * took_s) * 1000)

    @staticmethod
    def _check_ahead(report: Report, ahead_s: float) -> None:
        report.figures["submitted_ahead_s"] = round(ahead_s, 2)
        if ahead_s < 0:
            report.failures.append("jobs were still being submitted when the first came due: give more lead")

    def _single(self, _: str) -> Report:
        count = self.plan.singles
        began = time.monotonic()
        latencies = sorted(self.send_singles(count, now_us() // 1000 + DUE_IN_MS))
        return single_report(count, time.monotonic() - began, latencies, count - self.stored())

    def _in_flight(self, _: str) -> Report:
        count = self.plan.in_flight_jobs
        began = time.monotonic()
        self.send_in_flight(count, now_us() // 1000 + DUE_IN_MS)
        took = time.monotonic() - began
        return in_flight_report(count, took, self.plan.window, count - self.stored())


def single_report(count: int, took_s: float, latencies_us: Sequence[int], lost: int) -> Report:
    """One call per job by one caller."""
    report = Report("single", terms={"jobs": count, "callers": 1})
    report.figures = {
        "jobs": count,
        "jobs_per_s": round(count / took_s),
        "p50_ms": round(percentile(latencies_us, 0.5) / 1000, 3),
        "p99_ms": round(percentile(latencies_us, 0.99) / 1000, 3),
        "lost": lost,
    }
    return report


def in_flight_report(count: int, took_s: float, window: int, lost: int) -> Report:
    """Many single submits under way at once."""
    report = Report("in_flight", terms={"jobs": count, "window": window})
    report.figures = {"jobs": count, "jobs_per_s": round(count / took_s), "lost": lost}
    return report
