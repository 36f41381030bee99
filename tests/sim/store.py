"""The far tier in memory: the Store protocol over the reference fold, with delays, slices and deaths of the
storekeeper.

Owns the fold (it survives crashes of the node, as a disk does) and its position. Invariant: only durable groups are
folded, and an answer contains at least the group that was asked for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

from tests.sim.journal import MemoryJournal
from wheeld.model.entry import unpack_outcome
from wheeld.model.ids import ID_BYTES, NO_ID
from wheeld.model.job import JobState
from wheeld.model.limits import RESIDENT_OVERHEAD_BYTES
from wheeld.model.rows import ROW_BACKLOG, ROW_LEASED, Row
from wheeld.store import layout
from wheeld.store.api import Attempt, BacklogPage, KeyFound, Recovery, StoreFull
from wheeld.store.fold_reference import ReferenceFold
from wheeld.store.layout import Table

Place = tuple[int, bytes]
WAITING = (JobState.SCHEDULED, JobState.RETRYING)


def row_of(fold: ReferenceFold, job_id: bytes) -> Row:
    """A job's row as the fold knows it."""
    spec = fold.tables[Table.JOBS][job_id]
    state, parts = fold.state_of(job_id), fold.spec_of(job_id)
    flags = 0
    if layout.backlog_key(parts.queue, parts.priority, state.due_ms, job_id) in fold.tables[Table.BACKLOG]:
        flags |= ROW_BACKLOG
    record = fold.tables[Table.LEASES].get(job_id)
    if record is None:
        return Row(job_id, state.due_ms, 0, state.attempt, state.state, flags, 0, 0, bytes(16), b"", state.error, spec)
    lease = layout.unpack_lease(record)
    return Row(
        job_id,
        lease.due_ms,
        lease.fencing,
        lease.attempt,
        JobState.RUNNING,
        flags | ROW_LEASED,
        lease.lease_ms,
        lease.fire_ms,
        lease.session,
        lease.worker,
        state.error,
        spec,
    )


def waiting_rows(fold: ReferenceFold, after: Place, before: Place) -> list[Row]:
    """Waiting jobs of a range that the backlog does not have, in the order of firing."""
    rows = []
    for job_id in fold.tables[Table.JOBS]:
        if job_id in fold.tables[Table.LEASES]:
            continue
        state = fold.state_of(job_id)
        if state.state in WAITING and after <= (state.due_ms, job_id) < before:
            row = row_of(fold, job_id)
            if not row.flags & ROW_BACKLOG:
                rows.append(row)
    return sorted(rows, key=lambda row: (row.due_ms, row.job_id))


class MemoryStore:
    """The disk and the storekeeper. `open` gives each life of the node its own client."""

    def __init__(self, journal: MemoryJournal, chance: random.Random, shards: int, bucket_width_ms: int) -> None:
        self.journal, self.chance = journal, chance
        self.fold = ReferenceFold(shards, bucket_width_ms)
        self.position = 0
        self.slow = 0.0
        self.deadly = 0.0
        self.full = False
        self.deaths = 0
        self.requests = 0

    def fold_to(self, position: int) -> None:
        """Fold durable groups up to `position`, at least."""
        assert position <= self.journal.last_group, f"asked for group {position}, durable are {self.journal.last_group}"
        while self.position < position:
            self.fold.apply(self.journal.durable[self.position])
            self.position += 1

    def open(self) -> Client:
        """The store as one life of the node sees it."""
        return Client(self)


