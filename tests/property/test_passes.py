"""A bucket taken in passes gives what a walk gives, while jobs come, go, are retried and rescheduled in between."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.histories import START_MS, History
from tests.property.test_fold import Setup
from wheeld.model import entry as e
from wheeld.model import limits
from wheeld.model.entry import EntryKind
from wheeld.model.ids import NO_ID, pack_id
from wheeld.model.job import JobState
from wheeld.model.rows import ROW_HEAD, Row, unpack_rows
from wheeld.model.spec import SPEC_HEAD, Spec
from wheeld.store import scan
from wheeld.store._load import IdSet
from wheeld.store.dues import DueIndex
from wheeld.store.snapshot import Place, Snapshot

FOREVER_MS = START_MS + (1 << 40)
BUCKET = START_MS // limits.BUCKET_WIDTH_MS + 1
BUCKET_MS = BUCKET * limits.BUCKET_WIDTH_MS
ROW_BYTES = ROW_HEAD.size + SPEC_HEAD.size + len(b"main/mail")


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    made = Setup(tmp_path)
    yield made
    made.close()


def result(steps: Generator[Any, None, Any]) -> Any:
    """A generator's value."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def rows_between(snapshot: Snapshot, after: Place, before: Place) -> dict[bytes, Row]:
    found = unpack_rows(b"".join(scan.scan(snapshot, after, before)))
    rows = {row.job_id: row for row in found}
    assert len(rows) == len(found), "a job came twice"
    return rows


def walked(snapshot: Snapshot, after: Place, before: Place) -> dict[bytes, Row]:
    """The same without what earlier passes have left in memory."""
    kept, snapshot.store.dues = snapshot.store.dues, DueIndex()
    try:
        return rows_between(snapshot, after, before)
    finally:
        snapshot.store.dues = kept


def fold(setup: Setup, payload: bytes) -> None:
    setup.journal.payloads.append(payload)
    setup.advance()


@pytest.mark.parametrize("changed_max", [3, limits.SCAN_CHANGED_IDS_MAX])
@pytest.mark.parametrize("dues_max", [40, limits.DUES_MAX])
@pytest.mark.parametrize("walk_share", [scan.WALK_SHARE, 2.0])
def test_passes_give_what_a_walk_gives(
    setup: Setup,
    rng: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    changed_max: int,
    dues_max: int,
    walk_share: float,
) -> None:
    made: list[IdSet] = []

    def make() -> IdSet:
        made.append(IdSet())
        return made[-1]

    monkeypatch.setattr(scan, "IdSet", make)
    monkeypatch.setattr(limits, "SCAN_CHANGED_IDS_MAX", changed_max)
    monkeypatch.setattr(limits, "DUES_MAX", dues_max)
    monkeypatch.setattr(scan, "WALK_SHARE", walk_share)
    history = History(rng, span_ms=rng.choice((50, limits.MINUTE_MS, limits.HOUR_MS)))
    for _ in range(5):
        fold(setup, history.group(120))
    place: Place = (0, NO_ID)
    for _ in range(60):
        fold(setup, history.group(rng.randrange(1, 30)))
        snapshot = Snapshot(setup.store)
        budget = rng.choice((1, 2_000, 20_000, 60_000))
        cut = result(scan.plan(snapshot, place, FOREVER_MS, budget))
        assert cut > place
        rows = rows_between(snapshot, place, cut)
        assert rows == walked(snapshot, place, cut)
        assert sum(len(row.pack()) for row in rows.values()) <= budget or len(rows) == 1
        snapshot.close()
        # The horizon falls now and then, and starts anew behind the last job.
        place = cut if cut[0] != FOREVER_MS and rng.random() < 0.9 else (rng.choice((0, history.now_ms)), NO_ID)
    assert max(map(len, made), default=0) <= changed_max


def submit(seq: int, due_ms: int, shard: int = 0) -> bytes:
    """An entry of a job without payload."""
    spec = Spec(queue=b"main/mail", schedule_ms=due_ms, create_ms=START_MS)
    body = e.SUBMIT_BODY.pack(pack_id(shard, BUCKET, seq), bytes(16), 0, due_ms) + spec.pack()
    return e.pack_entry(EntryKind.SUBMIT, 0, shard, 1, seq + 1, START_MS, body)


def reschedule(seq: int, old_ms: int, new_ms: int) -> bytes:
    body = e.RESCHEDULE_BODY.pack(pack_id(0, BUCKET, seq), old_ms, new_ms, 0)
    return e.pack_entry(EntryKind.RESCHEDULE, 0, 0, 1, 10_000 + seq, START_MS, body)


