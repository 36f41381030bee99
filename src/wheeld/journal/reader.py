"""Read durable groups in order, from another process, while the writer goes on.

Owns one descriptor and one window of bytes. Whoever reads must hold back the writer's `release` until it is done with
the groups: segments behind that are renamed and overwritten. Invariant: a group is handed out only when its checksum,
number, store and predecessor are right, so overwritten or stale bytes can never pass for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from wheeld.journal import _journal
from wheeld.journal.errors import JournalCorruptError, JournalForeignError, JournalGapError
from wheeld.journal.format import (
    FIRST_GROUP_OFFSET,
    SEGMENT_HEADER_BYTES,
    STATUS_TEXT,
    SegmentHeader,
    decode_header,
    segment_name,
    segment_paths,
)

WINDOW_BYTES: Final = 1024 * 1024


class Group(NamedTuple):
    """One group. The payload is a view of a buffer that nobody writes to again, so it may be kept."""

    number: int
    time_ms: int
    payload: memoryview


class JournalReader:
    """Hands out the groups behind `after_group`. Not thread-safe."""

    def __init__(self, directory: Path, store_uuid: bytes, after_group: int = 0) -> None:
        self._directory = directory
        self._store_uuid = store_uuid
        self.position = after_group  # the last group handed out
        self._fd = -1
        self._header: SegmentHeader | None = None
        self._window = b""
        self._window_start = 0
        self._cursor = _journal.Cursor(store_uuid, 0, 0, 0)

    def read(self, up_to_group: int) -> Iterator[Group]:
        """The groups behind `position` up to `up_to_group`, which must be durable."""
        if up_to_group <= self.position:
            return
        if self._fd < 0:
            self._seek()
        while self.position < up_to_group:
            status = self._step()
            if status != _journal.GOOD:
                self._enter_next_segment(status)
                continue
            self.position = self._cursor.number - 1
            yield self._group()

    def close(self) -> None:
        """Close the descriptor; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _group(self) -> Group:
        start = self._cursor.last_offset + _journal.HEADER_BYTES
        payload = memoryview(self._window)[start : start + self._cursor.found_length]
        return Group(self._cursor.number - 1, self._cursor.found_time_ms, payload)

    def _step(self) -> int:
        """Step to the next group; looks again with fresh bytes before it says that the group is not there."""
        status = self._cursor.next(self._window)
        if status == _journal.GOOD:
            return status
        self._refill(WINDOW_BYTES)
        status = self._cursor.next(self._window)
        if status == _journal.LENGTH:
            self._refill(_journal.frame_size(self._cursor.found_length))
            status = self._cursor.next(self._window)
        return status

    def _refill(self, length: int) -> None:
        """Move the window to the cursor and read it anew."""
        assert self._header is not None
        at = self._window_start + self._cursor.offset
        self._window = os.pread(self._fd, max(0, min(length, self._header.segment_bytes - at)), at)
        self._window_start = at
        self._cursor.offset = 0

    def _seek(self) -> None:
        """Go to the group behind `position`."""
        wanted = self.position + 1
        holding = None
        for number, path in segment_paths(self._directory):
            header = _read_header(path)
            if header is not None and header.number == number and header.first_group <= wanted:
                holding = path
        if holding is None:
            raise JournalGapError(f"{self._directory} does not hold group {wanted} any more")
        self._enter(holding)
        while self._cursor.number < wanted:
            status = self._step()
            if status != _journal.GOOD:
                number = self._cursor.number
                self.close()
                raise JournalGapError(
                    f"{holding} holds no group {number} on the way to group {wanted}: {STATUS_TEXT[status]}"
                )

    def _enter(self, path: Path) -> None:
        """Open a begun segment at its first group."""
        self.close()
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        header = decode_header(os.pread(fd, SEGMENT_HEADER_BYTES, 0))
        if header is None or path.name != segment_name(header.number):
            os.close(fd)
            raise JournalGapError(f"{path} was recycled while it was read")
        if header.store_uuid != self._store_uuid:
            os.close(fd)
            raise JournalForeignError(f"{path} belongs to store {header.store_uuid.hex()}")
        self._fd = fd
        self._header = header
        self._window = b""
        self._window_start = FIRST_GROUP_OFFSET
        self._cursor = _journal.Cursor(self._store_uuid, 0, header.first_group, header.previous_crc)

    def _enter_next_segment(self, status: int) -> None:
        """Go on in the segment behind, which must continue exactly here."""
        assert self._header is not None
        number, crc = self._cursor.number, self._cursor.previous_crc
        path = self._directory / segment_name(self._header.number)
        offset = self._window_start + self._cursor.offset
        following = self._directory / segment_name(self._header.number + 1)
        header = _read_header(following)
        if header is None or (header.number, header.first_group, header.previous_crc) != (
            self._header.number + 1,
            number,
            crc,
        ):
            raise JournalCorruptError(
                path, offset, number, f"{STATUS_TEXT[status]}, and no segment that goes on with it"
            )
        self._enter(following)


def _read_header(path: Path) -> SegmentHeader | None:
    """A segment's header, or None when there is no such file or no whole header."""
    try:
        with path.open("rb") as file:
            return decode_header(file.read(SEGMENT_HEADER_BYTES))
    except FileNotFoundError:
        return None
