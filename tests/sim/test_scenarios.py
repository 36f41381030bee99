"""Interleavings that chance finds seldom, told step by step over the same simulated machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.sim.clients import Client, set_queue
from tests.sim.plan import Plan, draw
from tests.sim.run import CORES, Story, describe, run, start
from tests.sim.workers import Worker
from tests.sim.world import NodeDownError, World
from wheeld.model.errors import Refused
from wheeld.model.spec import Spec

IDLE, BUSY = b"n/a", b"n/b"
QUIET: Plan = replace(
    draw(0),
    shards=2,
    bucket_width_ms=2000,
    horizon_ms=4000,
    resident_bytes_max=6000,
    departed_max=1000,
    recent_keys_max=1000,
    journal_slow=0,
    store_slow=0,
    store_deadly=0,
    faithless=0,
    impatient=0,
    staged_bytes_max=2_000_000,
    retained_bytes_max=10**9,
    tick_jobs_max=8192,
    tick_bytes_max=1 << 22,
    small_queue_share=64,
    load_bytes_min=400,
    page_bytes=1000,
)


def tell(core: str, story: Story, plan: Plan = QUIET) -> None:
    """Run a story; fail with what it found."""
    result = run(1, core, plan, story)
    if result.failure is not None:
        pytest.fail(describe(result), pytrace=False)


async def submit(world: World, specs: list[Spec]) -> list[bytes]:
    """Submit, and return the ids."""
    client = Client(world, 0)
    items = [world.book.submission(spec) for spec in specs]
    await client.send(client.pack(items), items)
    return [item.job_id for item in items]


async def acked(world: World, ids: list[bytes], within_s: float) -> None:
    """All of them, in time."""
    end = world.loop.time() + within_s
    while not all(world.book.jobs[job_id].acked for job_id in ids):
        left = sum(not world.book.jobs[job_id].acked for job_id in ids)
        assert world.loop.time() < end, f"{left} of {len(ids)} jobs have not run within {within_s} s"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("idle_jobs", [10, 24, 25, 26, 27, 28, 40, 200])
def test_a_queue_without_workers_does_not_hold_up_the_others(core: str, idle_jobs: int) -> None:
    """Its due jobs fill the memory, more or less; those of the other queue are far, and come through it in time."""

    async def story(world: World) -> None:
        await world.boot()
        now_ms = world.clock.wall_ms()
        await submit(world, [Spec(IDLE, schedule_ms=now_ms, payload=bytes(80)) for _ in range(idle_jobs)])
        later = [Spec(BUSY, schedule_ms=now_ms + 8000 + number, payload=bytes(80)) for number in range(40)]
        ids = await submit(world, later)
        start(world, Worker(world, 0, [BUSY]).run())
        world.calm = True
        await asyncio.sleep(8)
        await acked(world, ids, within_s=3)

    tell(core, story)


@pytest.mark.parametrize("core", CORES)
def test_a_flood_of_near_jobs_does_not_hold_up_a_small_queue(core: str) -> None:
    """The flood draws the horizon nearer than the other queue's jobs are, and the store is slow to bring them back."""

    async def story(world: World) -> None:
        await world.boot()
        now_ms = world.clock.wall_ms()
        for _ in range(10):
            await submit(world, [Spec(IDLE, schedule_ms=now_ms + 900, payload=bytes(1000)) for _ in range(20)])
        life = world.life
        assert life is not None and life.driver.core.horizon()[0] <= now_ms + 900
        world.store.slow = 1.0
        start(world, Worker(world, 0, [BUSY]).run())
        world.calm = True
        ids = await submit(world, [Spec(BUSY, schedule_ms=now_ms + 1000 + number * 200) for number in range(4)])
        await asyncio.sleep((now_ms + 1600 - world.clock.wall_ms()) / 1000)
        await acked(world, ids, within_s=0.1)

    tell(core, story, replace(QUIET, resident_bytes_max=100_000))


@pytest.mark.parametrize("core", CORES)
def test_a_backlog_with_workers_is_paged_though_memory_is_full(core: str) -> None:
    """The busy queue's jobs were spilled; then it gets a worker, while those of many others fill the memory."""

    async def story(world: World) -> None:
        await world.boot()
        now_ms = world.clock.wall_ms()
        ids = await submit(world, [Spec(BUSY, schedule_ms=now_ms, payload=bytes(80)) for _ in range(40)])
        await asyncio.sleep(1)
        idle = [b"n/idle%d" % (number % 12) for number in range(24)]
        await submit(world, [Spec(queue, schedule_ms=now_ms, payload=bytes(80)) for queue in idle])
        world.calm = True
        start(world, Worker(world, 0, [BUSY]).run())
        await acked(world, ids, within_s=5)

    tell(core, story)


