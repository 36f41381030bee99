"""Batches on their way: each is sent until it is answered, refused for good, or out of time.

Owns: the stream they go by, which batches are open, the tries of each, the one timer that watches them. Does not own:
what a batch holds. Invariants: a batch has the same bytes in each try; it is settled once, and from a callback of the
loop, never from within a task; after that it is not sent again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from wheeld.client.channel import TRY_S_MAX
from wheeld.client.failures import Backoff, Unreachable, failure_of, refusal, unanswered
from wheeld.client.jobs import length_delimited, varint
from wheeld.client.submits import SubmitStream
from wheeld.model import errors
from wheeld.model.errors import Refused, WheeldError
from wheeld.wire._produce import read_answer_head

if TYPE_CHECKING:
    import grpc

IDLE_S_MAX: Final = 5.0
"""A stream that nothing went by for so long is ended: while it is open, gRPC wakes up for it ten times a second."""
_NUMBER_TAG: Final = b"\x08"
_SESSION_TAG: Final = b"\x12"


class Batch:
    """One message. `settled` is told the bytes of its answer, or what became of it otherwise."""

    __slots__ = ("backoff", "body", "deadline_s", "lost", "number", "sent_s", "settled")

    def __init__(self, number: int, body: bytes, settled: Callable[[bytes, WheeldError | None], None]) -> None:
        self.number, self.body, self.settled = number, body, settled
        self.sent_s = self.deadline_s = math.inf
        self.backoff: Backoff | None = None
        self.lost = False
        """Whether a try had no answer: from then on a refusal does not say that nothing was created."""


class Delivery:
    """See the module. Used from one event loop only."""

    def __init__(
        self, channel: grpc.Channel, address: str, session: str, timeout_s: float, on_retry: Callable[[], None]
    ) -> None:
        self._channel, self._address, self._timeout_s, self._on_retry = channel, address, timeout_s, on_retry
        self._session = length_delimited(_SESSION_TAG, session.encode())
        self._loop = asyncio.get_running_loop()
        self._stream: SubmitStream | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf
        self._used_s = 0.0
        self.open: dict[int, Batch] = {}
        """Those that are not settled, by number, in the order in which they were begun."""

    def begin(self, batch: Batch) -> None:
        """Send it; its `settled` follows."""
        self.open[batch.number] = batch
        batch.deadline_s = self._loop.time() + self._timeout_s
        self._put(batch)

    def close(self) -> None:
        """End the stream; for when no batch is open."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_s = None, math.inf
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.finish()

    def abandon(self) -> None:
        """End the stream whatever is open; for when the loop has ended."""
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    # --- what the stream tells ----------------------------------------------------------------------------------------

    def on_answer(self, stream: SubmitStream, data: bytes) -> None:
        """See submits.Listener. What a stream says that was given up is left: its batches are sent again."""
        if stream is not self._stream:
            return
        try:
            number, code, retry_delay_ms = read_answer_head(data)
        except ValueError as defect:
            self._lose_stream(Refused(errors.INTERNAL, str(defect)), retry=False)
            return
        batch = self.open.get(number)
        if batch is None:
            return
        if not code:
            self._settle(batch, data, None)
            return
        error = refusal(code, "the batch was refused")
        self._try_again(batch, error, error.kind.retry, retry_delay_ms / 1000)

    def on_end(self, stream: SubmitStream, error: grpc.RpcError | None) -> None:
        """See submits.Listener."""
        if stream is not self._stream:
            return
        if error is None:
            self._lose_stream(Unreachable(f"{self._address}: the daemon ended the stream"), retry=True)
        else:
            failure = failure_of(error, self._address)
            self._lose_stream(failure.error, retry=failure.retry, delay_s=failure.delay_s)

    # --- tries --------------------------------------------------------------------------------------------------------

    def _put(self, batch: Batch) -> None:
        if batch.number not in self.open:
            return
        stream = self._stream
        try:
            if stream is None:
                stream = self._stream = SubmitStream(self._channel, self)
        except Exception as error:
            refused = Refused(errors.INTERNAL, f"the batch could not be sent: {error!r}")
            self._loop.call_soon(self._fail, batch, refused)
            return
        self._used_s = batch.sent_s = self._loop.time()
        stream.send(_NUMBER_TAG + varint(batch.number) + (b"" if stream.named else self._session) + batch.body)
        stream.named = True
        self._watch_from(min(batch.sent_s + TRY_S_MAX, batch.deadline_s))

    def _try_again(self, batch: Batch, error: WheeldError, retry: bool, delay_s: float) -> None:
        if batch.backoff is None:
            batch.backoff = Backoff()
        wait_s = max(delay_s, batch.backoff.next_s())
        batch.lost = batch.lost or isinstance(error, Unreachable)
        if not retry or self._loop.time() + wait_s >= batch.deadline_s:
            self._fail(batch, error)
            return
        batch.sent_s = math.inf
        self._on_retry()
        self._loop.call_later(wait_s, self._put, batch)

    def _lose_stream(self, error: WheeldError, *, retry: bool, delay_s: float = 0.0) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()
        for batch in [batch for batch in self.open.values() if batch.sent_s < math.inf]:
            self._try_again(batch, error, retry, delay_s)

    def _fail(self, batch: Batch, error: WheeldError) -> None:
        self._settle(batch, b"", unanswered(self._address, error) if batch.lost else error)

    def _settle(self, batch: Batch, data: bytes, error: WheeldError | None) -> None:
        if self.open.pop(batch.number, None) is not None:
            batch.settled(data, error)

    # --- the watch ----------------------------------------------------------------------------------------------------

    def _watch_from(self, when_s: float) -> None:
        if when_s < self._timer_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_s = when_s
            self._timer = self._loop.call_at(when_s, self._watch)

    def _watch(self) -> None:
        self._timer, self._timer_s = None, math.inf
        now_s = self._loop.time()
        for batch in list(self.open.values()):
            if batch.deadline_s <= now_s:
                self._settle(batch, b"", Unreachable(f"{self._address}: no answer in {self._timeout_s:g} s"))
        if any(batch.sent_s + TRY_S_MAX <= now_s for batch in self.open.values()):
            self._lose_stream(Unreachable(f"{self._address}: no answer in {TRY_S_MAX:g} s"), retry=True)
        if self.open:
            self._watch_from(min(min(batch.sent_s + TRY_S_MAX, batch.deadline_s) for batch in self.open.values()))
        elif self._stream is not None and self._used_s + IDLE_S_MAX <= now_s:
            self.close()
        elif self._stream is not None:
            self._watch_from(self._used_s + IDLE_S_MAX)
