"""Job identifiers.

A JobId is 16 bytes, big endian: `shard u16 | bucket u32 | seq u64 | reserved u16 (0)`. The bucket is the job's first
effective
`schedule_time` divided by the bucket width, so the id is also the job's key in the store and an insert into a bucket
is an append.
Text form: 26 characters of Crockford base32 (the 128 bits, left padded with two zero bits).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

ID_BYTES = 16
ID_TEXT_LENGTH = 26
NO_ID = bytes(ID_BYTES)
_LAYOUT = struct.Struct(">HIQH")
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_VALUES |= {character.lower(): value for character, value in _VALUES.items()}
_VALUES |= {"o": 0, "O": 0, "i": 1, "I": 1, "l": 1, "L": 1}


class JobIdParts(NamedTuple):
    """What an id says of its job: where it lives and in which bucket it was first due."""

    shard: int
    bucket: int
    seq: int


def pack_id(shard: int, bucket: int, seq: int) -> bytes:
    """The 16 bytes of an id."""
    return _LAYOUT.pack(shard, bucket, seq, 0)


def unpack_id(job_id: bytes) -> JobIdParts:
    """The parts of a 16-byte id."""
    shard, bucket, seq, _ = _LAYOUT.unpack(job_id)
    return JobIdParts(shard, bucket, seq)


def id_to_text(job_id: bytes) -> str:
    """26 characters of Crockford base32; sorts as the bytes do."""
    number = int.from_bytes(job_id, "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def id_from_text(text: str) -> bytes | None:
    """The 16 bytes, or None when the text is not an id (wrong length, letter or overflow)."""
    if len(text) != ID_TEXT_LENGTH:
        return None
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            return None
        number = number << 5 | value
    return number.to_bytes(ID_BYTES, "big") if number < 1 << 128 else None
