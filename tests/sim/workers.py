"""Simulated workers: they lease over a link that breaks, ack, nack, give back, fall silent, come back and repeat
themselves.

Owns one session each. Invariant: what a worker believes is told to the book before the node hears of it.
"""

from __future__ import annotations

import asyncio

from tests.sim.book import Token
from tests.sim.world import NodeDownError, SimOutbox, World
from wheeld.core.api import LEASES
from wheeld.model import batch as packed
from wheeld.model.batch import OP_ACK, OP_NACK, OP_RELEASE, OP_RENEW
from wheeld.model.errors import Refused


class Worker:
    """See the module."""

    def __init__(self, world: World, number: int, queues: list[bytes]) -> None:
        self.world, self.name, self.queues = world, b"worker%d" % number, queues
        self.chance = world.chance(f"worker {number}")
        self.lives = 0
        self.session = b""
        self.link = 0
        self.lost = asyncio.Event()
        self.tokens: dict[int, bytes] = {}
        """Tokens that it holds: received, and not known to have ended."""
        self.tasks: dict[asyncio.Task[None], None] = {}
        self.new_session()

    def new_session(self) -> None:
        """The worker process dies and another takes its place: it knows of nothing."""
        self.lives += 1
        self.session = (b"%s.%d" % (self.name, self.lives)).ljust(16, b".")
        self.tokens = {}

    async def run(self) -> None:
        """Connect, work, lose the link, and again."""
        world, chance = self.world, self.chance
        while not world.over:
            try:
                number = await self.connect()
            except (NodeDownError, Refused):
                await asyncio.sleep(0.05 + 0.3 * chance.random())
                continue
            link_s = 10_000 if world.calm else chance.choice((0.5, 5, 20)) * chance.random()
            await self.stay(number, link_s)
            if world.calm:
                continue
            if chance.random() < 0.15:
                self.new_session()
            away_s = chance.choice((0.01, 0.5, 5)) * chance.random()
            if chance.random() < 0.05:
                away_s += world.plan.busy_s / 4
            await self.nap(away_s)

    async def nap(self, span_s: float) -> None:
        """Sleep, but not past the end of the faults."""
        end = self.world.loop.time() + span_s
        while self.world.loop.time() < end and not self.world.calm:
            await asyncio.sleep(min(0.5, max(end - self.world.loop.time(), 0.001)))

    async def connect(self) -> int:
        """Open a stream; its number."""
        world, chance = self.world, self.chance
        self.link += 1
        link, self.lost = self.link, asyncio.Event()
        lost = self.lost
        outbox = SimOutbox(
            world, self.session, lambda kind, tokens, data: self.arrive(link, kind, tokens, data), lost.set
        )
        if not world.calm and chance.random() < 0.2:
            for fencing in [fencing for fencing in self.tokens if chance.random() < 0.3]:
                del self.tokens[fencing]
        held = dict(self.tokens)
        if world.life is None or not world.life.serving:
            raise NodeDownError
        world.book.session_lists(self.session, held)
        tokens = b"".join(packed.TOKEN.pack(job_id, fencing) for fencing, job_id in held.items())
        jobs_max = 50 if world.calm else chance.choice((1, 3, 20, 100))
        lease_ms = chance.choice((1000, 2000, 5000))
        session, queues = self.session, self.queues
        patience_s = 0 if world.calm or chance.random() > world.plan.impatient else 0.01
        opened = await world.call(
            lambda driver: driver.open_stream(session, self.name, queues, jobs_max, 1 << 20, lease_ms, tokens, outbox),
            patience_s,
        )
        world.trace(f"open {self.name!r} {opened.number} resumed {opened.resumed}")
        world.book.counts["streams"] += 1
        for at in range(0, len(opened.revoked), packed.REVOKED.size):
            self.tokens.pop(packed.REVOKED.unpack_from(opened.revoked, at)[1], None)
        return opened.number

    async def stay(self, number: int, link_s: float) -> None:
        """Until the link breaks, or is to break."""
        world, chance = self.world, self.chance
        life, lost, death = world.life, self.lost, world.death
        end = world.loop.time() + link_s
        while not lost.is_set() and not death.is_set() and not world.over:
            left_s = end - world.loop.time()
            if left_s <= 0 and not world.calm:
                break
            await asyncio.sleep(0.4 if world.calm else min(max(left_s, 0.001), 0.4))
            if chance.random() < 0.1 and life is not None and life.serving:
                life.driver.set_credit(number, 50 if world.calm else chance.choice((0, 1, 5, 100)), 1 << 20)
            if world.calm and life is not None and life.serving:
                life.driver.set_credit(number, 50, 1 << 20)
        self.link += 1
        if not lost.is_set() and life is not None and not life.dead:
            life.driver.close_stream(number)

    def arrive(self, link: int, kind: int, tokens: list[Token], data: bytes) -> None:
        """A message is on the wire; a link that breaks swallows it."""
        delay_s = 0.0 if self.chance.random() < 0.5 else 0.05 * self.chance.random()
        self.world.loop.call_later(delay_s, self.receive, link, kind, tokens, data)

    def receive(self, link: int, kind: int, tokens: list[Token], data: bytes) -> None:
        if link != self.link:
            self.world.book.counts["frames lost"] += 1
            return
        if kind != LEASES:
            for at in range(0, len(data), packed.REVOKED.size):
                self.tokens.pop(packed.REVOKED.unpack_from(data, at)[1], None)
            self.world.book.counts["revocations"] += 1
            return
        for token in tokens:
            self.tokens[token.fencing] = token.job_id
            task = asyncio.ensure_future(self.work(token))
            self.tasks[task] = None
            task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self.tasks.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.world.fail(error)

    async def work(self, token: Token) -> None:
        """Run one attempt."""
        world, chance = self.world, self.chance
        await asyncio.sleep(0.02 * chance.random())
        if world.calm or chance.random() >= world.plan.faithless:
            await self.settle(token, OP_ACK)
            return
        what = chance.random()
        if what < 0.15:
            world.book.counts["silent"] += 1
            return
        if what < 0.35:
            for _ in range(chance.randint(1, 3)):
                await asyncio.sleep(0.7 * chance.random())
                await self.settle(token, OP_RENEW, extend_ms=chance.choice((0, 1000, 3000)))
        elif what < 0.5:
            await asyncio.sleep(4 * chance.random())
        if what < 0.6:
            await self.settle(token, OP_RELEASE)
        elif what < 0.85:
            await self.settle(token, OP_NACK)
        else:
            await self.settle(token, OP_ACK)
        if chance.random() < 0.3:
            await self.settle(token, OP_ACK)

    async def settle(self, token: Token, op: int, extend_ms: int = 0) -> None:
        """Say how the lease goes on, until an answer comes."""
        world, chance = self.world, self.chance
        no_retry = packed.SETTLE_NO_RETRY if op == OP_NACK and chance.random() < 0.1 else 0
        delay_ms = chance.choice((packed.NO_DELAY, 0, 100, 4000)) if op == OP_NACK else packed.NO_DELAY
        error = b"no luck" if op == OP_NACK else b""
        batch = (
            packed.SETTLE_BATCH_HEAD.pack(1, 0)
            + packed.SETTLE_HEAD.pack(op, no_retry, len(error), 0, delay_ms, extend_ms, token.fencing, token.job_id, 0)
            + error
        )
        told_ms = extend_ms or 1000
        while not world.over:
            if world.life is None or not world.life.serving:
                await asyncio.sleep(0.05 + 0.1 * chance.random())
                continue
            sent = world.book.settle_sent(token.fencing, op, told_ms)
            patience_s = 0.005 if not world.calm and chance.random() < world.plan.impatient else 0
            try:
                results = await world.call(lambda driver: driver.settle(token.session, batch), patience_s)
            except NodeDownError:
                await asyncio.sleep(0.2 * chance.random())
                continue
            _, code, flags, after, _, _ = packed.SETTLE_RESULT.unpack(results)
            world.trace(f"settle {op} {token.fencing:#x} -> {code} {flags} {after}")
            world.book.settle_answered(token.fencing, sent, code, flags, told_ms)
            if op != OP_RENEW or code:
                self.tokens.pop(token.fencing, None)
            return
