"""The LMDB environments: the main one, and one for each day of history.

Owns opening, sizes and the format record inside. Does not own what the tables hold. Invariants: one open handle per
environment and process, never over a fork; sync flags are LMDB's defaults, so a commit that returned is durable.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any, Final

import lmdb

from wheeld.model.errors import StartFailure
from wheeld.store.blocks import block_bytes_max
from wheeld.store.directory import DataDirectory
from wheeld.store.dues import DueIndex
from wheeld.store.layout import FORMAT_RECORD, MAIN_TABLES, META_FORMAT, RECORD_VERSION, Table, day_name, day_of_name

MAP_BYTES: Final = 1 << 40
MAP_BYTES_HISTORY: Final = 1 << 38
MAP_BYTES_LEAST: Final = 1 << 32
READERS_MAX: Final = 16
HISTORY_DAYS_DEFAULT: Final = 7

UNREADABLE: Final = (
    lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.NotFoundError
)  # fmt: skip
"""What LMDB says of a file that is damaged, or is none of its own: opening it again would say the same."""

Transaction = Any
"""lmdb.Transaction: generic in its stubs, not at run time."""


def open_environment(path: Path, map_bytes: int, tables: int, *, readonly: bool = False) -> lmdb.Environment:
    """Open an environment with the largest map that the address space gives; the map is sparse, so its size costs
    nothing.
    """
    while True:
        try:
            return lmdb.open(
                str(path),
                map_size=map_bytes,
                max_dbs=tables,
                max_readers=READERS_MAX,
                mode=0o600,
                readonly=readonly,
                lock=not readonly,
                meminit=False,
                create=not readonly,
            )
        except (lmdb.MemoryError, OverflowError):
            if map_bytes <= MAP_BYTES_LEAST:
                raise
            map_bytes //= 2


class MainStore:
    """The main environment with its tables."""

    def __init__(self, directory: DataDirectory, *, readonly: bool = False, map_bytes: int = MAP_BYTES) -> None:
        self.directory = directory
        self.shards = directory.format.shards
        self.bucket_width_ms = directory.format.bucket_width_ms
        self.dues = DueIndex()
        self.environment = open_environment(directory.store, map_bytes, len(Table), readonly=readonly)
        try:
            self.environment.reader_check()
            if not readonly:
                self._create_tables()
                # The last commit may have been killed before its sync: what is read here is told as durable.
                self.environment.sync(True)
            self.block_bytes_max = block_bytes_max(self.environment.stat()["psize"])
            self.tables = self._open_tables()
            self._check_format()
        except BaseException:
            self.environment.close()
            raise

    def _create_tables(self) -> None:
        fmt = self.directory.format
        with self.environment.begin(write=True) as txn:
            for table in MAIN_TABLES:
                self.environment.open_db(table.name.lower().encode(), txn=txn)
            meta = self.environment.open_db(b"meta", txn=txn)
            record = FORMAT_RECORD.pack(RECORD_VERSION, self.directory.store_uuid, fmt.shards, fmt.bucket_width_ms)
            txn.put(META_FORMAT, record, db=meta, overwrite=False)

    def _open_tables(self) -> dict[Table, Any]:
        names = {table: table.name.lower().encode() for table in MAIN_TABLES}
        return {table: self.environment.open_db(name, create=False) for table, name in names.items()}

    def _check_format(self) -> None:
        fmt = self.directory.format
        wanted = FORMAT_RECORD.pack(RECORD_VERSION, self.directory.store_uuid, fmt.shards, fmt.bucket_width_ms)
        with self.begin() as txn:
            found = txn.get(META_FORMAT, db=self.tables[Table.META])
        if found != wanted:
            raise StartFailure(
                f"{self.directory.store} does not belong to the format file of {self.directory.path}",
                "Put the folders of one backup together; parts of two data directories cannot be mixed.",
            )

    def begin(self, *, write: bool = False) -> Transaction:
        """A transaction; readers see the last commit before they began."""
        return self.environment.begin(write=write)

    def bytes_used(self) -> int:
        """Bytes of the file in use or free for reuse."""
        info = self.environment.info()
        return int((info["last_pgno"] + 1) * self.environment.stat()["psize"])

    def close(self) -> None:
        """Close the environment; transactions must have ended."""
        self.environment.close()


class HistoryDays:
    """The history environments, opened when they are needed and kept open until their day is removed."""

    def __init__(self, folder: Path, *, readonly: bool = False, map_bytes: int = MAP_BYTES_HISTORY) -> None:
        self.folder = folder
        self._readonly = readonly
        self._map_bytes = map_bytes
        self._open: dict[int, lmdb.Environment] = {}
        # Reader and writer thread both open days, and LMDB must not have one open twice.
        self._opening = threading.Lock()

    def days(self) -> list[int]:
        """The days on disk, newest first."""
        if not self.folder.is_dir():
            return []
        found = (day_of_name(path.name) for path in self.folder.iterdir())
        return sorted((day for day in found if day is not None), reverse=True)

    def environment(self, day: int) -> lmdb.Environment:
        """The day's environment; made when it is not there yet."""
        with self._opening:
            if day not in self._open:
                path = self.folder / day_name(day)
                if not self._readonly:
                    path.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._open[day] = open_environment(path, self._map_bytes, 0, readonly=self._readonly)
            return self._open[day]

    def bytes_of(self, day: int) -> int:
        """Bytes that the day takes on disk."""
        return sum(path.stat().st_blocks * 512 for path in (self.folder / day_name(day)).iterdir())

    def remove_old(self, today: int, days_kept: int, bytes_max: int) -> list[int]:
        """Remove whole days, oldest first, and say which: those past retention, and more while the rest takes more than
        `bytes_max` (0: no cap). Nobody may be reading meanwhile.
        """
        removed = []
        days = self.days()
        sizes = {day: self.bytes_of(day) for day in days}
        for day in reversed(days):
            over = bytes_max > 0 and sum(sizes.values()) > bytes_max
            if day >= today or not (day < today - days_kept or over):
                continue
            self._close(day)
            shutil.rmtree(self.folder / day_name(day))
            del sizes[day]
            removed.append(day)
        return removed

    def _close(self, day: int) -> None:
        if (environment := self._open.pop(day, None)) is not None:
            environment.close()

    def close(self) -> None:
        """Close every environment."""
        for day in list(self._open):
            self._close(day)
