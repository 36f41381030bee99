"""The order in which a node's parts come and go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from wheeld.daemon import node as composition
from wheeld.daemon.node import Node
from wheeld.daemon.options import Config
from wheeld.driver.driver import NodeDriver
from wheeld.model.errors import StartFailure
from wheeld.store.api import StoreBehind


async def test_a_start_that_fails_once_jobs_are_loaded_ends_what_the_recovery_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[tuple[str, BaseException]] = []
    node = Node(Config(data_dir=str(tmp_path / "data"), listen="127.0.0.1:0"), lambda *crash: crashes.append(crash))
    tasks_before = asyncio.all_tasks()

    async def no_web() -> None:
        """The recovery ends while the web side is on its way up, which then fails."""
        while not any(task.get_name() == "checkpoints" for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
        raise StartFailure("the port is in use", "choose another one", 4)

    monkeypatch.setattr(composition, "WEB_PATIENCE_S", 0)
    monkeypatch.setattr(node, "_web_up", no_web)
    with pytest.raises(StartFailure, match="port is in use"):
        await node.start()
    await node.stop()
    left = {task.get_name() for task in asyncio.all_tasks() - tasks_before}
    assert not left & {"horizon", "backlog", "watermark", "checkpoints"}
    assert crashes == []


async def test_a_store_whose_groups_the_journal_no_longer_holds_refuses_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the store was lost, and the journal begins long after group 1."""
    node = Node(Config(data_dir=str(tmp_path / "data"), listen="127.0.0.1:0", http_listen="off"), lambda *_: None)

    async def behind(_driver: NodeDriver) -> None:
        raise StoreBehind("the journal does not hold group 1 any more")

    monkeypatch.setattr(NodeDriver, "start", behind)
    with pytest.raises(StartFailure, match="group 1") as caught:
        await node.start()
    assert caught.value.exit_code == composition.EXIT_CORRUPT
    await node.stop()
