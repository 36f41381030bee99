"""Submits, from bytes to bytes: CreateJob, BatchCreateJobs and one message of SubmitJobs.

Owns nothing but the order of steps: admit, wait for room, decode, decide, encode. Knows no gRPC. Invariants: a refusal
of the whole message is raised as `Refused`; refusals of single jobs stand in the answer; a message that has entered the
intake leaves it when its decision ends, whatever becomes of its caller.
"""

from __future__ import annotations

from wheeld.admission.gate import Gate
from wheeld.admission.intake import Intake
from wheeld.driver.api import Driver
from wheeld.edge.decisions import Decisions
from wheeld.model import errors, limits
from wheeld.model.acceptable import refused_field
from wheeld.model.batch import ITEM_HEAD, NO_SESSION, RESULT_DUPLICATE, SUBMIT_HEAD, SUBMIT_RESULT
from wheeld.model.errors import Refused
from wheeld.model.spec import FLAG_DELAY
from wheeld.runtime.clock import Clock
from wheeld.wire.codec import Codec, SubmitKind, session_digest

_SPEC_AT = SUBMIT_HEAD.size + ITEM_HEAD.size
_SESSION = slice(16, 32)
_NUMBER_TAG, _SESSION_TAG = b"\x08", b"\x12"
"""Of the first two fields of a SubmitJobsRequest."""
_DETAILS = {
    errors.MALFORMED: "the bytes are not a message of the schema",
    errors.BATCH_TOO_LARGE: f"more than {limits.BATCH_JOBS_MAX} jobs in one message",
}


class SubmitFront:
    """See the module."""

    def __init__(
        self, driver: Driver, codec: Codec, clock: Clock, gate: Gate, intake: Intake, decisions: Decisions
    ) -> None:
        self._driver, self._codec, self._clock = driver, codec, clock
        self._gate, self._intake, self._decisions = gate, intake, decisions

    async def create(self, message: bytes) -> bytes:
        """CreateJobRequest -> CreateJobResponse."""
        batch, results = await self._decide(message, SubmitKind.CREATE)
        code, field, flags, _, _, _ = SUBMIT_RESULT.unpack_from(results)
        if code:
            raise refused_item(code, field)
        stated_ms = _stated_schedule_ms(batch)
        # The core decided by a clock that was read before this one: what lies ahead now did so then.
        schedule_ms = stated_ms if stated_ms > self._clock.wall_ms() and not flags & RESULT_DUPLICATE else 0
        return self._codec.encode_submit_results(SubmitKind.CREATE, 0, results, schedule_ms)

    async def batch(self, message: bytes) -> bytes:
        """BatchCreateJobsRequest -> BatchCreateJobsResponse."""
        _, results = await self._decide(message, SubmitKind.BATCH)
        return self._codec.encode_submit_results(SubmitKind.BATCH, 0, results)

    async def enter(self, message: bytes) -> None:
        """A message waits for room. What was entered must be decided: `decode_streamed` takes a streamed one."""
        self._gate.admit_submit(len(message))
        self._driver.admit_submit()
        await self._intake.enter(len(message))

    def decode_streamed(self, message: bytes, session: bytes) -> tuple[int, bytes, bytes]:
        """SubmitJobsRequest -> (batch number, session that holds from now on, submit batch). One that is refused has
        left the intake.
        """
        try:
            batch = self._decode(message, SubmitKind.STREAM, session)
        except BaseException:
            self._intake.leave(len(message))
            raise
        return SUBMIT_HEAD.unpack_from(batch)[2], batch[_SESSION], batch

    async def streamed(self, size: int, batch_number: int, batch: bytes) -> bytes:
        """A decoded submit batch of a message of this size -> SubmitJobsResponse. The caller shields it."""
        try:
            results = await self._driver.submit(batch)
        finally:
            self._intake.leave(size)
        return self._codec.encode_submit_results(SubmitKind.STREAM, batch_number, results)

    async def _decide(self, message: bytes, kind: SubmitKind) -> tuple[bytes, bytes]:
        """A unary message -> (batch, its results)."""
        await self.enter(message)
        return await self._decisions.run(self._entered(message, kind))

    async def _entered(self, message: bytes, kind: SubmitKind) -> tuple[bytes, bytes]:
        try:
            batch = self._decode(message, kind, NO_SESSION)
            return batch, await self._driver.submit(batch)
        finally:
            self._intake.leave(len(message))

    def _decode(self, message: bytes, kind: SubmitKind, session: bytes) -> bytes:
        latest_ms = self._clock.wall_ms() + limits.SCHEDULE_AHEAD_MS_MAX
        code, batch = self._codec.decode_submit(message, kind, session, latest_ms)
        if code:
            raise Refused(code, _DETAILS.get(code, "the message is refused"))
        return batch


def refused_item(code: int, field: int) -> Refused:
    """The error of a job that came alone."""
    return Refused(code, f"the job is refused: {refused_field(field)}" if field else "the job is refused", field=field)


def _stated_schedule_ms(batch: bytes) -> int:
    """The schedule time that the batch's first job states; 0 for a delay and for now."""
    if len(batch) < _SPEC_AT + 16 or batch[_SPEC_AT + 1] & FLAG_DELAY:
        return 0
    return int.from_bytes(batch[_SPEC_AT + 8 : _SPEC_AT + 16], "little")


def peek_head(message: bytes) -> tuple[int, bytes]:
    """(batch number, session that it names or NO_SESSION) of a message that was not decoded, where they come first, as
    every serialiser puts them; else 0 and NO_SESSION.
    """
    number, at = _varint(message, 1) if message[:1] == _NUMBER_TAG else (0, 0)
    if message[at : at + 1] != _SESSION_TAG:
        return number, NO_SESSION
    length, at = _varint(message, at + 1)
    session = message[at : at + length]
    return number, session_digest(session) if session and len(session) == length else NO_SESSION


def _varint(message: bytes, start: int) -> tuple[int, int]:
    """(value, where it ends); (0, the end of the message) when it is none."""
    value = 0
    for at, byte in enumerate(message[start : start + 10]):
        value |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            return value & (1 << 64) - 1, start + at + 1
    return 0, len(message)
