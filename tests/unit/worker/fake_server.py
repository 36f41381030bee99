"""A daemon in memory, for the SDK's tests: real gRPC, no disk, no clock of its own.

Owns: jobs, producer sessions, lease streams, and switches that make it fail on purpose. It keeps the daemon's word in
what the SDK relies on (deduplication, credit, fencing, repeated settles) and leaves out the rest. Tests wait with
`until`, never by time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from wheeld.model import errors
from wheeld.model.ids import id_to_text, pack_id
from wheeld.wire.pb.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from wheeld.wire.pb.v1 import (
    worker_service_pb2 as pb,
)

ACK, NACK, RELEASE, RENEW = 1, 2, 3, 4
BROKEN = object()


def refusal(code: int, *, retry_s: float | None = None) -> Any:
    """A rich status, as the daemon sends it."""
    kind = errors.REGISTRY[code]
    details = [error_details_pb2.ErrorInfo(reason=kind.reason, domain="wheeld.dev")]
    if retry_s is not None:
        wait = duration_pb2.Duration()
        wait.FromNanoseconds(int(retry_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=wait))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    number = getattr(grpc.StatusCode, kind.status).value[0]
    return rpc_status.to_status(status_pb2.Status(code=number, message=kind.duty, details=packed))


class FakeStream:
    """One lease stream, as the daemon sees it."""

    def __init__(self, opening: Any) -> None:
        self.open = opening
        self.credit = opening.max_outstanding_jobs
        self.out: asyncio.Queue[Any] = asyncio.Queue()
        self.half_closed = False

    def send(self, **member: Any) -> None:
        self.out.put_nowait(pb.StreamLeasesResponse(**member))

    def end(self, code: int | None = None) -> None:
        """Close the stream from the daemon's side: in order, or with an error of the registry."""
        self.out.put_nowait(code)


