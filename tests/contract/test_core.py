"""What `wheeld.core.api.Core` promises, held against every implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.core.core_kit import (
    BOOT_MS,
    CONFIG,
    FAR_MS,
    START_MS,
    TOP_ID,
    granted,
    settle_batch,
    settle_item,
    settled,
    submit_batch,
    submitted,
)
from wheeld.core.api import LEASES, REVOKED, Core, CoreConfig, Released, Restored
from wheeld.core.factory import open_core
from wheeld.model import batch as packed
from wheeld.model import errors, limits
from wheeld.model.entry import WAS_BACKLOG, EntryHead, EntryKind, iterate_entries, unpack_outcome
from wheeld.model.ids import unpack_id
from wheeld.model.job import JobState
from wheeld.model.rows import ROW_BACKLOG, Row, unpack_rows
from wheeld.model.spec import FLAG_DELAY, FLAG_EXPIRE_AFTER, Spec

SESSION = b"s" * 16
OTHER = b"o" * 16
MAIL = Spec(b"main/mail", b"send", b"payload", labels=b"\1a\1b")
MakeCore = Callable[..., Core]


@pytest.fixture(params=["native", "reference"])
def make(request: pytest.FixtureRequest) -> MakeCore:
    def build(config: CoreConfig = CONFIG, restored: Restored = Restored(), horizon_ms: int = FAR_MS) -> Core:  # noqa: B008
        core = open_core(config, restored, START_MS, BOOT_MS, request.param)
        load, _ = core.open_horizon(horizon_ms, TOP_ID)
        core.end_load(load)
        core.take_group()
        return core

    return build


def submit(core: Core, *specs: Spec, now_ms: int = START_MS) -> list[bytes]:
    outcome, _, records = core.submit(now_ms, submit_batch(list(specs)))
    answers = submitted(records)
    assert outcome == packed.DONE and all(code == 0 for code, _, _, _ in answers)
    return [job_id for _, _, _, job_id in answers]


def listen(
    core: Core, number: int = 1, session: bytes = SESSION, *, jobs: int = 100, held: bytes = b""
) -> tuple[int, int, bytes]:
    return core.open_stream(START_MS, BOOT_MS, number, session, b"worker", [b"main/mail"], jobs, 1 << 20, 30_000, held)


def entries(core: Core) -> list[tuple[EntryHead, bytes]]:
    taken = core.take_group()
    return [(head, bytes(body)) for head, body in iterate_entries(taken[1])] if taken else []


def deliver(core: Core, passed_ms: int = 0) -> list[Released]:
    """Tick, make durable, release."""
    now_ms = START_MS + passed_ms
    while core.tick(now_ms, BOOT_MS + passed_ms, 5, True):
        pass
    core.take_group()
    return core.release(now_ms * 1000, core.barrier_group(), 1000)


def tokens(messages: list[Released]) -> list[tuple[bytes, int]]:
    return [(job, fence) for message in messages if message.kind == LEASES for job, fence, _ in granted(message.data)]


def settle(
    core: Core, *items: bytes, passed_ms: int = 0, session: bytes = SESSION
) -> list[tuple[int, int, int, int, int]]:
    return settled(core.settle(START_MS + passed_ms, BOOT_MS + passed_ms, session, settle_batch(list(items)))[1])


def test_a_core_begins_with_an_epoch_for_each_shard(make: MakeCore) -> None:
    core = make(restored=Restored(epoch=7, index=[3, 4, 5, 6]))
    submit(core, MAIL)
    assert [(head.kind, head.epoch, head.index) for head, _ in entries(core)] == [(EntryKind.SUBMIT, 7, 5)]


def test_an_id_names_the_shard_and_the_first_bucket(make: MakeCore) -> None:
    core = make()
    (job,) = submit(core, replace(MAIL, schedule_ms=START_MS + 30_000))
    assert unpack_id(job).bucket == (START_MS + 30_000) // CONFIG.bucket_width_ms
    core.checkpointed(core.barrier_group() + 1)
    assert unpack_id(submit(core, MAIL)[0]).shard == unpack_id(job).shard + 1
    routed = [submit(core, replace(MAIL, routing_key=b"customer"))[0] for _ in range(3)]
    assert len({unpack_id(job).shard for job in routed}) == 1


def test_times_are_resolved_and_bounded(make: MakeCore) -> None:
    core = make()
    items: list[Spec | bytes] = [
        replace(MAIL, flags=FLAG_DELAY | FLAG_EXPIRE_AFTER, schedule_ms=40, expire_ms=5),
        replace(MAIL, flags=FLAG_DELAY, schedule_ms=limits.SCHEDULE_AHEAD_MS_MAX + 1),
        replace(MAIL, schedule_ms=START_MS + limits.SCHEDULE_AHEAD_MS_MAX + 1),
        replace(MAIL, expire_ms=START_MS),
        bytes((errors.FIELD_INVALID, errors.Field.TYPE)),
    ]
    _, _, records = core.submit(START_MS, submit_batch(items))
    assert [(code, field) for code, field, _, _ in submitted(records)] == [
        (0, 0), (errors.SCHEDULE_TOO_FAR, errors.Field.DELAY), (errors.SCHEDULE_TOO_FAR, errors.Field.SCHEDULE_TIME),
        (errors.FIELD_INVALID, errors.Field.EXPIRE), (errors.FIELD_INVALID, errors.Field.TYPE),
    ]  # fmt: skip
    row = core.get(START_MS, submitted(records)[0][3])
    assert row is not None
    spec = unpack_rows(row)[0].decoded_spec()
    assert (spec.schedule_ms, spec.expire_ms, spec.flags, spec.create_ms) == (START_MS + 40, START_MS + 45, 0, START_MS)
    assert core.counters().refused == 4


def test_a_key_names_one_job(make: MakeCore) -> None:
    core = make()
    keyed = replace(MAIL, key=b"order-1")
    (job,) = submit(core, keyed)
    _, _, records = core.submit(START_MS + 5, submit_batch([keyed, replace(keyed, payload=b"other")]))
    assert submitted(records) == [(0, 0, packed.RESULT_DUPLICATE, job), (errors.KEY_CONFLICT, 0, 0, job)]


def test_unknown_keys_are_asked_for_before_anything_is_decided(make: MakeCore) -> None:
    core = make(restored=Restored(has_keys=True))
    batch = submit_batch([MAIL, replace(MAIL, key=b"k"), replace(MAIL, key=b"k")])
    outcome, group, hashed = core.submit(START_MS, batch)
    assert (outcome, group, len(hashed), core.counters().submitted, core.open_group_bytes()) == (
        packed.NEED_KEYS,
        0,
        16,
        0,
        0,
    )
    core.provide_keys(hashed + bytes(32))
    assert core.submit(START_MS, batch)[0] == packed.DONE
    assert (core.counters().submitted, core.counters().duplicates) == (2, 1)


def test_no_key_of_a_batch_is_forgotten_within_it(make: MakeCore) -> None:
    core = make(replace(CONFIG, recent_keys_max=1))
    old = replace(MAIL, key=b"old")
    (job,) = submit(core, old)
    core.take_group()
    core.checkpointed(core.barrier_group())
    _, _, records = core.submit(START_MS, submit_batch([replace(MAIL, key=b"new"), old]))
    assert submitted(records)[1] == (0, 0, packed.RESULT_DUPLICATE, job)


def test_a_repeated_batch_names_the_same_jobs(make: MakeCore) -> None:
    core = make()
    batch = submit_batch([MAIL, MAIL], batch_no=1, session=SESSION, content=9)
    _, _, first = core.submit(START_MS, batch)
    core.take_group()
    outcome, _, again = core.submit(START_MS + 60_000, batch)
    assert outcome == packed.DONE and core.open_group_bytes() == 0
    assert [job for *_, job in submitted(first)] == [job for *_, job in submitted(again)]
    other = submit_batch([MAIL], batch_no=1, session=SESSION, content=8)
    assert core.submit(START_MS, other) == (packed.REFUSED, 0, bytes((errors.BATCH_CONFLICT,)))
    core.submit(START_MS, submit_batch([MAIL], batch_no=65, session=SESSION))
    assert core.submit(START_MS, batch)[0] == packed.REFUSED


def test_a_lease_leaves_when_durable_and_due_never_before(make: MakeCore) -> None:
    core = make()
    (job,) = submit(core, replace(MAIL, schedule_ms=START_MS + 10))
    listen(core)
    core.tick(START_MS + 6, BOOT_MS + 6, 5, True)
    group = core.barrier_group()
    core.take_group()
    shown = core.get(START_MS + 6, job)
    assert shown is not None and unpack_rows(shown)[0].state == JobState.SCHEDULED
    assert core.release((START_MS + 10) * 1000, group - 1, 100) == []
    assert core.release((START_MS + 10) * 1000 - 1, group, 100) == []
    assert core.next_wake_ms(START_MS + 6, BOOT_MS + 6, 5, group) == START_MS + 10
    (message,) = core.release((START_MS + 10) * 1000, group, 100)
    assert granted(message.data)[0][::2] == (job, 1)
    running = core.get(START_MS + 10, job)
    assert running is not None and unpack_rows(running)[0].state == JobState.RUNNING


def test_an_ack_ends_the_job_and_may_be_repeated(make: MakeCore) -> None:
    core = make()
    submit(core, MAIL)
    listen(core)
    (token,) = tokens(deliver(core))
    assert settle(core, settle_item(packed.OP_ACK, token), session=OTHER)[0][1] == errors.LEASE_NOT_YOURS
    ack = settle_item(packed.OP_ACK, token, result=b"done")
    assert settle(core, ack) == [(1, 0, 0, JobState.SUCCEEDED, 0)]
    (entry,) = entries(core)
    outcome = unpack_outcome(entry[1])
    assert (entry[0].kind, outcome.result, outcome.labels, outcome.worker) == (
        EntryKind.ACK,
        b"done",
        b"\1a\1b",
        b"worker",
    )
    assert settle(core, ack) == [(1, 0, packed.RESULT_REPEATED, JobState.SUCCEEDED, 0)]
    assert core.get(START_MS, token[0]) is None and core.counters().resident_bytes == 0
    assert settle(core, settle_item(packed.OP_ACK, (token[0], 3)))[0][1] == errors.TOKEN_UNKNOWN


def test_a_nack_brings_the_job_back_until_its_attempts_are_spent(make: MakeCore) -> None:
    core = make()
    submit(core, replace(MAIL, max_attempts=2))
    listen(core)
    (token,) = tokens(deliver(core))
    assert settle(core, settle_item(packed.OP_NACK, token, delay_ms=500, error=b"no"))[0][3] == JobState.RETRYING
    assert tokens(deliver(core, 499)) == []
    (again,) = tokens(deliver(core, 500))
    assert again[1] > token[1]
    assert settle(core, settle_item(packed.OP_NACK, again), passed_ms=500)[0][3] == JobState.FAILED
    assert core.counters().failed == 1


def test_a_silent_worker_loses_its_lease_unless_it_renews(make: MakeCore) -> None:
    core = make()
    submit(core, replace(MAIL, lease_ms=1_000))
    listen(core)
    (token,) = tokens(deliver(core))
    assert settle(core, settle_item(packed.OP_RENEW, token), passed_ms=900)[0][4] == START_MS + 1_900
    assert deliver(core, 1_899) == []
    (message,) = [message for message in deliver(core, 1_900) if message.kind == REVOKED]
    assert packed.REVOKED.unpack(message.data) == (*token, errors.LEASE_EXPIRED)
    assert settle(core, settle_item(packed.OP_ACK, token), passed_ms=2_000)[0][1] == errors.LEASE_EXPIRED


def test_credit_bounds_what_is_outstanding(make: MakeCore) -> None:
    core = make()
    submit(core, *[MAIL] * 5)
    listen(core, jobs=2)
    first = tokens(deliver(core))
    assert len(first) == 2 and tokens(deliver(core)) == []
    core.set_credit(1, 3, 1 << 20)
    assert len(tokens(deliver(core))) == 1
    settle(core, settle_item(packed.OP_ACK, first[0]))
    assert len(tokens(deliver(core))) == 1


def test_urgent_jobs_go_first_and_old_ones_gain(make: MakeCore) -> None:
    core = make()
    low = replace(MAIL, priority=0)
    jobs = submit(core, low, replace(MAIL, priority=9), replace(low, schedule_ms=START_MS + 1))
    listen(core)
    assert [job for job, _ in tokens(deliver(core, 5))] == [jobs[1], jobs[0], jobs[2]]
    core = make()
    (old,) = submit(core, low)
    passed_ms = 10 * limits.PRIORITY_AGEING_MS
    (new,) = submit(core, replace(MAIL, priority=9), now_ms=START_MS + passed_ms)
    listen(core)
    assert [job for job, _ in tokens(deliver(core, passed_ms))] == [old, new]


def test_a_stream_that_ends_gives_back_what_it_was_not_given(make: MakeCore) -> None:
    core = make()
    (job,) = submit(core, replace(MAIL, schedule_ms=START_MS + 4))
    listen(core)
    core.tick(START_MS, BOOT_MS, 5, True)
    core.close_stream(START_MS, BOOT_MS, 1)
    kinds = [head.kind for head, _ in entries(core)]
    assert kinds == [EntryKind.SUBMIT, EntryKind.GRANT, EntryKind.RELEASE]
    row = core.get(START_MS, job)
    assert row is not None and unpack_rows(row)[0].attempt == 0
    listen(core, 2)
    assert granted(deliver(core, 4)[0].data)[0][2] == 1


def test_a_resumed_session_keeps_what_it_holds_and_gets_the_rest_again(make: MakeCore) -> None:
    core = make()
    submit(core, MAIL, MAIL)
    listen(core)
    held, lost = tokens(deliver(core))
    _, resumed, gone = listen(core, 2, held=packed.TOKEN.pack(*held) + packed.TOKEN.pack(held[0], 1))
    assert resumed == 1
    assert packed.REVOKED.unpack(gone) == (held[0], 1, errors.TOKEN_UNKNOWN)
    ((job, fencing, attempt),) = granted(deliver(core)[0].data)
    assert (job, attempt) == (lost[0], 1) and fencing > lost[1]
    assert settle(core, settle_item(packed.OP_ACK, lost))[0][1] == errors.LEASE_FENCED
    assert settle(core, settle_item(packed.OP_ACK, (job, fencing)))[0][1] == 0


def test_cancel_and_reschedule(make: MakeCore) -> None:
    core = make()
    waiting, running = submit(core, replace(MAIL, schedule_ms=START_MS + 9_000), MAIL)
    assert core.cancel(START_MS, bytes(16), b"", 0)[0] == errors.JOB_NOT_FOUND
    code, _, row = core.reschedule(START_MS, waiting, START_MS + 70, b"", 0)
    assert (code, unpack_rows(row)[0].due_ms) == (0, START_MS + 70)
    listen(core)
    (token,) = tokens(deliver(core))
    assert core.reschedule(START_MS, running, START_MS + 70, b"", 0)[0] == errors.JOB_RUNNING
    code, _, row = core.cancel(START_MS, running, b"", 0)
    assert (code, unpack_rows(row)[0].state) == (0, JobState.CANCELLED)
    assert [message.kind for message in deliver(core)] == [REVOKED]
    assert settle(core, settle_item(packed.OP_ACK, token))[0][1] == errors.CANCELLED
    assert [job for job, _ in tokens(deliver(core, 70))] == [waiting]


def test_a_stored_job_is_decided_on_its_row_unless_that_is_out_of_date(make: MakeCore) -> None:
    core = make(horizon_ms=START_MS + 1_000)
    (job,) = submit(core, replace(MAIL, schedule_ms=START_MS + 500_000))
    assert core.get(START_MS, job) is None
    load, _ = core.begin_load()
    spec = replace(MAIL, schedule_ms=START_MS + 500_000).pack()
    row = Row(job, START_MS + 500_000, 0, 0, JobState.SCHEDULED, 0, 0, 0, bytes(16), b"", b"", spec)
    dead = row._replace(state=JobState.FAILED)
    assert core.cancel(START_MS, job, dead.pack(), load)[0] == errors.JOB_FINISHED
    assert core.reschedule(START_MS, job, START_MS + 10, row.pack(), load)[0] == 0
    assert core.cancel(START_MS, job, b"", 0)[0] == 0
    assert core.cancel(START_MS, job, row.pack(), load)[0] == errors.STORE_BUSY
    assert core.load(START_MS, BOOT_MS, load, row.pack()) == 0
    assert core.load(START_MS, BOOT_MS, load + 1, row.pack()) == -1


def test_a_paused_queue_grants_nothing_and_takes_back(make: MakeCore) -> None:
    core = make()
    submit(core, replace(MAIL, schedule_ms=START_MS + 4))
    listen(core)
    core.tick(START_MS, BOOT_MS, 5, True)
    core.set_queue(START_MS, b"main/mail", True)
    assert deliver(core, 10) == []
    (view,) = core.queues()
    assert (view.paused, view.ready, view.running, view.oldest_due_ms) == (True, 1, 0, START_MS + 4)
    core.set_queue(START_MS, b"main/mail", False)
    assert len(tokens(deliver(core, 10))) == 1


def test_jobs_past_the_cap_go_to_the_backlog_and_come_back(make: MakeCore) -> None:
    core = make(replace(CONFIG, resident_bytes_max=1_000))
    jobs = submit(core, *[MAIL] * 10)
    while core.tick(START_MS, BOOT_MS, 5, True):
        pass
    (view,) = core.queues()
    assert core.counters().resident_bytes <= 1_000 and view.backlog and view.spills == core.counters().spilled > 0
    gone = [job for job in jobs if core.get(START_MS, job) is None]
    load, _ = core.begin_load()
    record = replace(MAIL, schedule_ms=START_MS, create_ms=START_MS).pack()
    row = Row(gone[0], START_MS, 0, 0, JobState.SCHEDULED, ROW_BACKLOG, 0, 0, bytes(16), b"", b"", record)
    assert core.load(START_MS, BOOT_MS, load, row.pack()) == 1
    core.take_group()
    listen(core)
    core.tick(START_MS, BOOT_MS, 5, True)
    assert [head.flags for head, body in entries(core) if body[:16] == gone[0]] == [WAS_BACKLOG]
    assert not core.backlog_drained(b"main/mail", view.spills - 1)


def test_closing_gives_waiting_jobs_their_backlog_rows(make: MakeCore) -> None:
    core = make()
    submit(core, *[MAIL] * 3)
    core.tick(START_MS, BOOT_MS, 5, True)
    core.take_group()
    assert not core.close_before(START_MS, START_MS + 1, 2)
    assert core.close_before(START_MS, START_MS + 1, 2)
    assert [head.kind for head, _ in entries(core)] == [EntryKind.BACKLOG] * 3 + [EntryKind.CLOSE]
    assert core.watermark_ms() == START_MS + 1
    (late,) = submit(core, MAIL)
    row = core.get(START_MS, late)
    assert row is not None and unpack_rows(row)[0].flags == ROW_BACKLOG


def test_a_start_timeout_ends_a_job_that_nobody_took(make: MakeCore) -> None:
    core = make()
    (job,) = submit(core, replace(MAIL, expire_ms=START_MS + 200))
    core.tick(START_MS + 199, BOOT_MS, 0, True)
    assert core.get(START_MS, job) is not None
    core.tick(START_MS + 200 + limits.LEAD_MS_MAX, BOOT_MS, 0, True)
    assert core.get(START_MS, job) is None and core.counters().expired == 1


def test_a_step_back_of_the_clock_fires_nothing_twice(make: MakeCore) -> None:
    core = make()
    submit(core, MAIL, replace(MAIL, schedule_ms=START_MS + 50))
    listen(core)
    assert len(tokens(deliver(core, 50))) == 2
    submit(core, replace(MAIL, schedule_ms=START_MS + 60), now_ms=START_MS + 50)
    core.tick(START_MS + 60, BOOT_MS + 60, 0, False)
    core.rebase(START_MS - 1_000)
    assert deliver(core, 59) == []
    assert len(tokens(deliver(core, 60))) == 1


@pytest.mark.parametrize("cut", [1, 30, 45, 60])
def test_damaged_batches_are_refused_whole(cut: int) -> None:
    core = open_core(CONFIG, Restored(), START_MS, BOOT_MS)
    before = core.state_hash()
    batch = submit_batch([MAIL, MAIL])
    for damaged in (batch[:-cut], batch + b"x"):
        with pytest.raises(ValueError, match="layout"):
            core.submit(START_MS, damaged)
    with pytest.raises(ValueError, match="layout"):
        core.settle(START_MS, BOOT_MS, SESSION, settle_batch([settle_item(1, (bytes(16), 1))])[:-cut])
    assert core.state_hash() == before
