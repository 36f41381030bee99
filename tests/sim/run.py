"""One run: a seed, a plan, a world, its people, its disasters; then calm, and everything must come to its end.

Owns the order of the phases. `python -m tests.sim.run SEED` repeats a run and prints its trace's end.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.sim.book import BrokenPromise
from tests.sim.clients import QUEUES, Client, pause_queues, set_queue
from tests.sim.inspect_node import check_end, check_replay, unfinished
from tests.sim.loop import SimLoop
from tests.sim.plan import Plan, applied, draw
from tests.sim.workers import Worker
from tests.sim.world import World
from wheeld.core.factory import open_core
from wheeld.driver import far
from wheeld.runtime.clock import SimClock

CHECK_S = 0.8
DRAIN_S = 90
"""After the faults stop and the last job has come due, all must have ended within this time."""
RESIDENT_SLACK = 3
CORES: dict[str, Callable[..., Any]] = {
    name: partial(open_core, implementation=name) for name in ("reference", "native")
}


Story = Callable[[World], Awaitable[None]]


@dataclass(slots=True)
class Result:
    """What a run leaves. `failure` None: nothing was found."""

    seed: int
    core: str
    plan: Plan
    failure: BaseException | None
    trace_hash: str
    lines: list[str]
    counts: dict[str, int]
    rounds: int


def run(seed: int, core: str = "reference", plan: Plan | None = None, story: Story | None = None) -> Result:
    """Run a seed to its end; or a story of one's own over a plan of one's own."""
    plan = plan or draw(seed)
    clock = SimClock()
    loop = SimLoop(clock, seed)
    asyncio.set_event_loop(loop)
    try:
        with applied(plan):
            world = World(seed, plan, CORES[core], loop)
            loop.set_exception_handler(
                lambda _, context: world.fail(context.get("exception") or RuntimeError(context["message"]))
            )
            try:
                loop.run_until_complete(drive(world, story or live))
            except Exception as error:
                world.fail(error)
            for task in asyncio.all_tasks(loop):
                task.cancel()
            world.over = True
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(asyncio.sleep(0.01))
            loop.set_exception_handler(lambda _, context: None)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    counts = {
        **world.book.counts,
        **world.totals,
        "store deaths": world.store.deaths,
        "groups lost": world.journal.lost_groups,
        "groups kept untold": world.journal.kept_untold,
        "lives": world.lives,
    }
    return Result(seed, core, plan, world.failure, world.trace_hash, world.lines, counts, loop.rounds)


async def drive(world: World, story: Story) -> None:
    """Tell the story; it ends early at the first failure."""
    told = asyncio.ensure_future(story(world))
    alarm = asyncio.ensure_future(world.failed.wait())
    await asyncio.wait([told, alarm], return_when=asyncio.FIRST_COMPLETED)
    alarm.cancel()
    if not told.done():
        told.cancel()
    elif (error := told.exception()) is not None:
        world.fail(error)


def start(world: World, person: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Let a person act; what goes wrong with it is the run's failure."""

    def ended(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            world.fail(error)

    task = asyncio.ensure_future(person)
    task.add_done_callback(ended)
    return task


async def live(world: World) -> None:
    """Busy, calm, drained, stopped."""
    plan = world.plan
    await world.boot()
    clients = [start(world, Client(world, number).run()) for number in range(plan.clients)]
    workers = [
        Worker(world, number, QUEUES if number == 0 else world.chance(f"q{number}").sample(QUEUES, 2))
        for number in range(plan.workers)
    ]
    people = [worker.run() for worker in workers]
    people += [crash_now_and_then(world), step_now_and_then(world), look_now_and_then(world), fill_disk(world)]
    if plan.pause_s:
        people.append(pause_queues(world))
    tasks = [start(world, person) for person in people]
    await asyncio.sleep(plan.busy_s)
    await calm_down(world)
    _, waiting = await asyncio.wait(clients, timeout=DRAIN_S)
    if waiting:
        raise BrokenPromise(f"{len(waiting)} clients get no answer: {[task.get_stack() for task in waiting]}")
    await drain(world)
    world.over = True
    life = world.life
    assert life is not None
    if life.driver.counters().streams > len(workers):
        raise BrokenPromise(f"{life.driver.counters().streams} streams are open, {len(workers)} workers know of theirs")
    for task in life.background:
        task.cancel()
    while any(not worker.lost.is_set() and worker.tasks for worker in workers):
        await asyncio.sleep(0.1)
    world.add_totals(life)
    await life.driver.stop()
    check_end(world)
    assert len(tasks) == len(people)
    world.trace("end")


async def calm_down(world: World) -> None:
    """No more faults: the disks are quick, the workers faithful, the queues open."""
    world.calm = True
    world.trace("calm")
    world.journal.slow = world.store.slow = world.store.deadly = 0
    world.disk_full = False
    while world.life is None or not world.life.serving:
        await asyncio.sleep(0.1)
    for queue in QUEUES:
        while not await set_queue(world, queue, False):
            await asyncio.sleep(0.1)


async def drain(world: World) -> None:
    """Wait until every job has ended."""
    quiet_s = world.loop.time() + DRAIN_S
    while left := unfinished(world):
        last_ms = max(world.store.fold.state_of(job_id).due_ms for job_id in left)
        await asyncio.sleep(1)
        if last_ms > world.clock.wall_ms():
            quiet_s = world.loop.time() + DRAIN_S
        if world.loop.time() > quiet_s:
            raise BrokenPromise(f"{len(left)} jobs do not come to their end: {stuck(world, left)}")


def stuck(world: World, left: list[bytes]) -> str:
    """What can be said of jobs that do not end."""
    assert world.life is not None
    driver = world.life.driver
    jobs = [
        (job_id.hex(), world.store.fold.state_of(job_id), driver.core.get(world.clock.wall_ms(), job_id) is not None)
        for job_id in left[:3]
    ]
    views = [(view.queue, view.paused, view.ready, view.running, view.backlog, view.credit) for view in driver.queues()]
    facts = driver.facts()
    return f"{jobs} now {world.clock.wall_ms()} queues {views} counters {driver.counters()} facts {facts}"


# -- disasters -----------------------------------------------------------------------
async def crash_now_and_then(world: World) -> None:
    """Kill the node at any time, also while it starts; start it again later."""
    plan, chance = world.plan, world.chance("crashes")
    world.journal.slow, world.store.slow, world.store.deadly = plan.journal_slow, plan.store_slow, plan.store_deadly
    while plan.crash_s and not world.calm:
        await asyncio.sleep(plan.crash_s * chance.expovariate(1))
        if world.calm:
            return
        world.crash()
        await asyncio.sleep(chance.choice((0.001, 0.5, 5)) * chance.random())
        booting = asyncio.ensure_future(world.boot())
        if chance.random() < 0.3:
            await asyncio.sleep(0.02 * chance.random())
            world.crash()
            await asyncio.sleep(0.1)
            booting = asyncio.ensure_future(world.boot())
        await booting


async def step_now_and_then(world: World) -> None:
    """Set the wall clock, forward or back, a little or a lot."""
    plan, chance = world.plan, world.chance("steps")
    while plan.step_s and not world.calm:
        await asyncio.sleep(plan.step_s * chance.expovariate(1))
        if not world.calm:
            world.step_wall(chance.choice((-1, 1)) * int(chance.choice((5, 200, 5_000, 40_000)) * chance.random()) or 1)


async def fill_disk(world: World) -> None:
    """The disk is full for a while."""
    chance = world.chance("disk")
    while not world.calm:
        await asyncio.sleep(40 * chance.expovariate(1))
        world.disk_full = not world.calm
        await asyncio.sleep(1)
        world.disk_full = False


async def look_now_and_then(world: World) -> None:
    """Compare memory and entries, watch the cap."""
    chance = world.chance("looks")
    over = 0
    while not world.over:
        await asyncio.sleep(CHECK_S * chance.random() * 2)
        try:
            if check_replay(world):
                world.book.counts["replays compared"] += 1
        except BrokenPromise as error:
            world.fail(error)
        over = over + 1 if above_cap(world) else 0
        if over > 20:
            world.fail(
                BrokenPromise(f"memory stays above its cap: {world.life.driver.counters() if world.life else None}")
            )


def above_cap(world: World) -> bool:
    """More than leases, one load and one batch beyond the cap."""
    life = world.life
    if life is None or not life.serving:
        return False
    counters = life.driver.counters()
    leased = counters.leases * 600
    load = max(world.plan.load_bytes_min, int(world.plan.resident_bytes_max * far.PASS_SHARE))
    return counters.resident_bytes > world.plan.resident_bytes_max + leased + load + world.plan.page_bytes + 20 * 600


def describe(result: Result, lines: int = 30) -> str:
    """A failure, with what is needed to see it again."""
    cause = "".join(traceback.format_exception(result.failure)) if result.failure else "nothing found"
    tail = "\n".join(result.lines[-lines:])
    again = f"SEED={result.seed}: again with `python -m tests.sim.run {result.seed} {result.core}`"
    return "\n".join((tail, str(result.plan), str(result.counts), cause, again))


if __name__ == "__main__":
    print(describe(run(int(sys.argv[1]), *sys.argv[2:3]), lines=60))
