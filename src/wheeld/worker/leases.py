"""The leases that this process holds, from receipt until their settle is answered.

Owns: tokens, and when each lease must be renewed. Does not own: the lock; callers hold the one that they share with
the outbox. Invariant: a lease stands here as long as the daemon may believe that this session holds it; a job is here
under one token only, the newest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from wheeld.client.context import Context
from wheeld.model import limits
from wheeld.wire._work import Lease
from wheeld.worker.outcome import Outcome

_SCANS_PER_LEASE: Final = 12
_CONTEXTS: Final = threading.Lock()
"""Guards what a context repeats of its lease, from when it is being made: handlers' threads make it, the stream's
thread changes it. Held for no longer than that."""
_IDLE_SCAN_S: Final = limits.LEASE_MS_DEFAULT / 1000 / _SCANS_PER_LEASE


class Frame(NamedTuple):
    """Jobs that fired together."""

    fire_time_us: int
    leases: list[Lease]


class Held:
    """One lease, or the leases of one frame that are settled together."""

    __slots__ = ("duration_s", "ends_s", "renew_at_s", "renewed_s", "settling")

    def __init__(self, duration_s: float, now_s: float) -> None:
        self.duration_s = duration_s
        self.renewed_s = now_s
        self.renew_at_s = now_s + duration_s / 3
        self.ends_s = now_s + duration_s
        self.settling = False

    def on_renewed(self) -> None:
        """The daemon granted the last renewal; it counts from when it was asked for, which errs on the safe side."""
        self.ends_s = self.renewed_s + self.duration_s


class HeldJob(Held):
    """One lease with its job. `revoked`: the daemon took it back, the outcome is of no use. `begun`: its handler's task
    has taken its first step.
    """

    __slots__ = (
        "_cancelled", "_context", "_fire_time_us", "_lease", "_redelivery", "begun", "fencing_token", "job_id",
        "outcome", "receive_time_us", "revoked", "token",
    )  # fmt: skip

    def __init__(self, lease: Lease, fire_time_us: int, receive_time_us: int, now_s: float) -> None:
        # As Held's own, without the call: there is one for each job.
        self.duration_s = duration_s = lease.lease_duration_ms / 1000
        self.renewed_s = now_s
        self.renew_at_s = now_s + duration_s / 3
        self.ends_s = now_s + duration_s
        self.settling = False
        self.token = lease.lease_token
        self.job_id = lease.job_id
        self.fencing_token = lease.fencing_token
        self.receive_time_us = receive_time_us
        self.outcome: Outcome | None = None
        self.revoked = self.begun = False
        self._lease, self._fire_time_us = lease, fire_time_us
        self._context: Context | None = None
        self._cancelled, self._redelivery = False, lease.redelivery

    @property
    def type(self) -> str:
        """Of the job."""
        return self._lease.type

    @property
    def payload(self) -> bytes:
        """Of the job."""
        return self._lease.payload

    @property
    def context(self) -> Context:
        """What its handler may know; made when it is first asked for, on whatever thread."""
        if self._context is None:
            with _CONTEXTS:
                if self._context is None:
                    self._context = self._make_context()
        return self._context

    def cancel(self) -> None:
        """Its handler must stop."""
        with _CONTEXTS:
            self._cancelled = True
            context = self._context
        if context is not None:
            context.cancelled.set()

    def on_renewed(self) -> None:
        """See Held."""
        with _CONTEXTS:
            super().on_renewed()
            if self._context is not None:
                self._context.lease_ends_s = self.ends_s

    def adopt(self, lease: Lease, now_s: float) -> None:
        """The same job was granted to us anew: go on under the newer token."""
        with _CONTEXTS:
            self._lease, self._redelivery = lease, True
            self.token, self.fencing_token = lease.lease_token, lease.fencing_token
            context = self._context
            if context is not None:
                context.lease_token, context.fencing_token = lease.lease_token, lease.fencing_token
                context.attempt, context.redelivery = lease.attempt, True
        self.duration_s = lease.lease_duration_ms / 1000
        self.renewed_s, self.renew_at_s = now_s, now_s + self.duration_s / 3
        self.on_renewed()

    def _make_context(self) -> Context:
        lease = self._lease
        context = Context(
            job_id=self.job_id,
            type=lease.type,
            queue=lease.queue,
            namespace=lease.namespace or "default",
            attempt=lease.attempt,
            max_attempts=lease.max_attempts,
            priority=lease.priority,
            labels=lease.labels,
            trace_context=lease.trace_context,
            schedule_time_ms=lease.schedule_time_ms,
            fire_time_us=self._fire_time_us,
            receive_time_us=self.receive_time_us,
            lease_token=self.token,
            fencing_token=self.fencing_token,
            lease_ends_s=self.ends_s,
            redelivery=self._redelivery,
        )
        if self._cancelled:
            context.cancelled.set()
        return context


class LeaseTable:
    """Token to lease, and job to lease."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._held: dict[bytes, Held] = {}
        self._jobs: dict[str, HeldJob] = {}
        self._scan_s = _IDLE_SCAN_S
        self._next_scan_s = monotonic() + self._scan_s
        self.hastened = False
        """The next scan came nearer: who sleeps until it must wake. Cleared by `due_renewals`."""

    def __len__(self) -> int:
        return len(self._held)

    def tokens(self) -> list[bytes]:
        """All that this session holds."""
        return list(self._held)

    def get(self, token: bytes) -> Held | None:
        """The lease of a token."""
        return self._held.get(token)

    def add_frame(self, frame: Frame, receive_time_us: int) -> tuple[list[HeldJob], list[tuple[bytes, HeldJob]]]:
        """(new leases, leases that go on under a newer token, each with its old one)."""
        now_s = self._monotonic()
        fresh: list[HeldJob] = []
        adopted: list[tuple[bytes, HeldJob]] = []
        shortest_s = self._scan_s * _SCANS_PER_LEASE
        for lease in frame.leases:
            known = self._jobs.get(lease.job_id)
            if known is not None:
                old = known.token
                if lease.fencing_token <= known.fencing_token:
                    continue
                self._held.pop(old, None)
                known.adopt(lease, now_s)
                self._held[known.token] = known
                adopted.append((old, known))
                continue
            held = HeldJob(lease, frame.fire_time_us, receive_time_us, now_s)
            self._held[held.token] = self._jobs[held.job_id] = held
            shortest_s = min(shortest_s, held.duration_s)
            fresh.append(held)
        self._hasten(shortest_s, now_s)
        return fresh, adopted

    def add_together(self, tokens: Iterable[bytes], shortest_s: float) -> Held:
        """Leases that will be settled together."""
        now_s = self._monotonic()
        held = Held(shortest_s, now_s)
        self._held.update(dict.fromkeys(tokens, held))
        self._hasten(shortest_s, now_s)
        return held

    def remove(self, token: bytes) -> Held | None:
        """It was taken back."""
        held = self._held.pop(token, None)
        if isinstance(held, HeldJob) and self._jobs.get(held.job_id) is held:
            del self._jobs[held.job_id]
        return held

    def remove_all(self, tokens: Iterable[bytes]) -> None:
        """They were settled."""
        for token in tokens:
            self.remove(token)

    def next_scan_in_s(self) -> float:
        """Seconds until `due_renewals` has anything to look at."""
        return max(0.0, self._next_scan_s - self._monotonic())

    def due_renewals(self) -> list[bytes]:
        """Tokens to be renewed now: a third of their lease has passed, and they are not being settled."""
        now_s = self._monotonic()
        self.hastened = False
        if now_s < self._next_scan_s:
            return []
        due: list[bytes] = []
        shortest_s = _IDLE_SCAN_S * _SCANS_PER_LEASE
        renewed: set[Held] = set()
        for token, held in self._held.items():
            shortest_s = min(shortest_s, held.duration_s)
            if held.renew_at_s <= now_s and not held.settling:
                due.append(token)
                renewed.add(held)
        for held in renewed:
            held.renewed_s, held.renew_at_s = now_s, now_s + held.duration_s / 3
        self._scan_s = shortest_s / _SCANS_PER_LEASE
        self._next_scan_s = now_s + self._scan_s
        return due

    def _hasten(self, duration_s: float, now_s: float) -> None:
        if duration_s / _SCANS_PER_LEASE < self._scan_s:
            self._scan_s = duration_s / _SCANS_PER_LEASE
            if now_s + self._scan_s < self._next_scan_s:
                self._next_scan_s = now_s + self._scan_s
                self.hastened = True
