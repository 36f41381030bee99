"""WorkerService: the lease stream and its unary substitutes. All of it is hot."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from wheeld.admission.gate import Gate
from wheeld.driver.api import Driver
from wheeld.edge.calls import Calls
from wheeld.edge.decisions import Decisions
from wheeld.edge.hot_lease import LeaseFront
from wheeld.edge.hot_settle import SettleFront
from wheeld.edge.stream_leases import LeaseStream
from wheeld.edge.writer import Turns
from wheeld.metrics.calls import CallCounts
from wheeld.runtime.clock import Clock
from wheeld.wire.codec import Codec

SERVICE = "wheeld.v1.WorkerService"


def worker_calls(
    driver: Driver, codec: Codec, clock: Clock, gate: Gate, decisions: Decisions, counts: CallCounts
) -> Calls:
    """The method handlers."""
    leases = LeaseFront(driver, codec, gate, decisions)
    settles = SettleFront(driver, codec, decisions)
    calls = Calls(SERVICE, counts)
    turns = Turns()

    def stream(context: Any) -> Awaitable[None]:
        return LeaseStream(driver, codec, clock, gate, decisions, turns, context).serve()

    calls.stream("StreamLeases", stream)
    calls.hot("LeaseJobs", leases.lease)
    calls.hot("AckJobs", settles.ack)
    calls.hot("NackJobs", settles.nack)
    calls.hot("ReleaseLeases", settles.release)
    calls.hot("RenewLeases", settles.renew)
    return calls
