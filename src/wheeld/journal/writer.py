"""The one thread that writes groups: frame, write, sync, tell; then the next.

Owns the current segment's descriptor and, through `Segments`, all files while the journal is open. Shared fields say
who writes them. Invariants: group N+1 is written only after group N is durable; a failed write or sync is never tried
again; a full disk makes the thread wait for a segment to be released, it never makes it give up a group.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from wheeld.journal import _journal
from wheeld.journal.errors import JournalFailedError
from wheeld.journal.files import FileOps
from wheeld.journal.format import FIRST_GROUP_OFFSET
from wheeld.journal.segments import NO_SPACE, Segments
from wheeld.journal.sync_times import SyncTimes

SPACE_RETRY_S: Final = 1.0
IDLE_S: Final = 0.005
PADDING: Final = bytes(_journal.ALIGN)


class Append(NamedTuple):
    """Order: make this group durable."""

    number: int
    payload: bytes
    time_ms: int


class Release(NamedTuple):
    """Order: segments up to this group may go."""

    up_to_group: int


class Close(NamedTuple):
    """Order: end once everything before is done."""


Order = Append | Release | Close


class Hooks(NamedTuple):
    """Called from the writer thread."""

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
        self._waiting: deque[Order] = deque()  # taken while no segment was free
        self._space_retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="wheeld-journal", daemon=True)
        self.failure: JournalFailedError | None = None  # written by the thread, read by anyone
        self.free_space_low = False  # written by the thread, read by anyone
        self.stalled = False  # written by the thread, read by anyone
        self.taken_bytes = (
            0  # payload bytes of the groups that are durable; written by the thread, read by the appender
        )
        self.bytes_written = 0  # written by the thread, read by anyone
        self.sync_times = SyncTimes()

    @property
    def segment_count(self) -> int:
        """Segment files that exist."""
        return self._segments.count

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def give(self, order: Order) -> None:
        """Queue an order; any thread."""
        self._orders.put(order)

    def join(self) -> None:
        """Wait for the thread's end, which a Close brings about."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._perform(self._next_order()):
                pass
            self._segments.abandon_preparation()
        except BaseException as error:
            failure = (
                error
                if isinstance(error, JournalFailedError)
                else JournalFailedError(f"journal write failed: {error!r}")
            )
            failure.__cause__ = None if failure is error else error
            self.failure = failure
            self._hooks.on_failure(failure)
        finally:
            self._ops.close(self._fd)

    def _perform(self, order: Order) -> bool:
        """Do one order; False for the last one."""
        if isinstance(order, Append):
            self._write(order)
        elif isinstance(order, Release):
            self._segments.release(order.up_to_group)
            self._note_space()
        return not isinstance(order, Close)

    def _next_order(self) -> Order:
        """The next order; time without orders goes into making the next segment ready."""
        if self._waiting:
            return self._waiting.popleft()
        patience_s = IDLE_S  # between the groups of a busy journal there are gaps too, and a slice outlasts them
        while not self._segments.ready:
            order = self._await_space() if self.free_space_low else self._await_order(patience_s)
            if order is not None:
                return order
            self._prepare()
            patience_s = 0.0
        return self._orders.get()

    def _await_order(self, patience_s: float) -> Order | None:
        """An order, or None when none comes in time."""
        try:
            return self._orders.get(timeout=patience_s)
        except queue.Empty:
            return None

    def _await_space(self) -> Order | None:
        """An order, or None when it is time to try for space again."""
        return self._await_order(max(0.0, self._space_retry_at - time.monotonic()))

    def _prepare(self) -> None:
        """One step of making the next segment, unless the disk is full."""
        if self.free_space_low and time.monotonic() < self._space_retry_at:
            return
        try:
            self._segments.prepare_slice()
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self._segments.abandon_preparation()
            self._space_retry_at = time.monotonic() + SPACE_RETRY_S
            self._set_space_low(True)
        self._note_space()

    def _note_space(self) -> None:
        """The shortage is over once a segment is ready."""
        if self._segments.ready:
            self._set_space_low(False)

    def _set_space_low(self, low: bool) -> None:
        if self.free_space_low != low:
            self.free_space_low = low
            self._hooks.on_space_low(low)

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
        self._hooks.on_durable(group.number)
        self._keep_pace()

    def _keep_pace(self) -> None:
        """Without idle time, make the next segment all the same.

        Its space is reserved at once, so that a full disk shows early. It is written over the second half of this one:
        before that a release may bring a recycled segment, which costs nothing.
        """
        segments = self._segments
        if segments.ready:
            return
        if not segments.preparing:
            self._prepare()
        due_bytes = 2 * self._offset - segments.current.size
        while segments.preparing and not segments.ready and segments.prepared_bytes < due_bytes:
            self._prepare()

    def _switch(self, first_group: int) -> bytes:
        """Go on in the next segment; returns its header, to be written with its first group."""
        while not self._segments.ready:
            self._prepare()
            if self.free_space_low:
                self._stall()
        self.stalled = False
        fd, header = self._segments.begin_next(self._store_uuid, first_group, self._last_crc)
        self._ops.close(self._fd)
        self._fd, self._offset = fd, FIRST_GROUP_OFFSET
        return header

    def _stall(self) -> None:
        """No segment and no space: serve releases, which bring segments back; everything else waits its turn."""
        self.stalled = True
        order = self._await_space()
        if isinstance(order, Release):
            self._perform(order)
        elif isinstance(order, Close):
            raise JournalFailedError("closed while groups waited for disk space: they are not durable")
        elif order is not None:
            self._waiting.append(order)
