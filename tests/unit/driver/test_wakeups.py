"""Each thing that somebody waits for is followed by a beat: nothing else beats here, so that a lost one shows."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.unit.driver.bare_node import BareNode, Outbox, run_bare
from wheeld.model import limits
from wheeld.model.spec import Spec

QUEUE, SESSION = b"bare/queue", b"session of a lot"
SYNC_MS_MAX = 1500
"""A slow sync of the simulated disk."""
LATE_MS_MAX = 3 * SYNC_MS_MAX
"""Behind the group under way, the one that waits, and its own."""


class Worker:
    """Takes leases, acks each alone after a moment, and remembers how late the latest was."""

    def __init__(self, node: BareNode, chance: random.Random, work_s: float) -> None:
        self.node, self.chance, self.work_s = node, chance, work_s
        self.acked = 0
        self.late_ms = 0
        self.submitted_ms: dict[int, int] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.outbox = Outbox(self.take)

    def take(self, job_id: bytes, fencing: int, due_ms: int) -> None:
        now_ms = self.node.clock.wall_ms()
        assert now_ms >= due_ms, "early"
        self.late_ms = max(self.late_ms, now_ms - max(due_ms, self.submitted_ms.get(due_ms, 0)))
        task = asyncio.ensure_future(self.work(job_id, fencing))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def work(self, job_id: bytes, fencing: int) -> None:
        await asyncio.sleep(self.work_s * self.chance.random())
        assert await self.node.ack(SESSION, [(job_id, fencing)]) == [0]
        self.acked += 1


async def submit_some(node: BareNode, worker: Worker, chance: random.Random, rounds: int) -> int:
    """Batches now and then, due soon; how many jobs."""
    count = 0
    for _ in range(rounds):
        now_ms = node.clock.wall_ms()
        dues = [now_ms + chance.choice((0, 1, 20, 200, 2000)) for _ in range(chance.randint(1, 30))]
        for due_ms in dues:
            worker.submitted_ms[due_ms] = now_ms + SYNC_MS_MAX
        assert not any(await node.submit([Spec(QUEUE, schedule_ms=due_ms) for due_ms in dues]))
        count += len(dues)
        await asyncio.sleep(chance.choice((0, 0.001, 0.3)))
    return count


@pytest.mark.parametrize("slow", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("seed", range(6))
def test_no_job_waits_for_a_beat_that_nobody_asked_for(seed: int, slow: float) -> None:
    chance = random.Random(seed)

    async def story(node: BareNode) -> None:
        worker = Worker(node, chance, 0.01)
        await node.driver.open_stream(SESSION, b"w", [QUEUE], 100_000, 1 << 30, 60_000, b"", worker.outbox)
        count = await submit_some(node, worker, chance, 30)
        end = node.loop.time() + 2 + 3 * LATE_MS_MAX / 1000
        while worker.acked < count and node.loop.time() < end:
            await asyncio.sleep(0.5)
        assert worker.acked == count, f"seed {seed}: {count - worker.acked} of {count} jobs still wait"
        assert worker.late_ms <= LATE_MS_MAX, f"seed {seed}: a job came {worker.late_ms} ms late"

    run_bare(seed, story, slow)


class Silent:
    """A worker that takes leases and says nothing."""

    def __init__(self) -> None:
        self.leases: list[tuple[bytes, int]] = []
        self.outbox = Outbox(lambda job_id, fencing, due_ms: self.leases.append((job_id, fencing)))


async def attach(node: BareNode, credit: int) -> tuple[Silent, int]:
    """A silent worker's stream, long after which nothing is under way any more."""
    worker = Silent()
    opened = await node.driver.open_stream(SESSION, b"w", [QUEUE], credit, 1 << 30, 60_000, b"", worker.outbox)
    await asyncio.sleep(3)
    return worker, opened.number


async def submit_due_now(node: BareNode, count: int) -> None:
    """And wait until their time, and all that follows from it, is long past."""
    assert not any(await node.submit([Spec(QUEUE, schedule_ms=node.clock.wall_ms())] * count))
    await asyncio.sleep(3)


