"""The hot codec: protobuf messages to packed batches (model/batch.py) and back, bytes to bytes.

Owns: the Protocol of the two implementations and the numbers they share. `reference_codec` is the readable
specification over the generated classes, `_wire` the native one that runs. Does not own: the schema (proto/), or what
the core decides. Invariant: both give the same bytes for the same message; a message that the schema does not allow is
a code, never an exception. The native one is stricter in one thing: a StreamLeasesRequest in which several members of
its oneof occur is MALFORMED (no serializer writes one). Of a member that is neither `settle` nor `renew` it reads
nothing.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Protocol, cast

from wheeld.model.batch import NO_SESSION

SETTLE_REFUSED: Final = 2
"""Flag of an item in a settle batch: the codec refused it. Its id is NO_ID and its fencing 0, so that the core finds no
lease for it; `extend_ms` holds `code | field << 8`, and `error` the token as it came. `encode_settled` answers it,
whatever the core said."""
ECHO_BYTES_MAX: Final = 64
"""A refused token is given back at most this long."""


@lru_cache(4096)
def session_digest(session: bytes) -> bytes:
    """The 16 bytes that stand for a producer's or a worker's session id."""
    return blake2b(session, digest_size=16).digest()


class SubmitKind(IntEnum):
    """Which message brings jobs."""

    CREATE = 1
    BATCH = 2
    STREAM = 3


class SettleKind(IntEnum):
    """Which message settles leases. The unary ones have the numbers of their operation."""

    STREAM = 0
    ACK = 1
    NACK = 2
    RELEASE = 3
    RENEW = 4


class AnswerKind(IntEnum):
    """Whether an answer goes out on the lease stream or as the response of a unary call."""

    STREAM = 0
    UNARY = 1


class StreamCase(IntEnum):
    """The members of StreamLeasesRequest's oneof, and what else `peek_stream_request` may say."""

    MALFORMED = -1
    NOTHING = 0
    OPEN = 1
    CREDIT = 2
    SETTLE = 3
    RENEW = 4
    PONG = 5


class Codec(Protocol):
    """What both implementations do. `code` in an answer is of the errors registry, 0 when all is well."""

    def decode_submit(
        self, message: bytes, kind: int, session: bytes = NO_SESSION, latest_ms: int = 0
    ) -> tuple[int, bytes]:
        """(code, submit batch). `session`: 16 bytes that hold when the message names none. `latest_ms`: a schedule time
        after it is SCHEDULE_TOO_FAR; 0 leaves that check to others. Codes: MALFORMED, BATCH_TOO_LARGE."""

    def encode_submit_results(self, kind: int, batch_number: int, results: bytes, schedule_ms: int = 0) -> bytes:
        """The response message. CREATE takes the first result, an accepted one, and `schedule_ms` (0: not set)."""

    def decode_settle(self, message: bytes, kind: int = SettleKind.STREAM) -> tuple[int, bytes, bytes, bytes]:
        """(code, settle batch, worker id, session id); the ids are those of a unary request. Items stand in the order
        acks, nacks, releases. STREAM takes `settle` and `renew`; other members give an empty batch. Codes: MALFORMED,
        BATCH_TOO_LARGE."""

    def encode_settled(self, kind: int, batch: bytes, results: bytes) -> bytes:
        """The answer to a settle batch."""

    def encode_leases(self, kind: int, frame: bytes, fire_time_us: int) -> bytes:
        """A lease frame as a message."""

    def encode_revoked(self, revoked: bytes) -> bytes:
        """Revocations as a stream message."""

    def peek_stream_request(self, message: bytes) -> int:
        """A StreamCase. Looks at the top level only: what the member holds may still be malformed."""


def native_codec() -> Codec:
    """The codec that runs: C, without the GIL."""
    from wheeld.wire import _wire

    return cast(Codec, _wire)


def reference_codec() -> Codec:
    """The specification, over the generated classes."""
    from wheeld.wire import reference_codec as module

    return cast(Codec, module)
