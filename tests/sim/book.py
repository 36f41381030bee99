"""What clients and workers know, and what must hold of it: the checker's side of the simulation.

Owns the records of every submission, job and lease token, kept from calls and answers alone. Does not look into the
node. Invariant: a promise that is broken raises `BrokenPromise` at the moment at which it shows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.sim.journal import MemoryJournal
from wheeld.model import errors
from wheeld.model.batch import GRANT_HEAD, GRANT_REDELIVERY, OP_ACK, OP_RELEASE, OP_RENEW, RESULT_REPEATED
from wheeld.model.ids import NO_ID, id_to_text
from wheeld.model.spec import Spec, unpack_spec
from wheeld.runtime.clock import SimClock

STEP_SHADOW_MS = 30_000
"""After a step of the wall clock, lease ends that were told in wall time are not held against the node for so long."""


class BrokenPromise(AssertionError):
    """The node did what it must never do."""


@dataclass(slots=True)
class Submission:
    """One item that a client sent, maybe more than once. Its number stands in the payload."""

    number: int
    spec: Spec
    job_id: bytes = NO_ID
    refused: bool = False


@dataclass(slots=True)
class Token:
    """A lease as its worker knows it. `given_up`: the worker sent a final settle, or no longer lists it."""

    job_id: bytes
    fencing: int
    attempt: int
    life: int
    session: bytes
    valid_until: int
    given_up: bool = False
    released: bool = False
    accepted: int = 0


@dataclass(slots=True)
class JobRecord:
    """A job as the outside knows it. `floors`: due times that it may have; it must not fire before the least."""

    job_id: bytes
    number: int
    floors: list[int]
    ended: str = ""
    cancel_tried: bool = False
    acked: bool = False
    tokens: list[Token] = field(default_factory=list)


class Book:
    """See the module. `now` arguments are not needed: the clock is the simulation's own."""

    def __init__(self, clock: SimClock, journal: MemoryJournal) -> None:
        self.clock, self.journal = clock, journal
        self.submissions: dict[int, Submission] = {}
        self.jobs: dict[bytes, JobRecord] = {}
        self.tokens: dict[int, Token] = {}
        self.keys: dict[bytes, tuple[bytes, int]] = {}
        self.paused: dict[bytes, bool | None] = {}
        """Queue -> what was answered last; None while a call is under way or its fate unknown."""
        self.counts: Counter[str] = Counter()
        self.last_step_ms = -STEP_SHADOW_MS

    # -- submits -------------------------------------------------------------------
    def submission(self, spec: Spec) -> Submission:
        """A new item; the caller packs its number into the payload."""
        number = len(self.submissions) + 1
        payload = number.to_bytes(4, "little") + spec.payload
        made = self.submissions[number] = Submission(number, Spec(**{**_fields(spec), "payload": payload}))
        return made

    def accepted(self, number: int, job_id: bytes) -> None:
        """A client was told that its item is this job."""
        self._name(number, job_id)
        if not self.journal.has_submit(job_id):
            raise BrokenPromise(f"item {number} is answered before its submit is durable")
        self.counts["accepted"] += 1
        key = self.submissions[number].spec.key
        if key and self.keys.setdefault(key, (job_id, number)) != (job_id, number):
            raise BrokenPromise(f"key {key!r} names {id_to_text(job_id)} (item {number}) and {self.keys[key]}")

    def _name(self, number: int, job_id: bytes) -> JobRecord:
        """Item `number` is job `job_id`, for ever."""
        item = self.submissions[number]
        if item.job_id not in (NO_ID, job_id):
            raise BrokenPromise(f"item {number} is {id_to_text(item.job_id)} and {id_to_text(job_id)}")
        item.job_id = job_id
        record = self.jobs.get(job_id)
        if record is None:
            floor = item.spec.schedule_ms if not item.spec.flags & 1 else 0
            record = self.jobs[job_id] = JobRecord(job_id, number, [floor])
        if record.number != number:
            raise BrokenPromise(f"job {id_to_text(job_id)} is item {record.number} and item {number}")
        return record

    # -- deliveries ------------------------------------------------------------------
    def delivered(self, life: int, session: bytes, frame: bytes) -> list[Token]:
        """A lease frame left the node."""
        tokens, at = [], 0
        while at < len(frame):
            tokens.append(self._deliver(life, session, frame, at))
            at += 4 + GRANT_HEAD.unpack_from(frame, at)[0]
        return tokens

    def _deliver(self, life: int, session: bytes, frame: bytes, at: int) -> Token:
        _, job_id, fencing, due_ms, expire_ms, lease_ms, attempt, flags, spec_len = GRANT_HEAD.unpack_from(frame, at)
        spec = unpack_spec(frame[at + GRANT_HEAD.size : at + GRANT_HEAD.size + spec_len])
        record = self._name(int.from_bytes(spec.payload[:4], "little"), job_id)
        name = f"job {id_to_text(job_id)} (item {record.number}) token {fencing:#x} attempt {attempt}"
        redelivery = bool(flags & GRANT_REDELIVERY)
        self.counts["redelivered" if redelivery else "delivered"] += 1
        now_us = self.clock.wall_us()
        if not self.journal.has_grant(fencing):
            raise BrokenPromise(f"{name} is given out before its grant is durable")
        if now_us < due_ms * 1000:
            raise BrokenPromise(f"{name} is early: due {due_ms}, given out at {now_us / 1000}")
        if due_ms < min(record.floors):
            raise BrokenPromise(f"{name} has due time {due_ms}, the outside knows {record.floors}")
        if record.ended:
            raise BrokenPromise(f"{name} is given out after it was {record.ended}")
        if self.paused.get(spec.queue) and not redelivery:
            raise BrokenPromise(f"{name} is given out though its queue {spec.queue!r} is paused")
        self._check_attempt(name, record, life, attempt, fencing, redelivery)
        self._check_overlap(name, record)
        if attempt > spec.max_attempts:
            raise BrokenPromise(f"{name}: only {spec.max_attempts} attempts were asked for")
        boot_ms = self.clock.boot_ms()
        shadow = boot_ms - self.last_step_ms < STEP_SHADOW_MS
        left_ms = 0 if shadow else min(max(expire_ms - now_us // 1000, 0), lease_ms)
        token = self.tokens[fencing] = Token(job_id, fencing, attempt, life, session, boot_ms + left_ms)
        record.tokens.append(token)
        return token

    def _check_attempt(
        self, name: str, record: JobRecord, life: int, attempt: int, fencing: int, redelivery: bool
    ) -> None:
        if not record.tokens:
            return
        last = record.tokens[-1]
        if fencing <= last.fencing:
            raise BrokenPromise(f"{name}: the token before was {last.fencing:#x}")
        released = any(token.released and token.attempt >= attempt for token in record.tokens)
        if attempt < last.attempt:
            raise BrokenPromise(f"{name}: the attempt before was {last.attempt}")
        if attempt == last.attempt and not redelivery and not released and not last.given_up:
            raise BrokenPromise(f"{name}: the attempt before has the same number and was not given back")
        if attempt > last.attempt + 1 and life == last.life:
            raise BrokenPromise(f"{name}: attempts were spent that nobody saw, the last was {last.attempt}")

    def _check_overlap(self, name: str, record: JobRecord) -> None:
        boot_ms = self.clock.boot_ms()
        for other in record.tokens:
            if not other.given_up and boot_ms < other.valid_until:
                raise BrokenPromise(
                    f"{name} while token {other.fencing:#x} is valid for {other.valid_until - boot_ms} ms more"
                )

    # -- settles ----------------------------------------------------------------------
    def session_lists(self, session: bytes, held: dict[int, bytes]) -> None:
        """A worker reconnects and says which tokens it has."""
        for token in self.tokens.values():
            if token.session == session and token.fencing not in held:
                token.given_up = True

    def settle_sent(self, fencing: int, op: int, extend_ms: int) -> Sent:
        """A worker is about to say how a lease goes on."""
        token = self.tokens[fencing]
        record = self.jobs[token.job_id]
        newest = record.tokens[-1] is token
        sent = Sent(op, self.clock.boot_ms(), newest, token.given_up)
        if op == OP_RENEW:
            token.valid_until = min(token.valid_until, sent.boot_ms + extend_ms)
        else:
            token.given_up = True
            token.released |= op == OP_RELEASE
        return sent

    def settle_answered(self, fencing: int, sent: Sent, code: int, flags: int, extend_ms: int) -> None:
        """The node's word on it."""
        token = self.tokens[fencing]
        record = self.jobs[token.job_id]
        name = f"job {id_to_text(token.job_id)} (item {record.number}) token {fencing:#x} op {sent.op}"
        self.counts[
            f"settle {errors.REGISTRY[code].reason if code else 'ok'}{' again' if flags & RESULT_REPEATED else ''}"
        ] += 1
        if code == errors.LEASE_NOT_YOURS:
            raise BrokenPromise(f"{name}: its own session is refused")
        if code:
            if (
                sent.newest
                and not sent.given_up
                and not record.cancel_tried
                and self.clock.boot_ms() < token.valid_until
            ):
                raise BrokenPromise(
                    f"{name} is refused with {code} though valid for {token.valid_until - self.clock.boot_ms()} ms more"
                )
            return
        if flags & RESULT_REPEATED:
            return
        if not sent.newest:
            raise BrokenPromise(f"{name} is taken though a newer token was out when it was sent")
        if sent.op == OP_RENEW:
            token.valid_until = sent.boot_ms + extend_ms
            return
        token.accepted += 1
        if token.accepted > 1:
            raise BrokenPromise(f"{name}: the attempt ended twice")
        if sent.op == OP_ACK:
            if record.ended:
                raise BrokenPromise(f"{name} is taken after the job was {record.ended}")
            record.ended, record.acked = "acked", True

    # -- control ----------------------------------------------------------------------
    def ended(self, job_id: bytes, how: str) -> None:
        """A client was told that the job has ended."""
        record = self.jobs[job_id]
        if how == "cancelled" and record.acked:
            raise BrokenPromise(f"job {id_to_text(job_id)} is cancelled after it was acked")
        record.ended = record.ended or how

    def missing(self, job_id: bytes) -> None:
        """A client was told that the node knows nothing of the job."""
        raise BrokenPromise(f"job {id_to_text(job_id)} (item {self.jobs[job_id].number}) was accepted and is not found")


@dataclass(slots=True)
class Sent:
    """A settle under way. `newest`: no newer token of the job was out when it was sent."""

    op: int
    boot_ms: int
    newest: bool
    given_up: bool


def _fields(spec: Spec) -> dict[str, object]:
    return {name: getattr(spec, name) for name in spec.__slots__}
