"""The writer of a stream: at once, one at a time, and never into its caller's face."""

from __future__ import annotations

import asyncio
from collections import deque

from wheeld.edge.writer import Turns, Writer
from wheeld.model.limits import STREAM_WRITES_PER_TURN_MAX


class Wire:
    """A transport whose writes end when the test says so."""

    def __init__(self, turns: Turns | None = None) -> None:
        self.waiting: deque[bytes] = deque()
        self.begun: list[bytes] = []
        self.under_way: asyncio.Future[None] | None = None
        self.ended: list[BaseException | None] = []
        self.written = 0
        self.writer = Writer(turns or Turns(), self.write, self.take, self.on_written, self.ended.append)

    async def write(self, message: bytes) -> None:
        assert self.under_way is None or self.under_way.done(), "two writes at once"
        self.begun.append(message)
        self.under_way = asyncio.get_running_loop().create_future()
        await self.under_way

    def take(self) -> bytes | None:
        if self.waiting and self.waiting[0] == b"broken":
            raise ValueError("no message")
        return self.waiting.popleft() if self.waiting else None

    def on_written(self) -> None:
        self.written += 1

    def say(self, *messages: bytes) -> None:
        self.waiting += messages
        self.writer.kick()

    async def finish_write(self) -> None:
        assert self.under_way is not None
        self.under_way.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)


async def test_a_write_begins_within_the_kick_and_the_next_after_it() -> None:
    wire = Wire()
    wire.say(b"1")
    assert wire.begun == [b"1"]
    wire.say(b"2", b"3")
    assert wire.begun == [b"1"]
    await wire.finish_write()
    assert wire.begun == [b"1", b"2"] and wire.written == 1
    wire.writer.finish()
    await wire.finish_write()
    assert wire.begun == [b"1", b"2", b"3"] and not wire.ended
    await wire.finish_write()
    assert wire.ended == [None] and wire.written == 3
    wire.say(b"4")
    assert len(wire.begun) == 3


async def test_what_breaks_is_told_once_and_not_raised() -> None:
    wire = Wire()
    wire.say(b"1")
    assert wire.under_way is not None
    wire.under_way.set_exception(ConnectionError("gone"))
    for _ in range(3):
        await asyncio.sleep(0)
    wire.writer.finish()
    assert [type(error) for error in wire.ended] == [ConnectionError]
    broken = Wire()
    broken.say(b"broken")
    assert [type(error) for error in broken.ended] == [ValueError]


async def test_past_its_share_of_a_turn_a_write_waits_for_the_next() -> None:
    turns = Turns()
    wires = [Wire(turns) for _ in range(STREAM_WRITES_PER_TURN_MAX + 2)]
    for wire in wires:
        wire.say(b"1")
    assert sum(len(wire.begun) for wire in wires) == STREAM_WRITES_PER_TURN_MAX
    await asyncio.sleep(0)
    assert all(wire.begun == [b"1"] for wire in wires)
    late = Wire(turns)
    late.say(b"1")
    assert late.begun == [b"1"]
