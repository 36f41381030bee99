"""Gathers single submits into batches, and sends batches so that none is created twice.

Owns: the producer session, its batch numbers, the queue of submits, the batches in flight. Natural batching: a batch
is what arrived while the ones before were under way; nobody waits for a timer. Invariants: a number is used for one
content only; a batch keeps its number through all its tries; no batch is begun that would push the oldest open one
out of the daemon's memory of the session.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from wheeld.client.channel import Caller
from wheeld.client.failures import Unreachable, refusal
from wheeld.model import errors, limits
from wheeld.model.errors import Misused, Refused, WheeldError

if TYPE_CHECKING:
    import grpc

_METHOD: Final = "/wheeld.v1.JobService/BatchCreateJobs"
_BATCH_BYTES_MAX: Final = limits.MESSAGE_BYTES_MAX - 4 * limits.KIB
_WAITING_BYTES_MAX: Final = 64 * limits.MIB
_NUMBERS_AHEAD_MAX: Final = limits.PRODUCER_BATCHES_REMEMBERED // 2


@cache
def _messages() -> Any:
    from wheeld.wire.pb.v1 import job_service_pb2

    return job_service_pb2


def _refused(result: Any) -> Refused:
    text = f"the job was refused: {result.field}" if result.field else "the job was refused"
    return refusal(result.code, text, result.field)


class Batcher:
    """Submits of one client on one event loop. Used from that loop only."""

    def __init__(self, channel: grpc.Channel, caller: Caller, batches_in_flight: int) -> None:
        self._method: Any = channel.unary_unary(_METHOD)
        self._caller = caller
        self._in_flight_max = batches_in_flight
        self._session = uuid.uuid4().hex
        self._next_number = 1
        self._open: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[bytes, asyncio.Future[Any]]] = deque()
        self._waiting_bytes = 0
        self._room: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._pump_due = False

    async def submit(self, job: bytes) -> Any:
        """The accepted JobResult of one encoded job; raises what became of it otherwise."""
        while self._waiting_bytes > _WAITING_BYTES_MAX:
            turn = self._loop.create_future()
            self._room.append(turn)
            await turn
        answered = self._loop.create_future()
        self._waiting.append((job, answered))
        self._waiting_bytes += len(job)
        if not self._pump_due:
            # One turn of the loop gathers all that is submitted in it.
            self._pump_due = True
            self._loop.call_soon(self._pump)
        return await answered

    async def submit_all(self, jobs: Sequence[bytes]) -> list[Any]:
        """One whole batch past the queue, within the window: its JobResults, refused ones included."""
        data = await self.submit_body(b"".join(jobs))
        results = _messages().BatchCreateJobsResponse.FromString(data).results
        if len(results) != len(jobs):
            raise Refused(errors.INTERNAL, f"{len(results)} results for a batch of {len(jobs)} jobs")
        return list(results)

    async def submit_body(self, body: bytes) -> bytes:
        """One batch of already joined jobs; the bytes of its response."""
        if len(body) > _BATCH_BYTES_MAX:
            raise Misused(errors.BATCH_TOO_LARGE, f"a batch of {len(body)} bytes; {_BATCH_BYTES_MAX} is the most")
        while not self._may_open():
            turn = self._loop.create_future()
            self._room.append(turn)
            await turn
        return await self._send(self._take_number(), body)

    async def close(self) -> None:
        """Wait for all that is under way."""
        while self._waiting or self._open or self._pump_due:
            if self._tasks:
                await asyncio.wait(self._tasks)
            else:
                await asyncio.sleep(0)

    def _may_open(self) -> bool:
        if not self._open:
            return True
        return len(self._open) < self._in_flight_max and self._next_number - min(self._open) < _NUMBERS_AHEAD_MAX

    def _take_number(self) -> int:
        number = self._next_number
        self._next_number += 1
        self._open.add(number)
        return number

    def _pump(self) -> None:
        self._pump_due = False
        while self._waiting and self._may_open():
            jobs, futures = self._cut()
            if not jobs:
                continue
            task = self._loop.create_task(self._run(self._take_number(), jobs, futures))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._let_in()

    def _let_in(self) -> None:
        while self._room:
            turn = self._room.popleft()
            if not turn.done():
                turn.set_result(None)

    def _cut(self) -> tuple[list[bytes], list[asyncio.Future[Any]]]:
        jobs: list[bytes] = []
        futures: list[asyncio.Future[Any]] = []
        size = 0
        while self._waiting and len(jobs) < limits.BATCH_JOBS_MAX:
            job, answered = self._waiting[0]
            if jobs and size + len(job) > _BATCH_BYTES_MAX:
                break
            self._waiting.popleft()
            self._waiting_bytes -= len(job)
            # A submit that was given up before it was sent is not sent.
            if not answered.done():
                size += len(job)
                jobs.append(job)
                futures.append(answered)
        return jobs, futures

    async def _run(self, number: int, jobs: list[bytes], futures: list[asyncio.Future[Any]]) -> None:
        try:
            data = await self._send(number, b"".join(jobs))
            results = _messages().BatchCreateJobsResponse.FromString(data).results
            if len(results) != len(jobs):
                raise Refused(errors.INTERNAL, f"{len(results)} results for a batch of {len(jobs)} jobs")
        except asyncio.CancelledError:
            self._fail(futures, Unreachable("the event loop ended before the answer came"))
            raise
        except WheeldError as error:
            self._fail(futures, error)
        except Exception as error:
            self._fail(futures, Refused(errors.INTERNAL, f"the batch could not be sent: {error!r}"))
        else:
            for result, answered in zip(results, futures, strict=True):
                if answered.done():
                    continue
                if result.code:
                    answered.set_exception(_refused(result))
                else:
                    answered.set_result(result)

    @staticmethod
    def _fail(futures: list[asyncio.Future[Any]], error: WheeldError) -> None:
        for answered in futures:
            if not answered.done():
                answered.set_exception(error)

    async def _send(self, number: int, body: bytes) -> bytes:
        try:
            head = _messages().BatchCreateJobsRequest(producer_session_id=self._session, batch_number=number)
            answer: bytes = await self._caller.call(self._method, head.SerializeToString() + body)
            return answer
        finally:
            self._open.discard(number)
            self._pump()
