"""LeaseJobs, from bytes to bytes: a lease stream that lives for one call.

Owns the one-call stream. Knows no gRPC. Invariants: what was granted and not delivered when the call ends is taken back
by the driver; what was delivered to a caller that has gone is released at once.

Each call has a session of its own: a second call of the same worker must neither share the first one's credit nor make
the driver send its running jobs again. The names of a caller's sessions begin alike (`opening.call_prefix`), so that
its settles are known from those of others.
"""

from __future__ import annotations

import asyncio
import secrets

from wheeld.admission.gate import Gate
from wheeld.core.api import LEASES
from wheeld.driver.api import Driver, Opened
from wheeld.edge.decisions import Decisions
from wheeld.edge.opening import LeaseCall, Opening, call_prefix, lease_call_of
from wheeld.model.batch import CALL_PREFIX_BYTES, GRANT_HEAD, NO_DELAY, OP_RELEASE, SETTLE_BATCH_HEAD, SETTLE_HEAD
from wheeld.model.errors import Refused
from wheeld.wire.codec import AnswerKind, Codec


class _OneFrame:
    """An Outbox that collects lease frames and wakes whoever waits for the first."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.frames: list[bytes] = []
        self.fire_us = 0
        self.end: tuple[int, str] | None = None

    def deliver(self, kind: int, count: int, data: bytes, fire_us: int) -> None:
        """See Outbox. The revoked tokens of a stream without a past are of no use to anybody."""
        if kind == LEASES:
            self.frames.append(data)
            self.fire_us = max(self.fire_us, fire_us)
            self.first.set()

    def closed(self, code: int, detail: str) -> None:
        """See Outbox."""
        self.end = (code, detail)
        self.first.set()


class LeaseFront:
    """See the module."""

    def __init__(self, driver: Driver, codec: Codec, gate: Gate, decisions: Decisions) -> None:
        self._driver, self._codec, self._gate, self._decisions = driver, codec, gate, decisions

    async def lease(self, message: bytes) -> bytes:
        """LeaseJobsRequest -> LeaseJobsResponse."""
        self._gate.admit_stream()
        call = lease_call_of(message)
        session = call_prefix(call.opening.session) + secrets.token_bytes(16 - CALL_PREFIX_BYTES)
        box = _OneFrame()
        opened = self._decisions.begin(self._open(session, call.opening, box))
        try:
            await asyncio.shield(opened)
            await self._wait_first(box, call)
        except asyncio.CancelledError:
            self._decisions.begin(self._give_back(opened, session, box))
            raise
        self._driver.close_stream(opened.result().number)
        if box.end is not None and not box.frames:
            raise Refused(*box.end)
        return self._codec.encode_leases(AnswerKind.UNARY, b"".join(box.frames), box.fire_us)

    async def _open(self, session: bytes, opening: Opening, box: _OneFrame) -> Opened:
        return await self._driver.open_stream(
            session, opening.worker, opening.queues, opening.max_jobs, opening.max_bytes, opening.lease_ms, b"", box
        )

    async def _wait_first(self, box: _OneFrame, call: LeaseCall) -> None:
        """Return once a frame is there or the time is over. Without a wait, one group's sync is still waited for."""
        try:
            async with asyncio.timeout(max(call.wait_ms, GRANT_WAIT_MS) / 1000):
                await box.first.wait()
        except TimeoutError:
            pass

    async def _give_back(self, opened: asyncio.Task[Opened], session: bytes, box: _OneFrame) -> None:
        """The caller has gone: detach, and release what it would have got."""
        try:
            number = (await opened).number
        except Refused:
            return
        self._driver.close_stream(number)
        tokens = [token for frame in box.frames for token in tokens_of(frame)]
        if tokens:
            await self._driver.settle(session, release_batch(tokens))


GRANT_WAIT_MS = 50
"""What a call that does not wait still gives the journal for the sync of its grants."""


def tokens_of(frame: bytes) -> list[tuple[bytes, int]]:
    """(job id, fencing) of each lease in a frame."""
    tokens = []
    at = 0
    while at < len(frame):
        length, job_id, fencing, *_ = GRANT_HEAD.unpack_from(frame, at)
        tokens.append((job_id, fencing))
        at += 4 + length
    return tokens


def release_batch(tokens: list[tuple[bytes, int]]) -> bytes:
    """A settle batch that gives leases back."""
    items = [SETTLE_HEAD.pack(OP_RELEASE, 0, 0, 0, NO_DELAY, 0, fencing, job_id, 0) for job_id, fencing in tokens]
    return SETTLE_BATCH_HEAD.pack(len(items), 0) + b"".join(items)
