"""Submits, from bytes to bytes: CreateJob, BatchCreateJobs and one message of SubmitJobs.

Owns nothing but the order of steps: admit, decode, decide, encode. Knows no gRPC. Invariant: a refusal of the whole
message is raised as `Refused`; refusals of single jobs stand in the answer.
"""

from __future__ import annotations

from wheeld.admission.gate import Gate
from wheeld.driver.api import Driver
from wheeld.edge.decisions import Decisions
from wheeld.model import errors, limits
from wheeld.model.acceptable import refused_field
from wheeld.model.batch import ITEM_HEAD, NO_SESSION, RESULT_DUPLICATE, SUBMIT_HEAD, SUBMIT_RESULT
from wheeld.model.errors import Refused
from wheeld.model.spec import FLAG_DELAY
from wheeld.runtime.clock import Clock
from wheeld.wire.codec import Codec, SubmitKind

_SPEC_AT = SUBMIT_HEAD.size + ITEM_HEAD.size
_SESSION = slice(16, 32)
_DETAILS = {
    errors.MALFORMED: "the bytes are not a message of the schema",
    errors.BATCH_TOO_LARGE: f"more than {limits.BATCH_JOBS_MAX} jobs in one message",
}


class SubmitFront:
    """See the module."""

    def __init__(self, driver: Driver, codec: Codec, clock: Clock, gate: Gate, decisions: Decisions) -> None:
        self._driver, self._codec, self._clock = driver, codec, clock
        self._gate, self._decisions = gate, decisions

    async def create(self, message: bytes) -> bytes:
        """CreateJobRequest -> CreateJobResponse."""
        batch = self._decode(message, SubmitKind.CREATE, NO_SESSION)
        results = await self._decisions.run(self._driver.submit(batch))
        code, field, flags, _, _, _ = SUBMIT_RESULT.unpack_from(results)
        if code:
            raise refused_item(code, field)
        stated_ms = _stated_schedule_ms(batch)
        # The core decided by a clock that was read before this one: what lies ahead now did so then.
        schedule_ms = stated_ms if stated_ms > self._clock.wall_ms() and not flags & RESULT_DUPLICATE else 0
        return self._codec.encode_submit_results(SubmitKind.CREATE, 0, results, schedule_ms)

    async def batch(self, message: bytes) -> bytes:
        """BatchCreateJobsRequest -> BatchCreateJobsResponse."""
        batch = self._decode(message, SubmitKind.BATCH, NO_SESSION)
        results = await self._decisions.run(self._driver.submit(batch))
        return self._codec.encode_submit_results(SubmitKind.BATCH, 0, results)

    def decode_streamed(self, message: bytes, session: bytes) -> tuple[int, bytes, bytes]:
        """SubmitJobsRequest -> (batch number, session that holds from now on, submit batch)."""
        batch = self._decode(message, SubmitKind.STREAM, session)
        return SUBMIT_HEAD.unpack_from(batch)[2], batch[_SESSION], batch

    async def streamed(self, batch_number: int, batch: bytes) -> bytes:
        """A decoded submit batch -> SubmitJobsResponse. The caller shields it."""
        results = await self._driver.submit(batch)
        return self._codec.encode_submit_results(SubmitKind.STREAM, batch_number, results)

    def _decode(self, message: bytes, kind: SubmitKind, session: bytes) -> bytes:
        self._gate.admit_submit(len(message))
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


def peek_batch_number(message: bytes) -> int:
    """The batch number of a message that was not decoded; 0 when it does not come first, where every serialiser puts
    it.
    """
    if message[:1] != b"\x08":
        return 0
    number = 0
    for at, byte in enumerate(message[1:11]):
        number |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            return number & (1 << 64) - 1
    return 0
