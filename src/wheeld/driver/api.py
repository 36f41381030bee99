"""What the edge may ask of the driver, and what it must offer for results to come up.

Owns: the words only. Every coroutine answers after the journal group that holds its decision is durable. Refusals are
raised as `Refused` (model/errors.py); statuses of single items stand in the packed results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from wheeld.core.api import Counters, QueueView
from wheeld.model.entry import Outcome
from wheeld.model.rows import Row


class Outbox(Protocol):
    """Where a stream's messages go. Called from the event loop; must not block and must not raise."""

    def deliver(self, kind: int, count: int, data: bytes, fire_us: int) -> None:
        """A lease frame (core.api.LEASES) or revoked tokens (REVOKED), packed as in model/batch.py; `fire_us`: wall
        clock of the release."""

    def closed(self, code: int, detail: str) -> None:
        """The driver ended the stream (replaced by a newer one of its session, or draining): an errors code and why."""


class Opened(NamedTuple):
    """A stream is attached. `number` names it; `revoked`: packed REVOKED records of tokens that the worker must
    drop."""

    number: int
    resumed: int
    revoked: bytes


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as a user sees it. `finish_ms` 0: not ended. `outcome`: its last ended attempt, if any is known."""

    row: Row
    finish_ms: int = 0
    outcome: Outcome | None = None


class Driver(Protocol):
    """The node, seen from the edge."""

    def admit_submit(self) -> None:
        """Refused while no submit is taken, so that none waits in a line which a full disk may have stopped."""

    async def submit(self, batch: bytes) -> bytes:
        """Packed submit batch -> packed submit results. Asks as admit_submit does."""

    async def settle(self, session: bytes, batch: bytes) -> bytes:
        """Packed settle batch -> packed settle results. `session` as in Core.settle."""

    async def open_stream(
        self,
        session: bytes,
        worker: bytes,
        queues: Sequence[bytes],
        max_jobs: int,
        max_bytes: int,
        lease_ms: int,
        held: bytes,
        outbox: Outbox,
    ) -> Opened:
        """Attach; leases begin to arrive at `outbox` (some may arrive before this returns)."""

    def set_credit(self, number: int, max_jobs: int, max_bytes: int) -> None:
        """Change what the stream may have outstanding."""

    def close_stream(self, number: int) -> None:
        """Detach; what was granted and not delivered is taken back."""

    async def get(self, job_id: bytes) -> JobView:
        """The job, wherever it is; raises JOB_NOT_FOUND."""

    async def cancel(self, job_id: bytes) -> JobView:
        """Cancel; raises JOB_NOT_FOUND or JOB_FINISHED."""

    async def reschedule(self, job_id: bytes, due_ms: int) -> JobView:
        """Move a waiting job to another time (below now: now)."""

    async def attempts(self, job_id: bytes) -> list[tuple[int, Outcome]]:
        """(finish_ms, outcome) of each ended attempt, oldest first; empty when nothing is known of the job."""

    async def set_queue(self, queue: bytes, paused: bool) -> QueueView:
        """Pause or resume."""

    def queues(self) -> list[QueueView]:
        """Queues known to this node."""

    def counters(self) -> Counters:
        """Totals."""

    def facts(self) -> dict[str, int | float | str]:
        """Sizes and positions for server info and metrics: lead_ms, groups, durable_group, store_position,
        retained_bytes, syncs, ..."""
