"""QueueService: how queues stand, and whether they give out jobs."""

from __future__ import annotations

from typing import Any

from wheeld.core.api import QueueView
from wheeld.driver.api import Driver
from wheeld.edge.calls import Calls
from wheeld.edge.decisions import Decisions
from wheeld.edge.opening import name, queue_path
from wheeld.edge.present import queue_of, split_path
from wheeld.metrics.calls import CallCounts
from wheeld.model import limits
from wheeld.runtime.clock import Clock
from wheeld.wire.pb.v1 import queue_service_pb2 as pb

SERVICE = "wheeld.v1.QueueService"
ALL_NAMESPACES = "-"


class QueueService:
    """See the module."""

    def __init__(self, driver: Driver, clock: Clock, decisions: Decisions) -> None:
        self._driver, self._clock, self._decisions = driver, clock, decisions

    def calls(self, counts: CallCounts) -> Calls:
        """The method handlers."""
        calls = Calls(SERVICE, counts)
        calls.cold("GetQueue", pb.GetQueueRequest, self._get)
        calls.cold("ListQueues", pb.ListQueuesRequest, self._list)
        calls.cold("PauseQueue", pb.PauseQueueRequest, self._pause)
        calls.cold("ResumeQueue", pb.ResumeQueueRequest, self._resume)
        return calls

    def _present(self, view: QueueView) -> Any:
        return queue_of(view, self._clock.wall_ms())

    async def _get(self, request: Any) -> Any:
        path = queue_path(request.namespace, request.queue)
        for view in self._driver.queues():
            if view.queue == path:
                return pb.GetQueueResponse(queue=self._present(view))
        namespace, queue = split_path(path)
        return pb.GetQueueResponse(queue=pb.Queue(namespace=namespace, queue=queue))

    async def _list(self, request: Any) -> Any:
        prefix = b"" if request.namespace == ALL_NAMESPACES else name(request.namespace, "namespace").encode() + b"/"
        size = min(request.page_size or limits.PAGE_SIZE_DEFAULT, limits.PAGE_SIZE_MAX)
        after = request.page_token.encode()
        views = sorted(
            (view for view in self._driver.queues() if view.queue.startswith(prefix) and view.queue > after),
            key=lambda view: view.queue,
        )
        page = views[:size]
        token = page[-1].queue.decode() if len(views) > size else ""
        return pb.ListQueuesResponse(queues=[self._present(view) for view in page], next_page_token=token)

    async def _pause(self, request: Any) -> Any:
        return pb.PauseQueueResponse(queue=await self._set(request, paused=True))

    async def _resume(self, request: Any) -> Any:
        return pb.ResumeQueueResponse(queue=await self._set(request, paused=False))

    async def _set(self, request: Any, *, paused: bool) -> Any:
        path = queue_path(request.namespace, request.queue)
        return self._present(await self._decisions.run(self._driver.set_queue(path, paused)))
