"""One read transaction and the job rows that can be read in it.

Owns the transaction. Invariant: everything that a snapshot gives is of one position, the one it names.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from wheeld.model import limits
from wheeld.model.ids import ID_BYTES, NO_ID
from wheeld.model.rows import ROW_BACKLOG, ROW_HEAD
from wheeld.model.spec import SPEC_HEAD
from wheeld.store import layout
from wheeld.store._fold import RowFilter, pack_rows
from wheeld.store.checkpoint import read_position, read_watermark
from wheeld.store.environment import MainStore
from wheeld.store.layout import Table

TIME_MAX_MS: Final = (1 << 64) - 1
HIGHEST_ID: Final = b"\xff" * ID_BYTES
SLICE_ROWS_MAX: Final = 2000
SLICE_BYTES_MAX: Final = 512 * limits.KIB
IDS_PER_SLICE: Final = 256
IDS_PER_GET: Final = 32
FLAGS_AT: Final = 39
SPEC_PRIORITY_AT: Final = 2
SPEC_QUEUE_LEN_AT: Final = 3

Place = tuple[int, bytes]
"""(due_ms, id): where a job stands in the order of firing."""


class Snapshot:
    """A consistent view of the main environment. Close it soon: it keeps old pages from being reused."""

    def __init__(self, store: MainStore) -> None:
        self.store = store
        self.tables = store.tables
        self.txn = store.begin()
        self.position = read_position(store, self.txn)
        self.watermark_ms = read_watermark(store, self.txn)
        self._has_backlog = self.entries(Table.BACKLOG) > 0

    def close(self) -> None:
        """End the transaction."""
        self.txn.abort()

    def entries(self, table: Table) -> int:
        """How many rows the table has."""
        return int(self.txn.stat(self.tables[table])["entries"])

    def cursor(self, table: Table) -> Any:
        """A cursor on the table."""
        return self.txn.cursor(self.tables[table])

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One record."""
        found: bytes | None = self.txn.get(key, db=self.tables[table])
        return found

    def slices(self, table: Table, first: bytes, end: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        """The rows with first <= key < end, in lists of bounded size."""
        cursor = self.cursor(table)
        found = cursor.set_range(first)
        while found and cursor.key() < end:
            items = take_slice(cursor)
            if items[-1][0] >= end:
                yield items[: bisect_left(items, end, key=lambda item: item[0])]
                return
            yield items
            found = cursor.next()

    def between(self, table: Table, first: bytes, last: bytes) -> dict[bytes, bytes]:
        """The rows with first <= key <= last. For tables that are small beside JOBS."""
        cursor = self.cursor(table)
        rows: dict[bytes, bytes] = {}
        if not cursor.set_range(first):
            return rows
        for key, value in cursor.iternext():
            if key > last:
                break
            rows[key] = value
        return rows

    def of_ids(self, table: Table, ids: Iterable[bytes]) -> dict[bytes, bytes]:
        """The rows of some ids."""
        return dict(self.cursor(table).getmulti(list(ids))) if self.entries(table) else {}

    def row_filter(self, after: Place, before: Place, *, waiting_only: bool, home_only: bool) -> RowFilter:
        """A filter for `rows_of`."""
        return RowFilter(*after, *before, self.store.bucket_width_ms, waiting_only, home_only)

    def rows_of(
        self, ids: Iterable[bytes], rows_filter: RowFilter, *, in_backlog: bool | None = None
    ) -> Iterator[bytes]:
        """Runs of job rows of the ids that exist and pass the filter, each of bounded size. `in_backlog`: whether all
        of them have backlog rows or none has, where the caller knows.
        """
        items: list[tuple[bytes, bytes]] = []
        used = 0
        cursor, left = self.cursor(Table.JOBS), iter(ids)
        while some := list(islice(left, IDS_PER_GET)):
            found = cursor.getmulti(some)
            items += found
            used += sum([len(spec) for _, spec in found])
            if used >= SLICE_BYTES_MAX or len(items) >= IDS_PER_SLICE:
                yield self._pack(items, rows_filter, in_backlog)
                items, used = [], 0
        yield self._pack(items, rows_filter, in_backlog)

    def _pack(self, items: list[tuple[bytes, bytes]], rows_filter: RowFilter, in_backlog: bool | None) -> bytes:
        ids = [job_id for job_id, _ in items]
        states, leases = self.of_ids(Table.STATE, ids), self.of_ids(Table.LEASES, ids)
        rows = pack_rows(items, states, leases, rows_filter, ROW_BACKLOG if in_backlog else 0)
        return rows if in_backlog is not None else self.flag_backlog(rows)

    def any_rows_of(self, ids: Iterable[bytes], *, in_backlog: bool | None = None) -> Iterator[bytes]:
        """Runs of job rows of the given ids, whatever their state."""
        everything = self.row_filter((0, NO_ID), (TIME_MAX_MS, HIGHEST_ID), waiting_only=False, home_only=False)
        return self.rows_of(ids, everything, in_backlog=in_backlog)

    def backlog_end_ms(self) -> int:
        """No job of the backlog is due at or after this time."""
        cursor = self.cursor(Table.BACKLOG)
        end_ms = 0
        found = cursor.first()
        while found:
            prefix = cursor.key()[: cursor.key().index(0) + 2]
            beyond = cursor.set_range(prefix + b"\xff" * 25)
            (cursor.prev if beyond else cursor.last)()
            end_ms = max(end_ms, layout.WAITING_KEY.unpack_from(cursor.key(), len(prefix) - 2)[2] + 1)
            found = cursor.next()
        return end_ms

    def flag_backlog(self, rows: bytes, end_ms: int = TIME_MAX_MS) -> bytes:
        """The same rows with ROW_BACKLOG set where the backlog has them, which holds nothing due from `end_ms` on."""
        if not self._has_backlog or not rows:
            return rows
        flagged, at = bytearray(rows), 0
        while at < len(rows):
            head = ROW_HEAD.unpack_from(rows, at)
            if head[2] < end_ms and self.get(Table.BACKLOG, _backlog_key(rows, at, head)) is not None:
                flagged[at + FLAGS_AT] |= ROW_BACKLOG
            at += head[0]
        return bytes(flagged)

    def without_backlog(self, rows: bytes, end_ms: int) -> bytes:
        """The rows that the backlog does not have, which holds nothing due from `end_ms` on."""
        if not self._has_backlog or not rows:
            return rows
        spans: list[tuple[int, int, bytes]] = []
        at = 0
        while at < len(rows):
            head = ROW_HEAD.unpack_from(rows, at)
            spans.append((at, at + head[0], _backlog_key(rows, at, head) if head[2] < end_ms else b""))
            at += head[0]
        keys = [key for _, _, key in spans if key]
        found = {key for key, _ in self.cursor(Table.BACKLOG).getmulti(keys)} if keys else set()
        if not found:
            return rows
        return b"".join([rows[start:end] for start, end, key in spans if key not in found])


def _backlog_key(rows: bytes, at: int, head: tuple[Any, ...]) -> bytes:
    """Where the backlog would hold the row; reads no more than that takes, for there may be millions."""
    spec_at = at + ROW_HEAD.size + head[10] + head[12]
    priority, queue_len = rows[spec_at + SPEC_PRIORITY_AT], rows[spec_at + SPEC_QUEUE_LEN_AT]
    queue_at = spec_at + SPEC_HEAD.size
    return layout.backlog_key(rows[queue_at : queue_at + queue_len], priority, head[2], head[1])


def take_slice(cursor: Any) -> list[tuple[bytes, bytes]]:
    """The rows from the cursor on, up to a bound on rows or bytes; the cursor stays on the last one taken."""
    items: list[tuple[bytes, bytes]] = []
    used = 0
    for item in cursor.iternext():
        items.append(item)
        used += len(item[1])
        if used >= SLICE_BYTES_MAX or len(items) >= SLICE_ROWS_MAX:
            break
    return items
