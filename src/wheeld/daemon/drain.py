"""From the stop signal to the last durable group.

Owns the order of a drain. Invariants: no submit is accepted once it has begun; workers may settle what they hold until
the deadline; nothing that was accepted depends on the drain being allowed to end.
"""

from __future__ import annotations

import asyncio
import os
import signal
from types import FrameType

from wheeld.daemon.node import Node
from wheeld.runtime.logs import get_logger


class StopSignals:
    """SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once (everything accepted is
    durable).
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._name = ""

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the signals over."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.on_signal, number)

    def on_signal(self, number: int, _frame: FrameType | None = None) -> None:
        """One has come."""
        if self.asked.is_set():
            get_logger("daemon").warning("second signal: stopping at once", signal=signal.Signals(number).name)
            os._exit(128 + number)
        get_logger("daemon").info("stop signal: draining", signal=signal.Signals(number).name)
        self.asked.set()


async def drain(node: Node) -> None:
    """Refuse what is new, tell the streams, and wait until no call is open or the time is over."""
    timeout_ms = node.config.drain_timeout
    node.gate.close(node.clock.wall_ms() + timeout_ms)
    await node.edge.announce_drain()
    node.driver.drain()
    idle = asyncio.Event()
    node.counts.on_idle = idle.set
    try:
        if node.counts.in_flight:
            async with asyncio.timeout(timeout_ms / 1000):
                await idle.wait()
    except TimeoutError:
        get_logger("daemon").warning("drain timeout: calls are cut off", calls=node.counts.in_flight)
