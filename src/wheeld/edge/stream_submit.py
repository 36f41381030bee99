"""SubmitJobs: batches in, answers out in the order in which they became durable.

Owns one stream's window and its answers. Invariants: a bounded number of batches is unanswered, then the stream is not
read; a batch that was read is decided and answered, whatever becomes of those before it; only one task writes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import grpc

from wheeld.admission.gate import Gate
from wheeld.edge.decisions import Decisions
from wheeld.edge.failure import as_wheeld_error
from wheeld.edge.hot_submit import SubmitFront, peek_head
from wheeld.edge.window import Window
from wheeld.model import errors, limits
from wheeld.model.batch import NO_SESSION
from wheeld.model.errors import Refused, WheeldError
from wheeld.runtime.logs import get_logger
from wheeld.wire.pb.v1 import job_service_pb2 as pb
from wheeld.wire.status import retry_delay_ms


def refused_batch(batch_number: int, error: WheeldError) -> bytes:
    """The answer to a batch that was refused as a whole."""
    answer = pb.SubmitJobsResponse(batch_number=batch_number, reason=error.kind.reason)
    answer.code = error.kind.code  # type: ignore[assignment]
    answer.retry_delay_ms = retry_delay_ms(error.kind.code)
    return bytes(answer.SerializeToString())


class SubmitStream:
    """One stream. `serve` is its whole life."""

    def __init__(self, front: SubmitFront, gate: Gate, decisions: Decisions, context: Any) -> None:
        self._front, self._gate, self._decisions, self._context = front, gate, decisions, context
        self._window = Window(limits.STREAM_SUBMITS_IN_FLIGHT_MAX, limits.STREAM_IN_FLIGHT_BYTES_MAX)
        self._answers: deque[tuple[int, bytes]] = deque()
        self._wake = asyncio.Event()
        self._ended: asyncio.Future[WheeldError | None] = asyncio.get_running_loop().create_future()
        self._over = False
        self._session = NO_SESSION

    async def serve(self) -> None:
        """Return when the client is done and everything has been answered; raise what else ends the stream."""
        self._gate.admit_stream()
        self._gate.watch(self._on_drain)
        reader = asyncio.create_task(self._read(), name="submit stream reader")
        writer = asyncio.create_task(self._write(), name="submit stream writer")
        try:
            failure = await self._ended
            await self._window.wait_empty()
        finally:
            # Reader and writer are never cancelled: what they do ends by itself when the call does.
            self._gate.unwatch(self._on_drain)
            self._over = True
            self._wake.set()
        await writer
        if failure is not None:
            raise failure
        await reader

    def _on_drain(self) -> None:
        self._end(Refused(errors.DRAINING, "the daemon is shutting down"))

    def _end(self, failure: WheeldError | None) -> None:
        if not self._ended.done():
            self._ended.set_result(failure)

    async def _read(self) -> None:
        try:
            while (message := await self._context.read()) is not grpc.aio.EOF:
                await self._window.acquire(len(message))
                if self._over:
                    return
                await self._begin(message)
            self._end(None)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # After the end of the call a read fails by design: there is nobody left to tell.
            if not self._over:
                self._end(as_wheeld_error(error, "SubmitJobs"))

    async def _begin(self, message: bytes) -> None:
        try:
            await self._front.enter(message)
            number, self._session, batch = self._front.decode_streamed(message, self._session)
        except Refused as refused:
            number, named = peek_head(message)
            if named != NO_SESSION:
                # It holds for the stream all the same: the messages that follow do not name it again.
                self._session = named
            self._answer(len(message), refused_batch(number, refused))
            return
        # The message itself goes now: the decision has its own copy.
        size = len(message)
        task = self._decisions.begin(self._front.streamed(size, number, batch))
        task.add_done_callback(lambda done: self._on_decided(number, size, done))

    def _on_decided(self, number: int, size: int, task: asyncio.Task[bytes]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, WheeldError):
            self._answer(size, refused_batch(number, error))
        elif error is not None or task.cancelled():
            defect = WheeldError(errors.INTERNAL, "the batch could not be decided")
            self._answer(size, refused_batch(number, defect))
        else:
            self._answer(size, task.result())

    def _answer(self, size: int, message: bytes) -> None:
        self._answers.append((size, message))
        self._wake.set()

    async def _write(self) -> None:
        try:
            while True:
                while self._answers:
                    size, message = self._answers.popleft()
                    await self._context.write(message)
                    self._window.release(size)
                if self._over:
                    return
                self._wake.clear()
                await self._wake.wait()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # The client is gone: what is under way is decided, and nobody hears of it.
            get_logger("edge").debug("submit stream broke", error=repr(error))
            self._end(None)
        finally:
            self._window.abandon()
