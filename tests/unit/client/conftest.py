"""A fake daemon and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.worker.fake_server import FakeDaemon, fake_daemon
from wheeld.client.client import Client


@pytest.fixture
async def daemon() -> AsyncIterator[FakeDaemon]:
    async with fake_daemon() as serving:
        yield serving


@pytest.fixture
async def client(daemon: FakeDaemon) -> AsyncIterator[Client]:
    async with Client(daemon.address, timeout=60) as connected:
        yield connected
