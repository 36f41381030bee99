"""A fake daemon and an app that knows its address."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.worker.fake_server import FakeDaemon, fake_daemon
from wheeld.client.app import App


@pytest.fixture
async def daemon() -> AsyncIterator[FakeDaemon]:
    async with fake_daemon() as serving:
        yield serving


@pytest.fixture
def app(daemon: FakeDaemon) -> App:
    return App(daemon.address)
