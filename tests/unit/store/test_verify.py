"""verify_store: silent about what the storekeeper wrote, loud about each kind of damage."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.histories import History
from tests.property.test_fold import Setup
from wheeld.store import layout
from wheeld.store.layout import Table
from wheeld.store.verify import verify_store


@pytest.fixture
def grown(tmp_path: Path, rng: random.Random) -> Setup:
    setup = Setup(tmp_path)
    history = History(rng)
    while not all(setup.reference.tables[table] for table in (Table.LEASES, Table.MOVED, Table.BACKLOG, Table.DEAD)):
        for _ in range(5):
            setup.journal.payloads.append(history.group(100))
            setup.reference.apply(setup.journal.payloads[-1])
    setup.advance()
    return setup


def test_whole_store_has_no_problems(grown: Setup) -> None:
    grown.close()
    report = verify_store(grown.directory.path)
    assert report.problems == []
    assert report.position == len(grown.journal.payloads)
    assert report.counts["jobs"] == len(grown.reference.tables[Table.JOBS])
    assert report.history_rows == len(grown.reference.history)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (Table.JOBS, "does not exist"),
        (Table.STATE, "moved row|dead letter|backlog"),
        (Table.MOVED, "has no moved row"),
        (Table.DEAD, "no dead letter"),
        (Table.META, "lower numbers"),
    ],
)
def test_lost_rows_are_found(grown: Setup, table: Table, says: str) -> None:
    with grown.store.begin(write=True) as txn:
        for key, _ in list(txn.cursor(grown.store.tables[table])):
            if key != layout.META_FORMAT:
                txn.delete(key, db=grown.store.tables[table])
    grown.close()
    problems = verify_store(grown.directory.path).problems
    assert problems
    assert any(word in problem for problem in problems for word in says.split("|"))


@pytest.mark.parametrize("table", [Table.JOBS, Table.STATE, Table.LEASES, Table.KEYS, Table.QUEUES])
def test_unknown_versions_are_found(grown: Setup, table: Table) -> None:
    with grown.store.begin(write=True) as txn:
        key, record = next(iter(txn.cursor(grown.store.tables[table])))
        txn.put(key, b"\x09" + record[1:], db=grown.store.tables[table])
    grown.close()
    assert any("version" in problem for problem in verify_store(grown.directory.path).problems)


def test_history_row_in_the_wrong_day(grown: Setup) -> None:
    day = grown.history.days()[0]
    with grown.history.environment(day).begin(write=True) as txn:
        key, record = next(iter(txn.cursor()))
        txn.put(key, layout.HISTORY_HEAD.pack(1, 5) + record[layout.HISTORY_HEAD.size :])
    grown.close()
    assert any("elsewhere" in problem for problem in verify_store(grown.directory.path).problems)


def test_format_of_another_store(grown: Setup, tmp_path: Path) -> None:
    other = Setup(tmp_path / "other")
    other.close()
    grown.close()
    (grown.directory.path / "format").write_bytes((other.directory.path / "format").read_bytes())
    assert "does not belong" in verify_store(grown.directory.path).problems[0]


def test_directory_without_a_store(tmp_path: Path) -> None:
    assert "holds no wheeld store" in verify_store(tmp_path).problems[0]
