"""The far tier while the store's disk is full: a load that could not be made is made again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from wheeld.core.api import QueueView
from wheeld.driver import far
from wheeld.driver.far import FarTier
from wheeld.model import limits
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


class Pages(Loads):
    """A queue's backlog in pages of ten jobs; `folded` lets the store answer."""

    def __init__(self) -> None:
        super().__init__(full=0)
        self.folded = asyncio.Event()
        self.asked: list[bytes] = []
        self.ready = 0
        self.resident_bytes = 0

    async def backlog(self, _queue: bytes, key: bytes, _limit: int, position: int) -> tuple[bytes, bytes, bool]:
        assert position == 7
        self.asked.append(key)
        await self.folded.wait()
        return b"rows of " + key, key + b"x", True

    def load(self, now_ms: int, boot_ms: int, load: int, rows: bytes) -> int:
        super().load(now_ms, boot_ms, load, rows)
        self.ready += 10
        return 10

    def counters(self) -> Pages:
        return self


async def test_the_next_pages_are_asked_for_while_the_ready_jobs_are_handed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "BACKLOG_READY_HIGH", 20)
    pages: Any = Pages()
    tier = FarTier(pages, pages, pages, pages, pages, 1 << 30)
    view = QueueView(b"n/q", False, 0, 0, True, 0, 1, 100, 0)
    pages.folded.set()
    await tier._page_in(view)
    assert pages.loaded == [b"rows of ", b"rows of x"]
    pages.folded.clear()
    await asyncio.sleep(0)
    assert pages.asked == [b"", b"x", b"xx"], "the third page is under way, and no job of it is resident"
    assert len(pages.open) == 1, "what leaves memory meanwhile is remembered, so that no finished job comes back"
    pages.folded.set()
    await tier._page_in(view)
    assert pages.loaded[2:] == [b"rows of xx"]
    assert pages.asked[3:] == []
    tier._drop_primed(set(), 0)
    assert not pages.open, "the core may forget again"


async def test_pages_that_were_asked_for_ahead_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie beside the byte cap, and there may be thousands of queues."""
    monkeypatch.setattr(limits, "BACKLOG_READY_HIGH", 10)
    pages: Any = Pages()
    tier = FarTier(pages, pages, pages, pages, pages, 1 << 30)
    pages.folded.set()
    for number in range(limits.BACKLOG_PRIMED_MAX + 5):
        await tier._page_in(QueueView(f"n/q{number}".encode(), False, 0, 0, True, 0, 1, 100, 0))
    assert len(pages.open) == limits.BACKLOG_PRIMED_MAX
    tier._drop_primed(set(), 0)
    assert not pages.open


async def test_a_load_that_meets_a_full_disk_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far, "FULL_RETRY_S", 0)
    loads: Any = Loads(full=2)
    await FarTier(loads, loads, loads, loads, loads, 1 << 20).load_leases()
    assert loads.loaded == [b"some", b"some", b"some", b"rest"]
    assert loads.begun == 3 and not loads.open
