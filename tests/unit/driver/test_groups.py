"""Groups of decisions on their way to a slow journal: their size is bounded, and nobody is left at the door."""

from __future__ import annotations

import asyncio

from wheeld.driver.groups import Groups
from wheeld.model import limits


class OpenGroup:
    """The part of a core that `Groups` asks: an open group that grows by what is decided."""

    def __init__(self) -> None:
        self.size = 0
        self.number = 1

    def decide(self, size: int) -> int:
        """Add a decision; the group that holds it."""
        self.size += size
        return self.number

    def open_group_bytes(self) -> int:
        return self.size

    def take_group(self) -> tuple[int, bytes] | None:
        if not self.size:
            return None
        taken = self.number, bytes(self.size)
        self.number, self.size = self.number + 1, 0
        return taken


class Sink(list[tuple[int, int]]):
    """A journal that never syncs: (number, size) of what it was given."""

    def append(self, number: int, payload: bytes, time_ms: int) -> None:  # type: ignore[override]
        super().append((number, len(payload)))


async def test_settles_during_a_long_stall_fill_many_groups_of_bounded_size() -> None:
    core, sink = OpenGroup(), Sink()
    groups = Groups(core, sink, 0)  # type: ignore[arg-type]
    one = 2 * limits.MIB
    last = 0
    for _ in range(64):
        last = core.decide(one)
        groups.seal()
        groups.flush(1)
    waiter = asyncio.ensure_future(groups.wait(last))
    await asyncio.sleep(0)
    assert len(sink) == limits.GROUPS_IN_FLIGHT_MAX
    assert groups.retained_bytes + core.size == 64 * one
    for number in range(1, last + 1):
        assert not waiter.done()
        groups.on_durable(number)
        groups.flush(1)
        assert len(sink) <= number + limits.GROUPS_IN_FLIGHT_MAX
    await waiter
    assert [number for number, _ in sink] == list(range(1, last + 1))
    assert sum(size for _, size in sink) == 64 * one
    assert max(size for _, size in sink) < limits.GROUP_BYTES_SEALED + one
    groups.on_folded(last)
    assert groups.retained_bytes == 0


async def test_sealed_groups_keep_submits_at_the_door() -> None:
    core, sink = OpenGroup(), Sink()
    groups = Groups(core, sink, 0)  # type: ignore[arg-type]
    for _ in range(limits.GROUPS_IN_FLIGHT_MAX + 1):
        core.decide(limits.GROUP_BYTES_SEALED)
        groups.flush(1)
    assert core.open_group_bytes() == 0
    waiter = asyncio.ensure_future(groups.room())
    await asyncio.sleep(0)
    assert not waiter.done()
    groups.on_durable(1)
    groups.flush(1)
    await asyncio.wait_for(waiter, 60)
