"""How one attempt ended, and its bytes as one element of a Settle message.

Owns: the texts and bounds of errors and results. Invariant: the bytes fit the daemon's limits, so that no settle is
refused for size.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wheeld.client.outcomes import Fail, Retry
from wheeld.client.times import set_ns, span_ns
from wheeld.model import limits
from wheeld.wire._work import ack_element

_log: Final = logging.getLogger("wheeld.worker")
_TRACE_FRAMES: Final = 4
_DELAY_NS_MAX: Final = limits.BACKOFF_MS_LIMIT * 1_000_000


def cut_text(text: str, most: int) -> str:
    """The longest prefix within `most` bytes of UTF-8; what is not text for UTF-8 becomes a question mark."""
    raw = text.encode(errors="replace")
    return raw[:most].decode(errors="ignore")


def describe(error: BaseException) -> str:
    """ "Type: message", and the end of the traceback."""
    head = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)[-_TRACE_FRAMES:]
    where = "".join(f"\n  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    room = limits.ERROR_BYTES_MAX - len(where.encode(errors="replace"))
    return cut_text(cut_text(head, max(room, limits.ERROR_BYTES_MAX // 2)) + where, limits.ERROR_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class Ack:
    """Done. `result` is kept with the job."""

    result: bytes = b""

    def encode(self, lease_token: bytes, receive_time_us: int) -> bytes:
        """As an element of Settle."""
        return ack_element(lease_token, self.result, receive_time_us)


@dataclass(frozen=True, slots=True)
class Nack:
    """Failed. `retry_delay_ns`: None = by the job's retry policy."""

    error_message: str
    retry_delay_ns: int | None = None
    no_retry: bool = False

    def encode(self, lease_token: bytes, receive_time_us: int) -> bytes:
        """As an element of Settle."""
        from wheeld.wire.pb.v1 import worker_service_pb2 as pb

        nack = pb.Nack(lease_token=lease_token, no_retry=self.no_retry, receive_time_us=receive_time_us)
        nack.error_message = cut_text(self.error_message, limits.ERROR_BYTES_MAX)
        if self.retry_delay_ns is not None:
            set_ns(nack.retry_delay, min(self.retry_delay_ns, _DELAY_NS_MAX))
        return pb.Settle(nacks=[nack]).SerializeToString()


@dataclass(frozen=True, slots=True)
class Release:
    """Not begun; the attempt does not count."""

    def encode(self, lease_token: bytes, _receive_time_us: int) -> bytes:
        """As an element of Settle."""
        from wheeld.wire.pb.v1 import worker_service_pb2 as pb

        return pb.Settle(releases=[pb.Release(lease_token=lease_token)]).SerializeToString()


Outcome = Ack | Nack | Release
_DONE: Final = Ack()


def success(result: bytes, job_id: str) -> Ack:
    """The handler returned. A result that is too large is dropped, with a warning: the work must not run again."""
    if len(result) > limits.RESULT_BYTES_MAX:
        _log.warning(
            "job %s: its result of %d bytes is dropped; %d is the most", job_id, len(result), limits.RESULT_BYTES_MAX
        )
        return _DONE
    return Ack(bytes(result)) if result else _DONE


def failure(error: BaseException) -> Nack:
    """The handler raised. Whatever it raised with, its attempt has an end that can be said."""
    if isinstance(error, Fail):
        return Nack(_text_of(error.reason), no_retry=True)
    if not isinstance(error, Retry):
        return Nack(describe(error))
    reason = _text_of(error.reason)
    try:
        return Nack(reason, None if error.delay is None else span_ns(error.delay))
    except Exception as bad_delay:
        return Nack(f"{reason} (by the retry policy: {describe(bad_delay)})")


def _text_of(reason: object) -> str:
    # Handlers are not type checked: an exception is a common reason.
    try:
        return str(reason)
    except Exception as error:
        return describe(error)


def encode_acks(lease_tokens: Sequence[bytes], receive_time_us: int) -> list[bytes]:
    """`Ack().encode` for many tokens of one frame."""
    return [ack_element(token, b"", receive_time_us) for token in lease_tokens]
