"""The far tier while the store's disk is full: a load that could not be made is made again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from wheeld.driver import far
from wheeld.driver.far import FarTier
from wheeld.store.api import StoreFull


class Loads:
    """Core, groups, pump, clock and store in one: whatever a load touches. The first `full` reads find no room."""

    def __init__(self, full: int) -> None:
        self.full = full
        self.open: set[int] = set()
        self.begun = 0
        self.loaded: list[bytes] = []

    def begin_load(self) -> tuple[int, int]:
        self.begun += 1
        self.open.add(self.begun)
        return self.begun, 7

    def end_load(self, load: int) -> None:
        self.open.remove(load)

    def load(self, _now_ms: int, _boot_ms: int, load: int, rows: bytes) -> int:
        assert load in self.open
        self.loaded.append(rows)
        return 1

    async def leases(self, position: int) -> AsyncIterator[bytes]:
        assert position == 7
        yield b"some"
        if self.full:
            self.full -= 1
            raise StoreFull("no room")
        yield b"rest"

    async def wait(self, _group: int) -> None: ...
    def kick(self) -> None: ...
    def wall_ms(self) -> int:
        return 1

    boot_ms = wall_ms


async def test_a_load_that_meets_a_full_disk_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far, "FULL_RETRY_S", 0)
    loads: Any = Loads(full=2)
    await FarTier(loads, loads, loads, loads, loads, 1 << 20).load_leases()
    assert loads.loaded == [b"some", b"some", b"some", b"rest"]
    assert loads.begun == 3 and not loads.open