def cancel(seq: int, due_ms: int) -> bytes:
    outcome = e.Outcome(
        pack_id(0, BUCKET, seq), 0, due_ms, 0, 0, START_MS, 0, JobState.CANCELLED, 4, EntryKind.CANCEL, b"main/mail",
        b"", b"", b"", b"", b"",
    )  # fmt: skip
    return e.pack_entry(EntryKind.CANCEL, 0, 0, 1, 20_000 + seq, START_MS, outcome.pack())


@pytest.mark.parametrize("dues_max", [300, limits.DUES_MAX])
def test_one_millisecond_is_passed_in_parts_of_equal_size(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, dues_max: int
) -> None:
    """Jobs that are all due at once come in the order of their ids, as many as the budget has room for, or as the lists
    hold.
    """
    monkeypatch.setattr(limits, "DUES_MAX", dues_max)
    fold(setup, b"".join(submit(seq, BUCKET_MS + 5, shard) for shard in range(4) for seq in range(500)))
    place: Place = (BUCKET_MS, NO_ID)
    seen: list[bytes] = []
    counts = []
    while place[0] < BUCKET_MS + limits.BUCKET_WIDTH_MS:
        snapshot = Snapshot(setup.store)
        cut = result(scan.plan(snapshot, place, BUCKET_MS + limits.BUCKET_WIDTH_MS, 100 * ROW_BYTES))
        rows = rows_between(snapshot, place, cut)
        seen += sorted(rows)
        counts.append(len(rows))
        snapshot.close()
        place = cut
    assert seen == sorted({pack_id(shard, BUCKET, seq) for shard in range(4) for seq in range(500)})
    assert max(counts) == 100
    assert len(counts) <= (21 if dues_max > 2000 else 40)


def test_what_comes_between_two_passes_is_seen(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "WALK_SHARE", 2.0)
    fold(setup, b"".join(submit(seq, BUCKET_MS + 10 * seq) for seq in range(100)))
    end = (BUCKET_MS + limits.BUCKET_WIDTH_MS, NO_ID)
    snapshot = Snapshot(setup.store)
    cut = result(scan.plan(snapshot, (BUCKET_MS, NO_ID), end[0], 3_000))
    snapshot.close()
    assert (BUCKET_MS, NO_ID) < cut < (BUCKET_MS + 500, NO_ID)
    fold(
        setup,
        submit(100, BUCKET_MS + 999) + submit(0, BUCKET_MS + 998, shard=3) + submit(101, BUCKET_MS)
        + reschedule(1, BUCKET_MS + 10, BUCKET_MS + 997) + reschedule(60, BUCKET_MS + 600, BUCKET_MS + 1)
        + reschedule(61, BUCKET_MS + 610, end[0] + 5),
    )  # fmt: skip
    snapshot = Snapshot(setup.store)
    rest = rows_between(snapshot, cut, end)
    assert rest.keys() >= {pack_id(0, BUCKET, 100), pack_id(3, BUCKET, 0), pack_id(0, BUCKET, 1)}
    assert not rest.keys() & {pack_id(0, BUCKET, seq) for seq in (60, 61, 101)}
    assert rest[pack_id(0, BUCKET, 1)].due_ms == BUCKET_MS + 997
    assert rest == walked(snapshot, cut, end)
    snapshot.close()


def test_a_snapshot_from_before_is_not_served_from_later_lists(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has left since stands in no list, but an older snapshot still has it."""
    monkeypatch.setattr(scan, "WALK_SHARE", 2.0)
    fold(setup, b"".join(submit(seq, BUCKET_MS + 10 * seq) for seq in range(100)))
    older, end_ms = Snapshot(setup.store), BUCKET_MS + limits.BUCKET_WIDTH_MS
    fold(setup, submit(100, BUCKET_MS) + b"".join(cancel(seq, BUCKET_MS + 10 * seq) for seq in range(9)))
    newer = Snapshot(setup.store)
    result(scan.plan(newer, (BUCKET_MS, NO_ID), end_ms, 3_000))
    part = (BUCKET_MS, NO_ID), (BUCKET_MS + 305, NO_ID)
    assert rows_between(older, *part) == walked(older, *part)
    assert len(rows_between(older, *part)) == 31
    assert result(scan.plan(older, *(part[0], end_ms), 3_000)) > part[0]
    assert rows_between(newer, *part).keys() == {pack_id(0, BUCKET, seq) for seq in (*range(9, 31), 100)}
    older.close()
    newer.close()
