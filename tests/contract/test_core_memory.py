"""What leaves memory past the cap, and what one tick may stage: held against every implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from tests.unit.core.core_kit import BOOT_MS, CONFIG, FAR_MS, START_MS, TOP_ID, granted, submit_batch, submitted
from wheeld.core.api import Core, CoreConfig, QueueView, Restored
from wheeld.core.factory import open_core
from wheeld.model import batch as packed
from wheeld.model import limits
from wheeld.model.entry import EntryKind, iterate_entries
from wheeld.model.ids import NO_ID, pack_id
from wheeld.model.job import JobState
from wheeld.model.rows import ROW_BACKLOG, Row
from wheeld.model.spec import Spec

LARGE = Spec(b"main/large", b"send", bytes(1_000))
SMALL = Spec(b"main/small", b"send", bytes(100))
LARGE_BYTES = limits.RESIDENT_OVERHEAD_BYTES + len(LARGE.pack())
CAP = 100 * LARGE_BYTES
STEP = CAP // limits.HORIZON_STEP_SHARE
MakeCore = Callable[..., Core]


@pytest.fixture(params=["native", "reference"])
def make(request: pytest.FixtureRequest) -> MakeCore:
    def build(config: CoreConfig = replace(CONFIG, resident_bytes_max=CAP), horizon_ms: int = FAR_MS) -> Core:  # noqa: B008
        core = open_core(config, Restored(), START_MS, BOOT_MS, request.param)
        load, _ = core.open_horizon(horizon_ms, TOP_ID)
        core.end_load(load)
        core.take_group()
        return core

    return build


def submit(core: Core, specs: Iterable[Spec], now_ms: int = START_MS) -> list[bytes]:
    outcome, _, records = core.submit(now_ms, submit_batch(list(specs)))
    assert outcome == packed.DONE
    return [job_id for _, _, _, job_id in submitted(records)]


def due(spec: Spec, *after_ms: int) -> list[Spec]:
    return [replace(spec, schedule_ms=START_MS + after) for after in after_ms]


def settle_down(core: Core, passed_ms: int = 0) -> None:
    while core.tick(START_MS + passed_ms, BOOT_MS + passed_ms, 5, True):
        pass


def kinds(core: Core) -> list[int]:
    taken = core.take_group()
    return [head.kind for head, _ in iterate_entries(taken[1])] if taken else []


def resident(core: Core, jobs: Iterable[bytes]) -> list[bool]:
    return [core.get(START_MS, job) is not None for job in jobs]


def view(core: Core, queue: bytes) -> QueueView:
    return next(view for view in core.queues() if view.queue == queue)


def backlog_rows(spec: Spec, due_ms: Iterable[int]) -> tuple[list[bytes], bytes]:
    """(ids, rows) of jobs as a page of the backlog has them."""
    ids, rows = [], b""
    for seq, at in enumerate(due_ms):
        job_id = pack_id(1, at // CONFIG.bucket_width_ms, 1_000_000 + seq)
        record = replace(spec, schedule_ms=at, create_ms=at).pack()
        ids.append(job_id)
        rows += Row(job_id, at, 0, 0, JobState.SCHEDULED, ROW_BACKLOG, 0, 0, bytes(16), b"", b"", record).pack()
    return ids, rows


@pytest.mark.parametrize("apart_ms", [1, 3, 20_000])
def test_the_horizon_comes_nearer_by_the_least_step(make: MakeCore, apart_ms: int) -> None:
    """Over by one job: an eighth of the cap leaves, the latest jobs, and the rest stays."""
    core = make()
    jobs = submit(core, due(LARGE, *(10_000 + number * apart_ms for number in range(101))))
    settle_down(core)
    leave = -(-STEP // LARGE_BYTES)
    assert resident(core, jobs) == [True] * (101 - leave) + [False] * leave
    assert core.horizon() == (START_MS + 10_000 + (101 - leave) * apart_ms, NO_ID)
    assert kinds(core) == [EntryKind.SUBMIT] * 101 and core.counters().spilled == 0


def test_jobs_of_one_ms_leave_together(make: MakeCore) -> None:
    core = make()
    jobs = submit(core, due(LARGE, *[9_000] * 41, *[10_000] * 60))
    settle_down(core)
    assert resident(core, jobs) == [True] * 41 + [False] * 60


def test_what_is_due_within_the_lead_stays(make: MakeCore) -> None:
    """It is ready soon, and then it can be spilled."""
    core = make()
    core.tick(START_MS, BOOT_MS, 5, True)
    submit(core, due(LARGE, *[limits.LEAD_MS_MAX] * 110))
    settle_down(core)
    assert core.horizon()[0] == FAR_MS and core.counters().resident_jobs == 110
    settle_down(core, limits.LEAD_MS_MAX)
    assert core.horizon()[0] == FAR_MS and core.counters().resident_jobs == 100 and core.counters().spilled == 10


def test_near_jobs_of_a_small_queue_stay_in_memory(make: MakeCore) -> None:
    """While another queue floods: those that came before it and those that came after."""
    core = make()
    before = submit(core, due(SMALL, 20_000))
    for _ in range(3):
        submit(core, due(LARGE, *range(10_000, 10_060)))
        settle_down(core)
    assert core.horizon()[0] <= START_MS + 10_060 and core.counters().resident_bytes <= CAP
    after = submit(core, due(SMALL, 30_000, limits.NEAR_MS + 1_000))
    assert resident(core, [*before, *after]) == [True, True, False]
    core.open_stream(START_MS, BOOT_MS, 1, b"s" * 16, b"w", [SMALL.queue], 10, 1 << 20, 30_000, b"")
    settle_down(core, 30_000)
    core.take_group()
    messages = core.release((START_MS + 30_000) * 1000, core.barrier_group(), 10)
    assert [job for message in messages for job, _, _ in granted(message.data)] == [*before, after[0]]


def test_small_queues_leave_as_well_when_they_are_all_there_is(make: MakeCore) -> None:
    core = make()
    queues = [b"main/q%d" % number for number in range(101)]
    submit(core, [replace(LARGE, queue=queue, schedule_ms=START_MS + 10_000) for queue in queues])
    settle_down(core)
    assert core.counters().resident_bytes <= CAP


def test_leases_alone_drive_nobody_away(make: MakeCore) -> None:
    """What waits holds less than a step: taking it away would not help."""
    core = make()
    submit(core, due(LARGE, *[0] * 110))
    near = submit(core, due(SMALL, 10_000, 20_000))
    core.open_stream(START_MS, BOOT_MS, 1, b"s" * 16, b"w", [LARGE.queue], 200, 1 << 20, 30_000, b"")
    settle_down(core)
    assert core.counters().leases == 110 and core.counters().resident_bytes > CAP
    assert resident(core, near) == [True, True] and core.horizon()[0] == FAR_MS


def test_jobs_that_were_paged_in_leave_when_the_clock_steps_back(make: MakeCore) -> None:
    core = make()
    load, _ = core.begin_load()
    ids, rows = backlog_rows(LARGE, range(START_MS - 90, START_MS))
    core.load(START_MS, BOOT_MS, load, rows)
    settle_down(core)
    assert core.counters().ready == 90
    core.rebase(START_MS - 60_000)
    assert (core.counters().ready, core.counters().armed) == (0, 90)
    core.take_group()
    assert core.backlog_drained(LARGE.queue, 0)
    submit(core, due(replace(LARGE, queue=b"main/other"), *[-55_000] * 15), START_MS - 60_000)
    settle_down(core, -60_000)
    leave = -(-STEP // LARGE_BYTES)
    assert resident(core, ids) == [True] * (90 - leave) + [False] * leave
    assert set(kinds(core)) == {EntryKind.SUBMIT}
    assert (view(core, LARGE.queue).backlog, view(core, LARGE.queue).spills) == (True, leave)
    assert core.load(START_MS, BOOT_MS, load, rows) == 0, "rows that were read before are out of date"


def test_a_heap_is_spilled_with_the_run(make: MakeCore) -> None:
    """Pages of the backlog are older than what is ready, and go into a heap; so do the more urgent ones of a level."""
    core = make()
    submit(core, due(LARGE, 0))
    settle_down(core)
    load, _ = core.begin_load()
    ids, rows = backlog_rows(LARGE, [START_MS - 1 - number * 7 % 110 for number in range(110)])
    core.load(START_MS, BOOT_MS, load, rows)
    settle_down(core)
    oldest = sorted(ids, key=lambda job: 7 * (int.from_bytes(job[6:14], "big") - 1_000_000) % 110)[-100:]
    assert core.counters().spilled == 11 and core.horizon()[0] == FAR_MS
    assert all(resident(core, oldest)) and core.counters().resident_jobs == 100
    core.set_queue(START_MS, LARGE.queue, False)
    core.open_stream(START_MS, BOOT_MS, 1, b"s" * 16, b"w", [LARGE.queue], 1, 1 << 20, 30_000, b"")
    settle_down(core)
    core.take_group()
    (message,) = core.release(START_MS * 1000, core.barrier_group(), 10)
    assert granted(message.data)[0][0] == oldest[-1]


def test_the_queue_whose_ready_jobs_hold_most_is_spilled(make: MakeCore) -> None:
    """Not the one with the most jobs; the least urgent first."""
    core = make()
    many = submit(core, due(SMALL, *range(-60, 0)))
    large = submit(core, [replace(LARGE, schedule_ms=START_MS, priority=number % 2) for number in range(100)])
    settle_down(core)
    assert all(resident(core, many))
    assert view(core, SMALL.queue).spills == 0 < view(core, LARGE.queue).spills < 50
    assert all(resident(core, large[1::2]))
    low = resident(core, large[::2])
    assert low == sorted(low, reverse=True) and not all(low), "of equal places the newest leaves first"


@pytest.mark.parametrize("waiting", [False, True], ids=["lapsed leases", "late starts"])
def test_one_tick_stages_no_more_than_its_bytes(waiting: bool) -> None:
    """Jobs with kilobytes of labels end all at once; both implementations stop at the same one."""
    labels = b"\1a" + bytes((200,)) + b"b" * 200
    expire_ms = START_MS + 500 if waiting else 0
    spec = replace(SMALL, labels=labels * 20, lease_ms=1_000, expire_ms=expire_ms, max_attempts=1)
    jobs = 2_000
    seen = []
    for kind in ("native", "reference"):
        core = open_core(CONFIG, Restored(), START_MS, BOOT_MS, kind)
        core.open_horizon(FAR_MS, TOP_ID)
        submit(core, [spec] * jobs)
        if not waiting:
            core.open_stream(START_MS, BOOT_MS, 1, b"s" * 16, b"w", [SMALL.queue], jobs, 1 << 30, 1_000, b"")
        settle_down(core)
        core.take_group()
        core.release(START_MS * 1000, core.barrier_group(), jobs)
        groups, more = [], True
        while more:
            more = core.tick(START_MS + 5_000, BOOT_MS + 5_000, 5, True)
            groups.append(core.take_group())
        ended = core.counters().expired if waiting else core.counters().failed
        assert ended == jobs
        sizes = [len(group[1]) for group in groups if group]
        assert len(sizes) > 2 and max(sizes) < limits.TICK_BYTES_MAX // 2 + 2 * limits.LABELS_BYTES_MAX
        seen.append((groups, core.state_hash()))
    assert seen[0] == seen[1]


def test_closing_finds_what_was_in_a_heap(make: MakeCore) -> None:
    """A heap that became part of the run lies among entries that have their rows already."""
    core = make(replace(CONFIG, resident_bytes_max=4 * LARGE_BYTES))
    submit(core, due(LARGE, 0, 10, 20, 30))
    settle_down(core, 30)
    assert not core.close_before(START_MS + 30, START_MS + 40, 2)
    heap = [submit(core, [LARGE], START_MS + after)[0] for after in (5, 25)]
    settle_down(core, 30)
    assert resident(core, heap) == [True, False] and kinds(core).count(EntryKind.BACKLOG) == 4
    assert core.close_before(START_MS + 30, START_MS + 40, 100)
    taken = core.take_group()
    assert taken is not None
    given = [bytes(body[:16]) for head, body in iterate_entries(taken[1]) if head.kind == EntryKind.BACKLOG]
    assert len(given) == 2 and heap[0] in given


def test_a_group_that_was_taken_keeps_its_bytes_whatever_follows(make: MakeCore) -> None:
    core = make()
    held = []
    for turn in range(8):
        jobs = submit(core, due(replace(LARGE, payload=bytes([turn]) * 1_000), *[1_000 + turn] * 40))
        taken = core.take_group()
        assert taken is not None
        held.append((taken, bytes(taken[1]), jobs))
        if turn % 2:
            # Given back: its memory may take the next group, while the others are still held.
            del held[-1], taken
    del core
    for (_, payload), then, jobs in held:
        assert payload == then
        assert [bytes(body[:16]) for _, body in iterate_entries(payload)] == jobs
