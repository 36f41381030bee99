"""A worker beside a fake daemon: on a thread of its own when its handlers block, else on the test's loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.unit.worker.fake_server import FakeDaemon
from wheeld.client.app import App
from wheeld.worker.worker import Worker


@asynccontextmanager
async def running(daemon: FakeDaemon, app: App, **options: Any) -> AsyncIterator[Worker]:
    """A worker that is connected; stopped when the block ends, if it has not stopped before."""
    worker = Worker(app, **options)
    before = len(daemon.streams)
    task = asyncio.create_task(worker.run())
    opened = asyncio.create_task(daemon.until(lambda: len(daemon.streams) > before))
    await asyncio.wait((task, opened), return_when=asyncio.FIRST_COMPLETED)
    opened.cancel()
    try:
        yield worker
    finally:
        worker.stop()
        await task


@asynccontextmanager
async def running_apart(daemon: FakeDaemon, app: App, **options: Any) -> AsyncIterator[Worker]:
    """The same on a thread with a loop of its own."""
    worker = Worker(app, **options)
    before = len(daemon.streams)
    thread = threading.Thread(target=worker.main)
    thread.start()
    await daemon.until(lambda: len(daemon.streams) > before)
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.to_thread(thread.join)
