"""One read transaction and the job rows that can be read in it.

Owns the transaction. Invariant: everything that a snapshot gives is of one position, the one it names.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from wheeld.model import limits
from wheeld.model.ids import ID_BYTES, NO_ID
from wheeld.model.rows import ROW_BACKLOG
from wheeld.store._load import IdSet, backlog_keys
from wheeld.store._rows import RowFilter, pack_rows
from wheeld.store.blocks import read_specs
from wheeld.store.checkpoint import read_jobs, read_position, read_watermark
from wheeld.store.environment import MainStore
from wheeld.store.layout import Table

TIME_MAX_MS: Final = (1 << 64) - 1
HIGHEST_ID: Final = b"\xff" * ID_BYTES
SLICE_ROWS_MAX: Final = 2000
SLICE_BYTES_MAX: Final = 512 * limits.KIB
IDS_PER_SLICE: Final = 256
IDS_PER_GET: Final = 128

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
        """How many rows the table has; of `jobs`, how many jobs."""
        if table is Table.JOBS:
            return read_jobs(self.store, self.txn)
        return int(self.txn.stat(self.tables[table])["entries"])

    def cursor(self, table: Table) -> Any:
        """A cursor on the table."""
        return self.txn.cursor(self.tables[table])

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One record; not of `jobs`."""
        found: bytes | None = self.txn.get(key, db=self.tables[table])
        return found

    def spec(self, job_id: bytes) -> bytes | None:
        """One job's spec. ValueError when its block cannot be read."""
        return read_specs(self.cursor(Table.JOBS), [job_id]).get(job_id)

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

    def between(self, table: Table, first: bytes, last: bytes) -> list[tuple[bytes, bytes]]:
        """The rows with first <= key <= last, in order. For tables that are small beside JOBS."""
        cursor = self.cursor(table)
        rows: list[tuple[bytes, bytes]] = []
        if not cursor.set_range(first):
            return rows
        for item in cursor.iternext():
            if item[0] > last:
                break
            rows.append(item)
        return rows

    def of_ids(self, table: Table, ids: Iterable[bytes]) -> dict[bytes, bytes]:
        """The rows of some ids."""
        return dict(self.cursor(table).getmulti(list(ids))) if self.entries(table) else {}

    def row_filter(self, after: Place, before: Place, *, waiting_only: bool, home_only: bool) -> RowFilter:
        """A filter for `rows_of`."""
        return RowFilter(*after, *before, self.store.bucket_width_ms, waiting_only, home_only)

    def rows_of(
        self,
        ids: Iterable[bytes],
        rows_filter: RowFilter,
        *,
        in_backlog: bool | None = None,
        as_submitted: bool = False,
    ) -> Iterator[bytes]:
        """Runs of job rows of the ids that exist and pass the filter, each of bounded size. `in_backlog`: whether all
        of them have backlog rows or none has, where the caller knows; `as_submitted`: none has a state or a lease.
        """
        items: list[tuple[bytes, bytes]] = []
        used = 0
        cursor, left = self.cursor(Table.JOBS), iter(ids)
        while some := list(islice(left, IDS_PER_GET)):
            specs = read_specs(cursor, some)
            items += [(job_id, specs[job_id]) for job_id in some if job_id in specs]
            used += sum([len(spec) for spec in specs.values()])
            if used >= SLICE_BYTES_MAX or len(items) >= IDS_PER_SLICE:
                yield self._pack(items, rows_filter, in_backlog, as_submitted)
                items, used = [], 0
        yield self._pack(items, rows_filter, in_backlog, as_submitted)

    def _pack(
        self, items: list[tuple[bytes, bytes]], rows_filter: RowFilter, in_backlog: bool | None, as_submitted: bool
    ) -> bytes:
        ids = [job_id for job_id, _ in items] if not as_submitted else []
        states, leases = self.of_ids(Table.STATE, ids), self.of_ids(Table.LEASES, ids)
        rows = pack_rows(items, states, leases, rows_filter, ROW_BACKLOG if in_backlog else 0)
        return rows if in_backlog is not None else self.flag_backlog(rows)

    def any_rows_of(self, ids: Iterable[bytes], *, in_backlog: bool | None = None) -> Iterator[bytes]:
        """Runs of job rows of the given ids, whatever their state."""
        everything = self.row_filter((0, NO_ID), (TIME_MAX_MS, HIGHEST_ID), waiting_only=False, home_only=False)
        return self.rows_of(ids, everything, in_backlog=in_backlog)

    def backlog_ids(self, after_ms: int, until_ms: int) -> Generator[bytes, None, IdSet | None]:
        """The jobs of the backlog that are due from `after_ms` to `until_ms`; None when they are more than memory is
        spent on. Yields nothing, in slices.
        """
        ids, cursor = IdSet(), self.cursor(Table.BACKLOG)
        found = self._has_backlog and cursor.first()
        while found:
            prefix = cursor.key()[: cursor.key().index(0) + 2]
            end = prefix + until_ms.to_bytes(8, "big") + HIGHEST_ID
            found = cursor.set_range(prefix + after_ms.to_bytes(8, "big"))
            while found and cursor.key() <= end:
                keys = list(islice(cursor.iternext(values=False), SLICE_ROWS_MAX))
                ids.add(keys if keys[-1] <= end else keys[: bisect_right(keys, end)])
                if len(ids) > limits.SCAN_BACKLOG_IDS_MAX:
                    return None
                yield b""
                found = cursor.next()
            found = cursor.set_range(prefix + b"\xff" * 25)
        return ids

    def flag_backlog(self, rows: bytes) -> bytes:
        """The same rows with ROW_BACKLOG set where the backlog has them."""
        return self._backlog_of(rows).flag(rows)

    def without_backlog(self, rows: bytes) -> bytes:
        """The rows that the backlog does not have."""
        return self._backlog_of(rows).drop(rows)

    def _backlog_of(self, rows: bytes) -> IdSet:
        """Those of the rows that the backlog has, found one by one."""
        ids = IdSet()
        if self._has_backlog and rows:
            ids.add([key for key, _ in self.cursor(Table.BACKLOG).getmulti(backlog_keys(rows))])
        return ids


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
