"""StreamLeases: a worker's conversation, from `open` to its end.

Owns one stream: its attachment to the driver and its reader; its `Writer` writes. Invariants: `open` comes first and
once; reading goes on while settles are made durable, up to a window; whatever ends the stream, the driver's
close_stream is called once; reads and writes are never cancelled from here, they end with the call.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from wheeld.admission.gate import Gate
from wheeld.driver.api import Driver, Opened
from wheeld.edge.decisions import Decisions
from wheeld.edge.failure import as_wheeld_error
from wheeld.edge.hot_lease import release_batch
from wheeld.edge.hot_settle import refused_settles, settle_in_turns
from wheeld.edge.opening import Opening, credit_of, opening_of, parse
from wheeld.edge.outbox import StreamOutbox
from wheeld.edge.window import Window
from wheeld.edge.writer import Turns, Writer
from wheeld.model import errors, limits
from wheeld.model.errors import Refused, WheeldError
from wheeld.runtime.clock import Clock
from wheeld.runtime.logs import get_logger
from wheeld.wire.codec import Codec, SettleKind, StreamCase, session_digest
from wheeld.wire.pb.v1 import worker_service_pb2 as pb


class LeaseStream:
    """One stream. `serve` is its whole life."""

    def __init__(
        self, driver: Driver, codec: Codec, clock: Clock, gate: Gate, decisions: Decisions, turns: Turns, context: Any
    ) -> None:
        self._driver, self._codec, self._clock = driver, codec, clock
        self._gate, self._decisions, self._context = gate, decisions, context
        self._loop = asyncio.get_running_loop()
        self._settles = Window(limits.STREAM_SETTLES_IN_FLIGHT_MAX, limits.STREAM_IN_FLIGHT_BYTES_MAX)
        self._outbox = StreamOutbox(codec, self._settles, self._end)
        self._writer = Writer(turns, context.write, self._next_message, self._on_written, self._on_writer_end)
        self._outbox.ready = self._writer.kick
        self._writer_ended: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[WheeldError | None] = self._loop.create_future()
        self._opening: asyncio.Task[Opened] | None = None
        self._session = b""
        self._over = self._failed = False
        self._ping_timer: asyncio.TimerHandle | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._written_s = self._loop.time()

    async def serve(self) -> None:
        """Return when the client is done and all is answered; raise what else ends the stream."""
        self._gate.admit_stream()
        reader = asyncio.create_task(self._read(), name="lease stream reader")
        try:
            failure = await self._ended
            if failure is not None:
                self._failed = True
                raise failure
            self._detach()
            await self._settles.wait_empty()
        finally:
            self._over = True
            self._detach()
            for timer in (self._ping_timer, self._drain_timer):
                if timer is not None:
                    timer.cancel()
            self._writer.finish()
        await self._writer_ended
        await reader

    # -- ending ----------------------------------------------------------------
    def _end(self, failure: WheeldError | None) -> None:
        """The stream is over; the first reason counts. A drain gives the worker time to settle what it holds."""
        if failure is not None and failure.kind.code == errors.DRAINING and not self._ended.done():
            deadline_ms = self._gate.deadline_ms or self._clock.wall_ms()
            self._loop.call_soon(self._detach)
            drain = pb.Drain()
            drain.deadline.FromMilliseconds(deadline_ms)
            self._outbox.say(pb.StreamLeasesResponse(drain=drain).SerializeToString())
            wait_s = max(deadline_ms - self._clock.wall_ms(), 0) / 1000
            self._drain_timer = self._loop.call_later(wait_s, self._resolve, failure)
            return
        self._resolve(failure)

    def _resolve(self, failure: WheeldError | None) -> None:
        if not self._ended.done():
            self._ended.set_result(failure)

    def _detach(self) -> None:
        """Leave the driver, once; when the opening is still under way, as soon as it is through. Leases that were not
        written go back at once instead of when they expire.
        """
        opening, self._opening = self._opening, None
        if opening is None:
            return
        if opening.done():
            self._close(opening)
        else:
            opening.add_done_callback(self._close)

    def _close(self, opening: asyncio.Task[Opened]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._driver.close_stream(opening.result().number)
            unsent = self._outbox.take_back()
            if unsent:
                self._decisions.begin(self._driver.settle(self._session, release_batch(unsent)))

    # -- reading ---------------------------------------------------------------
    async def _read(self) -> None:
        try:
            while (message := await self._context.read()) is not grpc.aio.EOF:
                await self._take(message)
            self._end(None)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # After the end of the call a read fails by design: there is nobody left to tell.
            if not self._over:
                self._end(as_wheeld_error(error, "StreamLeases"))

    async def _take(self, message: bytes) -> None:
        case = self._codec.peek_stream_request(message)
        if case == StreamCase.MALFORMED:
            raise Refused(errors.MALFORMED, "the bytes are no StreamLeasesRequest")
        if case == StreamCase.OPEN:
            await self._open(parse(pb.StreamLeasesRequest, message).open)
        elif not self._session:
            raise Refused(errors.STREAM_PROTOCOL, "the first message of a stream is `open`")
        elif case in (StreamCase.SETTLE, StreamCase.RENEW):
            await self._settle(message)
        elif case == StreamCase.CREDIT:
            credit = parse(pb.StreamLeasesRequest, message).credit
            jobs, size = credit_of(credit.max_outstanding_jobs, credit.max_outstanding_bytes)
            if self._opening is not None:
                self._outbox.allow(jobs)
                self._driver.set_credit(self._opening.result().number, jobs, size)
        elif case == StreamCase.NOTHING:
            raise Refused(errors.STREAM_PROTOCOL, "a message of the stream says nothing that this daemon knows")

    async def _open(self, message: Any) -> None:
        if self._session:
            raise Refused(errors.STREAM_PROTOCOL, "`open` comes once on a stream")
        opening = opening_of(message)
        self._session = session_digest(opening.session)
        self._opening = self._decisions.begin(
            self._driver.open_stream(
                self._session, opening.worker, opening.queues, opening.max_jobs, opening.max_bytes, opening.lease_ms,
                opening.held, self._outbox,
            )
        )  # fmt: skip
        opened = await asyncio.shield(self._opening)
        self._outbox.open(self._opened_message(message.session_id, opening, opened), opened.revoked, opening.max_jobs)
        self._ping_timer = self._loop.call_later(limits.STREAM_PING_INTERVAL_MS / 1000, self._ping)

    def _opened_message(self, session_id: str, opening: Opening, opened: Opened) -> bytes:
        answer = pb.Opened(session_id=session_id, resumed_leases=opened.resumed)
        answer.server_time.FromMilliseconds(self._clock.wall_ms())
        answer.lease_duration.FromMilliseconds(opening.lease_ms)
        answer.max_outstanding_jobs, answer.max_outstanding_bytes = opening.max_jobs, opening.max_bytes
        answer.ping_interval.FromMilliseconds(limits.STREAM_PING_INTERVAL_MS)
        return bytes(pb.StreamLeasesResponse(opened=answer).SerializeToString())

    async def _settle(self, message: bytes) -> None:
        await self._settles.acquire(len(message))
        code, batch, _, _ = self._codec.decode_settle(message, SettleKind.STREAM)
        if code:
            self._settles.release(len(message))
            raise refused_settles(code)
        deciding = settle_in_turns(self._driver, self._decisions, self._session, batch)
        self._outbox.expect(len(message), batch, self._decisions.begin(deciding))

    # -- writing ---------------------------------------------------------------
    def _ping(self) -> None:
        """Break a silence, so that the worker knows that the daemon lives."""
        silent_ms = (self._loop.time() - self._written_s) * 1000
        if silent_ms >= limits.STREAM_PING_INTERVAL_MS:
            ping = pb.Ping()
            ping.server_time.FromMilliseconds(self._clock.wall_ms())
            self._outbox.say(pb.StreamLeasesResponse(ping=ping).SerializeToString())
            silent_ms = 0
        self._ping_timer = self._loop.call_later((limits.STREAM_PING_INTERVAL_MS - silent_ms) / 1000, self._ping)

    def _next_message(self) -> bytes | None:
        return None if self._failed else self._outbox.take()

    def _on_written(self) -> None:
        self._written_s = self._loop.time()

    def _on_writer_end(self, error: BaseException | None) -> None:
        if error is not None:
            # The worker is gone; gRPC tells the handler.
            get_logger("edge").debug("lease stream broke", error=repr(error))
            self._resolve(None)
        self._settles.abandon()
        if not self._writer_ended.done():
            self._writer_ended.set_result(None)
