"""The workloads as any peer runs them: the same dues, the same counts, the same judge.

Owns: when things are sent and what is measured. Does not own: how a peer sends and receives, which is its file's
business. Invariant: everything that a client can prepare (encoding, numbering) is prepared before the clock starts, for
every peer, since the client of wheeld's own benchmark sends prepared bytes too.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from bench.compare.accounting import (
    ON_TIME_US,
    Probe,
    Receipts,
    burst_figures,
    complain,
    lease_ack_figures,
    now_us,
    skew_report,
)
from bench.compare.plan import DUE_IN_MS, Plan
from bench.compare.process import Server, disk_bytes, memory_bytes
from wheeld.bench.judge import Report, percentile
from wheeld.bench.messages import payload_of

NUMBER_BYTES = 8
LEAD_S = 2.0
LEAD_SHARE = 20
"""Of the jobs, one in so many is sent beforehand, to see how long they all will take."""
LEAD_BATCHES_MAX = 20
DAY_MS = 86_400_000
FAR_DUE = "uniform over 30 days, from 30 days on; memory and disk: of the second half of the jobs"
STRANGERS = 1 << 40
"""Number of the first job that belongs to no workload."""
PROBES = 2_000
PROBE_EVERY_MS = 10

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
    lead_factor: ClassVar[float] = 2.0
    """How far ahead the load begins, as a multiple of the time that preparing and submitting it should take."""

    tuning: ClassVar[Mapping[str, float | str]] = {}
    """What was chosen by measuring, see `bench.compare.sweep`."""
    on_time_us: ClassVar[int] = ON_TIME_US
    """After a restart, a job that comes within this is on time."""
    for_pending: ClassVar[Mapping[str, float | str]] = {}
    """Choices without which `pending` could not tell what a job takes."""
    journal_folder: ClassVar[str] = " "
    """Left out of the disk that pending jobs take: a log that is given back once they are stored."""

    def __init__(self, plan: Plan, chosen: Mapping[str, float | str] | None = None) -> None:
        if unknown := set(chosen or {}) - set(self.tuning):
            raise ValueError(f"{self.name} has no such choice: {', '.join(unknown)}; it has {', '.join(self.tuning)}")
        self.plan = plan
        self.chosen = {**self.tuning, **(chosen or {})}
        self._server: Server | None = None
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

    @property
    def server(self) -> Server:
        """The server that was started."""
        assert self._server is not None
        return self._server

    @abstractmethod
    def reconnect(self) -> None:
        """Start the server that crashed on its own files, and connect to it anew; returns when it answers."""

    @abstractmethod
    def settle(self) -> None:
        """Let the server finish what it does behind the answers, so that its files have the size that they keep."""

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
    def consume(self, receipts: Receipts, patience_s: float) -> None:
        """One worker: receive, record, ack, until nothing is left to wait for or nothing came for `patience_s`."""

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
        receipts = Receipts(len(dues))
        self.consume(receipts, 10)
        return Report("lease_ack", lease_ack_figures(dues, receipts), {"jobs": len(dues), "workers": 1})

    def _skew(self, workload: str) -> Report:
        rate = self.plan.own_rate if workload == "skew_own" else self.plan.rate
        jobs = int(rate * self.plan.seconds)
        self.worker_ready()
        start_ms = now_us() // 1000 + self._lead_ms(jobs)
        dues = [start_ms + number * 1000 // rate for number in range(jobs)]
        self.send(self.prepare(dues))
        ahead_s = start_ms / 1000 - time.time()
        receipts = Receipts(jobs)
        self.consume(receipts, max(ahead_s, 0) + 10)
        report = skew_report(dues, receipts)
        report.terms = {"rate": rate, "seconds": self.plan.seconds, "workers": 1, "jobs": jobs}
        self._check_ahead(report, ahead_s)
        return report

    def _burst(self, _: str) -> Report:
        jobs = self.plan.burst_jobs
        self.worker_ready()
        due_ms = now_us() // 1000 + self._lead_ms(jobs)
        dues = [due_ms] * jobs
        self.send(self.prepare(dues))
        ahead_s = due_ms / 1000 - time.time()
        receipts = Receipts(jobs)
        self.consume(receipts, max(ahead_s, 0) + 10)
        report = Report("burst", burst_figures(dues, receipts), {"jobs": jobs, "workers": 1})
        self._check_ahead(report, ahead_s)
        return report

    def _lead_ms(self, jobs: int) -> int:
        """Measured with batches that stay in the store: how long such peers take depends on the disk of the day."""
        batches = min(max(jobs // self.plan.batch // LEAD_SHARE, 1), LEAD_BATCHES_MAX)
        tried = batches * self.plan.batch
        began = time.monotonic()
        self.send(self.prepare([now_us() // 1000 + DUE_IN_MS] * tried, STRANGERS))
        took_s = (time.monotonic() - began) * jobs / tried
        return int((LEAD_S + self.lead_factor * took_s) * 1000)

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

    def _pending(self, _: str) -> Report:
        """Far jobs: what they cost. Then kill -9 among jobs due every 10 ms: when does one come on time again?"""
        jobs, half, draw = self.plan.far_jobs, self.plan.far_jobs // 2, random.Random(11)
        base = now_us() // 1000 + 30 * DAY_MS
        dues = [base + draw.randrange(30 * DAY_MS) for _ in range(jobs)]
        self.send(self.prepare(dues[:half], PROBES))
        memory, disk = self._weigh()
        self.send(self.prepare(dues[half:], PROBES + half))
        memory_after, disk_after = self._weigh()
        report = Report("pending", terms={"jobs": jobs, "due": FAR_DUE})
        report.figures = {
            "jobs": jobs,
            "memory_bytes_per_job": round((memory_after - memory) / (jobs - half), 1),
            "disk_bytes_per_job": round((disk_after - disk) / (jobs - half), 1),
            "lost": jobs - self.stored(),
        }
        self._restart(report)
        return report

    def _weigh(self) -> tuple[int, int]:
        """(memory, disk) of the server, when it has nothing left to do."""
        self.settle()
        return memory_bytes(self.server.pid), disk_bytes(self.server.directory, self.journal_folder)

    def _restart(self, report: Report) -> None:
        begin_ms = now_us() // 1000 + self._lead_ms(PROBES)
        dues = [begin_ms + PROBE_EVERY_MS * number for number in range(PROBES)]
        self.send(self.prepare(dues))
        time.sleep(max(begin_ms / 1000 - time.time(), 0))
        killed_us = now_us()
        self.server.crash()
        self.reconnect()
        serving_us = now_us()
        receipts = Probe(dues, self.on_time_us)
        self.consume(receipts, 10)
        report.figures["serving_s"] = round((serving_us - killed_us) / 1e6, 3)
        if receipts.on_time_us:
            report.figures["first_on_time_job_s"] = round((receipts.on_time_us - killed_us) / 1e6, 3)
        else:
            report.failures.append("no job came on time after the restart")


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
