"""The storekeeper's supervision: an end that nobody foresaw stops the node, and a stop ends what waits to start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from wheeld.store import supervisor
from wheeld.store.api import StoreError, StoreFailed
from wheeld.store.client import StoreClient
from wheeld.store.directory import open_or_create


async def test_an_unforeseen_error_ends_the_store_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise OSError(12, "no memory for a child")

    monkeypatch.setattr(supervisor.subprocess, "Popen", no_memory)
    directory = open_or_create(tmp_path / "data", 4)
    store = StoreClient(directory)
    failures: list[StoreError] = []
    store.on_failed = failures.append
    with pytest.raises(StoreFailed, match="no memory"):
        await asyncio.wait_for(store.start(), 60)
    assert len(failures) == 1
    with pytest.raises(StoreFailed):
        await store.stats()
    await store.stop()
    directory.close()


async def test_a_stop_between_two_storekeepers_starts_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Longer than any standstill of the machine between the child's end and the stop.
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS_FIRST", 600)
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS_MAX", 600)
    directory = open_or_create(tmp_path / "data", 4)
    store = StoreClient(directory)
    await store.start()
    child = store._supervisor.child
    assert child is not None
    child.kill()
    while not store.restarts:
        await asyncio.sleep(0.001)
    await asyncio.wait_for(store.stop(), 60)
    assert store.restarts == 1 and store._supervisor.child is child
    directory.close()


async def test_a_store_that_lmdb_cannot_read_is_not_opened_again_and_again(tmp_path: Path) -> None:
    directory = open_or_create(tmp_path / "data", 4)
    (directory.store / "data.mdb").write_bytes(b"\xff" * 65_536)
    store = StoreClient(directory)
    with pytest.raises(StoreFailed, match="damaged"):
        await asyncio.wait_for(store.start(), 60)
    assert store.restarts == 0
    await store.stop()
    directory.close()
