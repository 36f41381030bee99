"""The layouts on disk do not change by accident: golden entries fold to golden rows, byte for byte.

tests/data/store-v2.json holds the entries of a small history and every row that they leave. A new version of a layout
gets a file of its own and leaves this one readable; nothing regenerates it.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.property.test_fold import Setup
from wheeld.model.entry import unpack_outcome
from wheeld.model.spec import unpack_spec
from wheeld.store import layout
from wheeld.store.layout import Table

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "store-v2.json").read_text())


def test_golden_entries_fold_to_golden_rows(tmp_path: Path) -> None:
    setup = Setup(tmp_path, shards=GOLDEN["shards"])
    setup.journal.payloads = [bytes.fromhex(group) for group in GOLDEN["groups"]]
    setup.advance()
    for table in layout.MAIN_TABLES:
        rows = {key.hex(): value.hex() for key, value in setup.records(table).items() if key != layout.META_FORMAT}
        assert rows == GOLDEN["tables"][table.name.lower()], table.name
    days: dict[str, dict[str, str]] = {}
    for (day, key), value in setup.history_rows().items():
        days.setdefault(layout.day_name(day), {})[key.hex()] = value.hex()
    assert days == GOLDEN["history"]
    setup.close()


def test_golden_rows_are_read() -> None:
    """What the file holds is decoded and packed again to the same bytes; a table without rows would prove nothing."""
    tables = {
        Table[name.upper()]: {bytes.fromhex(key): bytes.fromhex(value) for key, value in rows.items()}
        for name, rows in GOLDEN["tables"].items()
    }
    assert all(tables.values())
    specs = dict(row for key, block in tables[Table.JOBS].items() for row in layout.unpack_block(key, block))
    assert all(unpack_spec(record).pack() == record for record in specs.values())
    assert all(layout.unpack_state(record).pack() == record for record in tables[Table.STATE].values())
    assert all(layout.unpack_lease(record).pack() == record for record in tables[Table.LEASES].values())
    for key in (*tables[Table.MOVED], *tables[Table.BACKLOG], *tables[Table.DEAD]):
        assert layout.id_of_key(key) in specs
    for rows in GOLDEN["history"].values():
        for key, value in rows.items():
            body = bytes.fromhex(value)[layout.HISTORY_HEAD.size :]
            assert unpack_outcome(body).pack() == body
            assert unpack_outcome(body).job_id.hex() == key[:32]
