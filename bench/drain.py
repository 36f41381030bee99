"""Workers of an overload: one that settles whatever comes, one that takes leases and does nothing, one that does not
even read.

Owns: their streams. Invariant: the drain worker writes each settled job into the ledger, and judges each arrival
against the job's own schedule time.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator

import grpc.aio

from bench.ledger import Ledger
from wheeld.bench.load import connect, now_us
from wheeld.bench.messages import acks, settle_message
from wheeld.wire.pb.v1 import worker_service_pb2 as pb

BYTES_OUTSTANDING = 1 << 29
METHOD = "/wheeld.v1.WorkerService/StreamLeases"


def opening(queue: str, session: str, max_jobs: int, lease_s: int) -> bytes:
    """The first message of a lease stream."""
    opened = pb.Open(
        worker_id=session,
        session_id=session,
        queues=[queue],
        max_outstanding_jobs=max_jobs,
        max_outstanding_bytes=BYTES_OUTSTANDING,
    )
    opened.lease_duration.seconds = lease_s
    return pb.StreamLeasesRequest(open=opened).SerializeToString()


class DrainWorker:
    """Acks at once; `late_us` has the lateness of each arrival when asked for."""

    def __init__(self, address: str, queue: str, ledger: Ledger, max_jobs: int) -> None:
        self._channel, self._ledger = connect(address), ledger
        self._first = opening(queue, f"drain-{queue}", max_jobs, 120)
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self.late_us: array[int] = array("q")
        self.settled = 0
        self.refused = 0
        self.first_us = 0
        self.last_receive_us = 0
        self.settled_us = 0
        self.opened = asyncio.Event()

    def start(self) -> None:
        """Open the stream and serve."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(METHOD)
        async for message in method(self._requests()):
            received = now_us()
            response = pb.StreamLeasesResponse.FromString(message)
            kind = response.WhichOneof("message")
            if kind == "leases":
                self._take(response.leases, received)
            elif kind == "settled":
                self._count(response.settled)
            elif kind == "opened":
                self.opened.set()
            elif kind == "ping":
                self._outgoing.put_nowait(pb.StreamLeasesRequest(pong=pb.Pong()).SerializeToString())

    async def _requests(self) -> AsyncIterator[bytes]:
        yield self._first
        while (message := await self._outgoing.get()) is not None:
            yield message

    def _take(self, frame: pb.LeaseFrame, received: int) -> None:
        tokens = [lease.lease_token for lease in frame.leases]
        late_us = [received - lease.schedule_time_ms * 1000 for lease in frame.leases]
        self.late_us.extend(late_us)
        self._ledger.delivered += len(tokens)
        self._ledger.early += sum(1 for late in late_us if late < 0)
        self.first_us = self.first_us or received
        self.last_receive_us = received
        self._outgoing.put_nowait(settle_message(acks(tokens, received)))
        self._progress.set()

    def _count(self, settled: pb.Settled) -> None:
        done = [item.lease_token for item in settled.items if not item.code]
        self._ledger.settle(done)
        self.settled += len(done)
        self.refused += len(settled.items) - len(done)
        self.settled_us = now_us()
        self._progress.set()

    async def wait_settled(self, count: int, patience_s: float) -> bool:
        """True once `count` jobs were settled; False when nothing moved for `patience_s`."""
        while self.settled < count:
            self._progress.clear()
            moved = asyncio.create_task(self._progress.wait())
            assert self._task is not None
            await asyncio.wait({moved, self._task}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if not moved.done() or self._task.done():
                moved.cancel()
                return False
        return True

    async def close(self) -> str:
        """Half-close and drop the connection; why the stream had ended, if it had."""
        assert self._task is not None
        self._outgoing.put_nowait(None)
        await asyncio.sleep(0.05)
        ended = f"{self._task.exception()}" if self._task.done() and self._task.exception() else ""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._channel.close()
        return ended


class StuckWorker:
    """Takes leases and never settles; with `reads` false it does not read its stream either."""

    def __init__(self, address: str, queue: str, session: str, max_jobs: int, lease_s: int, *, reads: bool) -> None:
        self._channel = connect(address)
        self._first = opening(queue, session, max_jobs, lease_s)
        self._reads = reads
        self._task = asyncio.create_task(self._run())
        self.taken = 0
        self.why = ""

    async def _run(self) -> None:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(METHOD)
        call = method(self._requests())
        if not self._reads:
            await call.wait_for_connection()
            await asyncio.Event().wait()
        try:
            async for message in call:
                response = pb.StreamLeasesResponse.FromString(message)
                self.taken += len(response.leases.leases)
        except grpc.aio.AioRpcError as error:
            self.why = error.details() or error.code().name

    async def _requests(self) -> AsyncIterator[bytes]:
        yield self._first
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Drop the connection, leases and all."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._channel.close()
