"""Simulated clients: they submit, look, cancel, move, pause, and come again when nobody answered.

Owns nothing of the node. Invariant: every item carries its number in the payload, and the book knows it before the node
does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.sim.book import Submission
from tests.sim.world import NodeDownError, World
from wheeld.driver.api import JobView
from wheeld.driver.driver import NodeDriver
from wheeld.model import batch as packed
from wheeld.model import errors
from wheeld.model.errors import Refused
from wheeld.model.job import TERMINAL, JobState
from wheeld.model.spec import FLAG_DELAY, FLAG_EXPIRE_AFTER, Spec

QUEUES = [b"n/a", b"n/b", b"m/c"]
KEYS = 12
BATCHES_ASKED_AGAIN = 10
ITEMS_MAX = 400


class Client:
    """See the module. One producer session."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.chance = world.chance(f"client {number}")
        self.producer = (b"producer%d" % number).ljust(16, b".")
        self.batch_no = 0
        self.answered: list[tuple[bytes, list[Submission], bytes]] = []
        """(batch, items, results) of the last numbered batches."""
        self.keyed: dict[bytes, Submission] = {}

    async def run(self) -> None:
        """One action after the other until the faults stop."""
        actions: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (25, self.submit),
            (15, self.submit_numbered),
            (15, self.submit_keyed),
            (8, self.ask_again),
            (10, self.cancel),
            (14, self.reschedule),
            (8, self.get),
            (3, self.attempts),
        ]
        weights = [weight for weight, _ in actions]
        while not self.world.calm:
            full = len(self.world.book.submissions) > ITEMS_MAX
            await asyncio.sleep(self.world.plan.pace_s * self.chance.expovariate(1) * (4 if full else 1))
            action = self.chance.choices(actions[3:] if full else actions, weights[3:] if full else weights)[0][1]
            try:
                await action()
            except NodeDownError:
                self.world.book.counts["calls without answer"] += 1

    async def call(self, make: Callable[[NodeDriver], Awaitable[object]]) -> object:
        patience_s = 0.004 if self.chance.random() < self.world.plan.impatient else 0
        return await self.world.call(make, patience_s)

    # -- submits ---------------------------------------------------------------------
    def spec(self) -> Spec:
        """A job for now, soon, the next buckets or far away."""
        chance, plan, now_ms = self.chance, self.world.plan, self.world.clock.wall_ms()
        spec = Spec(
            queue=chance.choice(QUEUES),
            payload=bytes(chance.choice((0, 0, 10, 300))),
            priority=chance.choice((0, 4, 4, 9)),
            max_attempts=chance.choice((1, 3, 20)),
            backoff_initial_ms=chance.choice((0, 50, 2000)),
            backoff_max_ms=4000,
            lease_ms=chance.choice((0, 0, 1000, 3000)),
        )
        ahead_ms = chance.choice(
            (0, 0, 3, 40, 900, plan.bucket_width_ms, plan.horizon_ms, plan.horizon_ms * 2, plan.horizon_ms * 4)
        )
        if chance.random() < 0.1:
            spec = spec.at(flags=FLAG_EXPIRE_AFTER, expire_ms=chance.choice((1, 500, 20_000)))
        if chance.random() < 0.3:
            return spec.at(flags=spec.flags | FLAG_DELAY, schedule_ms=int(ahead_ms * chance.random()))
        if chance.random() < 0.3:
            # Many jobs of one millisecond.
            return spec.at(schedule_ms=(now_ms + ahead_ms) // 1000 * 1000)
        return spec.at(schedule_ms=now_ms + int(ahead_ms * chance.random()))

    def items(self) -> list[Submission]:
        book = self.world.book
        made = [book.submission(self.spec()) for _ in range(self.chance.choice((1, 1, 3, 12)))]
        if self.chance.random() < 0.1:
            made.append(book.submission(Spec(QUEUES[0], schedule_ms=1 << 60)))
        if self.chance.random() < 0.1:
            made.append(book.submission(Spec(QUEUES[1], routing_key=b"route")))
        return made

    def pack(self, items: list[Submission], batch_no: int = 0, content: int = 0) -> bytes:
        session = self.producer if batch_no else packed.NO_SESSION
        parts = [packed.SUBMIT_HEAD.pack(len(items), 0, batch_no, session, content)]
        for item in items:
            record = item.spec.pack()
            parts.append(packed.ITEM_HEAD.pack(len(record), 0, 0, 0) + record)
        return b"".join(parts)

    async def send(self, batch: bytes, items: list[Submission]) -> bytes:
        """One submit; the book learns the answer."""
        results = await self.call(lambda driver: driver.submit(batch))
        assert isinstance(results, bytes) and len(results) == packed.SUBMIT_RESULT.size * len(items)
        for number, item in enumerate(items):
            code, _, _, _, _, job_id = packed.SUBMIT_RESULT.unpack_from(results, number * packed.SUBMIT_RESULT.size)
            if code == 0:
                self.world.book.accepted(item.number, job_id)
            else:
                self.world.book.counts[f"submit {errors.REGISTRY[code].reason}"] += 1
        self.world.trace(f"submitted {len(items)} {results.hex()[-40:]}")
        return results

    def refused(self, error: Refused) -> None:
        self.world.book.counts[f"refused {error.kind.reason}"] += 1
        assert error.kind.retry, f"{error.kind.reason}: a submit that is in order is refused for good"

    async def submit(self) -> None:
        items = self.items()
        try:
            await self.send(self.pack(items), items)
        except Refused as error:
            self.refused(error)

    async def submit_numbered(self) -> None:
        """A batch of the producer's session: sent until it is answered."""
        self.batch_no += 1
        items = self.items()
        if self.chance.random() < 0.2:
            items.append(self.keyed_item())
        batch = self.pack(items, self.batch_no, content=self.batch_no * 7)
        before: bytes | None = None
        for _ in range(2000):
            try:
                before = await self.send(batch, items)
                break
            except Refused as error:
                self.refused(error)
            except NodeDownError:
                self.world.book.counts["batches retried"] += 1
            await asyncio.sleep(0.1 * self.chance.random())
        if before is not None:
            self.answered = [*self.answered, (batch, items, before)][-BATCHES_ASKED_AGAIN:]

    async def ask_again(self) -> None:
        """Repeat a batch that was answered: the answer must name the same jobs."""
        if not self.answered:
            return
        batch, items, before = self.chance.choice(self.answered)
        try:
            again = await self.send(batch, items)
        except Refused as error:
            self.refused(error)
            return
        self.world.book.counts["batches asked again"] += 1
        size = packed.SUBMIT_RESULT.size
        for at in range(0, len(before), size):
            was, now = packed.SUBMIT_RESULT.unpack_from(before, at), packed.SUBMIT_RESULT.unpack_from(again, at)
            assert (was[0], was[5]) == (now[0], now[5]), f"a batch that is asked for again gives {now} instead of {was}"

    def keyed_item(self) -> Submission:
        """An item with a key; nearly always the same content for the same key."""
        book = self.world.book
        key = b"key%d" % self.chance.randrange(KEYS * (1 + int(self.world.loop.time()) % 1000 // 5))
        known = self.keyed.get(key)
        if known is not None and self.chance.random() < 0.9:
            return known
        spec = self.spec()
        queue = b"n/" + key
        made = book.submission(
            Spec(
                QUEUES[0],
                payload=queue + b"%d" % self.number,
                key=b"%d." % (self.number % 2) + key,
                schedule_ms=spec.schedule_ms,
            )
        )
        self.keyed.setdefault(key, made)
        return made

    async def submit_keyed(self) -> None:
        items = [self.keyed_item() for _ in range(self.chance.choice((1, 1, 4)))]
        try:
            await self.send(self.pack(items), items)
        except Refused as error:
            self.refused(error)

    # -- control ---------------------------------------------------------------------
    def some_job(self) -> bytes | None:
        jobs = list(self.world.book.jobs)
        if not jobs:
            return None
        return self.chance.choice(jobs[-60:] if self.chance.random() < 0.7 else jobs)

    async def cancel(self) -> None:
        job_id = self.some_job()
        if job_id is None:
            return
        book = self.world.book
        book.jobs[job_id].cancel_tried = True
        try:
            await self.call(lambda driver: driver.cancel(job_id))
        except Refused as error:
            self.decided(job_id, "cancel", error)
            return
        self.world.trace(f"cancelled {job_id.hex()}")
        book.counts["cancelled"] += 1
        book.ended(job_id, "cancelled")

    def decided(self, job_id: bytes, what: str, error: Refused) -> None:
        """A decision was refused."""
        book = self.world.book
        book.counts[f"{what} {error.kind.reason}"] += 1
        if error.kind.code == errors.JOB_FINISHED:
            book.ended(job_id, "finished, as was said to a client")
        elif error.kind.code == errors.JOB_NOT_FOUND:
            book.missing(job_id)

    async def reschedule(self) -> None:
        job_id = self.some_job()
        if job_id is None:
            return
        chance, book, plan = self.chance, self.world.book, self.world.plan
        ahead_ms = chance.choice((0, 5, 1000, plan.bucket_width_ms, plan.horizon_ms * 2, plan.horizon_ms * 3))
        run_now = chance.random() < 0.2
        due_ms = 0 if run_now else self.world.clock.wall_ms() + int(ahead_ms * chance.random())
        record = book.jobs[job_id]
        record.floors.append(due_ms)
        try:
            view = await self.call(lambda driver: driver.reschedule(job_id, due_ms))
        except Refused as error:
            record.floors.remove(due_ms)
            self.decided(job_id, "reschedule", error)
            return
        assert isinstance(view, JobView)
        self.world.trace(f"rescheduled {job_id.hex()} {view.row.due_ms}")
        book.counts["run now" if run_now else "rescheduled"] += 1
        assert view.row.due_ms >= due_ms, "a job was moved to an earlier time than was asked for"

    async def get(self) -> None:
        job_id = self.some_job()
        if job_id is None:
            return
        book = self.world.book
        acked = book.jobs[job_id].acked
        try:
            view = await self.call(lambda driver: driver.get(job_id))
        except Refused as error:
            self.decided(job_id, "get", error)
            return
        assert isinstance(view, JobView)
        state = JobState(view.row.state)
        book.counts[f"get {state.name}"] += 1
        assert not acked or state == JobState.SUCCEEDED, f"an acked job is {state.name}"
        if state in TERMINAL:
            book.ended(job_id, f"{state.name}, as was said to a client")
            assert state == JobState.FAILED or view.finish_ms, "a job that ended says when"

    async def attempts(self) -> None:
        job_id = self.some_job()
        if job_id is None:
            return
        found = await self.call(lambda driver: driver.attempts(job_id))
        assert isinstance(found, list)
        numbers = [outcome.attempt for _, outcome in found]
        assert numbers == sorted(numbers), f"attempts are not oldest first: {numbers}"


async def pause_queues(world: World) -> None:
    """Pause and resume queues now and then."""
    chance = world.chance("pauses")
    while not world.calm:
        await asyncio.sleep(world.plan.pause_s * chance.expovariate(1))
        if not world.calm:
            await set_queue(world, chance.choice(QUEUES), chance.random() < 0.5)


async def set_queue(world: World, queue: bytes, paused: bool) -> bool:
    """True when the call was answered."""
    world.book.paused[queue] = None
    try:
        await world.call(lambda driver: driver.set_queue(queue, paused))
    except NodeDownError:
        return False
    world.trace(f"queue {queue!r} paused {paused}")
    world.book.counts["paused" if paused else "resumed"] += 1
    world.book.paused[queue] = paused
    return True
