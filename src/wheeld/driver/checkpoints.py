"""Checkpoints and the doors that depend on them: how far the store is behind, whether the disk has room.

Owns: when the store is asked to fold, and the refusals that follow from its lag. Invariant: acks are never refused
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from wheeld.core.api import Core
from wheeld.driver.groups import Groups
from wheeld.driver.pump import Pump
from wheeld.model import errors, limits
from wheeld.store.api import Store, StoreFull

PERIOD_S = 1.0


class JournalView(Protocol):
    """The journal, as the driver sees it."""

    @property
    def last_group(self) -> int: ...
    @property
    def free_space_low(self) -> bool: ...
    @property
    def bytes_written(self) -> int: ...
    @property
    def segments(self) -> int: ...
    @property
    def sync_ms_longest(self) -> float: ...
    def append(self, number: int, payload: bytes | memoryview, time_ms: int) -> None: ...
    def release(self, up_to_group: int) -> None: ...
    def sync_ms_recent(self, quantile: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Room:
    """The file system of the data directory: what is free now, and how long a journal segment is."""

    free_bytes: Callable[[], int]
    segment_bytes: int = limits.SEGMENT_BYTES


class Checkpoints:
    """See the module."""

    def __init__(self, core: Core, groups: Groups, pump: Pump, store: Store, journal: JournalView, room: Room) -> None:
        self._core, self._groups, self._pump, self._store, self._journal = core, groups, pump, store, journal
        self._room = room
        self._released = 0
        self.space_low = False
        self.lookups: list[int] = []
        """For each lookup of keys under way, the last group whose keys memory may forget: a key that came later and was
        forgotten before the answer, which does not know it, would be taken for new."""

    def grants_allowed(self) -> bool:
        """Grants stop when even acks may soon lack room."""
        return self._groups.retained_bytes < limits.RETAINED_BYTES_GRANT_MAX

    def refusal(self) -> tuple[int, str]:
        """(code, why) while submits are refused; (0, "") else."""
        if self._groups.retained_bytes >= limits.RETAINED_BYTES_SUBMIT_MAX:
            return errors.STORE_BUSY, f"{self._groups.retained_bytes} journal bytes wait to be folded into the store"
        if self.space_low or self._journal.free_space_low:
            return errors.STORE_FULL, "the file system of the data directory is almost full"
        return errors.OK, ""

    def on_position(self, position: int) -> None:
        """The store has folded up to `position`."""
        self._groups.on_folded(position)
        self._core.checkpointed(min([position, *self.lookups]))
        if position > self._released:
            self._released = position
            self._journal.release(min(position, self._journal.last_group))
        self._pump.kick()

    async def run(self) -> None:
        """Ask for a checkpoint about once a second, sooner when much has gathered."""
        folded = 0
        while True:
            for _ in range(20):
                await asyncio.sleep(PERIOD_S / 20)
                if self._groups.retained_bytes > limits.CHECKPOINT_EAGER_BYTES:
                    break
            self._look_at_disk()
            if self._groups.durable > folded:
                try:
                    folded = await self._store.checkpoint(self._groups.durable)
                except StoreFull:
                    self.space_low = True
                    continue
                self.on_position(folded)

    def _look_at_disk(self) -> None:
        """The floor covers what is not yet folded (twice: pages are copied on write), two segments, some slack."""
        floor = 2 * self._groups.retained_bytes + 2 * self._room.segment_bytes + limits.DISK_SLACK_BYTES
        self.space_low = self._room.free_bytes() < floor
