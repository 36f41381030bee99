"""A fake daemon and an app that knows its address."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.worker.fake_server import FakeDaemon, fake_daemon
from wheeld.client.app import App


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for some seconds must not turn the orderly end of a stream into a cancelled one."""
    monkeypatch.setattr("wheeld.worker.stream._JOIN_S", 60.0)


@pytest.fixture
async def daemon() -> AsyncIterator[FakeDaemon]:
    async with fake_daemon() as serving:
        yield serving


@pytest.fixture
def app(daemon: FakeDaemon) -> App:
    return App(daemon.address)
