"""The gRPC server: which services, which options, which address.

Owns the listening socket and the server's life. Does not own the driver. Invariant: after `start` the server listens on
exactly the address that was asked for, or StartFailure was raised; a port that another process holds is never shared.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from wheeld.admission.gate import Gate
from wheeld.admission.intake import Intake
from wheeld.driver.api import Driver
from wheeld.edge import admin as admin_edge
from wheeld.edge import jobs, queues, workers
from wheeld.edge.admin import AdminService, ServerFacts
from wheeld.edge.decisions import Decisions
from wheeld.edge.hot_submit import SubmitFront
from wheeld.edge.jobs import JobService
from wheeld.edge.queues import QueueService
from wheeld.edge.workers import worker_calls
from wheeld.metrics.calls import CallCounts
from wheeld.model import limits
from wheeld.model.errors import StartFailure
from wheeld.runtime.clock import Clock
from wheeld.runtime.service import Service
from wheeld.wire.codec import Codec

EXIT_PORT_IN_USE = 4
SERVICES = (jobs.SERVICE, workers.SERVICE, queues.SERVICE, admin_edge.SERVICE)

OPTIONS = (
    # A second daemon must fail to bind, not take half of the connections.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", limits.CONNECTION_STREAMS_MAX),
    ("grpc.max_metadata_size", limits.METADATA_BYTES_MAX),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)


@dataclass(frozen=True)
class EdgeParts:
    """What the edge needs of the rest of the node."""

    driver: Driver
    codec: Codec
    clock: Clock
    gate: Gate
    counts: CallCounts
    facts: ServerFacts


class EdgeServer(Service):
    """See the module. `address` is `HOST:PORT` or `unix:PATH`; with port 0 `port` says which one it became."""

    def __init__(self, parts: EdgeParts, address: str) -> None:
        super().__init__("edge")
        self._parts = parts
        self._address = address
        self._server: grpc.aio.Server | None = None
        self._health = HealthServicer()
        self.decisions = Decisions()
        self.port = 0

    async def on_start(self) -> None:
        """See Service."""
        parts, decisions = self._parts, self.decisions
        server = grpc.aio.server(options=OPTIONS)
        front = SubmitFront(parts.driver, parts.codec, parts.clock, parts.gate, Intake(), decisions)
        services = (
            JobService(parts.driver, parts.clock, parts.gate, front, decisions).calls(parts.counts),
            worker_calls(parts.driver, parts.codec, parts.clock, parts.gate, decisions, parts.counts),
            QueueService(parts.driver, parts.clock, decisions).calls(parts.counts),
            AdminService(parts.driver, parts.clock, parts.gate, parts.facts).calls(parts.counts),
        )
        server.add_generic_rpc_handlers(tuple(calls.handler() for calls in services))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        self.port = bind(server, self._address)
        await server.start()
        self._server = server
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def announce_drain(self) -> None:
        """Health says NOT_SERVING from now on, so that load balancers turn away."""
        await self._health.enter_graceful_shutdown()

    async def on_stop(self) -> None:
        """See Service. Streams have been told before: what still runs is cut off, what was begun is decided."""
        if self._server is not None:
            await self._server.stop(grace=None)
        await self.decisions.wait_idle()


def bind(server: grpc.aio.Server, address: str) -> int:
    """Listen, or say plainly why not."""
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        raise StartFailure(
            f"The gRPC address {address} cannot be used: {why_not(address)}",
            "Stop the other process, or choose another address with --listen HOST:PORT.",
            EXIT_PORT_IN_USE,
        )
    return int(port)


def why_not(address: str) -> str:
    """The operating system's reason, which gRPC does not hand on."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_server((host.strip("[]"), int(port))):
            return "gRPC could not bind it"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
