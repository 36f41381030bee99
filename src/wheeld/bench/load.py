"""The two clients of a benchmark: one that submits prepared batches, one that leases, records and acks.

Owns: their records (what was accepted, what arrived when). Invariant: a record is written from the wall clock at the
moment of receipt, and judged against the job's own schedule time, so that a late start of the load shows as lateness
(no coordinated omission).
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncIterator, Sequence
from typing import TypeAlias

import grpc.aio

from wheeld.bench.messages import acks, open_message, settle_message
from wheeld.wire.pb.v1 import job_service_pb2, worker_service_pb2

RawCall: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"

ACK_GATHER_S = 0.005
ACKS_MAX = 4000
"""Acks of one message."""
OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.use_local_subchannel_pool", 1),
]


def now_us() -> int:
    """Wall clock, microseconds."""
    return time.time_ns() // 1000


def connect(address: str) -> grpc.aio.Channel:
    """A channel of its own connection."""
    return grpc.aio.insecure_channel(address, options=OPTIONS)


class Submitter:
    """Sends batches over unary calls, `in_flight` at a time; keeps the answers and judges them after the clock has
    stopped.
    """

    def __init__(self, address: str, in_flight: int) -> None:
        self._channels = [connect(address) for _ in range(min(in_flight, 2))]
        self._calls: list[RawCall] = [
            channel.unary_unary("/wheeld.v1.JobService/BatchCreateJobs") for channel in self._channels
        ]
        self._in_flight = in_flight
        self._answers: list[bytes] = []
        self.marks: list[tuple[float, int]] = []
        """(seconds since the start, batches answered)"""
        self.latencies_us: array[int] = array("q")

    async def send(self, batches: Sequence[bytes], rounds: int, *, until: float = 0.0) -> float:
        """Send `rounds` messages, cycling over `batches` (or until `until`, a monotonic time); returns the seconds it
        took.
        """
        counter = iter(range(rounds))
        started = time.monotonic()

        async def one(number: int) -> None:
            call = self._calls[number % len(self._calls)]
            for position in counter:
                sent = time.monotonic()
                self._answers.append(await call(batches[position % len(batches)]))
                done = time.monotonic()
                self.latencies_us.append(int((done - sent) * 1e6))
                self.marks.append((done - started, len(self._answers)))
                if until and done >= until:
                    return

        await asyncio.gather(*(one(number) for number in range(self._in_flight)))
        return time.monotonic() - started

    def accepted(self) -> list[str]:
        """Ids of all accepted jobs; raises when any was refused."""
        ids: list[str] = []
        for answer in self._answers:
            for result in job_service_pb2.BatchCreateJobsResponse.FromString(answer).results:
                if result.code:
                    raise RuntimeError(f"a job was refused: {result.code} {result.field}")
                ids.append(result.job_id)
        return ids

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()


class LeaseWorker:
    """One lease stream: records each arrival, acks it within 5 ms, counts what the daemon settled."""

    def __init__(self, address: str, queue: str, session: str, max_jobs: int) -> None:
        self._channel = connect(address)
        self._first = open_message(queue, session, max_jobs)
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._acks: list[bytes] = []
        self._flushing: asyncio.TimerHandle | None = None
        self.job_ids: list[str] = []
        self.due_ms: array[int] = array("q")
        self.receive_us: array[int] = array("q")
        self.settled = 0
        self.refused = 0
        self.first_us = 0
        self.settled_us = 0
        self.opened = asyncio.Event()
        self._progress = asyncio.Event()

    async def run(self) -> None:
        """Serve until `close`."""
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(
            "/wheeld.v1.WorkerService/StreamLeases"
        )
        call = method(self._requests())
        async for message in call:
            received = now_us()
            response = worker_service_pb2.StreamLeasesResponse.FromString(message)
            kind = response.WhichOneof("message")
            if kind == "leases":
                self._take(response.leases, received)
            elif kind == "settled":
                self._count(response.settled)
            elif kind == "opened":
                self.opened.set()

    async def _requests(self) -> AsyncIterator[bytes]:
        yield self._first
        while (message := await self._outgoing.get()) is not None:
            yield message

    def _take(self, frame: worker_service_pb2.LeaseFrame, received: int) -> None:
        tokens = []
        for lease in frame.leases:
            tokens.append(lease.lease_token)
            self.job_ids.append(lease.job_id)
            self.due_ms.append(lease.schedule_time_ms)
            self.receive_us.append(received)
        self.first_us = self.first_us or received
        self._acks += acks(tokens, received)
        if len(self._acks) >= ACKS_MAX:
            self._flush()
        elif self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(ACK_GATHER_S, self._flush)
        self._progress.set()

    def _flush(self) -> None:
        """Send the acks that gathered: a message costs more than an ack, on both sides."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._acks:
            gathered, self._acks = self._acks, []
            self._outgoing.put_nowait(settle_message(gathered))

    def _count(self, settled: worker_service_pb2.Settled) -> None:
        items = len(settled.items)
        refused = sum(1 for item in settled.items if item.code)
        self.settled += items - refused
        self.refused += refused
        self.settled_us = now_us()
        self._progress.set()

    async def wait_settled(self, count: int, patience_s: float) -> bool:
        """True once `count` jobs were settled; False when nothing moved for `patience_s`."""
        while self.settled < count:
            self._progress.clear()
            try:
                await asyncio.wait_for(self._progress.wait(), patience_s)
            except TimeoutError:
                return False
        return True

    async def close(self) -> None:
        """Half-close and drop the connection."""
        self._flush()
        self._outgoing.put_nowait(None)
        await asyncio.sleep(0.05)
        await self._channel.close()
