"""The store as the driver sees it: a real storekeeper process, a real journal, and the reference fold as the oracle."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.histories import START_MS, History
from wheeld.journal.journal import Journal
from wheeld.model.entry import SUBMIT_BODY, EntryKind, pack_entry
from wheeld.model.errors import StartFailure
from wheeld.model.ids import NO_ID, pack_id
from wheeld.model.job import JobState
from wheeld.model.limits import DAY_MS
from wheeld.model.rows import ROW_BACKLOG, ROW_LEASED, Row, unpack_rows
from wheeld.model.spec import Spec
from wheeld.store import layout
from wheeld.store.api import StoreBehind, StoreClosed, StoreError, StoreFailed, StoreFull
from wheeld.store.client import StoreClient
from wheeld.store.directory import open_or_create
from wheeld.store.fold_reference import ReferenceFold
from wheeld.store.frames import STREAM_CREDIT
from wheeld.store.layout import Table
from wheeld.store.supervisor import KeeperOptions
from wheeld.store.verify import verify_store

FOREVER_MS = START_MS + (1 << 40)


class Node:
    """What a daemon would hold: directory, journal, store; and the reference beside it."""

    def __init__(self, path: Path, options: KeeperOptions | None = None) -> None:
        self.directory = open_or_create(path / "data", 4)
        self.options = options
        self.reference = ReferenceFold(4, self.directory.format.bucket_width_ms)
        self.durable = 0
        self.groups = 0
        self._synced = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.journal = Journal.open(
            self.directory.journal,
            self.directory.store_uuid,
            on_durable=self._on_durable,
            on_failure=lambda error: None,
        )
        self.store = StoreClient(self.directory, options)

    def _on_durable(self, number: int) -> None:
        def note() -> None:
            self.durable = number
            self._synced.set()

        self._loop.call_soon_threadsafe(note)

    async def append(self, payload: bytes, time_ms: int = START_MS) -> int:
        """A durable group; the reference knows it too."""
        self.reference.apply(payload)
        return await self.append_unread(payload, time_ms)

    async def append_unread(self, payload: bytes, time_ms: int = START_MS) -> int:
        """A durable group that the reference does not see."""
        self.groups += 1
        self.journal.append(self.groups, payload, time_ms)
        while self.durable < self.groups:
            self._synced.clear()
            await self._synced.wait()
        return self.groups

    async def restart_store(self) -> None:
        await self.store.stop()
        self.store = StoreClient(self.directory, self.options)
        await self.store.start()

    async def close(self) -> None:
        await self.store.stop()
        self.journal.close()
        self.directory.close()

    def expected_row(self, job_id: bytes) -> Row:
        """The row as the reference knows it."""
        tables = self.reference.tables
        state, spec = self.reference.state_of(job_id), self.reference.spec_of(job_id)
        key = layout.backlog_key(spec.queue, spec.priority, state.due_ms, job_id)
        flags = ROW_BACKLOG if key in tables[Table.BACKLOG] else 0
        record = tables[Table.LEASES].get(job_id)
        if record is None:
            return Row(
                job_id,
                state.due_ms,
                0,
                state.attempt,
                state.state,
                flags,
                0,
                0,
                bytes(16),
                b"",
                state.error,
                tables[Table.JOBS][job_id],
            )
        lease = layout.unpack_lease(record)
        return Row(
            job_id, lease.due_ms, lease.fencing, lease.attempt, JobState.RUNNING, flags | ROW_LEASED, lease.lease_ms,
            lease.fire_ms, lease.session, lease.worker, state.error, tables[Table.JOBS][job_id],
        )  # fmt: skip

    def waiting(self, after: tuple[int, bytes], before: tuple[int, bytes]) -> dict[bytes, Row]:
        """The rows that a scan must give."""
        rows = {job_id: self.expected_row(job_id) for job_id in self.reference.tables[Table.JOBS]}
        return {
            job_id: row
            for job_id, row in rows.items()
            if not row.flags & (ROW_LEASED | ROW_BACKLOG)
            and row.state != JobState.FAILED
            and after <= (row.due_ms, job_id) < before
        }


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    await made.store.start()
    yield made
    await made.close()


async def collect(chunks: AsyncIterator[bytes]) -> dict[bytes, Row]:
    rows = [row for chunk in [chunk async for chunk in chunks] for row in unpack_rows(chunk)]
    found = {row.job_id: row for row in rows}
    assert len(found) == len(rows), "a job came twice"
    return found


async def grow(node: Node, rng: random.Random, groups: int = 20, entries: int = 100) -> History:
    history = History(rng)
    for _ in range(groups):
        await node.append(history.group(entries))
    return history


async def test_everything_is_read_back(node: Node, rng: random.Random) -> None:
    history = await grow(node, rng)
    reference, last = node.reference, node.groups
    recovery = await node.store.recover(last)
    assert recovery.position == node.store.position == last
    assert (recovery.next_seq, recovery.index, recovery.epoch) == (reference.next_seq, reference.index, reference.epoch)
    assert recovery.watermark_ms == reference.watermark_ms
    assert recovery.queues == {queue: bool(record[1]) for queue, record in reference.tables[Table.QUEUES].items()}
    assert set(recovery.backlog_queues) == {key.split(b"\0")[0] for key in reference.tables[Table.BACKLOG]}
    assert recovery.counts["jobs"] == len(reference.tables[Table.JOBS])
    assert await collect(node.store.leases(last)) == {
        job_id: node.expected_row(job_id) for job_id in reference.tables[Table.LEASES]
    }
    everything = (0, NO_ID), (FOREVER_MS, NO_ID)
    assert await collect(node.store.scan(*everything, last)) == node.waiting(*everything)
    ids = [*history.jobs, *history.dead, *history.ended]
    rows = unpack_rows(await node.store.read(ids, last))
    assert rows == [node.expected_row(job_id) for job_id in ids if job_id not in history.ended]
    for job_id in (*history.ended[-5:], *list(history.dead)[:5]):
        attempts = await node.store.attempts(job_id)
        wanted = sorted(((day, key) for day, key in reference.history if key[:16] == job_id), reverse=True)
        assert [attempt.finish_ms // 86_400_000 for attempt in attempts] == [day for day, _ in wanted]
        assert [attempt.outcome.pack() for attempt in attempts] == [reference.history[at][9:] for at in wanted]


async def test_scan_ranges_and_plans_meet_without_gap_or_overlap(node: Node, rng: random.Random) -> None:
    await grow(node, rng)
    await node.store.checkpoint(node.groups)
    sizes = {job_id: len(row.pack()) for job_id, row in node.waiting((0, NO_ID), (FOREVER_MS, NO_ID)).items()}
    for budget in (1, 3_000, 20_000, sum(sizes.values()) // 2):
        place, seen = (0, NO_ID), set()
        while place != (FOREVER_MS, NO_ID):
            cut = await node.store.plan(place, FOREVER_MS, budget)
            rows = await collect(node.store.scan(place, cut, 0))
            assert rows == node.waiting(place, cut)
            assert cut > place
            assert sum(sizes[job_id] for job_id in rows) <= budget or len(rows) == 1
            assert not seen & rows.keys()
            seen |= rows.keys()
            place = cut
        assert seen == sizes.keys()


async def test_passes_over_a_store_that_goes_on(node: Node, rng: random.Random) -> None:
    """A pass gives what the store holds when it begins, whatever passes before it left in the storekeeper's memory; a
    new storekeeper goes on from the same place.
    """
    history = await grow(node, rng, groups=4)
    place, passes = (0, NO_ID), 0
    while place[0] < FOREVER_MS:
        cut = await node.store.plan(place, FOREVER_MS, 500, node.groups)
        if passes < 30:
            await node.append(history.group(20))
        if passes == 5:
            await node.restart_store()
        rows = await collect(node.store.scan(place, cut, node.groups))
        assert rows == node.waiting(place, cut)
        assert cut > place
        place, passes = cut, passes + 1
    assert passes > 1


async def test_backlog_pages(node: Node, rng: random.Random) -> None:
    await grow(node, rng)
    for queue in {key.split(b"\0")[0] for key in node.reference.tables[Table.BACKLOG]}:
        wanted = sorted(key for key in node.reference.tables[Table.BACKLOG] if key.startswith(queue + b"\0"))
        found, key, more = [], b"", True
        while more:
            rows, key, more = await node.store.backlog(queue, key, 2_000, node.groups)
            found += unpack_rows(rows)
        assert found == [node.expected_row(layout.id_of_key(key)) for key in wanted]
        assert all(row.flags & ROW_BACKLOG for row in found)


async def test_keys(node: Node, rng: random.Random) -> None:
    await grow(node, rng, groups=5)
    known = node.reference.tables[Table.KEYS]
    hashes = [key[4:] for key in known]
    answers = await node.store.keys([*hashes, bytes(16), b"\x07" * 16], node.groups)
    assert answers[-2:] == [None, None]
    for record, answer in zip(known.values(), answers, strict=False):
        assert answer == layout.KEY_RECORD.unpack(record)[1:]


async def test_a_clock_that_was_once_far_ahead_does_not_age_later_keys(node: Node) -> None:
    def submit(seq: int, now_ms: int) -> tuple[bytes, bytes]:
        spec = Spec(queue=b"main/mail", schedule_ms=now_ms, create_ms=now_ms)
        job_id, key_hash = pack_id(1, now_ms // node.directory.format.bucket_width_ms, seq), bytes((seq,)) * 16
        body = SUBMIT_BODY.pack(job_id, key_hash, 9, now_ms) + spec.pack()
        return pack_entry(EntryKind.SUBMIT, 0, 1, 1, seq, now_ms, body), key_hash

    ahead, _ = submit(1, START_MS + 400 * DAY_MS)
    await node.append(ahead)
    await node.store.checkpoint(node.groups)
    later, key_hash = submit(2, START_MS)
    await node.append(later)
    await node.store.checkpoint(node.groups)
    group = await node.append(submit(3, START_MS + 6 * DAY_MS)[0])
    assert (await node.store.keys([key_hash], group))[0] is not None
    # Past its window it goes.
    group = await node.append(submit(4, START_MS + 9 * DAY_MS)[0])
    assert (await node.store.keys([key_hash], group))[0] is None


async def test_sessions_come_back_as_producer_bodies(node: Node, rng: random.Random) -> None:
    await grow(node, rng)
    recovery = await node.store.recover(node.groups)
    newest = max(node.reference.time_ms, 0)
    rows = [record for _, record in sorted(node.reference.tables[Table.SESSIONS].items())]
    young = [record[1:] for record in rows if int.from_bytes(record[33:41], "little") + 3_600_000 >= newest]
    assert recovery.sessions == b"".join(young)


async def test_killed_storekeeper_comes_back_with_every_answer(node: Node, rng: random.Random) -> None:
    """SIGKILL while requests are under way: they are answered all the same, and nothing is lost or doubled."""
    history = History(rng)
    positions: list[int] = []
    node.store.on_position = positions.append
    for kill in range(4):
        for _ in range(5):
            await node.append(history.group(60))
        pid = node.store.pid
        assert pid is not None
        asks = [
            asyncio.create_task(node.store.checkpoint(node.groups)),
            asyncio.create_task(node.store.recover(node.groups)),
        ]
        # Anywhere between the request's arrival and its answer.
        await asyncio.sleep(rng.random() * 0.02)
        os.kill(pid, signal.SIGKILL)
        assert await asks[0] == node.groups
        assert (await asks[1]).index == node.reference.index
        async with asyncio.timeout(60):
            # The answers may have come before the kill did.
            while node.store.restarts == kill:
                await asyncio.sleep(0.005)
            await node.store.recover(node.groups)
    assert node.store.restarts == 4
    assert positions == sorted(positions)
    everything = (0, NO_ID), (FOREVER_MS, NO_ID)
    assert await collect(node.store.scan(*everything, node.groups)) == node.waiting(*everything)
    await node.store.stop()
    assert (await asyncio.to_thread(verify_store, node.directory.path)).problems == []


async def test_restart_goes_on_from_the_journal(node: Node, rng: random.Random) -> None:
    history = await grow(node, rng, groups=4)
    await node.store.checkpoint(node.groups)
    await node.append(history.group(100))
    await node.restart_store()
    assert (await node.store.recover(node.groups)).index == node.reference.index


async def test_abandoned_stream_frees_its_place(node: Node, rng: random.Random) -> None:
    """More walks than may run at once, each left after its first rows: later ones are still served."""
    await grow(node, rng)
    for _ in range(10):
        chunks = node.store.scan((0, NO_ID), (FOREVER_MS, NO_ID), node.groups)
        await anext(chunks)
        await chunks.aclose()
    assert await collect(node.store.scan((0, NO_ID), (FOREVER_MS, NO_ID), node.groups))


async def test_group_that_the_journal_lacks(node: Node, rng: random.Random) -> None:
    await grow(node, rng, groups=2)
    with pytest.raises(StoreBehind):
        await node.store.checkpoint(node.groups + 1)
    assert await node.store.checkpoint(node.groups) == node.groups


async def test_unreadable_entry_stops_the_store_for_good(node: Node, rng: random.Random) -> None:
    failed: asyncio.Future[StoreError] = asyncio.get_running_loop().create_future()
    node.store.on_failed = failed.set_result
    bad = await node.append_unread(b"\x20\x00\x00\x00\xee" + bytes(27))
    with pytest.raises(StoreFailed, match="kind"):
        await node.store.checkpoint(bad)
    assert isinstance(await failed, StoreFailed)
    with pytest.raises(StoreFailed):
        await node.store.stats()


async def test_full_store_reports_and_goes_on_serving(tmp_path: Path, rng: random.Random) -> None:
    node = Node(tmp_path, KeeperOptions(map_bytes=1 << 19))
    await node.store.start()
    history = History(rng)
    await node.append(history.group(5))
    before = await node.store.checkpoint(node.groups)
    for _ in range(40):
        await node.append(history.group(200))
    with pytest.raises(StoreFull):
        await node.store.checkpoint(node.groups)
    assert (await node.store.stats()).position >= before
    node.options = None
    await node.restart_store()
    assert await node.store.checkpoint(node.groups) == node.groups
    assert (await node.store.recover(0)).index == node.reference.index
    await node.close()


async def test_requests_end_when_the_store_is_stopped(tmp_path: Path) -> None:
    node = Node(tmp_path)
    await node.store.start()
    await node.close()
    with pytest.raises(StoreClosed):
        await node.store.checkpoint(1)


async def test_the_storekeeper_shares_the_lock(tmp_path: Path) -> None:
    """A daemon that let go, or died, leaves the directory locked for as long as its storekeeper lives."""
    node = Node(tmp_path)
    await node.store.start()
    assert node.directory.lock is not None
    node.directory.lock.release()
    with pytest.raises(StartFailure, match="in use"):
        open_or_create(node.directory.path)
    await node.store.stop()
    open_or_create(node.directory.path).close()
    node.journal.close()


async def test_slow_consumer_holds_back_its_own_stream_only(node: Node, rng: random.Random) -> None:
    """A stream whose frames nobody takes stops within its credit; other requests are served, and all its rows come in
    the end.
    """
    history = History(rng, payload_sizes=(100_000,))
    while len(history.jobs) < 60:
        await node.append(history.group(20))
    everything = (0, NO_ID), (FOREVER_MS, NO_ID)
    chunks = node.store.scan(*everything, node.groups)
    first = await anext(chunks)
    assert (await node.store.stats()).position == node.groups
    pending = next(iter(node.store._pending.values()))
    assert pending.arrived.qsize() <= STREAM_CREDIT
    rows = [row for chunk in [first] + [chunk async for chunk in chunks] for row in unpack_rows(chunk)]
    assert {row.job_id: row for row in rows} == node.waiting(*everything)