class Client:
    """See wheeld.store.api.Store."""

    def __init__(self, disk: MemoryStore) -> None:
        self._disk = disk
        self.on_position: Callable[[int], None] | None = None
        self.dead = False

    @property
    def position(self) -> int:
        return self._disk.position

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def _serve(self, min_position: int, long: bool = False) -> ReferenceFold:
        """Wait for one's turn; maybe the storekeeper dies first and the request starts anew."""
        disk, chance = self._disk, self._disk.chance
        disk.requests += 1
        assert min_position <= disk.journal.last_group, "a group was named that is not durable"
        delay_s = (0.05 if long else 0.002) * chance.random()
        if chance.random() < disk.slow:
            delay_s += (3 if long else 0.3) * chance.random()
        await asyncio.sleep(delay_s)
        if chance.random() < disk.deadly:
            disk.deaths += 1
            await asyncio.sleep(0.5 + 2 * chance.random())
        if self.dead:
            await asyncio.Event().wait()
        if disk.full:
            if min_position > disk.position:
                raise StoreFull("no room")
            return disk.fold
        before = disk.position
        disk.fold_to(chance.choice((min_position, disk.journal.last_group)))
        if disk.position > before:
            asyncio.get_running_loop().call_later(0.001 * chance.random(), self._tell, disk.position)
        return disk.fold

    def _tell(self, position: int) -> None:
        if self.on_position is not None and not self.dead:
            self.on_position(position)

    async def checkpoint(self, up_to_group: int) -> int:
        await self._serve(up_to_group, long=True)
        return self.position

    async def recover(self, last_group: int) -> Recovery:
        fold = await self._serve(last_group)
        return recovery_of(fold, self.position)

    async def leases(self, min_position: int) -> AsyncIterator[bytes]:
        fold = await self._serve(min_position)
        async for rows in self._slices([row_of(fold, job_id) for job_id in fold.tables[Table.LEASES]]):
            yield rows

    async def plan(self, after: Place, until_ms: int, budget_bytes: int, min_position: int = 0) -> Place:
        fold = await self._serve(min_position)
        used = 0
        for number, row in enumerate(waiting_rows(fold, after, (until_ms, NO_ID))):
            used += RESIDENT_OVERHEAD_BYTES + len(row.spec)
            if used > budget_bytes and number:
                return row.due_ms, row.job_id
        return until_ms, NO_ID

    async def scan(self, after: Place, before: Place, min_position: int) -> AsyncIterator[bytes]:
        again = True
        while again:
            again = self._disk.chance.random() < self._disk.deadly
            rows = waiting_rows(await self._serve(min_position), after, before)
            self._disk.chance.shuffle(rows)
            if again:
                rows = rows[: len(rows) // 2]
            async for part in self._slices(rows):
                yield part

    async def _slices(self, rows: list[Row]) -> AsyncIterator[bytes]:
        chance = self._disk.chance
        at = 0
        while at < len(rows):
            size = chance.randint(1, 40)
            yield b"".join(row.pack() for row in rows[at : at + size])
            at += size
            await asyncio.sleep((0.2 if chance.random() < self._disk.slow else 0.001) * chance.random())

    async def backlog(self, queue: bytes, after_key: bytes, limit_bytes: int, min_position: int) -> BacklogPage:
        fold = await self._serve(min_position)
        keys = sorted(key for key in fold.tables[Table.BACKLOG] if key.startswith(queue + b"\0") and key > after_key)
        parts: list[bytes] = []
        used, last = 0, after_key
        for number, key in enumerate(keys):
            if used >= limit_bytes:
                return self._page(parts, last, more=number < len(keys))
            row = row_of(fold, layout.id_of_key(key)).pack()
            used, last = used + len(row), key
            parts.append(row)
        return self._page(parts, last, more=False)

    def _page(self, parts: list[bytes], last: bytes, *, more: bool) -> BacklogPage:
        return BacklogPage(b"".join(parts), last, more)

    async def read(self, ids: list[bytes], min_position: int) -> bytes:
        fold = await self._serve(min_position)
        answer = b"".join(row_of(fold, job_id).pack() for job_id in ids if job_id in fold.tables[Table.JOBS])
        await asyncio.sleep(0.001 * self._disk.chance.random())
        return answer

    async def keys(self, hashes: list[bytes], min_position: int) -> list[KeyFound | None]:
        fold = await self._serve(min_position)
        answer = [find_key(fold, hashed) for hashed in hashes]
        await asyncio.sleep(
            (0.5 if self._disk.chance.random() < self._disk.slow else 0.001) * self._disk.chance.random()
        )
        return answer

    async def attempts(self, job_id: bytes, min_position: int = 0) -> list[Attempt]:
        return attempts_of(await self._serve(min_position), job_id)


def attempts_of(fold: ReferenceFold, job_id: bytes) -> list[Attempt]:
    """The job's history rows, newest first."""
    found = []
    for (day, key), record in fold.history.items():
        if key[:ID_BYTES] == job_id:
            finish_ms = layout.HISTORY_HEAD.unpack_from(record)[1]
            found.append((day, key, Attempt(finish_ms, unpack_outcome(record[layout.HISTORY_HEAD.size :]))))
    return [attempt for _, _, attempt in sorted(found, key=lambda item: item[:2], reverse=True)]


def find_key(fold: ReferenceFold, hashed: bytes) -> KeyFound | None:
    """The newest record of a key."""
    found = [key for key in fold.tables[Table.KEYS] if key[4:] == hashed]
    if not found:
        return None
    _, job_id, content_hash, create_ms = layout.KEY_RECORD.unpack(fold.tables[Table.KEYS][max(found)])
    return KeyFound(job_id, content_hash, create_ms)


def recovery_of(fold: ReferenceFold, position: int) -> Recovery:
    """What a restart goes on from."""
    tables = fold.tables
    return Recovery(
        position=position,
        next_seq=list(fold.next_seq),
        index=list(fold.index),
        epoch=list(fold.epoch),
        watermark_ms=fold.watermark_ms,
        queues={path: bool(record[1]) for path, record in tables[Table.QUEUES].items()},
        backlog_queues=list(dict.fromkeys(key.split(b"\0", 1)[0] for key in sorted(tables[Table.BACKLOG]))),
        has_keys=bool(tables[Table.KEYS]),
        counts={},
        sessions=b"".join(record[1:] for record in tables[Table.SESSIONS].values()),
    )
