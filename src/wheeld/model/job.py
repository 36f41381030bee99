"""Job states and THE transition table.

Owns: which state may follow which, and through which entry. docs/state-machine.md is drawn from this table.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class JobState(IntEnum):
    """States as stored and as on the wire. PENDING is not stored: a SCHEDULED or RETRYING job whose time has come is
    PENDING."""

    SCHEDULED = 1
    PENDING = 2
    RUNNING = 3
    RETRYING = 4
    SUCCEEDED = 5
    FAILED = 6
    CANCELLED = 7
    EXPIRED = 8


TERMINAL: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})

TRANSITIONS: Final[dict[tuple[JobState | None, str], frozenset[JobState]]] = {
    (None, "submit"): frozenset({JobState.SCHEDULED}),
    (JobState.SCHEDULED, "due"): frozenset({JobState.PENDING}),
    (JobState.RETRYING, "due"): frozenset({JobState.PENDING}),
    (JobState.SCHEDULED, "grant"): frozenset({JobState.RUNNING}),
    (JobState.RETRYING, "grant"): frozenset({JobState.RUNNING}),
    (JobState.PENDING, "grant"): frozenset({JobState.RUNNING}),
    (JobState.RUNNING, "grant"): frozenset({JobState.RUNNING}),
    (JobState.RUNNING, "renew"): frozenset({JobState.RUNNING}),
    (JobState.RUNNING, "ack"): frozenset({JobState.SUCCEEDED}),
    (JobState.RUNNING, "nack"): frozenset({JobState.RETRYING, JobState.FAILED}),
    (JobState.RUNNING, "lease_expire"): frozenset({JobState.RETRYING, JobState.FAILED}),
    (JobState.RUNNING, "release"): frozenset({JobState.SCHEDULED, JobState.RETRYING, JobState.PENDING}),
    (JobState.SCHEDULED, "reschedule"): frozenset({JobState.SCHEDULED, JobState.PENDING}),
    (JobState.PENDING, "reschedule"): frozenset({JobState.SCHEDULED, JobState.PENDING}),
    (JobState.RETRYING, "reschedule"): frozenset({JobState.RETRYING, JobState.PENDING}),
    (JobState.SCHEDULED, "cancel"): frozenset({JobState.CANCELLED}),
    (JobState.PENDING, "cancel"): frozenset({JobState.CANCELLED}),
    (JobState.RETRYING, "cancel"): frozenset({JobState.CANCELLED}),
    (JobState.RUNNING, "cancel"): frozenset({JobState.CANCELLED}),
    (JobState.PENDING, "expire"): frozenset({JobState.EXPIRED}),
}
"""(state before, entry) -> states that may follow. What is not here is refused by a status, never by an exception."""


def waiting_state(attempt: int, due_ms: int, now_ms: int) -> JobState:
    """The state of a job that waits for a worker or for its time: derived, so that becoming due needs no entry."""
    if due_ms <= now_ms:
        return JobState.PENDING
    return JobState.RETRYING if attempt else JobState.SCHEDULED
