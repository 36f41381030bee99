"""Judges what clients and workers wrote down: nothing lost, early, done twice, created twice, or delivered without a
reason.

Owns the verdict. Looks at records alone, never at the daemon's files. Invariants of a good run, each of which a planted
fault in test_checker breaks:

* every accepted job was settled by an accepted ack, or GetJob calls it SUCCEEDED and an ack for it was on its way when
  its worker died;
* no job reached a worker before the time that its client intended, nor before the time that its lease states;
* at most one token of a job was ever acked with success, and at most once as the first time;
* one submitted item is one job, however often its batch was sent;
* fencing tokens of a job grow, but for a lease that was read when it had ended; a second delivery has a reason that a
  worker or client can name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.e2e.checker import records

SUCCEEDED = 5
EXAMPLES_MAX = 5


@dataclass(slots=True)
class Delivery:
    """One lease in a worker's hand."""

    receive_us: int
    session: str
    token: str
    attempt: int
    fencing: int
    due_ms: int
    expire_ms: int
    redelivery: bool
    ack_sent: bool = False
    given_back_us: int = 0
    revoked_us: int = 0
    accepted: list[bool] = field(default_factory=list)
    """One for each successful answer to an ack: whether it was called a repetition."""
    accepted_us: int = 0


@dataclass
class Verdict:
    """Counts of a history, and the first examples of each fault."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    skew_us: list[int] = field(default_factory=list)

    def fault(self, kind: str, text: str) -> None:
        """Count one."""
        self.faults[kind] += 1
        if len(self.examples[kind]) < EXAMPLES_MAX:
            self.examples[kind].append(text)

    def __str__(self) -> str:
        head = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        faults = ", ".join(f"{kind} {self.faults[kind]}" for kind in FAULTS)
        return "\n".join(
            [head, faults, *(f"  {kind}: {line}" for kind, lines in self.examples.items() for line in lines)]
        )


LOST, EARLY, DONE_TWICE, CREATED_TWICE, UNEXPLAINED, FOREIGN = (
    "lost", "early", "done twice", "created twice", "unexplained", "foreign",
)  # fmt: skip
FAULTS = (LOST, EARLY, DONE_TWICE, CREATED_TWICE, UNEXPLAINED, FOREIGN)


class History:
    """All that is known of a run."""

    def __init__(self, lines: Iterable[list[Any]]) -> None:
        self.intended: dict[int, int] = {}
        self.accepted: dict[str, int] = {}
        self.ids_of: dict[int, set[str]] = defaultdict(set)
        self.deliveries: dict[str, list[Delivery]] = defaultdict(list)
        self.connects: dict[str, list[tuple[int, frozenset[str]]]] = defaultdict(list)
        self.states: dict[str, int] = {}
        self.crashes: Counter[str] = Counter()
        self._batches: dict[str, list[list[int]]] = {}
        self._by_token: dict[str, Delivery] = {}
        for kind, time_us, *rest in lines:
            getattr(self, f"_on_{kind}")(time_us, *rest)

    def _on_intent(self, _: int, batch: str, items: list[list[int]]) -> None:
        self._batches[batch] = items
        self.intended.update((number, due_ms) for number, due_ms in items)

    def _on_accepted(self, _: int, batch: str, ids: list[str]) -> None:
        for (number, _due_ms), job_id in zip(self._batches[batch], ids, strict=True):
            if job_id:
                self.accepted[job_id] = number
                self.ids_of[number].add(job_id)

    def _on_connect(self, time_us: int, session: str, held: list[str]) -> None:
        self.connects[session].append((time_us, frozenset(held)))

    def _on_got(self, time_us: int, session: str, leases: list[list[Any]]) -> None:
        for job_id, token, attempt, fencing, due_ms, expire_ms, redelivery, number in leases:
            delivery = Delivery(time_us, session, token, attempt, fencing, due_ms, expire_ms, redelivery)
            self.deliveries[job_id].append(delivery)
            self._by_token[token] = delivery
            self.ids_of[number].add(job_id)

    def _on_settle(self, time_us: int, _: str, items: list[list[str]]) -> None:
        for operation, token in items:
            delivery = self._by_token[token]
            if operation == records.ACK:
                delivery.ack_sent = True
            else:
                delivery.given_back_us = delivery.given_back_us or time_us

    def _on_settled(self, time_us: int, _: str, items: list[list[Any]]) -> None:
        for operation, token, code, already in items:
            if operation == records.ACK and code == 0:
                delivery = self._by_token[token]
                delivery.accepted.append(already)
                delivery.accepted_us = delivery.accepted_us or time_us

    def _on_revoked(self, time_us: int, _: str, items: list[list[Any]]) -> None:
        for token, _code in items:
            if token in self._by_token:
                self._by_token[token].revoked_us = self._by_token[token].revoked_us or time_us

    def _on_crash(self, _: int, victim: str) -> None:
        self.crashes[victim] += 1

    def _on_state(self, _: int, job_id: str, state: int) -> None:
        self.states[job_id] = state

    # -- questions ---------------------------------------------------------------
    def unfinished(self) -> list[str]:
        """Accepted jobs for which no worker has seen an accepted ack."""
        return [job_id for job_id in self.accepted if not any(d.accepted for d in self.deliveries.get(job_id, ()))]

    def judge(self) -> Verdict:
        """The verdict."""
        verdict = Verdict()
        verdict.counts.update(
            {
                "intended": len(self.intended),
                "accepted": len(self.accepted),
                "delivered": sum(len(found) for found in self.deliveries.values()),
                "redelivered": sum(d.redelivery for found in self.deliveries.values() for d in found),
                **{f"crashes of {victim}": count for victim, count in self.crashes.items()},
            }
        )
        for job_id in self.unfinished():
            if not self._ended_unseen(job_id):
                verdict.fault(LOST, f"{job_id} (item {self.accepted[job_id]}): state {self.states.get(job_id)}")
        for number, ids in self.ids_of.items():
            if number not in self.intended:
                verdict.fault(FOREIGN, f"item {number} of jobs {sorted(ids)} was never submitted")
            elif len(ids) > 1:
                verdict.fault(CREATED_TWICE, f"item {number} is {sorted(ids)}")
        number_of = {job_id: number for number, ids in self.ids_of.items() for job_id in ids}
        for job_id, found in self.deliveries.items():
            self._judge_job(verdict, job_id, found, self.intended.get(number_of[job_id], 0))
        verdict.skew_us.sort()
        return verdict

    def _ended_unseen(self, job_id: str) -> bool:
        return self.states.get(job_id) == SUCCEEDED and any(d.ack_sent for d in self.deliveries.get(job_id, ()))

    def _judge_job(self, verdict: Verdict, job_id: str, found: list[Delivery], intended_ms: int) -> None:
        for delivery in found:
            due_ms = max(delivery.due_ms, intended_ms)
            if delivery.receive_us < due_ms * 1000:
                verdict.fault(EARLY, f"{job_id}: due {due_ms}, received {delivery.receive_us / 1000}")
        if found[0].attempt == 1 and not found[0].redelivery:
            verdict.skew_us.append(found[0].receive_us - found[0].due_ms * 1000)
        winners = [d for d in found if d.accepted]
        if len(winners) > 1 or sum(not repeated for d in winners for repeated in d.accepted) > 1:
            verdict.fault(DONE_TWICE, f"{job_id}: {[(d.token, d.accepted) for d in winners]}")
        # In the order of the grants: a worker that stood still reads a lease that has long gone to another one.
        for before, after in pairwise(sorted(found, key=lambda delivery: delivery.fencing)):
            if after.fencing == before.fencing or after.receive_us < before.receive_us < before.expire_ms * 1000:
                verdict.fault(UNEXPLAINED, f"{job_id}: token {before.fencing:#x} after {after.fencing:#x}")
            elif before.accepted_us and before.accepted_us < after.receive_us:
                verdict.fault(UNEXPLAINED, f"{job_id}: delivered again after it was done")
            elif not (reason := self._reason(before, after)):
                verdict.fault(UNEXPLAINED, f"{job_id}: {before} then {after}")
            else:
                verdict.counts[f"again: {reason}"] += 1

    def _reason(self, before: Delivery, after: Delivery) -> str:
        """Why a job was delivered once more, in words; "" when nothing in the records allows it.

        A crash of the daemon is no reason by itself: leases are durable before a worker sees them.
        """
        if after.redelivery and after.session == before.session:
            for time_us, held in self.connects[after.session]:
                if before.receive_us <= time_us <= after.receive_us and before.token not in held:
                    return "redelivered after a reconnect"
        if before.given_back_us and before.given_back_us < after.receive_us:
            return "nacked or released"
        if before.revoked_us and before.revoked_us < after.receive_us:
            return "revoked"
        if after.receive_us >= before.expire_ms * 1000:
            return "lease expired"
        return ""
