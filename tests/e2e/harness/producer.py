"""A producer process: submits batches at a steady rate until SIGTERM, each until it is answered. `python -m
tests.e2e.harness.producer`

Owns its session and its record. Not the SDK on purpose: what it writes down must not depend on the code under test.
Invariant: the intent is written before the first try; every try of a batch has the same bytes and the same number.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import time
import uuid
from pathlib import Path

import grpc

from tests.e2e.checker.records import ACCEPTED, INTENT, Recorder, now_us
from wheeld.wire.pb.v1 import job_service_pb2 as pb
from wheeld.wire.pb.v1 import job_service_pb2_grpc

RETRY_S = 0.05
CHANNEL_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.initial_reconnect_backoff_ms", 50),
]


class Stop:
    """Told by a signal's handler, which may come within any line of the thread that waits: so there is no lock in it,
    as there is in threading.Event.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0)
        signal.signal(signal.SIGTERM, lambda *_: os.eventfd_write(self._fd, 1))

    def wait(self, seconds: float) -> bool:
        """Whether it was told, before or within so many seconds."""
        return bool(select.select([self._fd], [], [], seconds)[0])


class Producer:
    """See the module."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._stop = Stop()
        self._arguments = arguments
        self._rng = random.Random(arguments.seed)
        self._session = uuid.uuid4().hex
        self._recorder = Recorder(arguments.record)
        self._channel = grpc.insecure_channel(arguments.address, CHANNEL_OPTIONS)
        self._stub = job_service_pb2_grpc.JobServiceStub(self._channel)
        self._number = arguments.first_number

    def run(self) -> None:
        """Submit until told to stop, or `--jobs` are accepted."""
        arguments = self._arguments
        batch_number, next_s = 0, time.monotonic()
        last_number = arguments.first_number + arguments.jobs
        stopped = False
        while not stopped and (not arguments.jobs or self._number < last_number):
            batch_number += 1
            self._submit(batch_number, arguments.batch)
            next_s += arguments.batch / arguments.rate
            stopped = self._stop.wait(max(0.0, next_s - time.monotonic()))

    def _submit(self, batch_number: int, size: int) -> None:
        base_ms = now_us() // 1000
        request = pb.BatchCreateJobsRequest(producer_session_id=self._session, batch_number=batch_number)
        items = []
        for _ in range(size):
            due_ms = base_ms + self._rng.randint(-20, self._arguments.spread_ms)
            job = request.jobs.add(queue=self._arguments.queue, type="e2e", payload=str(self._number).encode())
            job.schedule_time.FromMilliseconds(due_ms)
            job.retry_policy.max_attempts = 1000
            job.retry_policy.initial_backoff.FromMilliseconds(50)
            job.retry_policy.max_backoff.FromMilliseconds(500)
            items.append([self._number, due_ms])
            self._number += 1
        name = f"{self._session}/{batch_number}"
        self._recorder.write(INTENT, name, items)
        answer = self._send(request)
        if answer is not None:
            self._recorder.write(ACCEPTED, name, [result.job_id for result in answer.results])

    def _send(self, request: pb.BatchCreateJobsRequest) -> pb.BatchCreateJobsResponse | None:
        """Until it is answered. A stop while the daemon is away leaves the batch open, as a crash of the producer
        would.
        """
        while True:
            try:
                return self._stub.BatchCreateJobs(request, timeout=10)
            except grpc.RpcError as error:
                if error.code() not in RETRIED:
                    raise
                if self._stop.wait(RETRY_S):
                    return None


Status = grpc.StatusCode
RETRIED = frozenset(
    (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.RESOURCE_EXHAUSTED, Status.CANCELLED, Status.UNKNOWN)
)


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--queue", default="default")
    parser.add_argument("--rate", type=float, default=1000, help="jobs per second")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--spread-ms", type=int, default=1500)
    parser.add_argument("--jobs", type=int, default=0, help="0: until SIGTERM")
    parser.add_argument("--first-number", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    Producer(parser.parse_args()).run()


if __name__ == "__main__":
    main()
