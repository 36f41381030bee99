"""What the driver may ask of the far tier.

Owns the Protocol and its words; `client` speaks it to the storekeeper process. Invariants: every request is
idempotent; each names the least journal group (`min_position`, which must be durable) that its answer must contain,
and the store folds up to it by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from wheeld.model.entry import Outcome


class StoreError(Exception):
    """Root of what the store answers instead of a result."""


class StoreFull(StoreError):
    """No room on the disk: nothing was changed, the same request can be made again."""


class StoreBehind(StoreError):
    """A group was asked for that the journal does not hold."""


class StoreFailed(StoreError):
    """Store and journal contradict each other, or the disk failed: nothing more is served, the node must stop."""


class StoreClosed(StoreError):
    """The request was made after `stop`, or was under way then."""


@dataclass
class Recovery:
    """What a restarted core goes on from. Lists have one number per shard."""

    position: int
    next_seq: list[int]
    index: list[int]
    epoch: list[int]
    watermark_ms: int
    queues: dict[bytes, bool]
    """Queue path -> paused."""
    backlog_queues: list[bytes]
    has_keys: bool
    counts: dict[str, int]
    """Rows per table."""
    sessions: bytes = field(default=b"", repr=False)
    """PRODUCER bodies of the last hour, one behind the other."""


class KeyFound(NamedTuple):
    """A remembered idempotency key."""

    job_id: bytes
    content_hash: int
    create_ms: int


class BacklogPage(NamedTuple):
    """Rows in the backlog's order (ROW_BACKLOG set), the key to go on after, and whether there are more."""

    rows: bytes
    next_key: bytes
    more: bool


class Attempt(NamedTuple):
    """A history row."""

    finish_ms: int
    outcome: Outcome


@dataclass(frozen=True)
class StoreStats:
    """Sizes. `bytes_used` counts the main file with its free pages."""

    position: int
    counts: dict[str, int]
    bytes_used: int
    bytes_map: int
    history_bytes: int
    free_bytes: int


class Store(Protocol):
    """The far tier. Rows are runs of model/rows.py rows; places are (due_ms, id) with NO_ID as the lowest."""

    on_position: Callable[[int], None] | None
    """Called after each commit with the group that is durable in the store: the journal may recycle what lies before.
    """

    @property
    def position(self) -> int:
        """The newest durable group that the store told of."""

    async def start(self) -> None:
        """Start the storekeeper and wait until it serves."""

    async def stop(self) -> None:
        """End it; requests under way get StoreClosed."""

    async def checkpoint(self, up_to_group: int) -> int:
        """Fold everything up to a durable group; the position reached."""

    async def recover(self, last_group: int) -> Recovery:
        """Fold the journal's tail and tell what a restart needs."""

    def leases(self, min_position: int) -> AsyncIterator[bytes]:
        """All leased jobs."""

    async def plan(
        self, after: tuple[int, bytes], until_ms: int, budget_bytes: int, min_position: int = 0
    ) -> tuple[int, bytes]:
        """The place up to which what `scan` gives from `after` on fits the budget; (until_ms, NO_ID) when all fits."""

    def scan(self, after: tuple[int, bytes], before: tuple[int, bytes], min_position: int) -> AsyncIterator[bytes]:
        """All waiting jobs with after <= (due, id) < before that have no backlog row, in no order. After a restart of
        the storekeeper rows may repeat.
        """

    async def backlog(self, queue: bytes, after_key: bytes, limit_bytes: int, min_position: int) -> BacklogPage:
        """A page of a queue's backlog behind `after_key` (b"": from the head)."""

    async def read(self, ids: list[bytes], min_position: int) -> bytes:
        """Unfinished and failed jobs by id; ids that do not exist are left out."""

    async def keys(self, hashes: list[bytes], min_position: int) -> list[KeyFound | None]:
        """What is known of each idempotency key."""

    async def attempts(self, job_id: bytes, min_position: int = 0) -> list[Attempt]:
        """The job's history, newest days first; its first item tells how a finished job ended."""

    async def stats(self) -> StoreStats:
        """Sizes, for metrics and for the door that refuses submits."""
