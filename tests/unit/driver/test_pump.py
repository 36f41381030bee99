"""The heartbeat alone, over a core that is never done."""

from __future__ import annotations

import asyncio
from typing import Any

from wheeld.driver.groups import Groups
from wheeld.driver.lead import Lead
from wheeld.driver.pump import Pump


class Busy:
    """Core, clock and deadline in one; each tick leaves more to do."""

    def __init__(self) -> None:
        self.ticks = 0

    def tick(self, *_: object) -> bool:
        self.ticks += 1
        return True

    def release(self, *_: object) -> list[Any]:
        return []

    def take_group(self) -> None: ...
    def open_group_bytes(self) -> int:
        return 0

    wall_ms = boot_ms = wall_us = open_group_bytes


async def test_beats_beside_the_scheduled_one_do_not_add_up() -> None:
    """A turn of the loop does a slice of the work, however many groups became durable while there was more to do."""
    busy: Any = Busy()
    pump = Pump(busy, Groups(busy, busy, 0), busy, lambda _callback: busy, Lead(25, 50))
    pump.kick()
    for group in range(1, 20):
        pump.on_durable(group)
        before = busy.ticks
        await asyncio.sleep(0)
        assert busy.ticks - before == 1
