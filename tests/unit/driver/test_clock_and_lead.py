"""What is a step of the clock and what is a pause of the process; and how far ahead slow groups make jobs prepared."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.driver.bare_node import BareNode, Outbox, run_bare
from wheeld.driver.lead import Lead
from wheeld.model import limits
from wheeld.model.spec import Spec
from wheeld.runtime.clock import SimClock

QUEUE, SESSION = b"bare/queue", b"session of a lot"
PERIOD_S = limits.LEAD_PERIOD_S


class PausingClock(SimClock):
    """The process stands still for a while in the middle of its n-th reading from now."""

    def __init__(self) -> None:
        super().__init__()
        self.readings_left = -1

    def _read(self) -> None:
        self.readings_left -= 1
        if self.readings_left == 0:
            self.advance(300)

    def boot_ms(self) -> int:
        self._read()
        return super().boot_ms()

    def wall_us(self) -> int:
        self._read()
        return super().wall_us()

    def wall_ms(self) -> int:
        self._read()
        return super().wall_ms()


@pytest.mark.parametrize("reading", range(1, 9))
def test_a_pause_between_two_readings_is_no_step(reading: int) -> None:
    async def story(node: BareNode) -> None:
        clock = PausingClock()
        pump = node.driver.pump
        pump._clock, pump._offset_ms = clock, clock.wall_ms() - clock.boot_ms()
        clock.readings_left = reading
        for _ in range(4):
            pump._watch_clock(clock.wall_us() // 1000, clock.boot_ms())
        assert clock.readings_left <= 0
        assert pump.clock_steps == 0

    run_bare(1, story)


@pytest.mark.parametrize("step_ms", [-5000, 5000])
def test_a_step_is_seen_once_and_nothing_leaves_early(step_ms: int) -> None:
    async def story(node: BareNode) -> None:
        leases: list[int] = []

        def take(job_id: bytes, fencing: int, due_ms: int) -> None:
            assert node.clock.wall_ms() >= due_ms
            leases.append(due_ms)

        await node.driver.open_stream(SESSION, b"w", [QUEUE], 10, 1 << 30, 60_000, b"", Outbox(take))
        await node.submit([Spec(QUEUE, schedule_ms=node.clock.wall_ms() + 1000)])
        node.clock.step_wall(step_ms)
        node.driver.pump.kick()
        await asyncio.sleep(0.5)
        assert (node.driver.pump.clock_steps, len(leases)) == (1, step_ms > 0)
        await asyncio.sleep(6)
        assert (node.driver.pump.clock_steps, len(leases)) == (1, 1)

    run_bare(1, story)


def test_the_lead_grows_at_once_and_shrinks_when_the_longest_wait_is_forgotten() -> None:
    lead = Lead(20, 50)
    for number in range(100):
        lead.saw(number * 0.01, 0.002)
    assert lead.ms == 20
    lead.saw(1.0, 0.030)
    assert lead.ms == 30 * limits.LEAD_PERCENT // 100 + 1
    lead.saw(2 * PERIOD_S, 0.022)
    lead.saw(3 * PERIOD_S, 0.002)
    assert lead.ms == 30 * limits.LEAD_PERCENT // 100 + 1
    lead.saw((limits.LEAD_PERIODS + 1) * PERIOD_S, 0.002)
    assert lead.ms == 22 * limits.LEAD_PERCENT // 100 + 1, "the next longest counts"
    lead.saw((limits.LEAD_PERIODS + 4) * PERIOD_S, 0.002)
    assert lead.ms == 20
    lead.saw((limits.LEAD_PERIODS + 4) * PERIOD_S, 7.0)
    assert lead.ms == 50


def test_the_lead_covers_the_whole_way_of_a_decision() -> None:
    """Not the sync alone: a decision waits for the group under way as well."""

    async def story(node: BareNode) -> None:
        node.disk.sync_delay_s = lambda: 0.018  # type: ignore[method-assign]
        first = asyncio.ensure_future(node.submit([Spec(QUEUE, schedule_ms=1 << 40)]))
        await asyncio.sleep(0.001)
        await asyncio.gather(first, node.submit([Spec(QUEUE, schedule_ms=1 << 40)]))
        assert 35 * limits.LEAD_PERCENT // 100 <= node.driver.pump.lead.ms <= limits.LEAD_MS_MAX

    run_bare(1, story)
