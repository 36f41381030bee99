"""The HTTP side over a real socket."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.unit.edge.fake_driver import FakeDriver, queue_view, skew
from wheeld.admission.gate import Gate
from wheeld.metrics.calls import CallCounts
from wheeld.model.errors import StartFailure
from wheeld.runtime.clock import SimClock
from wheeld.web.exporter import Sources
from wheeld.web.page import render
from wheeld.web.server import WebServer


def sources(driver: FakeDriver, gate: Gate) -> Sources:
    return Sources(driver, SimClock(), gate, CallCounts(), "1.0", "node <1>", SimClock().wall_ms() - 90_000)


async def fetch(port: int, path: str) -> tuple[int, str, str]:
    """(status, head, body)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), head.lower(), body


@asynccontextmanager
async def serving(gate: Gate, ready: list[bool]) -> AsyncIterator[WebServer]:
    driver = FakeDriver()
    driver.views = [queue_view(b"default/mail", ready=3, release_skew=skew(800))]
    server = WebServer(sources(driver, gate), lambda: ready[0], "127.0.0.1", 0)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def test_routes() -> None:
    gate, ready = Gate(), [False]
    before = signal.getsignal(signal.SIGINT)
    async with serving(gate, ready) as server:
        assert (await fetch(server.port, "/livez"))[0] == 200
        for path in ("/readyz", "/metrics", "/"):
            assert (await fetch(server.port, path))[0] == 503, path
        ready[0] = True
        assert (await fetch(server.port, "/readyz"))[0] == 200
        status, head, body = await fetch(server.port, "/metrics")
        assert status == 200 and "text/plain; version=0.0.4" in head and "wheeld_jobs_submitted_total 7.0" in body
        status, head, body = await fetch(server.port, "/")
        assert status == 200 and "default-src 'none'" in head and "mail" in body and "0.8" in body
        assert (await fetch(server.port, "/nothing"))[0] == 404
        gate.close(0)
        assert (await fetch(server.port, "/readyz"))[0] == 503
        assert (await fetch(server.port, "/livez"))[0] == 200
    assert signal.getsignal(signal.SIGINT) is before


async def test_a_port_in_use_is_named() -> None:
    async with serving(Gate(), [True]) as first:
        second = WebServer(sources(FakeDriver(), Gate()), lambda: True, "127.0.0.1", first.port)
        with pytest.raises(StartFailure, match=str(first.port)) as caught:
            await second.start()
        assert caught.value.exit_code == 4


async def test_the_page_escapes_and_shows_the_drain() -> None:
    gate, driver = Gate(), FakeDriver()
    page = render(sources(driver, gate))
    assert "node &lt;1&gt;" in page and "<1>" not in page and "serving" in page
    assert "No queue yet" in page and "Nothing has fired yet" in page
    gate.close(0)
    assert "draining" in render(sources(driver, gate))
