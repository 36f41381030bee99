"""The segment files of an open journal: which hold groups, which stand ready, and how one becomes the other.

Owns the files' life: made and written with zeroes under a scratch name, renamed when ready, begun with a header,
recycled by rename or removed once released. Used by the writer thread only. Invariant: files go away oldest first, each
durably before the next, so that a crash never leaves a gap; numbers are never used twice.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from wheeld.journal.files import FileOps
from wheeld.journal.format import SegmentHeader, segment_name
from wheeld.model import limits

SCRATCH_NAME: Final = "segment.new"
SLICE_BYTES: Final = 256 * 1024  # a smaller slice takes hardly less time: the sync of fresh blocks commits metadata
NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
ZEROES: Final = bytes(SLICE_BYTES)


class UsedSegment(NamedTuple):
    """A segment that holds groups."""

    number: int
    path: Path
    first_group: int
    size: int


class ReadySegment(NamedTuple):
    """A segment that waits for its first group."""

    number: int
    path: Path
    size: int


class Segments:
    """See the module."""

    def __init__(
        self,
        directory: Path,
        segment_bytes: int,
        ops: FileOps,
        used: Sequence[UsedSegment],
        ready: Sequence[ReadySegment],
        next_number: int,
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._ops = ops
        self.used = deque(used)
        self.ready = deque(ready)
        self._next_number = next_number
        self._scratch_fd = -1
        self.prepared_bytes = 0

    @property
    def count(self) -> int:
        """Segment files that exist."""
        return len(self.used) + len(self.ready)

    @property
    def current(self) -> UsedSegment:
        """The segment that takes the next group."""
        return self.used[-1]

    @property
    def preparing(self) -> bool:
        """Whether a new segment is under way: its space is reserved, `prepared_bytes` of it are written."""
        return self._scratch_fd >= 0

    def prepare_slice(self) -> None:
        """One step of making a new segment: first reserve its space (OSError ENOSPC), then write it slice by slice."""
        scratch = self._directory / SCRATCH_NAME
        if self._scratch_fd < 0:
            self._scratch_fd = self._ops.open(scratch, create=True)
            self.prepared_bytes = 0
            self._ops.allocate(self._scratch_fd, self._segment_bytes)
            return
        # Zeroes are really written: a sync into blocks that are only reserved would have to change the file's metadata.
        length = min(SLICE_BYTES, self._segment_bytes - self.prepared_bytes)
        self._ops.write_synced(self._scratch_fd, [ZEROES[:length]], self.prepared_bytes)
        self.prepared_bytes += length
        if self.prepared_bytes >= self._segment_bytes:
            self._close_scratch()
            self._add_ready(scratch, self._segment_bytes)

    def abandon_preparation(self) -> None:
        """Give back what a half-made segment takes; the next slice begins anew."""
        if self._scratch_fd >= 0:
            self._close_scratch()
            self._ops.unlink(self._directory / SCRATCH_NAME)

    def _close_scratch(self) -> None:
        fd, self._scratch_fd = self._scratch_fd, -1
        self.prepared_bytes = 0
        self._ops.close(fd)

    def _add_ready(self, path: Path, size: int) -> None:
        target = self._directory / segment_name(self._next_number)
        self._ops.rename(path, target)
        self.ready.append(ReadySegment(self._next_number, target, size))
        self._next_number += 1

    def begin_next(self, store_uuid: bytes, first_group: int, previous_crc: int) -> tuple[int, bytes]:
        """Go on to the next ready segment; returns its descriptor and the header to write with the first group."""
        segment = self.ready[0]
        fd = self._ops.open(segment.path, create=False)
        self.ready.popleft()
        self.used.append(UsedSegment(segment.number, segment.path, first_group, segment.size))
        return fd, SegmentHeader(store_uuid, segment.number, first_group, previous_crc, segment.size).encode()

    def release(self, up_to_group: int) -> None:
        """Recycle or remove the segments whose groups are all at most `up_to_group`; the current one always stays."""
        while len(self.used) > 1 and self.used[1].first_group <= up_to_group + 1:
            segment = self.used.popleft()
            if segment.size == self._segment_bytes and len(self.ready) < limits.READY_SEGMENTS_MAX:
                self._add_ready(segment.path, segment.size)
            else:
                self._ops.unlink(segment.path)