@pytest.mark.parametrize("core", CORES)
def test_submits_that_wait_for_room_all_pass(core: str) -> None:
    """Each batch is as large as the room; they come at once, and some callers lose patience."""

    async def story(world: World) -> None:
        await world.boot()
        world.journal.slow = 1.0
        client = Client(world, 0)

        async def one(number: int) -> None:
            items = [world.book.submission(Spec(BUSY, payload=bytes(600)))]
            batch = client.pack(items)
            try:
                await world.call(lambda driver: driver.submit(batch), patience_s=0.01 if number % 5 == 0 else 60)
            except NodeDownError:
                assert number % 5 == 0, "a submit did not pass within a minute"

        await asyncio.gather(*(one(number) for number in range(40)))

    tell(core, story, replace(QUIET, staged_bytes_max=500, resident_bytes_max=10**7))


@pytest.mark.parametrize("core", CORES)
def test_a_key_that_is_forgotten_while_it_is_looked_up(core: str) -> None:
    """A slow lookup says "unknown"; meanwhile the key was taken, folded, and forgotten by memory."""

    async def story(world: World) -> None:
        await world.boot()
        asked, go_on = asyncio.Event(), asyncio.Event()
        client = Client(world, 0)
        item = world.book.submission(Spec(BUSY, key=b"k", schedule_ms=world.clock.wall_ms() + 10**9))
        # With keys in the store and none in memory every key must be looked up.
        await submit(world, [Spec(BUSY, key=b"first"), Spec(BUSY, key=b"second"), Spec(BUSY, key=b"third")])
        await asyncio.sleep(3)
        await submit(world, [Spec(BUSY, key=b"fourth")])
        assert world.life is not None
        store = world.life.store
        keys = store.keys

        async def slow_keys(hashes: list[bytes], min_position: int) -> object:
            answer = await keys(hashes, min_position)
            if not asked.is_set():
                asked.set()
                await go_on.wait()
            return answer

        store.keys = slow_keys  # type: ignore[method-assign, assignment]
        first = asyncio.ensure_future(client.send(client.pack([item]), [item]))
        await asyncio.wait_for(asked.wait(), 5)
        await client.send(client.pack([item]), [item])
        await asyncio.sleep(3)
        await submit(world, [Spec(BUSY, key=b"fifth"), Spec(BUSY, key=b"sixth")])
        await asyncio.sleep(3)
        go_on.set()
        await first

    tell(core, story, replace(QUIET, recent_keys_max=1, resident_bytes_max=10**7))


@pytest.mark.parametrize("core", CORES)
def test_a_worker_that_gives_up_while_it_connects_leaves_no_stream(core: str) -> None:
    """Nobody was told the stream's number: the driver must close it."""

    async def story(world: World) -> None:
        await world.boot()
        worker = Worker(world, 0, [BUSY])
        world.journal.slow = 1.0

        life = world.life
        assert life is not None
        life.driver.core.set_queue(world.clock.wall_ms(), BUSY, False)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(worker.connect(), 0.00001)
        await set_queue(world, BUSY, True)
        assert life.driver.counters().streams == 0

    tell(core, story)


@pytest.mark.parametrize("core", CORES)
def test_a_full_disk_holds_up_loads_and_breaks_nothing(core: str) -> None:
    """The store folds nothing while far jobs come near and due ones are spilled; with room again all of them run."""

    async def story(world: World) -> None:
        await world.boot()
        now_ms = world.clock.wall_ms()
        ids = await submit(world, [Spec(BUSY, schedule_ms=now_ms + 6000, payload=bytes(80)) for _ in range(20)])
        ids += await submit(world, [Spec(BUSY, schedule_ms=now_ms, payload=bytes(80)) for _ in range(60)])
        world.store.full = True
        start(world, Worker(world, 0, [BUSY]).run())
        await asyncio.sleep(8)
        with pytest.raises(Refused, match="STORE_FULL"):
            await world.call(lambda driver: driver.attempts(ids[0]))
        world.store.full, world.calm = False, True
        await acked(world, ids, within_s=6)

    tell(core, story)
