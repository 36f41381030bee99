"""The thread that keeps segments ready: makes new ones ahead, recycles released ones, removes what is too many.

Owns all files of an open journal but the one under the writer's hands, so that nothing but writes and syncs of groups
happens on the writer's thread. A segment is made and written with zeroes under a scratch name and renamed when ready; a
released one is renamed to the next number, or removed. Invariant: files go away oldest first, each durably before the
next, so that a crash never leaves a gap; numbers are never used twice.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final

from wheeld.journal.files import FileOps
from wheeld.journal.format import segment_name
from wheeld.journal.segments import ReadySegment, Segments, UsedSegment
from wheeld.model import limits

SCRATCH_NAME: Final = "segment.new"
SLICE_BYTES: Final = 256 * 1024  # a smaller slice takes hardly less time: the sync of fresh blocks commits metadata
SLICES_SOON: Final = 2
SLICES_IN_NEED: Final = 8
"""Written at once while no segment is ready, and while groups wait for one: more bytes for each commit of metadata."""
NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
ZEROES: Final = bytes(SLICE_BYTES)
SPACE_RETRY_S: Final = 1.0


class Task(Enum):
    """What there is to do beside released segments."""

    END = 0
    PREPARE = 1


class Supply:
    """See the module. The hooks are called from this thread."""

    def __init__(
        self,
        directory: Path,
        segments: Segments,
        ops: FileOps,
        on_space_low: Callable[[bool], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._directory = directory
        self._segments = segments
        self._ops = ops
        self._on_space_low = on_space_low
        self._on_failure = on_failure
        self._scratch_fd = -1
        self._prepared_bytes = 0
        self._space_retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="wheeld-segments", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread's end, which `Segments.end` brings about."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while (task := self._next_task()) is not Task.END:
                if isinstance(task, UsedSegment):
                    self._let_go(task)
                else:
                    self._prepare()
            self._abandon_preparation()
        except BaseException as error:
            self._on_failure(error)

    def _next_task(self) -> Task | UsedSegment:
        """The next thing to do; released segments first, for a recycled one saves making one."""
        segments = self._segments
        with segments.changed:
            while True:
                released = segments.pop_released()
                if released is not None:
                    return released
                if segments.ended:
                    return Task.END
                patience_s = None
                if len(segments.ready) < segments.wanted:
                    patience_s = self._space_retry_at - time.monotonic()
                    # The shortage is told when the last ready segment is taken, not when it is full.
                    if patience_s <= 0 or not (segments.ready or segments.free_space_low):
                        return Task.PREPARE
                segments.changed.wait(patience_s)

    def _let_go(self, segment: UsedSegment) -> None:
        """Recycle a released segment, or remove it when enough stand ready."""
        if segment.size == self._segments.segment_bytes and len(self._segments.ready) < limits.READY_SEGMENTS_MAX:
            self._add_ready(segment.path)
        else:
            self._ops.unlink(segment.path)

    def _prepare(self) -> None:
        """One step of the next segment, unless the disk is full: first reserve its space, then write it by slices."""
        try:
            if self._scratch_fd < 0:
                self._reserve()
            else:
                self._write_slices()
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self._abandon_preparation()
            self._space_retry_at = time.monotonic() + SPACE_RETRY_S
            if not self._segments.ready:
                self._note_space(True)

    def _reserve(self) -> None:
        self._scratch_fd = self._ops.open(self._directory / SCRATCH_NAME, create=True)
        self._prepared_bytes = 0
        self._ops.allocate(self._scratch_fd, self._segments.segment_bytes)

    def _write_slices(self) -> None:
        """Zeroes are really written: a sync into blocks that are only reserved would have to change the file's
        metadata. While a segment stands ready, groups have the disk for as long as each slice takes."""
        spare = bool(self._segments.ready)
        left = self._segments.segment_bytes - self._prepared_bytes
        slices = 1 if spare else SLICES_IN_NEED if self._segments.waited_for else SLICES_SOON
        length = min(left, slices * SLICE_BYTES)
        parts = [ZEROES[: min(SLICE_BYTES, length - at)] for at in range(0, length, SLICE_BYTES)]
        elapsed_ns = self._ops.write_synced(self._scratch_fd, parts, self._prepared_bytes)
        self._prepared_bytes += length
        if length == left:
            self._close_scratch()
            self._add_ready(self._directory / SCRATCH_NAME)
        elif spare:
            with self._segments.changed:
                if not self._segments.ended:
                    self._segments.changed.wait(elapsed_ns / 1e9)

    def _add_ready(self, path: Path) -> None:
        segments = self._segments
        target = self._directory / segment_name(segments.next_number)
        self._ops.rename(path, target)
        segments.add_ready(ReadySegment(segments.next_number, target, segments.segment_bytes))
        self._note_space(False)

    def _abandon_preparation(self) -> None:
        """Give back what a half-made segment takes; the next slice begins anew."""
        if self._scratch_fd >= 0:
            self._close_scratch()
        scratch = self._directory / SCRATCH_NAME
        if scratch.exists():
            self._ops.unlink(scratch)

    def _close_scratch(self) -> None:
        fd, self._scratch_fd = self._scratch_fd, -1
        self._prepared_bytes = 0
        self._ops.close(fd)

    def _note_space(self, low: bool) -> None:
        if self._segments.note_space(low):
            self._on_space_low(low)
