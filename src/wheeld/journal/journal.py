"""The journal as its owner uses it: open (recover), append groups, learn when they are durable, release, close.

Owns the two threads: the writer, and the supply of segments. The directory must be covered by the data directory's
lock: two open journals would destroy each other. Invariant: `on_durable(N)` is called once per group, in order, and
only when a power failure could no longer take group N away.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wheeld.journal.errors import JournalBacklogError, JournalClosedError, JournalError
from wheeld.journal.files import FileOps, SystemFiles
from wheeld.journal.format import BLOCK_BYTES, FIRST_GROUP_OFFSET, SEGMENT_HEADER_BYTES, group_bytes_max
from wheeld.journal.mend import open_tail
from wheeld.journal.recovery import scan_journal
from wheeld.journal.segments import Segments
from wheeld.journal.supply import Supply
from wheeld.journal.writer import Append, Close, Hooks, Writer
from wheeld.model import limits


def _ignore(_: bool) -> None:
    """The default of on_space_low: the flag says it as well."""


class Journal:
    """One node's journal in a directory of its own (`DIR/journal`). One thread appends, releases and closes."""

    def __init__(
        self,
        writer: Writer,
        supply: Supply,
        segments: Segments,
        last_group: int,
        tail_found: str,
    ) -> None:
        self._writer = writer
        self._supply = supply
        self._segments = segments
        self._last_appended = last_group
        self._given_bytes = 0
        self._payload_bytes_max = group_bytes_max(segments.segment_bytes)
        self._closed = False
        self.recovered_group = last_group
        self.tail_found = tail_found

    @classmethod
    def open(
        cls,
        directory: Path,
        store_uuid: bytes,
        *,
        segment_bytes: int = limits.SEGMENT_BYTES,
        on_durable: Callable[[int], None],
        on_failure: Callable[[BaseException], None],
        on_space_low: Callable[[bool], None] = _ignore,
        ops: FileOps | None = None,
    ) -> Journal:
        """Recover the journal in `directory`, or create it, and start the writer.

        JournalCorruptError when it is damaged before its end. The hooks are called from the journal's threads.
        """
        if segment_bytes % BLOCK_BYTES or segment_bytes < SEGMENT_HEADER_BYTES + 2 * BLOCK_BYTES:
            raise ValueError(
                f"a segment has a multiple of {BLOCK_BYTES} bytes and room for two groups, not {segment_bytes}"
            )
        ops = ops or SystemFiles()
        directory.mkdir(mode=0o700, exist_ok=True)
        scan = scan_journal(directory, store_uuid)
        fd, segments = open_tail(directory, store_uuid, scan, segment_bytes, ops)
        hooks = Hooks(on_durable, on_failure, on_space_low)
        tail_offset = scan.tail_offset if scan.begun else FIRST_GROUP_OFFSET
        writer = Writer(store_uuid, ops, segments, (fd, tail_offset), (scan.last_group, scan.last_crc), hooks)
        supply = Supply(directory, segments, ops, on_space_low, writer.fail)
        writer.start()
        supply.start()
        return cls(writer, supply, segments, scan.last_group, scan.tail_found)

    @property
    def last_group(self) -> int:
        """Number of the last durable group; 0 before the first."""
        return self._writer.last_durable

    @property
    def queued_bytes(self) -> int:
        """Payload bytes appended and not durable yet."""
        return self._given_bytes - self._writer.taken_bytes

    @property
    def free_space_low(self) -> bool:
        """The disk has no room for the next segment: stop what can wait. What fits the current one goes through."""
        return self._segments.free_space_low

    @property
    def stalled(self) -> bool:
        """Groups wait because no segment is left; a release or free space lets them go on."""
        return self._segments.stalled

    @property
    def failure(self) -> JournalError | None:
        """Why the journal takes nothing more, once on_failure was called."""
        return self._writer.failure

    @property
    def bytes_written(self) -> int:
        """Bytes written for groups since open, headers and padding included."""
        return self._writer.bytes_written

    @property
    def segments(self) -> int:
        """Segment files that exist, those made ready included."""
        return self._segments.count

    def append(self, number: int, payload: bytes | memoryview, time_ms: int) -> None:
        """Queue the next group; `on_durable(number)` follows, or `on_failure`."""
        self._refuse_if_ended()
        if number != self._last_appended + 1:
            raise ValueError(f"group {number} cannot follow group {self._last_appended}")
        if len(payload) > self._payload_bytes_max:
            raise ValueError(
                f"a group of {len(payload)} bytes does not fit a segment (at most {self._payload_bytes_max})"
            )
        if self.queued_bytes + len(payload) > limits.JOURNAL_QUEUED_BYTES_MAX:
            raise JournalBacklogError(f"{self.queued_bytes} bytes wait for the journal already")
        self._last_appended = number
        self._given_bytes += len(payload)
        self._writer.give(Append(number, payload, time_ms))

    def release(self, up_to_group: int) -> None:
        """Let go of the segments whose groups are all at most `up_to_group`: nobody will read those groups again."""
        self._refuse_if_ended()
        if up_to_group > self.last_group:
            raise ValueError(f"group {up_to_group} is not durable: the last durable one is {self.last_group}")
        self._segments.release(up_to_group)

    def sync_ms_recent(self, quantile: float) -> float:
        """How long the last 1,024 writes with their syncs took, at this quantile (0 to 1); 0.0 before the first."""
        return self._writer.sync_times.quantile_ms(quantile)

    @property
    def sync_ms_longest(self) -> float:
        """The longest write with its sync since open."""
        return self._writer.sync_times.longest_ns / 1e6

    def close(self) -> None:
        """Write what is queued, then end the threads; harmless when repeated and after a failure."""
        if not self._closed:
            self._closed = True
            self._segments.close_soon()
            self._writer.give(Close())
        self._writer.join()
        self._supply.join()

    def _refuse_if_ended(self) -> None:
        if self._writer.failure is not None:
            raise self._writer.failure
        if self._closed:
            raise JournalClosedError("the journal is closed")
