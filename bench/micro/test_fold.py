"""Fold and commit, without process or journal: entries a second into LMDB on this disk, syncs included."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from wheeld.model import entry as e
from wheeld.model.entry import EntryKind, Outcome
from wheeld.model.ids import NO_ID, pack_id
from wheeld.model.job import JobState
from wheeld.model.limits import BUCKET_WIDTH_MS, DAY_MS, HOUR_MS
from wheeld.model.spec import Spec
from wheeld.store import scan
from wheeld.store._fold import Fold
from wheeld.store.checkpoint import Checkpointer
from wheeld.store.directory import open_or_create
from wheeld.store.environment import HistoryDays, MainStore
from wheeld.store.snapshot import Snapshot

NOW_MS = 1_800_000_000_000
JOBS = 200_000
GROUP_ENTRIES = 2_000


class Group(NamedTuple):
    """A group of the stub journal."""

    number: int
    payload: bytes


class Journal:
    """Groups from a list."""

    def __init__(self, payloads: list[bytes]) -> None:
        self.payloads = payloads
        self._after = 0

    def open(self, position: int) -> Journal:
        self._after = position
        return self

    def read(self, up_to_group: int) -> Iterator[Group]:
        for number in range(self._after + 1, up_to_group + 1):
            yield Group(number, self.payloads[number - 1])


def jobs(count: int, span_ms: int) -> list[tuple[bytes, int, bytes]]:
    """Ids, due times and specs of 170 bytes, on one shard."""
    rng = random.Random(1)
    payload = bytes(170 - 56 - 9)
    made = []
    for seq in range(count):
        due_ms = NOW_MS + rng.randrange(span_ms)
        spec = Spec(b"main/mail", payload=payload, schedule_ms=due_ms, create_ms=NOW_MS)
        made.append((pack_id(0, due_ms // BUCKET_WIDTH_MS, seq), due_ms, spec.pack()))
    return made


def submits(made: list[tuple[bytes, int, bytes]]) -> list[bytes]:
    """Groups of SUBMIT entries."""
    entries = [
        e.pack_entry(EntryKind.SUBMIT, 0, 0, 1, index, NOW_MS, e.SUBMIT_BODY.pack(job_id, bytes(16), 0, due_ms) + spec)
        for index, (job_id, due_ms, spec) in enumerate(made)
    ]
    return [b"".join(entries[at : at + GROUP_ENTRIES]) for at in range(0, len(entries), GROUP_ENTRIES)]


def runs(made: list[tuple[bytes, int, bytes]]) -> list[bytes]:
    """Groups of GRANT and ACK entries of the same jobs."""
    entries = []
    for index, (job_id, due_ms, _) in enumerate(made):
        grant = e.GRANT_BODY.pack(job_id, index, due_ms, due_ms + 30_000, 30_000, 1, 2, 0, bytes(16)) + b"w1"
        ack = Outcome(
            job_id, index, due_ms, 0, due_ms, due_ms, 1, JobState.SUCCEEDED, 4, EntryKind.ACK, b"main/mail", b"", b"w1",
            b"", b"", b"",
        )  # fmt: skip
        entries.append(e.pack_entry(EntryKind.GRANT, 0, 0, 1, index, due_ms, grant))
        entries.append(e.pack_entry(EntryKind.ACK, 0, 0, 1, index, due_ms, ack.pack()))
    return [b"".join(entries[at : at + GROUP_ENTRIES]) for at in range(0, len(entries), GROUP_ENTRIES)]


def test_fold_only(benchmark: Any) -> None:
    payloads = submits(jobs(JOBS, 30 * DAY_MS))

    def fold() -> None:
        folded = Fold(1, BUCKET_WIDTH_MS)
        for payload in payloads:
            folded.apply(payload)
        folded.finish()

    benchmark.pedantic(fold, rounds=3)
    benchmark.extra_info["entries_per_second"] = round(JOBS / benchmark.stats.stats.min)


@pytest.mark.parametrize("what", ["submit_hour", "submit_30_days", "grant_ack_of_stored", "submit_grant_ack"])
def test_fold_and_commit(benchmark: Any, tmp_path: Path, what: str) -> None:
    made = jobs(JOBS, 30 * DAY_MS if what == "submit_30_days" else HOUR_MS)
    before = submits(made) if what == "grant_ack_of_stored" else []
    measured = {"grant_ack_of_stored": runs, "submit_grant_ack": lambda made: submits(made) + runs(made)}.get(
        what, submits
    )(made)
    directory = open_or_create(tmp_path / "data", 1)
    store, history = MainStore(directory), HistoryDays(directory.history)
    journal = Journal(before + measured)
    checkpointer = Checkpointer(store, history, journal.open, nullcontext())
    while before and checkpointer.advance(len(before)) < len(before):
        pass

    def advance() -> None:
        while checkpointer.advance(len(journal.payloads)) < len(journal.payloads):
            pass

    benchmark.pedantic(advance, rounds=1)
    benchmark.extra_info["jobs_per_second"] = round(JOBS / benchmark.stats.stats.min)
    store.close()
    history.close()
    directory.close()


def test_scan_of_a_bucket(benchmark: Any, tmp_path: Path) -> None:
    """A horizon pass over one bucket, as far as the storekeeper has to do with it."""
    payloads = submits(jobs(JOBS, 1))
    directory = open_or_create(tmp_path / "data", 1)
    store, history = MainStore(directory), HistoryDays(directory.history)
    checkpointer = Checkpointer(store, history, Journal(payloads).open, nullcontext())
    while checkpointer.advance(len(payloads)) < len(payloads):
        pass
    snapshot = Snapshot(store)

    def walk() -> None:
        assert sum(len(rows) for rows in scan.scan(snapshot, (0, NO_ID), (NOW_MS + DAY_MS, NO_ID))) > JOBS * 170

    benchmark.pedantic(walk, rounds=3)
    benchmark.extra_info["ns_per_job"] = round(benchmark.stats.stats.min / JOBS * 1e9)
    snapshot.close()
    store.close()
    history.close()
    directory.close()
