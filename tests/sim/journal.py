"""A journal in memory that survives crashes: groups become durable one after the other, each after a delay of its own.

Owns what is durable. Invariant: a crash keeps a prefix of the groups under way (written, but nobody was told), and
loses the rest.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

from wheeld.model.entry import GRANT_BODY, EntryKind, iterate_entries
from wheeld.model.ids import ID_BYTES


class MemoryJournal:
    """The disk. `open` gives each life of the node its own handle."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.durable: list[bytes] = []
        """Group n at n - 1."""
        self.slow = 0.0
        """Share of syncs that take long."""
        self._noted = 0
        self._grants: set[int] = set()
        self._submits: set[bytes] = set()
        self.lost_groups = 0
        self.kept_untold = 0

    @property
    def last_group(self) -> int:
        return len(self.durable)

    def open(self, on_durable: Callable[[int], None]) -> Handle:
        """The journal as one life of the node sees it."""
        return Handle(self, on_durable)

    def _note(self) -> None:
        """Remember what has become durable since."""
        for payload in self.durable[self._noted :]:
            for head, body in iterate_entries(payload):
                if head.kind == EntryKind.GRANT:
                    self._grants.add(GRANT_BODY.unpack_from(body)[1])
                elif head.kind == EntryKind.SUBMIT:
                    self._submits.add(bytes(body[:ID_BYTES]))
        self._noted = len(self.durable)

    def has_grant(self, fencing: int) -> bool:
        """Whether the grant of a token is durable."""
        self._note()
        return fencing in self._grants

    def has_submit(self, job_id: bytes) -> bool:
        """Whether the submit of a job is durable."""
        self._note()
        return job_id in self._submits

    def sync_delay_s(self) -> float:
        if self.chance.random() < self.slow:
            return self.chance.choice((0.02, 0.1, 0.4, 1.5)) * self.chance.random()
        return 0.0001 + 0.003 * self.chance.random()


class Handle:
    """See wheeld.driver.checkpoints.JournalView."""

    def __init__(self, disk: MemoryJournal, on_durable: Callable[[int], None]) -> None:
        self.disk = disk
        self.pending: deque[tuple[int, bytes]] = deque()
        self.bytes_written = 0
        self.segments = 1
        self.released = 0
        self.dead = False
        self._on_durable = on_durable
        self._loop = asyncio.get_running_loop()

    @property
    def last_group(self) -> int:
        return self.disk.last_group

    @property
    def free_space_low(self) -> bool:
        return False

    def append(self, number: int, payload: bytes, time_ms: int) -> None:
        if self.dead:
            return
        assert number == self.disk.last_group + len(self.pending) + 1, "groups are numbered without gaps"
        self.pending.append((number, payload))
        self.bytes_written += len(payload)
        if len(self.pending) == 1:
            self._loop.call_later(self.disk.sync_delay_s(), self._synced)

    def _synced(self) -> None:
        if self.dead:
            return
        number, payload = self.pending.popleft()
        self.disk.durable.append(payload)
        if self.pending:
            self._loop.call_later(self.disk.sync_delay_s(), self._synced)
        self._on_durable(number)

    def release(self, up_to_group: int) -> None:
        assert self.released <= up_to_group <= self.last_group
        self.released = up_to_group

    @property
    def sync_ms_longest(self) -> float:
        return 0.0

    def sync_ms_recent(self, quantile: float) -> float:
        return 40 * self.disk.slow + quantile

    def crash(self) -> None:
        """Keep some of what was under way, lose the rest."""
        self.dead = True
        keep = self.disk.chance.randrange(len(self.pending) + 1)
        for _ in range(keep):
            self.disk.durable.append(self.pending.popleft()[1])
        self.disk.kept_untold += keep
        self.disk.lost_groups += len(self.pending)
