"""Find the end of a journal after any kind of stop, or prove that it is damaged. Reads only: `mend` writes.

Owns the rule that tells a torn tail from damage: group N+1 is written only after group N is durable, so bytes that are
not group N are a write that never finished, unless this store's group with a higher number stands anywhere behind them.
Invariant: nothing is written here, and a scan either explains every segment or raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wheeld.journal import _journal
from wheeld.journal.errors import JournalCorruptError, JournalForeignError
from wheeld.journal.format import (
    FIRST_GROUP_OFFSET,
    SEGMENT_HEADER_BYTES,
    STATUS_TEXT,
    HeaderVersionError,
    SegmentHeader,
    decode_header,
    segment_name,
    segment_paths,
)


@dataclass(frozen=True)
class FoundSegment:
    """A segment file and its header; without one, the segment is made ready but no group was written to it yet."""

    number: int
    path: Path
    size: int
    header: SegmentHeader | None


@dataclass
class Scan:
    """What a journal holds. `tail` is where the next group goes."""

    begun: list[FoundSegment] = field(default_factory=list)
    ready: list[FoundSegment] = field(default_factory=list)
    first_group: int = 1
    last_group: int = 0
    last_crc: int = 0
    tail_offset: int = FIRST_GROUP_OFFSET
    tail_found: str = "no group"
    last_group_offset: int = FIRST_GROUP_OFFSET
    last_group_bytes: bytes = b""  # empty when the last segment holds no group yet

    @property
    def segments(self) -> int:
        """How many segment files exist."""
        return len(self.begun) + len(self.ready)


def scan_journal(directory: Path, store_uuid: bytes) -> Scan:
    """Walk all groups of a journal; JournalCorruptError when groups are missing before its end."""
    segments = _find_segments(directory)
    if not segments:
        return Scan()
    begun = _begun_segments(segments, store_uuid)
    first = begun[0].header
    assert first is not None
    scan = Scan(begun, segments[len(begun) :], first.first_group, first.first_group - 1, first.previous_crc)
    buffer = _SegmentBuffer()
    data = memoryview(b"")
    for index, segment in enumerate(begun):
        header = segment.header
        assert header is not None
        if (header.first_group, header.previous_crc) != (scan.last_group + 1, scan.last_crc):
            before = begun[index - 1]
            found = f"{scan.tail_found}, while {segment.path.name} begins with group {header.first_group}"
            raise JournalCorruptError(before.path, scan.tail_offset, scan.last_group + 1, found)
        data = buffer.load(segment)[: header.segment_bytes]
        _walk(scan, segment, data, store_uuid)
    _refuse_later_groups(scan, begun[-1], data, scan.tail_offset, store_uuid)
    for segment in list(scan.ready):
        data = buffer.load(segment)
        adopted = segment is scan.ready[0] and _adopt_headless(scan, data, store_uuid)
        _refuse_later_groups(scan, segment, data, scan.tail_offset if adopted else FIRST_GROUP_OFFSET, store_uuid)
    return scan


class _SegmentBuffer:
    """Memory for one segment at a time: most of the cost of reading anew would be the kernel's, for fresh pages."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def load(self, segment: FoundSegment) -> memoryview:
        """The bytes of a segment, until the next load."""
        if len(self._memory) < segment.size:
            self._memory = bytearray(segment.size)
        length = 0
        with segment.path.open("rb", buffering=0) as file:
            while read := file.readinto(memoryview(self._memory)[length : segment.size]):
                length += read
        return memoryview(self._memory)[:length]


def _find_segments(directory: Path) -> list[FoundSegment]:
    """All segments by number, with the header of those that were begun under their present name."""
    found = []
    for number, path in segment_paths(directory):
        with path.open("rb") as file:
            try:
                header = decode_header(file.read(SEGMENT_HEADER_BYTES))
            except HeaderVersionError as error:
                raise JournalForeignError(f"{path}: {error}") from None
        begun = header is not None and header.number == number
        found.append(FoundSegment(number, path, path.stat().st_size, header if begun else None))
    return found


