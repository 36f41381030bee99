"""The heartbeat: tick the core, give out what may leave, write what was decided, sleep until the next deadline.

Owns: the firing timer, the outboxes of attached streams. Invariant: every decision is followed by `kick`, so
that its group is written and what it made possible is granted; frames go out in `run` alone, after the core said that
they are durable and due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wheeld.core.api import Core
from wheeld.driver.api import Outbox
from wheeld.driver.groups import Groups
from wheeld.driver.lead import Lead
from wheeld.model import limits
from wheeld.runtime.clock import Clock
from wheeld.runtime.timer import Deadline, OpenDeadline

RELEASE_JOBS_MAX = limits.GRANTS_PER_TICK_MAX


class Pump:
    """See the module. All methods run on the event loop."""

    def __init__(self, core: Core, groups: Groups, clock: Clock, open_deadline: OpenDeadline, lead: Lead) -> None:
        self._core = core
        self._groups = groups
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: Deadline | None = open_deadline(self._on_timer)
        self._scheduled: asyncio.Handle | None = None
        self._offset_ms = clock.wall_ms() - clock.boot_ms()
        self.outboxes: dict[int, Outbox] = {}
        self.lead = lead
        groups.on_wait = lead.saw
        self.grants_allowed: Callable[[], bool] = lambda: True
        self.on_crash: Callable[[str, BaseException], None] = lambda part, error: None
        self.on_catch_up: Callable[[], None] = lambda: None
        """Whoever else has a deadline that a turn of the loop must not hold up."""
        self.clock_steps = 0
        self.beats = 0
        self._wake_ms = 0

    def kick(self) -> None:
        """Something was decided or became possible: beat soon, once for all that happens until then."""
        if self._scheduled is None:
            self._scheduled = self._loop.call_soon(self.run)

    def catch_up(self) -> None:
        """Called after each long decision: what came due meanwhile goes out now, and does not wait for everything else
        that this turn of the loop has before it.
        """
        if self._clock.wall_ms() >= self._wake_ms:
            self.run()
        self.on_catch_up()

    def stop(self) -> None:
        """No further beat on its own; `run` may still be called to write the last groups."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def on_durable(self, number: int) -> None:
        """A group is durable: answer who waits, give out what it held back."""
        self._groups.on_durable(number)
        self.run()

    def _on_timer(self, stepped: bool) -> None:
        self.run()

    def run(self) -> None:
        """One beat. An error in it is a defect: the node must not go on with a core that stopped halfway."""
        try:
            self._beat()
        except Exception as error:
            self.on_crash("pump", error)
            raise

    def _beat(self) -> None:
        if self._scheduled is not None:
            # This beat stands for the one to come: else, while there is more to do, each of them would call another.
            self._scheduled.cancel()
            self._scheduled = None
        self.beats += 1
        now_us, boot_ms = self._clock.wall_us(), self._clock.boot_ms()
        now_ms = now_us // 1000
        self._watch_clock(now_ms, boot_ms)
        more = self._release()
        more |= self._core.tick(now_ms, boot_ms, self.lead.ms, self.grants_allowed())
        more |= self._release()
        self._groups.flush(now_ms)
        if more:
            self._wake_ms = now_ms + 1
            self.kick()
        elif self._timer is not None:
            wake_ms = self._core.next_wake_ms(now_ms, boot_ms, self.lead.ms, self._groups.durable)
            self._wake_ms = min(max(wake_ms, now_ms), now_ms + limits.BEAT_MS_MAX)
            self._timer.arm(self._wake_ms)

    def _release(self) -> bool:
        """Give out what is durable and due; True when there may be more."""
        now_us = self._clock.wall_us()
        given = 0
        for message in self._core.release(now_us, self._groups.durable, RELEASE_JOBS_MAX):
            outbox = self.outboxes.get(message.stream)
            if outbox is not None:
                outbox.deliver(message.kind, message.count, message.data, now_us)
            given += message.count
        return given >= RELEASE_JOBS_MAX

    def _watch_clock(self, now_ms: int, boot_ms: int) -> None:
        """Forward steps need nothing: what is due fires. A step back makes waiting jobs wait again; nothing fires
        twice."""
        offset_ms = now_ms - boot_ms
        if abs(offset_ms - self._offset_ms) > limits.CLOCK_STEP_MS:
            # Between two readings the process may stand still, which is no step.
            offset_ms = self._read_offset_ms()
        moved_ms = offset_ms - self._offset_ms
        if moved_ms < -limits.CLOCK_STEP_MS:
            self.clock_steps += 1
            self._core.rebase(self._clock.wall_ms())
        elif moved_ms > limits.CLOCK_STEP_MS:
            self.clock_steps += 1
        self._offset_ms = offset_ms

    def _read_offset_ms(self) -> int:
        """Wall time less boot time, from readings that no pause lies between; the last offset when there are none."""
        for _ in range(limits.CLOCK_READS_MAX):
            before_ms, now_ms, boot_ms = self._clock.boot_ms(), self._clock.wall_ms(), self._clock.boot_ms()
            if boot_ms - before_ms <= 1:
                return now_ms - boot_ms
        return self._offset_ms
