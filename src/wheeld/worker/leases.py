"""The leases that this process holds, from receipt until their settle is answered.

Owns: tokens, and when each lease must be renewed. Does not own: the lock; callers hold the one that they share with
the outbox. Invariant: a lease stands here as long as the daemon may believe that this session holds it; a job is here
under one token only, the newest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from wheeld.client.context import Context
from wheeld.model import limits
from wheeld.worker.outcome import Outcome

_SCANS_PER_LEASE: Final = 12
_IDLE_SCAN_S: Final = limits.LEASE_MS_DEFAULT / 1000 / _SCANS_PER_LEASE


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
    """One lease with its job. `revoked`: the daemon took it back, the outcome is of no use."""

    __slots__ = ("context", "outcome", "payload", "revoked", "token")

    def __init__(self, lease: Any, fire_time_us: int, receive_time_us: int, now_s: float) -> None:
        super().__init__(lease.lease_duration_ms / 1000, now_s)
        self.token: bytes = lease.lease_token
        self.payload: bytes = lease.payload
        self.outcome: Outcome | None = None
        self.revoked = False
        self.context = Context(
            job_id=lease.job_id,
            type=lease.type,
            queue=lease.queue,
            namespace=lease.namespace or "default",
            attempt=lease.attempt,
            max_attempts=lease.max_attempts,
            priority=lease.priority,
            labels=dict(lease.labels),
            trace_context=lease.trace_context,
            schedule_time_ms=lease.schedule_time_ms,
            fire_time_us=fire_time_us,
            receive_time_us=receive_time_us,
            lease_token=lease.lease_token,
            fencing_token=lease.fencing_token,
            lease_ends_s=self.ends_s,
            redelivery=lease.redelivery,
        )

    def on_renewed(self) -> None:
        """See Held."""
        super().on_renewed()
        self.context.lease_ends_s = self.ends_s

    def adopt(self, lease: Any, now_s: float) -> None:
        """The same job was granted to us anew: go on under the newer token."""
        context = self.context
        self.token = context.lease_token = lease.lease_token
        context.fencing_token, context.attempt, context.redelivery = lease.fencing_token, lease.attempt, True
        self.duration_s = lease.lease_duration_ms / 1000
        self.renewed_s, self.renew_at_s = now_s, now_s + self.duration_s / 3
        self.on_renewed()


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

    def add_frame(self, frame: Any, receive_time_us: int) -> tuple[list[HeldJob], list[tuple[bytes, HeldJob]]]:
        """(new leases, leases that go on under a newer token, each with its old one)."""
        now_s = self._monotonic()
        fresh: list[HeldJob] = []
        adopted: list[tuple[bytes, HeldJob]] = []
        for lease in frame.leases:
            known = self._jobs.get(lease.job_id)
            if known is not None:
                old = known.token
                if lease.fencing_token <= known.context.fencing_token:
                    continue
                self._held.pop(old, None)
                known.adopt(lease, now_s)
                self._held[known.token] = known
                adopted.append((old, known))
                continue
            held = HeldJob(lease, frame.fire_time_us, receive_time_us, now_s)
            self._held[held.token] = self._jobs[held.context.job_id] = held
            self._hasten(held.duration_s, now_s)
            fresh.append(held)
        return fresh, adopted

    def add_together(self, tokens: Iterable[bytes], shortest_s: float) -> Held:
        """Leases that will be settled together."""
        now_s = self._monotonic()
        held = Held(shortest_s, now_s)
        self._held.update(dict.fromkeys(tokens, held))
        self._hasten(shortest_s, now_s)
        return held

    def remove(self, token: bytes) -> Held | None:
        """It was settled or taken back."""
        held = self._held.pop(token, None)
        if isinstance(held, HeldJob) and self._jobs.get(held.context.job_id) is held:
            del self._jobs[held.context.job_id]
        return held

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
