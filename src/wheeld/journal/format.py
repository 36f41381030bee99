"""The layout of segment files: names, the header block, and where groups may stand (docs/storage/journal.md).

Owns no file. The group frame itself is native (`_journal`). Invariant: whoever changes a layout raises its version,
keeps the reader of the old one, and adds golden bytes to tests/data.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Final, NamedTuple

from wheeld.journal import _journal
from wheeld.model import limits

SEGMENT_MAGIC: Final = 0x47534A57  # "WJSG"
SEGMENT_VERSION: Final = 1
BLOCK_BYTES: Final = limits.JOURNAL_BLOCK_BYTES
SEGMENT_HEADER_BYTES: Final = BLOCK_BYTES
FIRST_GROUP_OFFSET: Final = SEGMENT_HEADER_BYTES

# magic, version, flags, crc, reserved, number, first group, previous crc, reserved, segment bytes, store uuid
_HEADER: Final = struct.Struct("<IHHIIQQIIQ16s")
_CRC_AT: Final = 8
_NAME: Final = re.compile(r"segment-(\d{16})\.journal")

STATUS_TEXT: Final = {
    _journal.END: "the end of the file",
    _journal.NO_MAGIC: "no group",
    _journal.LENGTH: "a group that reaches past the end of the file",
    _journal.CHECKSUM: "a group with a wrong checksum",
    _journal.NEWER: "a group of a newer format version",
    _journal.STORE: "a group of another store",
    _journal.NUMBER: "another group",
    _journal.CHAIN: "a group behind another predecessor",
}


class SegmentHeader(NamedTuple):
    """What a segment says of itself once its first group is written."""

    store_uuid: bytes
    number: int
    first_group: int
    previous_crc: int
    segment_bytes: int

    def encode(self) -> bytes:
        """The block at the start of the file."""
        bare = _HEADER.pack(
            SEGMENT_MAGIC, SEGMENT_VERSION, 0, 0, 0, self.number, self.first_group, self.previous_crc, 0,
            self.segment_bytes, self.store_uuid,
        ).ljust(SEGMENT_HEADER_BYTES, b"\0")  # fmt: skip
        return bare[:_CRC_AT] + struct.pack("<I", _journal.crc32c(bare)) + bare[_CRC_AT + 4 :]


class HeaderVersionError(ValueError):
    """A whole segment header of a version that this build does not know."""


def decode_header(data: bytes) -> SegmentHeader | None:
    """The header in the first block of a segment, or None when there is no whole one."""
    if len(data) < SEGMENT_HEADER_BYTES:
        return None
    data = data[:SEGMENT_HEADER_BYTES]
    magic, version, _, crc, _, number, first_group, previous_crc, _, segment_bytes, store_uuid = _HEADER.unpack_from(
        data
    )
    if magic != SEGMENT_MAGIC or _journal.crc32c(data[:_CRC_AT] + bytes(4) + data[_CRC_AT + 4 :]) != crc:
        return None
    if version != SEGMENT_VERSION:
        raise HeaderVersionError(f"segment format version {version}, this build knows {SEGMENT_VERSION}")
    return SegmentHeader(store_uuid, number, first_group, previous_crc, segment_bytes)


def segment_name(number: int) -> str:
    """File name of a segment."""
    return f"segment-{number:016d}.journal"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name, or None for any other file."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def segment_paths(directory: Path) -> list[tuple[int, Path]]:
    """The segments of a journal by number; other files (a half-made segment) are left out."""
    found = [(segment_number(path.name), path) for path in directory.iterdir()]
    return sorted((number, path) for number, path in found if number is not None)


def group_bytes_max(segment_bytes: int) -> int:
    """The largest payload that a segment of this size can hold."""
    return segment_bytes - SEGMENT_HEADER_BYTES - int(_journal.HEADER_BYTES)


assert BLOCK_BYTES == _journal.ALIGN, "the extension was built with another alignment"
assert group_bytes_max(limits.SEGMENT_BYTES) == limits.GROUP_BYTES_HARD
