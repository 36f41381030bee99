"""JobService: hot submits and the cold calls about single jobs. Thin: parse, ask the driver, present."""

from __future__ import annotations

from typing import Any

from wheeld.admission.gate import Gate
from wheeld.driver.api import Driver, JobView
from wheeld.edge.calls import Calls
from wheeld.edge.decisions import Decisions
from wheeld.edge.hot_submit import SubmitFront
from wheeld.edge.opening import invalid, span_ms
from wheeld.edge.present import attempts_of, job_of
from wheeld.edge.stream_submit import SubmitStream
from wheeld.metrics.calls import CallCounts
from wheeld.model import errors, limits
from wheeld.model.errors import Refused
from wheeld.model.ids import id_from_text
from wheeld.runtime.clock import Clock
from wheeld.wire.pb.v1 import job_service_pb2 as pb

SERVICE = "wheeld.v1.JobService"


def job_id_of(text: str) -> bytes:
    """The id in a request."""
    job_id = id_from_text(text)
    if job_id is None:
        raise invalid("job_id", "26 characters of Crockford base32")
    return job_id


class JobService:
    """See the module."""

    def __init__(self, driver: Driver, clock: Clock, gate: Gate, front: SubmitFront, decisions: Decisions) -> None:
        self._driver, self._clock, self._gate = driver, clock, gate
        self._front, self._decisions = front, decisions

    def calls(self, counts: CallCounts) -> Calls:
        """The method handlers."""
        calls = Calls(SERVICE, counts)
        calls.hot("CreateJob", self._front.create)
        calls.hot("BatchCreateJobs", self._front.batch)
        calls.stream("SubmitJobs", self._submit_stream)
        calls.cold("GetJob", pb.GetJobRequest, self._get)
        calls.cold("CancelJob", pb.CancelJobRequest, self._cancel)
        calls.cold("RescheduleJob", pb.RescheduleJobRequest, self._reschedule)
        calls.cold("RunJob", pb.RunJobRequest, self._run)
        calls.cold("ListAttempts", pb.ListAttemptsRequest, self._attempts)
        return calls

    async def _submit_stream(self, context: Any) -> None:
        await SubmitStream(self._front, self._gate, self._decisions, context).serve()

    async def _get(self, request: Any) -> Any:
        return pb.GetJobResponse(job=job_of(await self._driver.get(job_id_of(request.job_id))))

    async def _cancel(self, request: Any) -> Any:
        view = await self._decisions.run(self._driver.cancel(job_id_of(request.job_id)))
        return pb.CancelJobResponse(job=job_of(view))

    async def _reschedule(self, request: Any) -> Any:
        due_ms = self._due_ms(request)
        return pb.RescheduleJobResponse(job=job_of(await self._move(request.job_id, due_ms)))

    async def _run(self, request: Any) -> Any:
        return pb.RunJobResponse(job=job_of(await self._move(request.job_id, self._clock.wall_ms())))

    async def _move(self, job_id: str, due_ms: int) -> JobView:
        return await self._decisions.run(self._driver.reschedule(job_id_of(job_id), due_ms))

    def _due_ms(self, request: Any) -> int:
        now_ms = self._clock.wall_ms()
        which = request.WhichOneof("when")
        if which == "delay":
            return now_ms + span_ms(request.delay, limits.SCHEDULE_AHEAD_MS_MAX, "delay")
        if which != "schedule_time":
            raise invalid("schedule_time", "say when: `schedule_time` or `delay`")
        at = request.schedule_time
        if at.seconds < 0 or not 0 <= at.nanos < 1_000_000_000:
            raise invalid("schedule_time", "a time from 1970 on")
        due_ms = int(at.seconds) * 1000 + -(-int(at.nanos) // 1_000_000)
        if due_ms > now_ms + limits.SCHEDULE_AHEAD_MS_MAX:
            raise Refused(errors.SCHEDULE_TOO_FAR, "the time lies more than 50 years ahead")
        return due_ms

    async def _attempts(self, request: Any) -> Any:
        job_id = job_id_of(request.job_id)
        # The job first: an attempt that ends in between is then in both, and attempts_of sees that.
        view = await self._driver.get(job_id)
        ended = await self._driver.attempts(job_id)
        return pb.ListAttemptsResponse(attempts=attempts_of(view, ended))
