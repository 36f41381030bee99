"""The window of a stream: what is abandoned is waited for by nobody."""

from __future__ import annotations

import asyncio

from wheeld.edge.window import Window


async def test_what_begins_after_the_window_was_abandoned_holds_up_no_end() -> None:
    window = Window(1, 100)
    await window.acquire(10)
    late = asyncio.ensure_future(window.acquire(10))
    await asyncio.sleep(0)
    window.abandon()
    await late
    await asyncio.wait_for(window.wait_empty(), 60)
    window.release(10)
    assert window.messages == 0
