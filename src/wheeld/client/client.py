"""The asynchronous client: submit jobs, look at them, change them.

Owns: one channel, and the batcher of the event loop that it serves. Does not own: batching (batches), retries
(channel), views. Invariant: a submit that returned is durable; one that raised Unreachable may or may not be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from wheeld.client.batches import Batcher
from wheeld.client.channel import Caller, default_address, open_channel
from wheeld.client.failures import Backoff
from wheeld.client.handle import JobHandle
from wheeld.client.jobs import OptionWords, encode_words, write_when
from wheeld.client.times import Moment, Span, span_seconds
from wheeld.client.views import Attempt, Job, attempt_of, job_of
from wheeld.model import errors, limits
from wheeld.model.errors import Misused, Refused, WheeldError

if TYPE_CHECKING:
    import grpc

__all__ = ["Client", "JobHandle"]

_CHUNK_BYTES: Final = limits.MIB
_CHUNK_JOBS: Final = 5000


class Client:
    """A connection to a daemon. Serves one event loop at a time; use one Client for all of a program's submits."""

    def __init__(
        self,
        address: str | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: Span = 30.0,
        batches_in_flight: int = 4,
    ) -> None:
        self.address = address or default_address()
        self.retries = 0
        self._credentials = credentials
        self._timeout_s = span_seconds(timeout)
        self._batches_in_flight = batches_in_flight
        self._caller = Caller(self.address, self._timeout_s, self._count_retry)
        self._channel: grpc.Channel | None = None
        self._stubs: dict[str, Any] = {}
        self._batcher: Batcher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def submit(
        self,
        type: str,
        payload: bytes = b"",
        *,
        schedule_time: Moment | None = None,
        delay: Span | None = None,
        **options: Unpack[OptionWords],
    ) -> JobHandle:
        """Create one job; returns when it is durable. Calls that run at the same time share a message."""
        return await self.place(encode_words(type, payload, schedule_time, delay, options))

    async def submit_encoded(self, job: bytes) -> JobHandle:
        """As `submit`, for a job that `encode_job` made."""
        return await self.place(job)

    def place(self, job: bytes) -> Awaitable[JobHandle]:
        """As `submit_encoded`; what it returns must be awaited at once, by one task."""
        batches = self._batcher
        if batches is None or self._loop is not asyncio.get_running_loop():
            batches = self._batches()
        return self._submit_in_turn(batches, job) if batches.full else batches.submit(job)

    @staticmethod
    async def _submit_in_turn(batches: Batcher, job: bytes) -> JobHandle:
        await batches.room()
        handle: JobHandle = await batches.submit(job)
        return handle

    async def submit_many(
        self, jobs: Iterable[bytes], *, return_errors: bool = False
    ) -> list[JobHandle | WheeldError] | list[JobHandle]:
        """Create many jobs, each made by `encode_job`, some batches at a time. Each is taken or refused by itself.

        Raises the first refusal once all are answered; with `return_errors` the errors stand in the list instead.
        """
        batches = self._batches()
        answers: list[JobHandle | WheeldError] = []
        window: list[asyncio.Task[list[JobHandle | Refused]]] = []
        try:
            for chunk in _chunks(jobs):
                if len(window) >= self._batches_in_flight:
                    answers += await window.pop(0)
                window.append(asyncio.create_task(batches.submit_all(chunk)))
                await asyncio.sleep(0)
            while window:
                answers += await window.pop(0)
        finally:
            for task in window:
                task.cancel()
            if window:
                await asyncio.wait(window)
        if not return_errors:
            for answer in answers:
                if isinstance(answer, WheeldError):
                    raise answer
        return answers

    async def submit_raw_batch(self, body: bytes) -> bytes:
        """Send joined `encode_job` bytes as one numbered batch; its SubmitJobsResponse. For load generators."""
        return await self._batches().submit_body(body)

    async def get(self, job_id: str) -> Job:
        """The job as it stands. Refused with JOB_NOT_FOUND."""
        return job_of((await self._call("Job", "GetJob", job_id=job_id)).job)

    async def cancel(self, job_id: str) -> Job:
        """End a job that has not ended; a worker that runs it is told. Refused with JOB_NOT_FOUND, JOB_FINISHED."""
        return await self._change("CancelJob", job_id, "CANCELLED")

    async def reschedule(self, job_id: str, *, schedule_time: Moment | None = None, delay: Span | None = None) -> Job:
        """Move a job that is not running to another time."""
        request = self._message("Job", "RescheduleJob")(job_id=job_id)
        write_when(request, schedule_time, delay)
        return job_of((await self._send("Job", "RescheduleJob", request)).job)

    async def run_now(self, job_id: str) -> Job:
        """Make a job due now that is not running."""
        return job_of((await self._call("Job", "RunJob", job_id=job_id)).job)

    async def attempts(self, job_id: str) -> list[Attempt]:
        """The job's history, oldest attempt first."""
        return [attempt_of(row) for row in (await self._call("Job", "ListAttempts", job_id=job_id)).attempts]

    async def wait(self, job_id: str, timeout: Span | None = None) -> Job:  # noqa: ASYNC109 - a word of the API
        """The job once it has ended. Raises TimeoutError when it has not within `timeout`."""
        deadline = None if timeout is None else time.monotonic() + span_seconds(timeout)
        backoff = Backoff()
        while True:
            job = await self.get(job_id)
            if job.finished:
                return job
            pause_s = backoff.next_s()
            if deadline is not None:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f"job {job_id} is {job.state.name} after {timeout}")
                pause_s = min(pause_s, left_s)
            await asyncio.sleep(pause_s)

    async def queue(self, queue: str = "", namespace: str = "") -> Any:
        """The protobuf Queue: its depth, and whether it is paused."""
        return (await self._call("Queue", "GetQueue", queue=queue, namespace=namespace)).queue

    async def pause_queue(self, queue: str = "", namespace: str = "") -> Any:
        """Grant nothing more from the queue."""
        return (await self._call("Queue", "PauseQueue", queue=queue, namespace=namespace)).queue

    async def resume_queue(self, queue: str = "", namespace: str = "") -> Any:
        """Grant from the queue again."""
        return (await self._call("Queue", "ResumeQueue", queue=queue, namespace=namespace)).queue

    async def server_info(self) -> Any:
        """The protobuf GetServerInfoResponse."""
        return await self._call("Admin", "GetServerInfo")

    async def fire_skew(self, queue: str = "", *, namespace: str = "", reset: bool = False) -> Any:
        """The protobuf GetFireSkewResponse: how late jobs fired."""
        return await self._call("Admin", "GetFireSkew", queue=queue, namespace=namespace, reset=reset)

    async def close(self) -> None:
        """Wait for what is under way, then disconnect. A closed client opens again when it is used again."""
        if self._batcher is not None and self._loop is asyncio.get_running_loop():
            await self._batcher.close()
        channel, self._channel, self._batcher = self._channel, None, None
        self._stubs.clear()
        if channel is not None:
            channel.close()

    def _count_retry(self) -> None:
        self.retries += 1

    def _open(self) -> grpc.Channel:
        if self._channel is None:
            self._channel = open_channel(self.address, self._credentials)
        return self._channel

    def _batches(self) -> Batcher:
        loop = asyncio.get_running_loop()
        if self._batcher is None or self._loop is not loop:
            if self._batcher is not None and self._loop is not None and not self._loop.is_closed():
                raise Misused(
                    errors.STREAM_PROTOCOL,
                    "this Client serves another event loop",
                    hint="Make one Client for each running event loop.",
                )
            self._loop = loop
            if self._batcher is not None:
                self._batcher.abandon()
            self._batcher = Batcher(self._open(), self, self._batches_in_flight, self._timeout_s, self._count_retry)
        return self._batcher

    @staticmethod
    def _message(service: str, method: str) -> Any:
        from importlib import import_module

        return getattr(import_module(f"wheeld.wire.pb.v1.{service.lower()}_service_pb2"), f"{method}Request")

    async def _call(self, service: str, method: str, **fields: Any) -> Any:
        return await self._send(service, method, self._message(service, method)(**fields))

    async def _send(self, service: str, method: str, request: Any) -> Any:
        from importlib import import_module

        stub = self._stubs.get(service)
        if stub is None:
            module = import_module(f"wheeld.wire.pb.v1.{service.lower()}_service_pb2_grpc")
            stub = self._stubs[service] = getattr(module, f"{service}ServiceStub")(self._open())
        return await self._caller.call(getattr(stub, method), request)

    async def _change(self, method: str, job_id: str, wanted: str) -> Job:
        retries = self.retries
        try:
            return job_of((await self._call("Job", method, job_id=job_id)).job)
        except WheeldError as error:
            if error.kind.code != errors.JOB_FINISHED or self.retries == retries:
                raise
            # An earlier try may have been the one that ended it.
            job = await self.get(job_id)
            if job.state.name == wanted:
                return job
            raise


def _chunks(jobs: Iterable[bytes]) -> Iterable[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for job in jobs:
        chunk.append(job)
        size += len(job)
        if size >= _CHUNK_BYTES or len(chunk) >= _CHUNK_JOBS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
