"""The standing thread for calls that come alone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from wheeld.client import lane as lane_module
from wheeld.client.lane import Lane


async def once(lane: Lane, call: object) -> object:
    assert lane.claim()
    return await lane.run(call)  # type: ignore[arg-type]


async def test_calls_share_one_thread_that_is_not_the_loops() -> None:
    lane = Lane()
    threads = {await once(lane, threading.get_ident) for _ in range(3)}
    assert len(threads) == 1 and threading.get_ident() not in threads


async def test_it_makes_one_call_at_a_time_and_hands_errors_on() -> None:
    lane, gate = Lane(), threading.Event()

    def fail() -> None:
        gate.wait(60)
        raise LookupError("no")

    failing = asyncio.ensure_future(once(lane, fail))
    await asyncio.sleep(0)
    assert not lane.claim()
    gate.set()
    with pytest.raises(LookupError, match="no"):
        await failing
    assert lane.claim()


async def test_a_cancelled_waiter_leaves_and_the_lane_goes_on() -> None:
    lane, gate, ended = Lane(), threading.Event(), threading.Event()

    def slow() -> None:
        gate.wait(60)
        ended.set()

    waiting = asyncio.ensure_future(once(lane, slow))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not ended.is_set() and not lane.claim()
    gate.set()
    async with asyncio.timeout(60):
        while not lane.claim():
            await asyncio.sleep(0.001)
    assert ended.is_set()
    assert await lane.run(lambda: 7) == 7


async def test_an_idle_thread_ends_and_another_one_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "IDLE_S_MAX", 0.01)
    lane = Lane()
    first: threading.Thread = await once(lane, threading.current_thread)  # type: ignore[assignment]
    await asyncio.to_thread(first.join, 60)
    assert not first.is_alive()
    assert await once(lane, threading.current_thread) is not first
