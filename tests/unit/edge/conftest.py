"""A real server over a fake driver, and a channel to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from tests.unit.edge.fake_driver import FakeDriver
from wheeld.admission.gate import Gate
from wheeld.edge.admin import ServerFacts
from wheeld.edge.server import EdgeParts, EdgeServer
from wheeld.metrics.calls import CallCounts
from wheeld.runtime.clock import SimClock
from wheeld.wire.codec import native_codec
from wheeld.wire.pb.v1.admin_service_pb2_grpc import AdminServiceStub
from wheeld.wire.pb.v1.job_service_pb2_grpc import JobServiceStub
from wheeld.wire.pb.v1.queue_service_pb2_grpc import QueueServiceStub
from wheeld.wire.pb.v1.worker_service_pb2_grpc import WorkerServiceStub

FACTS = ServerFacts("1.2.3", "n1", "ab" * 16, 16, 1_700_000_000_000, 1, 1, 4096)


@dataclass
class Edge:
    """All that a test of the edge needs."""

    driver: FakeDriver
    gate: Gate
    counts: CallCounts
    clock: SimClock
    server: EdgeServer
    channel: grpc.aio.Channel

    @property
    def jobs(self) -> Any:
        return JobServiceStub(self.channel)  # type: ignore[no-untyped-call]

    @property
    def workers(self) -> Any:
        return WorkerServiceStub(self.channel)  # type: ignore[no-untyped-call]

    @property
    def queues(self) -> Any:
        return QueueServiceStub(self.channel)  # type: ignore[no-untyped-call]

    @property
    def admin(self) -> Any:
        return AdminServiceStub(self.channel)  # type: ignore[no-untyped-call]

    async def idle(self) -> None:
        """Return when every call has left the server, which may hear of its own answer later than the client."""
        async with asyncio.timeout(60):
            while self.counts.in_flight:
                await asyncio.sleep(0.001)


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    driver, gate, counts, clock = FakeDriver(), Gate(), CallCounts(), SimClock()
    server = EdgeServer(EdgeParts(driver, native_codec(), clock, gate, counts, FACTS), "127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield Edge(driver, gate, counts, clock, server, channel)
        driver.hold.set()
    await server.stop()
