"""The native fold with the checkpoint leaves the tables that the reference fold says, wherever the windows are cut."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.histories import History
from wheeld.model.limits import HOUR_MS, IDEMPOTENCY_WINDOW_MS
from wheeld.store import layout
from wheeld.store._fold import Fold
from wheeld.store._rows import last_id
from wheeld.store.checkpoint import Checkpointer, read_jobs, read_position, read_shard, read_watermark, session_time
from wheeld.store.directory import DataDirectory, open_or_create
from wheeld.store.environment import HistoryDays, MainStore
from wheeld.store.fold_reference import ReferenceFold
from wheeld.store.layout import Table


class StubGroup(NamedTuple):
    number: int
    payload: bytes


class StubJournal:
    """Groups in a list: number N at N - 1."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self._after = 0

    def open(self, position: int) -> StubJournal:
        self._after = position
        return self

    def read(self, up_to_group: int) -> Iterator[StubGroup]:
        for number in range(self._after + 1, min(up_to_group, len(self.payloads)) + 1):
            yield StubGroup(number, self.payloads[number - 1])


class Setup:
    """A store that is fed from a stub journal, beside the reference."""

    def __init__(self, path: Path, shards: int = 4, fold_bytes_max: int = 1 << 27) -> None:
        self.directory: DataDirectory = open_or_create(path / "data", shards)
        self.store = MainStore(self.directory)
        self.history = HistoryDays(self.directory.history)
        self.journal = StubJournal()
        self.checkpointer = Checkpointer(self.store, self.history, self.journal.open, nullcontext(), fold_bytes_max)
        self.reference = ReferenceFold(shards, self.directory.format.bucket_width_ms)

    def advance(self) -> None:
        while self.checkpointer.advance(len(self.journal.payloads)) < len(self.journal.payloads):
            pass

    def table(self, table: Table) -> dict[bytes, bytes]:
        """The table's rows, those of `jobs` taken out of their blocks."""
        rows = self.records(table)
        if table is Table.JOBS:
            return dict(row for key, block in rows.items() for row in layout.unpack_block(key, block))
        return rows

    def records(self, table: Table) -> dict[bytes, bytes]:
        """The table as LMDB has it."""
        with self.store.begin() as txn:
            return dict(txn.cursor(self.store.tables[table]))

    def history_rows(self) -> dict[tuple[int, bytes], bytes]:
        rows = {}
        for day in self.history.days():
            with self.history.environment(day).begin() as txn:
                rows |= {(day, key): value for key, value in txn.cursor()}
        return rows

    def close(self) -> None:
        self.store.close()
        self.history.close()
        self.directory.close()


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    made = Setup(tmp_path)
    yield made
    made.close()


def assert_blocks(setup: Setup) -> None:
    """Blocks follow each other without overlap, each within one page or of one job."""
    behind = b""
    for key, block in setup.records(Table.JOBS).items():
        assert behind < key
        assert len(block) <= setup.store.block_bytes_max or len(layout.unpack_block(key, block)) == 1
        behind = last_id(key, block)


def assert_same(setup: Setup) -> None:
    reference = setup.reference
    for table in layout.MAIN_TABLES:
        if table in (Table.META, Table.KEYS, Table.SESSIONS):
            continue
        assert setup.table(table) == reference.tables[table], table.name
    assert_blocks(setup)
    assert setup.history_rows() == reference.history
    # Age decides about these two, and the reference forgets nothing.
    keys, sessions = setup.table(Table.KEYS), setup.table(Table.SESSIONS)
    today = reference.time_ms // layout.limits.DAY_MS
    assert keys.items() <= reference.tables[Table.KEYS].items()
    assert all(int.from_bytes(key[:4], "big") <= today for key in reference.tables[Table.KEYS].keys() - keys.keys())
    assert sessions.items() <= reference.tables[Table.SESSIONS].items()
    for key in reference.tables[Table.SESSIONS].keys() - sessions.keys():
        assert session_time(reference.tables[Table.SESSIONS][key]) + HOUR_MS < reference.time_ms
    with setup.store.begin() as txn:
        shards = [read_shard(setup.store, txn, shard) for shard in range(setup.store.shards)]
        assert shards == list(zip(reference.next_seq, reference.index, reference.epoch, strict=True))
        assert read_watermark(setup.store, txn) == reference.watermark_ms
        assert read_jobs(setup.store, txn) == len(reference.tables[Table.JOBS])
        assert read_position(setup.store, txn) == len(setup.journal.payloads)