class FakeDaemon(
    job_service_pb2_grpc.JobServiceServicer,
    worker_service_pb2_grpc.WorkerServiceServicer,
    admin_service_pb2_grpc.AdminServiceServicer,
):
    """See the module."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.keys: dict[str, str] = {}
        self.batches: dict[tuple[str, int], tuple[bytes, Any]] = {}
        self.batch_sizes: list[int] = []
        self.batch_calls: list[tuple[str, int]] = []
        self.submit_streams = 0
        """Open now."""
        self.streams: list[FakeStream] = []
        self.leases: dict[bytes, str] = {}
        self.done: dict[bytes, int] = {}
        self.settles: list[tuple[int, Any]] = []
        self.renewed: list[bytes] = []
        self.fencing = 0
        self.lease_ms = 30_000
        self.ping_ms = 10_000
        self.lose_answers = 0
        self.busy = 0
        self.answer_settles = True
        self.grant = True
        self.gate: asyncio.Event | None = None
        self._changed = asyncio.Condition()
        self._server: Any = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
        job_service_pb2_grpc.add_JobServiceServicer_to_server(self, self._server)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """At once: calls under way break."""
        await self._server.stop(0)

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for a state that the daemon reaches."""
        async with self._changed:
            await self._changed.wait_for(condition)
        return condition()

    async def touch(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def create(self, job: Any) -> Any:
        """One job, now due."""
        if not job.type:
            return job_service_pb2.JobResult(code=errors.FIELD_INVALID, field="type", reason="FIELD_INVALID")
        if job.idempotency_key in self.keys:
            return job_service_pb2.JobResult(job_id=self.keys[job.idempotency_key], duplicate=True)
        job_id = id_to_text(pack_id(1, 7, len(self.jobs) + 1))
        self.jobs[job_id] = record = job_pb2.Job(job_id=job_id, state=job_pb2.JOB_STATE_PENDING)
        record.type, record.payload, record.queue = job.type, job.payload, job.queue or "default"
        record.labels.update(job.labels)
        record.schedule_time.FromNanoseconds(time.time_ns())
        if job.idempotency_key:
            self.keys[job.idempotency_key] = job_id
        return job_service_pb2.JobResult(job_id=job_id)

    async def SubmitJobs(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        answers: asyncio.Queue[Any] = asyncio.Queue()
        reader = asyncio.create_task(self._read_batches(requests, answers))
        self.submit_streams += 1
        try:
            while (answer := await answers.get()) is not None:
                if answer is BROKEN:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
                yield answer
        finally:
            self.submit_streams -= 1
            reader.cancel()
            await asyncio.wait((reader,))
            await self.touch()

    async def _read_batches(self, requests: AsyncIterator[Any], answers: asyncio.Queue[Any]) -> None:
        session = ""
        async with asyncio.TaskGroup() as group:
            async for request in requests:
                session = request.producer_session_id or session
                group.create_task(self._decide_batch(session, request, answers))
        answers.put_nowait(None)

    async def _decide_batch(self, session: str, request: Any, answers: asyncio.Queue[Any]) -> None:
        name = (session, request.batch_number)
        self.batch_calls.append(name)
        await self.touch()
        if self.gate is not None:
            await self.gate.wait()
        answer = job_service_pb2.SubmitJobsResponse(batch_number=request.batch_number)
        if self.busy:
            self.busy -= 1
            answer.code, answer.reason, answer.retry_delay_ms = errors.STORE_BUSY, "STORE_BUSY", 10
            answers.put_nowait(answer)
            return
        content = b"".join(job.SerializeToString(deterministic=True) for job in request.jobs)
        known = self.batches.get(name)
        if known is None:
            self.batch_sizes.append(len(request.jobs))
            answer.results.extend(self.create(job) for job in request.jobs)
            self.batches[name] = (content, answer)
        elif known[0] != content:
            answer.code, answer.reason = errors.BATCH_CONFLICT, "BATCH_CONFLICT"
            answers.put_nowait(answer)
            return
        if self.lose_answers:
            self.lose_answers -= 1
            answers.put_nowait(BROKEN)
            return
        self.feed()
        await self.touch()
        answers.put_nowait(self.batches[name][1])

    async def GetJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.job_id not in self.jobs:
            await context.abort_with_status(refusal(errors.JOB_NOT_FOUND))
        return job_service_pb2.GetJobResponse(job=self.jobs[request.job_id])

    async def CancelJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        job = self.jobs[request.job_id]
        if job.state >= job_pb2.JOB_STATE_SUCCEEDED:
            await context.abort_with_status(refusal(errors.JOB_FINISHED))
        job.state = job_pb2.JOB_STATE_CANCELLED
        for token in [token for token, job_id in self.leases.items() if job_id == request.job_id]:
            self.revoke(token, errors.CANCELLED)
        if self.lose_answers:
            self.lose_answers -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
        return job_service_pb2.CancelJobResponse(job=job)

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return admin_service_pb2.GetServerInfoResponse(version="fake", shards=16)

    # --- leases -------------------------------------------------------------------------------------------------------

    def add(self, type: str, payload: bytes = b"", queue: str = "") -> str:
        """A job that is due, granted if there is credit."""
        job_id: str = self.create(job_pb2.NewJob(type=type, payload=payload, queue=queue)).job_id
        self.feed()
        return job_id

    def lease(self, job_id: str, *, redelivery: bool = False, attempt: int | None = None) -> Any:
        """Grant a job, under a new token; older tokens of it are void."""
        job = self.jobs[job_id]
        self.leases = {token: other for token, other in self.leases.items() if other != job_id}
        self.fencing += 1
        token = self.fencing.to_bytes(8, "big").rjust(24, b"\0")
        job.attempt = attempt if attempt is not None else job.attempt + 1
        job.state = job_pb2.JOB_STATE_RUNNING
        self.leases[token] = job_id
        return pb.Lease(
            lease_token=token, job_id=job_id, type=job.type, payload=job.payload, queue=job.queue, attempt=job.attempt,
            max_attempts=20, schedule_time_ms=job.schedule_time.ToMilliseconds(), lease_duration_ms=self.lease_ms,
            fencing_token=self.fencing, labels=job.labels, redelivery=redelivery,
        )  # fmt: skip

    def send_leases(self, *leases: Any) -> None:
        """On the newest stream."""
        self.streams[-1].send(leases=pb.LeaseFrame(fire_time_us=time.time_ns() // 1000, leases=leases))

    def revoke(self, token: bytes, code: int) -> None:
        self.leases.pop(token, None)
        self.streams[-1].send(revoked=pb.Revoked(leases=[pb.RevokedLease(lease_token=token, code=code)]))

    def feed(self) -> None:
        """Grant what is pending within the credit."""
        if not self.grant or not self.streams:
            return
        room = self.streams[-1].credit - len(self.leases)
        queues = set(self.streams[-1].open.queues)
        pending = [
            job_id
            for job_id, job in self.jobs.items()
            if job.state == job_pb2.JOB_STATE_PENDING and job.queue in queues
        ]
        if room > 0 and pending:
            self.send_leases(*(self.lease(job_id) for job_id in pending[:room]))

    def _settle(self, operation: int, item: Any) -> Any:
        token = item.lease_token
        self.settles.append((operation, item))
        answer = pb.SettledItem(lease_token=token, operation=operation)
        if token in self.done:
            answer.already_settled = True
            return answer
        job_id = self.leases.pop(token, None)
        if job_id is None:
            answer.code = errors.LEASE_FENCED
            return answer
        self.done[token] = operation
        job = self.jobs[job_id]
        if operation == ACK:
            job.state, job.result = job_pb2.JOB_STATE_SUCCEEDED, item.result
        elif operation == NACK:
            job.last_error = item.error_message
            job.state = job_pb2.JOB_STATE_FAILED if item.no_retry else job_pb2.JOB_STATE_RETRYING
        else:
            job.state, job.attempt = job_pb2.JOB_STATE_PENDING, job.attempt - 1
        answer.state = job.state
        return answer

    async def _on_request(self, stream: FakeStream, request: Any) -> None:
        which = request.WhichOneof("message")
        if which == "credit":
            stream.credit = request.credit.max_outstanding_jobs
        elif which == "renew":
            self.renewed += request.renew.lease_tokens
            items = [pb.SettledItem(lease_token=token, operation=RENEW) for token in request.renew.lease_tokens]
            stream.send(settled=pb.Settled(items=items))
        elif which == "settle":
            settle = request.settle
            items = [self._settle(ACK, item) for item in settle.acks]
            items += [self._settle(NACK, item) for item in settle.nacks]
            items += [self._settle(RELEASE, item) for item in settle.releases]
            if self.answer_settles:
                stream.send(settled=pb.Settled(items=items))
        self.feed()
        await self.touch()

    async def _read(self, stream: FakeStream, requests: AsyncIterator[Any]) -> None:
        async for request in requests:
            await self._on_request(stream, request)
        stream.half_closed = True
        stream.end()
        await self.touch()

    async def StreamLeases(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        first = await anext(requests)
        assert first.WhichOneof("message") == "open"
        stream = FakeStream(first.open)
        self.streams.append(stream)
        opened = pb.Opened(session_id=first.open.session_id, max_outstanding_jobs=stream.credit)
        opened.ping_interval.FromMilliseconds(self.ping_ms)
        stream.send(opened=opened)
        self.feed()
        await self.touch()
        reader = asyncio.create_task(self._read(stream, requests))
        try:
            while isinstance(message := await stream.out.get(), pb.StreamLeasesResponse):
                yield message
            if message is not None:
                await context.abort_with_status(refusal(message))
        finally:
            reader.cancel()
            await asyncio.wait((reader,))


@asynccontextmanager
async def fake_daemon() -> AsyncIterator[FakeDaemon]:
    """A daemon that serves until the block ends."""
    daemon = FakeDaemon()
    await daemon.start()
    try:
        yield daemon
    finally:
        await daemon.stop()
