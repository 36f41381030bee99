"""Gathers single submits into batches, and sends batches so that none is created twice.

Owns: the producer session, its batch numbers, the queue of submits, the batches in flight. Natural batching: a batch
is what arrived while the ones before were under way; nobody waits for a timer. Invariants: a number is used for one
content only; a batch keeps its number through all its tries; no batch is begun that would push the oldest open one
out of the daemon's memory of the session. Per job there is a waiter and its bytes, and no other Python object.
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
from wheeld.client.handle import JobHandle
from wheeld.model import errors, limits
from wheeld.model.errors import Misused, Refused, WheeldError
from wheeld.wire._produce import Queue, Waiter, answer, read_results, wake

if TYPE_CHECKING:
    import grpc

    from wheeld.client.client import Client

_METHOD: Final = "/wheeld.v1.JobService/BatchCreateJobs"
_BATCH_BYTES_MAX: Final = limits.MESSAGE_BYTES_MAX - 4 * limits.KIB
_WAITING_BYTES_MAX: Final = 64 * limits.MIB
_NUMBERS_AHEAD_MAX: Final = limits.PRODUCER_BATCHES_REMEMBERED // 2
_WHOLE_JOBS_MAX: Final = 100
"""So many jobs at most are sent as they came; of more, half goes at once. Callers that wait for each of their jobs
come back together: in one batch they and the daemon would take turns, in two they work at the same time."""


@cache
def _messages() -> Any:
    from wheeld.wire.pb.v1 import job_service_pb2

    return job_service_pb2


def _refused(code: int, field: str) -> Refused:
    return refusal(code, f"the job was refused: {field}" if field else "the job was refused", field)


class Batcher:
    """Submits of one client on one event loop. Used from that loop only."""

    def __init__(self, channel: grpc.Channel, caller: Caller, batches_in_flight: int, client: Client) -> None:
        self._method: Any = channel.unary_unary(_METHOD)
        self._caller = caller
        self._in_flight_max = batches_in_flight
        self._client = client
        self._session = uuid.uuid4().hex
        self._next_number = 1
        self._open: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._jobs_away = 0
        self._room: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._waiting = Queue(self._loop, self._pump)
        self.submit = self._waiting.submit
        """To be awaited at once: the handle of one encoded job; raises what became of it otherwise."""

    @property
    def full(self) -> bool:
        """Whether a submit must wait for `room` first."""
        return self._waiting.size_bytes > _WAITING_BYTES_MAX

    async def room(self) -> None:
        """Return when there is room for another job."""
        while self.full:
            turn = self._loop.create_future()
            self._room.append(turn)
            await turn

    async def submit_all(self, jobs: Sequence[bytes]) -> list[JobHandle | Refused]:
        """One whole batch past the queue, within the window: a handle or the refusal of each of its jobs."""
        data = await self.submit_body(b"".join(jobs))
        try:
            return read_results(data, len(jobs), self._client, JobHandle, _refused)
        except ValueError as error:
            raise Refused(errors.INTERNAL, str(error)) from None

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
        while self._waiting or self._open or self._waiting.pump_due:
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
        self._waiting.pump_due = False
        while self._waiting and self._may_open():
            body, waiters = self._waiting.cut(self._share(), _BATCH_BYTES_MAX)
            if not waiters:
                continue
            self._jobs_away += len(waiters)
            task = self._loop.create_task(self._run(self._take_number(), body, waiters))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._let_in()

    def _share(self) -> int:
        """How many jobs the next batch takes at most."""
        jobs = len(self._waiting) + self._jobs_away
        if self._in_flight_max == 1 or jobs <= _WHOLE_JOBS_MAX:
            return limits.BATCH_JOBS_MAX
        return min((jobs + 1) // 2, limits.BATCH_JOBS_MAX)

    def _let_in(self) -> None:
        while self._room:
            turn = self._room.popleft()
            if not turn.done():
                turn.set_result(None)

    async def _run(self, number: int, body: bytes, waiters: list[Waiter]) -> None:
        try:
            data = await self._send(number, body)
            answer(data, waiters, self._client, JobHandle, _refused)
        except asyncio.CancelledError:
            self._fail(waiters, Unreachable("the event loop ended before the answer came"))
            raise
        except WheeldError as error:
            self._fail(waiters, error)
        except ValueError as error:
            self._fail(waiters, Refused(errors.INTERNAL, str(error)))
        except Exception as error:
            self._fail(waiters, Refused(errors.INTERNAL, f"the batch could not be sent: {error!r}"))
        finally:
            self._jobs_away -= len(waiters)
            # Not from here: a task cannot go on inside of another.
            self._loop.call_soon(wake, waiters)

    @staticmethod
    def _fail(waiters: list[Waiter], error: WheeldError) -> None:
        for waiter in waiters:
            waiter.fail(error)

    async def _send(self, number: int, body: bytes) -> bytes:
        try:
            head = _messages().BatchCreateJobsRequest(producer_session_id=self._session, batch_number=number)
            answer: bytes = await self._caller.call(self._method, head.SerializeToString() + body)
            return answer
        finally:
            self._open.discard(number)
            self._pump()
