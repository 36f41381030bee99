"""Scans and plans in process: the backlog is left out, whether its ids fit in memory or each job is looked up."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.histories import History
from tests.property.test_fold import Setup
from wheeld.model import limits
from wheeld.model.ids import NO_ID
from wheeld.model.rows import unpack_rows
from wheeld.store import layout, scan
from wheeld.store._load import IdSet
from wheeld.store.layout import Table
from wheeld.store.snapshot import Snapshot

END_MS = 1 << 50


@pytest.mark.parametrize("ids_max", [2, limits.SCAN_BACKLOG_IDS_MAX])
def test_the_backlog_is_left_out(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch, ids_max: int
) -> None:
    monkeypatch.setattr(limits, "SCAN_BACKLOG_IDS_MAX", ids_max)
    setup, history = Setup(tmp_path), History(rng)
    tables = setup.reference.tables
    while len(tables[Table.BACKLOG]) < 20:
        setup.journal.payloads.append(history.group(100))
        setup.reference.apply(setup.journal.payloads[-1])
    setup.advance()
    waiting = {layout.id_of_key(key) for key in tables[Table.BACKLOG]}
    failed = {layout.id_of_key(key) for key in tables[Table.DEAD]}
    free = tables[Table.JOBS].keys() - waiting - failed - tables[Table.LEASES].keys()
    dues = sorted(setup.reference.state_of(job_id).due_ms for job_id in free)
    middle_ms = dues[len(dues) // 2]
    snapshot = Snapshot(setup.store)
    halves = []
    for after, before in (((0, NO_ID), (middle_ms, NO_ID)), ((middle_ms, NO_ID), (END_MS, NO_ID))):
        rows = unpack_rows(b"".join(scan.scan(snapshot, after, before)))
        assert all(after <= (row.due_ms, row.job_id) < before for row in rows)
        halves += [row.job_id for row in rows]
    assert sorted(halves) == sorted(free)
    snapshot.close()
    setup.close()


def test_id_set_grows_and_drops() -> None:
    ids = IdSet()
    keys = [b"queue" + number.to_bytes(16, "big") for number in range(0, 20_000, 2)]
    ids.add(keys[:5000])
    ids.add(keys[4000:])
    assert len(ids) == len(keys)
    with pytest.raises(ValueError, match="no id"):
        ids.add([b"short"])