def _begun_segments(segments: list[FoundSegment], store_uuid: bytes) -> list[FoundSegment]:
    """The segments that hold groups: the first ones, without gaps."""
    begun = [segment for segment in segments if segment.header is not None]
    for segment in begun:
        if segment.header is not None and segment.header.store_uuid != store_uuid:
            raise JournalForeignError(f"{segment.path} belongs to store {segment.header.store_uuid.hex()}")
    for segment in begun:
        if segment.header is not None and segment.size < segment.header.segment_bytes:
            # A segment has its whole length before its first group is written, so no crash leaves it shorter: somebody
            # cut it, and what it lacks may have been acknowledged.
            found = f"the file has {segment.size} bytes, its header says {segment.header.segment_bytes}"
            raise JournalCorruptError(segment.path, segment.size, segment.header.first_group, found)
    expected = segments[0].number
    for segment in segments[: len(begun)] or segments[:1]:
        if segment.header is None:
            behind = [later.header for later in begun if later.number > segment.number and later.header]
            group = behind[0].first_group - 1 if behind else 1
            raise JournalCorruptError(segment.path, 0, group, "no whole segment header, though groups must stand here")
        if segment.number != expected:
            path = segment.path.with_name(segment_name(expected))
            raise JournalCorruptError(
                path, 0, segment.header.first_group - 1, "no such file, though later segments exist"
            )
        expected += 1
    return begun


def _walk(scan: Scan, segment: FoundSegment, data: memoryview, store_uuid: bytes) -> None:
    """Pass the good groups of one segment and note where and why they end."""
    cursor = _journal.Cursor(store_uuid, FIRST_GROUP_OFFSET, scan.last_group + 1, scan.last_crc)
    status = cursor.scan(data)
    if status == _journal.NEWER:
        raise JournalForeignError(
            f"{segment.path} at byte {cursor.offset}: {STATUS_TEXT[status]} than this build knows"
        )
    scan.last_group = cursor.number - 1
    scan.last_crc = cursor.previous_crc
    scan.tail_offset = cursor.offset
    scan.tail_found = STATUS_TEXT[status]
    if status == _journal.NUMBER:
        scan.tail_found = f"group {cursor.found_number}"
    scan.last_group_bytes = bytes(data[cursor.last_offset : cursor.offset]) if cursor.groups else b""
    scan.last_group_offset = cursor.last_offset if cursor.groups else FIRST_GROUP_OFFSET


def _adopt_headless(scan: Scan, data: memoryview, store_uuid: bytes) -> bool:
    """Take over the next segment when only its header was lost: its first group proves itself by number and chain."""
    segment = scan.ready[0]
    cursor = _journal.Cursor(store_uuid, FIRST_GROUP_OFFSET, scan.last_group + 1, scan.last_crc)
    if cursor.next(data) != _journal.GOOD:
        return False
    header = SegmentHeader(store_uuid, segment.number, scan.last_group + 1, scan.last_crc, len(data))
    scan.begun.append(FoundSegment(segment.number, segment.path, segment.size, header))
    del scan.ready[0]
    _walk(scan, segment, data, store_uuid)
    if cursor.number <= scan.last_group:
        # A header is written with the segment's first group, so later groups prove that it was durable once.
        found = f"no whole segment header before group {cursor.number}"
        raise JournalCorruptError(segment.path, 0, header.first_group, found)
    return True


def _refuse_later_groups(scan: Scan, segment: FoundSegment, data: memoryview, offset: int, store_uuid: bytes) -> None:
    """Raise when a whole group with a number above the missing one stands in a segment from `offset` on."""
    expected = scan.last_group + 1
    cursor = _journal.Cursor(store_uuid, offset, expected, scan.last_crc)
    later = cursor.find_later(data, offset)
    if later is not None:
        found = f"{scan.tail_found}, while group {later[1]} stands in {segment.path.name} at byte {later[0]}"
        raise JournalCorruptError(scan.begun[-1].path, scan.tail_offset, expected, found)