def test_a_lone_job_leaves_when_its_group_is_durable() -> None:
    async def story(node: BareNode) -> None:
        worker, _ = await attach(node, 1)
        await submit_due_now(node, 1)
        assert len(worker.leases) == 1

    run_bare(1, story)


def test_a_lone_far_job_leaves_at_its_time() -> None:
    async def story(node: BareNode) -> None:
        worker, _ = await attach(node, 1)
        await node.submit([Spec(QUEUE, schedule_ms=node.clock.wall_ms() + 8000)])
        await asyncio.sleep(7.9)
        assert not worker.leases
        await asyncio.sleep(0.2)
        assert len(worker.leases) == 1

    run_bare(1, story)


def test_more_than_one_beat_can_grant_or_give_out_goes_on_by_itself() -> None:
    async def story(node: BareNode) -> None:
        count = 2 * limits.GRANTS_PER_TICK_MAX + 1
        worker, _ = await attach(node, 2 * count)
        await node.submit([Spec(QUEUE, schedule_ms=node.clock.wall_ms() + 4000)] * count)
        await asyncio.sleep(4.5)
        assert len(worker.leases) == count

    run_bare(1, story)


@pytest.mark.parametrize("how", ["ack", "credit", "resume", "folded"])
def test_what_makes_a_grant_possible_is_followed_by_a_beat(how: str) -> None:
    async def story(node: BareNode) -> None:
        worker, stream = await attach(node, 0 if how == "credit" else 1)
        if how == "resume":
            await node.driver.set_queue(QUEUE, True)
        elif how == "folded":
            node.driver.pump.grants_allowed = lambda: False
        await submit_due_now(node, 2)
        assert len(worker.leases) == (how == "ack")
        if how == "ack":
            await node.ack(SESSION, worker.leases)
        elif how == "credit":
            node.driver.set_credit(stream, 2, 1 << 30)
        elif how == "resume":
            await node.driver.set_queue(QUEUE, False)
        elif how == "folded":
            node.driver.pump.grants_allowed = lambda: True
            node.driver.checkpoints.on_position(await node.client.checkpoint(node.driver.groups.durable))
        await asyncio.sleep(0.1)
        assert len(worker.leases) == (1 if how in ("resume", "folded") else 2)

    run_bare(1, story)


def test_the_beat_of_a_lease_that_ends_gives_its_job_to_another_worker() -> None:
    async def story(node: BareNode) -> None:
        worker = Worker(node, random.Random(1), 0.001)
        silent = Outbox(lambda job_id, fencing, due_ms: None)
        await node.driver.open_stream(b"silent" + bytes(10), b"s", [QUEUE], 1, 1 << 30, 1000, b"", silent)
        await node.submit([Spec(QUEUE, schedule_ms=node.clock.wall_ms(), backoff_initial_ms=1)])
        await asyncio.sleep(0.1)
        await node.driver.open_stream(SESSION, b"w", [QUEUE], 1, 1 << 30, 1000, b"", worker.outbox)
        end = node.loop.time() + 5
        while not worker.acked:
            await asyncio.sleep(0.1)
            assert node.loop.time() < end, "the lease of a second has ended long ago"

    run_bare(1, story)


@pytest.mark.parametrize("seed", range(5))
def test_what_comes_due_during_a_decision_goes_out_before_all_else_of_that_turn(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(node: BareNode) -> None:
        worker, _ = await attach(node, 10)
        due_ms = node.clock.wall_ms() + 4000
        await node.submit([Spec(QUEUE, schedule_ms=due_ms)])
        await asyncio.sleep((due_ms - 2 - node.clock.wall_ms()) / 1000)
        core = node.driver.core

        class Slow:
            def __getattr__(self, name: str) -> object:
                return getattr(core, name)

            def submit(self, now_ms: int, batch: bytes) -> tuple[int, int, bytes]:
                answer = core.submit(now_ms, batch)
                node.loop.pass_us(5000)
                return answer

        monkeypatch.setattr(node.driver, "core", Slow())
        leases_seen: list[int] = []
        node.loop.call_soon(lambda: leases_seen.append(len(worker.leases)))
        assert not worker.leases
        await node.submit([Spec(QUEUE, schedule_ms=due_ms + 60_000)])
        assert leases_seen == [1], f"seed {seed}"

    run_bare(seed, story)
