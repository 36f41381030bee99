"""The one thread that writes groups: frame, write, sync, tell; then the next.

Owns the current segment's descriptor. Shared fields say who writes them. Invariants: group N+1 is written only after
group N is durable; a failed write or sync is never tried again; a full disk makes the thread wait for a segment, it
never makes it give up a group. Between two syncs nothing else touches the disk: segments come from the supply.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from wheeld.journal import _journal
from wheeld.journal.errors import JournalFailedError
from wheeld.journal.files import FileOps
from wheeld.journal.format import FIRST_GROUP_OFFSET, SegmentHeader
from wheeld.journal.segments import Segments
from wheeld.journal.sync_times import SyncTimes

PADDING: Final = bytes(_journal.ALIGN)


class Append(NamedTuple):
    """Order: make this group durable."""

    number: int
    payload: bytes | memoryview
    time_ms: int


class Close(NamedTuple):
    """Order: end once everything before is done."""


Order = Append | Close


class Hooks(NamedTuple):
    """Called from the journal's threads."""

    on_durable: Callable[[int], None]
    on_failure: Callable[[BaseException], None]
    on_space_low: Callable[[bool], None]


class Writer:
    """See the module. `tail`: descriptor and offset of the next group; `last`: number and checksum of the last."""

    def __init__(
        self,
        store_uuid: bytes,
        ops: FileOps,
        segments: Segments,
        tail: tuple[int, int],
        last: tuple[int, int],
        hooks: Hooks,
    ) -> None:
        self._store_uuid = store_uuid
        self._ops = ops
        self._segments = segments
        self._fd, self._offset = tail
        self.last_durable, self._last_crc = last  # written by the thread, read by anyone
        self._hooks = hooks
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="wheeld-journal", daemon=True)
        self._failing = threading.Lock()
        self.failure: JournalFailedError | None = None  # written once by either thread, read by anyone
        self.taken_bytes = (
            0  # payload bytes of the groups that are durable; written by the thread, read by the appender
        )
        self.bytes_written = 0  # written by the thread, read by anyone
        self.sync_times = SyncTimes()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def give(self, order: Order) -> None:
        """Queue an order; any thread."""
        self._orders.put(order)

    def join(self) -> None:
        """Wait for the thread's end, which a Close brings about."""
        self._thread.join()

    def fail(self, error: BaseException) -> None:
        """The journal takes nothing more; the first cause counts, and is told once. Any thread."""
        failure = error
        if not isinstance(failure, JournalFailedError):
            failure = JournalFailedError(f"journal write failed: {error!r}")
            failure.__cause__ = error
        with self._failing:
            if self.failure is not None:
                return
            self.failure = failure
        self._segments.fail(failure)
        self._orders.put(Close())
        self._hooks.on_failure(failure)

    def _run(self) -> None:
        try:
            while isinstance(order := self._orders.get(), Append) and self.failure is None:
                self._write(order)
        except BaseException as error:
            self.fail(error)
        finally:
            # First, for closing may fail as well: then nobody would end the supply.
            self._segments.end()
            self._ops.close(self._fd)

    def _write(self, group: Append) -> None:
        size = _journal.frame_size(len(group.payload))
        lead = self._switch(group.number) if self._offset + size > self._segments.current.size else b""
        header, crc = _journal.encode_header(
            group.payload, group.number, self._last_crc, group.time_ms, self._store_uuid
        )
        padding = PADDING[: size - len(header) - len(group.payload)]
        parts = [part for part in (lead, header, group.payload, padding) if part]
        elapsed_ns = self._ops.write_synced(self._fd, parts, self._offset - len(lead))
        self._offset += size
        self._last_crc = crc
        self.last_durable = group.number
        self.taken_bytes += len(group.payload)
        self.bytes_written += size + len(lead)
        self.sync_times.add(elapsed_ns)
        if lead:
            self._segments.note_begun()
        self._hooks.on_durable(group.number)

    def _switch(self, first_group: int) -> bytes:
        """Go on in the next segment; returns its header, to be written with its first group."""
        segment = self._segments.begin_next(first_group)
        fd = self._ops.open(segment.path, create=False)
        self._ops.close(self._fd)
        self._fd, self._offset = fd, FIRST_GROUP_OFFSET
        return SegmentHeader(self._store_uuid, segment.number, first_group, self._last_crc, segment.size).encode()
