"""An event loop in virtual time whose ready callbacks run in an order that a seed decides.

Owns the order and the passing of time. Invariants: time moves only when nothing is ready (to the next timer) and by a
few microseconds for each round; two runs with one seed make the same choices.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from typing import Any

from wheeld.runtime.clock import SimClock

ROUND_US_MAX = 40
"""What a round of callbacks takes, at most: so that times are not all alike."""


ROUNDS_MAX = 3_000_000
"""More rounds than this, and somebody goes round in circles."""


class NothingLeftError(RuntimeError):
    """No callback is ready and no timer armed: the run waits for something that will never come."""


class SimLoop(asyncio.BaseEventLoop):
    """See the module. No sockets, no threads, no signals."""

    def __init__(self, clock: SimClock, seed: int) -> None:
        super().__init__()
        self.clock = clock
        self.boot_us = clock.boot_ms() * 1000
        self.rounds = 0
        self._chance = random.Random(f"loop {seed}")

    def time(self) -> float:
        """Seconds of boot time."""
        return self.boot_us / 1e6

    def pass_us(self, elapsed_us: int) -> None:
        """Let time pass."""
        self.boot_us += elapsed_us
        self.clock.advance(elapsed_us / 1000)

    def _run_once(self) -> None:
        ready: Any = self._ready
        timers: Any = self._scheduled
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False
        if not ready and not self._stopping:
            if not timers:
                raise NothingLeftError("nothing is ready and no timer is armed")
            self.pass_us(max(0, math.ceil(timers[0].when() * 1e6 - 1e-3) - self.boot_us))
        now = self.time() + 1e-9
        while timers and timers[0].when() <= now:
            handle = heapq.heappop(timers)
            handle._scheduled = False
            if not handle.cancelled():
                ready.append(handle)
        batch = list(ready)
        ready.clear()
        self._chance.shuffle(batch)
        for handle in batch:
            if not handle.cancelled():
                handle._run()
        self.rounds += 1
        if self.rounds > ROUNDS_MAX:
            raise RuntimeError("the node spins")
        self.pass_us(self._chance.randrange(ROUND_US_MAX))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when they come to the head."""

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else runs."""
