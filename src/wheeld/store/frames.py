"""Frames between daemon and storekeeper, and the bodies of requests.

Request: {u32 length of the body, u8 op, u64 request id, u64 min_position} + body. Answer: {u32 length, u8 flags, u64
request id (0: a notice), u64 position} + body. An answer comes in one or more frames; all but the last carry MORE,
and the last may carry a trailer instead of rows. Little endian. Owns the layouts; invariant: a frame's body is at
most FRAME_BYTES_MAX long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from wheeld.model import limits

REQUEST_HEAD: Final = struct.Struct("<IBQQ")
ANSWER_HEAD: Final = struct.Struct("<IBQQ")
FRAME_BYTES_MAX: Final = 64 * limits.MIB

MORE: Final = 1
ERROR: Final = 2

RANGE_BODY: Final = struct.Struct("<Q16sQ16s")
PLAN_BODY: Final = struct.Struct("<Q16sQQ")
PLACE: Final = struct.Struct("<Q16s")
BACKLOG_HEAD: Final = struct.Struct("<IB")
ATTEMPT_HEAD: Final = struct.Struct("<IQ")

STREAM_CREDIT: Final = 8
"""Frames of one answer that may be on the way; the client gives one back for each that its consumer took."""


class Op(IntEnum):
    """What is asked. CREDIT and CANCEL name the request they belong to and have no answer."""

    CHECKPOINT = 1
    RECOVER = 2
    LEASES = 3
    PLAN = 4
    SCAN = 5
    BACKLOG = 6
    READ = 7
    KEYS = 8
    ATTEMPTS = 9
    STATS = 10
    CREDIT = 11
    CANCEL = 12


LONG_OPS: Final = frozenset({Op.RECOVER, Op.LEASES, Op.PLAN, Op.SCAN})
"""Requests that may walk much of the store: few of them run at once, and small reads go between their slices."""


class Failure(IntEnum):
    """First byte of an ERROR frame's body; a text follows."""

    FULL = 1
    CORRUPT = 2
    BEHIND = 3
    BAD_REQUEST = 4


def request(op: Op, request_id: int, min_position: int, body: bytes = b"") -> bytes:
    """A request's bytes."""
    return REQUEST_HEAD.pack(len(body), op, request_id, min_position) + body


def split_requests(data: bytearray) -> Iterator[tuple[Op, int, int, bytes]]:
    """Takes whole requests off the front of `data`. ValueError for one that cannot be."""
    at = 0
    while len(data) - at >= REQUEST_HEAD.size:
        length, op, request_id, min_position = REQUEST_HEAD.unpack_from(data, at)
        if length > FRAME_BYTES_MAX:
            raise ValueError(f"a request of {length} bytes")
        end = at + REQUEST_HEAD.size + length
        if end > len(data):
            break
        yield Op(op), request_id, min_position, bytes(data[end - length : end])
        at = end
    del data[:at]


def split_fixed(body: bytes, size: int) -> list[bytes]:
    """The items of a body that is nothing but items of one size."""
    if len(body) % size:
        raise ValueError(f"{len(body)} bytes are no list of {size}-byte items")
    return [body[at : at + size] for at in range(0, len(body), size)]
