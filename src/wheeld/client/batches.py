"""Gathers single submits into batches, and numbers batches so that none is created twice.

Owns: the producer session, its batch numbers, the queue of submits, the window. Does not own: how a batch is sent
(delivery). Natural batching: a batch is what arrived while the ones before were under way; nobody waits for a timer.
Invariants: a number is used for one content only; no batch is begun that would push the oldest open one out of the
daemon's memory of the session. Per job there is a waiter and its bytes, and no other Python object.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from wheeld.client.delivery import Batch, Delivery
from wheeld.client.failures import refused_job
from wheeld.client.handle import JobHandle
from wheeld.model import errors, limits
from wheeld.model.errors import Misused, Refused, WheeldError
from wheeld.wire._produce import Queue, Waiter, answer, read_results, wake

if TYPE_CHECKING:
    import grpc

    from wheeld.client.client import Client

_BATCH_BYTES_MAX: Final = limits.MESSAGE_BYTES_MAX - 4 * limits.KIB
_WAITING_BYTES_MAX: Final = 64 * limits.MIB
_NUMBERS_AHEAD_MAX: Final = limits.PRODUCER_BATCHES_REMEMBERED // 2
_WHOLE_JOBS_MAX: Final = 100
"""So many jobs at most are sent as they came; of more, half goes at once. Callers that wait for each of their jobs
come back together: in one batch they and the daemon would take turns, in two they work at the same time."""


class Batcher:
    """Submits of one client on one event loop. Used from that loop only."""

    def __init__(
        self,
        channel: grpc.Channel,
        client: Client,
        batches_in_flight: int,
        timeout_s: float,
        on_retry: Callable[[], None],
    ) -> None:
        self._client, self._in_flight_max = client, batches_in_flight
        self._delivery = Delivery(channel, client.address, uuid.uuid4().hex, timeout_s, on_retry)
        self._open = self._delivery.open
        self._next_number = 1
        self._jobs_away = 0
        self._room: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._waiting = Queue(self._loop, self._pump)
        self.submit = self._waiting.submit
        """To be awaited at once: the handle of one encoded job; raises what became of it otherwise."""
        self.abandon = self._delivery.abandon

    @property
    def full(self) -> bool:
        """Whether a submit must wait for `room` first."""
        return self._waiting.size_bytes > _WAITING_BYTES_MAX

    async def room(self) -> None:
        """Return when there is room for another job."""
        while self.full:
            await self._turn()

    async def submit_all(self, jobs: Sequence[bytes]) -> list[JobHandle | Refused]:
        """One whole batch past the queue, within the window: a handle or the refusal of each of its jobs."""
        data = await self.submit_body(b"".join(jobs))
        try:
            return read_results(data, len(jobs), self._client, JobHandle, refused_job)
        except ValueError as error:
            raise Refused(errors.INTERNAL, str(error)) from None

    async def submit_body(self, body: bytes) -> bytes:
        """One batch of already joined jobs; the bytes of its SubmitJobsResponse."""
        if len(body) > _BATCH_BYTES_MAX:
            raise _too_large(body)
        while not self._may_open():
            await self._turn()
        answered: asyncio.Future[bytes] = self._loop.create_future()
        self._begin(body, partial(self._on_body_settled, answered))
        return await answered

    async def close(self) -> None:
        """Wait for all that is under way."""
        while self._waiting or self._open or self._waiting.pump_due:
            await self._turn()
        self._delivery.close()

    async def _turn(self) -> None:
        """Return after the next change."""
        turn = self._loop.create_future()
        self._room.append(turn)
        await turn

    def _may_open(self) -> bool:
        if not self._open:
            return True
        return len(self._open) < self._in_flight_max and self._next_number - next(iter(self._open)) < _NUMBERS_AHEAD_MAX

    def _begin(self, body: bytes, settled: Callable[[bytes, WheeldError | None], None]) -> None:
        number = self._next_number
        self._next_number += 1
        self._delivery.begin(Batch(number, body, settled))

    def _pump(self) -> None:
        self._waiting.pump_due = False
        while self._waiting and self._may_open():
            body, waiters = self._waiting.cut(self._share(), _BATCH_BYTES_MAX)
            if not waiters:
                continue
            self._jobs_away += len(waiters)
            if len(body) > _BATCH_BYTES_MAX:
                # One job alone. gRPC would end the stream over it, and with it what else is under way.
                self._loop.call_soon(self._on_settled, waiters, b"", _too_large(body))
                continue
            self._begin(body, partial(self._on_settled, waiters))
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

    def _on_body_settled(self, answered: asyncio.Future[bytes], data: bytes, error: WheeldError | None) -> None:
        if not answered.done():
            if error is None:
                answered.set_result(data)
            else:
                answered.set_exception(error)
        self._pump()

    def _on_settled(self, waiters: list[Waiter], data: bytes, error: WheeldError | None) -> None:
        if error is None:
            try:
                answer(data, waiters, self._client, JobHandle, refused_job)
            except ValueError as defect:
                error = Refused(errors.INTERNAL, str(defect))
        if error is not None:
            for waiter in waiters:
                waiter.fail(error)
        self._pump()
        self._jobs_away -= len(waiters)
        wake(waiters)


def _too_large(body: bytes) -> Misused:
    return Misused(errors.BATCH_TOO_LARGE, f"a batch of {len(body)} bytes; {_BATCH_BYTES_MAX} is the most")
