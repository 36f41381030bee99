"""Celery on Redis: apply_async with an eta, one worker node that acks late.

Owns: how Celery is driven. It has no call that submits a batch, and an eta is kept in the worker's memory: a job that
waits is already delivered, unacked. The broker is Redis at its strongest durability.
"""

from __future__ import annotations

import datetime
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import celery
import redis

from bench.compare.accounting import Receipts
from bench.compare.celery_app import BROKER, NUMBER_DIGITS, RECEIPTS, RECORD
from bench.compare.peer import Marks, Peer
from bench.compare.plan import Plan
from bench.compare.process import Server, find_binary, program_version
from bench.compare.redis_peer import answers, start_redis
from bench.daemon import free_port

POLL_S = 0.02
ROOT = Path(__file__).parents[2]


class CeleryPeer(Peer):
    """One broker, one worker node."""

    name = "celery"
    durability = "Redis broker, appendfsync always; acks_late"
    how: ClassVar[dict[str, str]] = {
        "submit": "apply_async(eta), one call per job (there is no batch), 16 threads",
        "lease_ack": "a worker node with one prefork process, prefetch 512, acks_late, no gossip, no events",
        "skew": "eta; the same worker node, which holds the jobs in its memory until their time",
        "burst": "eta; the same worker node, which holds the jobs in its memory until their time",
        "single": "apply_async(eta), one call per job",
        "in_flight": "apply_async(eta) in 16 threads: the client has no other way to have calls in flight",
    }
    tuning: ClassVar[Mapping[str, float | str]] = {
        "threads": 16,
        "pool": "prefork",
        "concurrency": 1,
        "prefetch": 512,
    }
    one_by_one = 1
    lead_factor = 3.0  # the worker fetches them all before the first is due

    def __init__(self, plan: Plan, chosen: Mapping[str, float | str] | None = None) -> None:
        super().__init__(plan, chosen)
        self._worker: Server | None = None
        self._tail_text = "x" * (plan.payload_bytes - NUMBER_DIGITS)

    @classmethod
    def missing(cls) -> str | None:
        found = find_binary("redis-server")
        return None if found else "Celery's broker, redis-server, is not installed: apt-get install redis-server"

    @classmethod
    def version(cls) -> str:
        return f"celery {celery.__version__}, {program_version('redis-server', '--version')}"

    def start(self) -> None:
        port = free_port()
        self._server = start_redis(port)
        self._redis = redis.Redis("127.0.0.1", port, socket_timeout=60)
        self._server.wait_until(lambda: answers(self._redis))
        self._receipts = self._server.directory / "receipts"
        os.environ[BROKER], os.environ[RECEIPTS] = f"redis://127.0.0.1:{port}/0", str(self._receipts)
        from bench.compare import celery_app

        celery_app.app.conf.broker_url = os.environ[BROKER]
        self._task = celery_app.note

    def stop(self) -> None:
        if self._worker is not None:
            # TERM would first work off what is prefetched.
            self._worker.stop(signal.SIGQUIT)
        if self._server is not None:
            self._server.remove(signal.SIGKILL)

    def worker_ready(self) -> None:
        assert self._server is not None
        command = [sys.executable, "-m", "celery", "--app", "bench.compare.celery_app", "--workdir", str(ROOT)]
        command += [
            "worker",
            "--pool",
            str(self.chosen["pool"]),
            "--concurrency",
            str(int(self.chosen["concurrency"])),
            "--prefetch-multiplier",
            str(int(self.chosen["prefetch"])),
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel",
            "warning",
        ]
        self._worker = Server(command, self._server.directory, log="worker")
        self._worker.wait_until(self._receipts.exists)

    def _text(self, number: int) -> str:
        return f"{number:0{NUMBER_DIGITS}x}{self._tail_text}"

    def prepare(self, dues_ms: Sequence[int], first: int = 0) -> list[tuple[str, datetime.datetime]]:
        return [(self._text(number), moment(due_ms)) for number, due_ms in enumerate(dues_ms, first)]

    def send(self, prepared: list[tuple[str, datetime.datetime]]) -> Marks:
        began, marks, jobs = time.monotonic(), Marks(), iter(prepared)
        lock, answered, failures = threading.Lock(), 0, list[Exception]()

        def publish_some() -> None:
            nonlocal answered
            with self._task.app.producer_pool.acquire(block=True) as producer:
                while True:
                    with lock:
                        job = next(jobs, None)
                    if job is None:
                        return
                    self._publish(job, producer)
                    with lock:
                        answered += 1
                        if answered % self.plan.batch == 0:
                            marks.append((time.monotonic() - began, answered))

        def guarded() -> None:
            try:
                publish_some()
            except Exception as failure:
                failures.append(failure)

        threads = [threading.Thread(target=guarded) for _ in range(int(self.chosen["threads"]))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return marks

    def _publish(self, job: tuple[str, datetime.datetime], producer: Any) -> None:
        self._task.apply_async((job[0],), eta=job[1], producer=producer)

    def stored(self) -> int:
        return int(self._redis.llen("celery"))

    def consume(self, receipts: Receipts, patience_s: float) -> None:
        last, size, whole = time.monotonic(), 0, receipts.left * RECORD.size
        while size < whole and time.monotonic() - last < patience_s:
            time.sleep(POLL_S)
            found = self._receipts.stat().st_size
            if found > size:
                size, last = found, time.monotonic()
        for number, at_us in RECORD.iter_unpack(self._receipts.read_bytes()):
            receipts.add([number], at_us)
        receipts.acked_us = max(receipts.receive_us, default=0)

    def reconnect(self) -> None:
        raise NotImplementedError("what waits lies in the worker's memory: see plan.ONLY")

    def settle(self) -> None:
        """Nothing is measured after it."""

    def send_singles(self, count: int, due_ms: int) -> list[int]:
        latencies = []
        with self._task.app.producer_pool.acquire(block=True) as producer:
            for job in self.prepare([due_ms] * count):
                began = time.perf_counter_ns()
                self._publish(job, producer)
                latencies.append((time.perf_counter_ns() - began) // 1000)
        return latencies

    def send_in_flight(self, count: int, due_ms: int) -> None:
        self.send(self.prepare([due_ms] * count))


def moment(due_ms: int) -> datetime.datetime:
    """As Celery's eta."""
    return datetime.datetime.fromtimestamp(due_ms / 1000, datetime.UTC)
