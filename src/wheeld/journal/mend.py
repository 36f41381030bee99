"""Make a scanned journal writable: a first segment for an empty one, a sound tail for every other.

Owns the writes of recovery. What was read may stand in the page cache only (the process was killed between write and
sync, or the sync failed), and a torn group may lie behind the tail. Invariant: when `open_tail` returns, the last group
is durable, and no header of a torn group stands where the next group goes.
"""

from __future__ import annotations

from pathlib import Path

from wheeld.journal.files import FileOps
from wheeld.journal.format import BLOCK_BYTES, SegmentHeader, segment_name
from wheeld.journal.recovery import Scan
from wheeld.journal.segments import ReadySegment, Segments, UsedSegment
from wheeld.journal.supply import SCRATCH_NAME, SLICE_BYTES, ZEROES
from wheeld.runtime.files import fsync_directory


def open_tail(directory: Path, store_uuid: bytes, scan: Scan, segment_bytes: int, ops: FileOps) -> tuple[int, Segments]:
    """Descriptor of the segment that takes the next group, and the files as the writer needs them."""
    fsync_directory(directory)
    fsync_directory(directory.parent)
    if (directory / SCRATCH_NAME).exists():
        ops.unlink(directory / SCRATCH_NAME)
    if not scan.begun:
        return _create(directory, store_uuid, segment_bytes, ops)
    used = [
        UsedSegment(found.number, found.path, found.header.first_group, found.size)
        for found in scan.begun
        if found.header is not None
    ]
    ready = _usable_ready(scan, segment_bytes, ops)
    header = scan.begun[-1].header
    assert header is not None
    fd = ops.open(used[-1].path, create=False)
    _mend_tail(fd, scan, header, ops)
    return fd, Segments(segment_bytes, used, ready)


def _create(directory: Path, store_uuid: bytes, segment_bytes: int, ops: FileOps) -> tuple[int, Segments]:
    """The first segment; named only when its header is durable, so that every later start finds a begun segment."""
    scratch = directory / SCRATCH_NAME
    fd = ops.open(scratch, create=True)
    ops.allocate(fd, segment_bytes)
    _zero(fd, 0, segment_bytes, ops)
    ops.write_synced(fd, [SegmentHeader(store_uuid, 1, 1, 0, segment_bytes).encode()], 0)
    target = directory / segment_name(1)
    ops.rename(scratch, target)
    return fd, Segments(segment_bytes, [UsedSegment(1, target, 1, segment_bytes)], [])


def _usable_ready(scan: Scan, segment_bytes: int, ops: FileOps) -> list[ReadySegment]:
    """The ready segments in order; from the first of another size or number on they are removed, last one first."""
    number = scan.begun[-1].number
    ready: list[ReadySegment] = []
    for found in scan.ready:
        number += 1
        if found.size != segment_bytes or found.number != number:
            break
        ready.append(ReadySegment(number, found.path, found.size))
    for found in reversed(scan.ready[len(ready) :]):
        ops.unlink(found.path)
    return ready


def _mend_tail(fd: int, scan: Scan, header: SegmentHeader, ops: FileOps) -> None:
    """Write the segment's header and last group once more, and zeroes where the next group's header goes."""
    ops.write_synced(fd, [header.encode()], 0)
    clean = bytes(min(BLOCK_BYTES, header.segment_bytes - scan.tail_offset))
    parts = [part for part in (scan.last_group_bytes, clean) if part]
    if parts:
        ops.write_synced(fd, parts, scan.tail_offset - len(scan.last_group_bytes))


def _zero(fd: int, start: int, end: int, ops: FileOps) -> None:
    """Write zeroes over a range."""
    for offset in range(start, end, SLICE_BYTES):
        ops.write_synced(fd, [ZEROES[: min(SLICE_BYTES, end - offset)]], offset)