@pytest.mark.parametrize("run", range(12))
def test_native_equals_reference(setup: Setup, rng: random.Random, run: int) -> None:
    history = History(rng)
    for _ in range(rng.choice((3, 15, 40))):
        for _ in range(rng.choice((1, 2, 12))):
            setup.journal.payloads.append(history.group(rng.choice((0, 1, 20, 150))))
            setup.reference.apply(setup.journal.payloads[-1])
        setup.advance()
        assert_same(setup)
    assert setup.reference.tables[Table.JOBS].keys() == history.jobs.keys() | history.dead.keys()


def test_windows_cut_by_bytes(tmp_path: Path, rng: random.Random) -> None:
    setup = Setup(tmp_path, fold_bytes_max=1)
    history = History(rng)
    for _ in range(30):
        setup.journal.payloads.append(history.group(60))
        setup.reference.apply(setup.journal.payloads[-1])
    setup.advance()
    assert_same(setup)
    setup.close()


def test_a_job_that_came_and_went_leaves_only_history(rng: random.Random) -> None:
    history = History(rng, shards=1)
    submit = history._submit()
    job = next(iter(history.jobs.values()))
    fold = Fold(1, 600_000)
    fold.apply(submit + history._grant(job) + history._renew(job) + history._nack(job))
    if job.id in history.jobs:
        fold.apply(history._reschedule(job) + history._grant(job) + history._release(job) + history._cancel(job))
        fold.finish()
        touched = {table for table in Table if table is not Table.META and fold.count(table)} - {Table.KEYS}
        assert touched == {Table.HISTORY}


def test_shorter_prefix_of_a_group_is_refused_or_whole(rng: random.Random) -> None:
    """No cut of a valid group makes the fold read past its end or accept half an entry."""
    group = History(rng).group(40)
    ends = set()
    at = 0
    while at < len(group):
        ends.add(at)
        at += int.from_bytes(group[at : at + 4], "little")
    for cut in range(0, len(group), 3):
        fold = Fold(4, 600_000)
        if cut in ends:
            fold.apply(group[:cut])
        else:
            with pytest.raises(ValueError, match="entry at byte"):
                fold.apply(group[:cut])


def test_noise_is_refused_or_folded(rng: random.Random) -> None:
    """Any byte may be wrong; the fold either refuses or folds, and never crashes."""
    for _ in range(300):
        group = bytearray(History(rng).group(30))
        for _ in range(rng.randrange(1, 4)):
            group[rng.randrange(len(group))] = rng.randrange(256)
        fold = Fold(4, 600_000)
        try:
            fold.apply(bytes(group))
        except ValueError:
            continue
        fold.finish()


def test_key_window_is_that_of_the_limits(rng: random.Random) -> None:
    """The C constant and the limit name the same days."""
    history = History(rng, shards=1)
    fold = Fold(1, 600_000)
    fold.apply(b"".join(history._submit() for _ in range(60)))
    fold.finish()
    rows, _ = fold.take(Table.KEYS, 1, 0, 100)
    assert rows
    for key, record in rows:
        create_ms = layout.KEY_RECORD.unpack(record)[3]
        assert int.from_bytes(key[:4], "big") == layout.key_expiry_day(create_ms)
        assert int.from_bytes(key[:4], "big") * layout.limits.DAY_MS >= create_ms + IDEMPOTENCY_WINDOW_MS
