"""AdminService: who this daemon is, and how punctual.

Owns the baseline from which skew is counted after a reset. Invariant: a reset changes what this service tells and
nothing else; the metrics keep counting from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wheeld.admission.gate import Gate
from wheeld.core.api import HISTOGRAM_BUCKETS, QueueView, histogram_upper_us
from wheeld.driver.api import Driver
from wheeld.edge.calls import Calls
from wheeld.edge.opening import name, queue_path
from wheeld.edge.present import split_path
from wheeld.metrics.calls import CallCounts
from wheeld.metrics.histogram import counts_of, maximum, quantile
from wheeld.runtime.clock import Clock
from wheeld.wire.pb.v1 import admin_service_pb2 as pb

SERVICE = "wheeld.v1.AdminService"
BOUNDS_US = [histogram_upper_us(index) for index in range(HISTOGRAM_BUCKETS)]


@dataclass(frozen=True)
class ServerFacts:
    """What does not change while the daemon runs."""

    version: str
    node: str
    store_uuid: str
    shards: int
    start_ms: int
    journal_format_version: int
    store_format_version: int
    resident_bytes_max: int


class AdminService:
    """See the module."""

    def __init__(self, driver: Driver, clock: Clock, gate: Gate, facts: ServerFacts) -> None:
        self._driver, self._clock, self._gate, self._facts = driver, clock, gate, facts
        self._since_ms = facts.start_ms
        self._before: dict[bytes, tuple[list[int], list[int]]] = {}

    def calls(self, counts: CallCounts) -> Calls:
        """The method handlers."""
        calls = Calls(SERVICE, counts)
        calls.cold("GetServerInfo", pb.GetServerInfoRequest, self._info)
        calls.cold("GetFireSkew", pb.GetFireSkewRequest, self._skew)
        return calls

    async def _info(self, _request: Any) -> Any:
        facts, counters = self._facts, self._driver.counters()
        answer = pb.GetServerInfoResponse(
            version=facts.version,
            node=facts.node,
            store_uuid=facts.store_uuid,
            shards=facts.shards,
            journal_format_version=facts.journal_format_version,
            store_format_version=facts.store_format_version,
            draining=self._gate.draining,
            resident_bytes=counters.resident_bytes,
            resident_bytes_max=facts.resident_bytes_max,
            resident_jobs=counters.resident_jobs,
        )
        answer.start_time.FromMilliseconds(facts.start_ms)
        answer.server_time.FromMilliseconds(self._clock.wall_ms())
        return answer

    async def _skew(self, request: Any) -> Any:
        views = self._driver.queues()
        asked = views
        if request.queue:
            path = queue_path(request.namespace, request.queue)
            asked = [view for view in views if view.queue == path]
        elif request.namespace:
            prefix = name(request.namespace, "namespace").encode() + b"/"
            asked = [view for view in views if view.queue.startswith(prefix)]
        answer = pb.GetFireSkewResponse(queues=[self._of_queue(view) for view in sorted(asked, key=lambda v: v.queue)])
        now_ms = self._clock.wall_ms()
        answer.window.FromMilliseconds(max(now_ms - self._since_ms, 0))
        if request.reset:
            self._since_ms = now_ms
            self._before = {view.queue: (counts_of(view.release_skew), counts_of(view.receive_skew)) for view in views}
        return answer

    def _of_queue(self, view: QueueView) -> Any:
        release, receive = counts_of(view.release_skew), counts_of(view.receive_skew)
        before = self._before.get(view.queue)
        if before is not None:
            release = [now - then for now, then in zip(release, before[0], strict=True)]
            receive = [now - then for now, then in zip(receive, before[1], strict=True)]
        namespace, queue = split_path(view.queue)
        return pb.QueueSkew(namespace=namespace, queue=queue, release=_histogram(release), receipt=_histogram(receive))


def _histogram(counts: list[int]) -> Any:
    return pb.SkewHistogram(
        count=sum(counts),
        buckets=[pb.SkewBucket(upper_us=bound, count=n) for n, bound in zip(counts, BOUNDS_US, strict=False) if n],
        p50_us=quantile(counts, BOUNDS_US, 0.5),
        p90_us=quantile(counts, BOUNDS_US, 0.9),
        p99_us=quantile(counts, BOUNDS_US, 0.99),
        p999_us=quantile(counts, BOUNDS_US, 0.999),
        max_us=maximum(counts, BOUNDS_US),
    )
