"""Handlers, outcomes, credit and shutdown."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from operator import itemgetter

import pytest

from tests.unit.worker.fake_server import ACK, NACK, RELEASE, FakeDaemon
from tests.unit.worker.harness import running, running_apart
from wheeld.client.app import App
from wheeld.client.context import Context, current_context
from wheeld.client.outcomes import Fail, Retry
from wheeld.model import errors, limits
from wheeld.model.errors import Refused
from wheeld.wire.pb.v1 import worker_service_pb2 as pb
from wheeld.worker.outcome import Ack, Nack, describe, encode_acks, success
from wheeld.worker.worker import Worker


async def outcome_of(daemon: FakeDaemon, type: str, payload: bytes = b"") -> tuple[int, pb.Ack | pb.Nack]:
    """Run one job of this type."""
    count = len(daemon.settles)
    daemon.add(type, payload)
    await daemon.until(lambda: len(daemon.settles) > count)
    return daemon.settles[count]


async def test_outcomes(daemon: FakeDaemon, app: App) -> None:
    @app.job()
    async def returns(user: str, *, ctx: Context) -> list[object]:
        assert ctx is current_context() and ctx.skew_ms >= 0 and ctx.lease_s > 20
        return [user, ctx.attempt]

    @app.job()
    def in_a_thread(*, ctx: Context) -> bool:
        assert current_context() is ctx
        return threading.current_thread() is not threading.main_thread()

    @app.job(raw=True)
    async def raw(payload: bytes) -> bytes:
        return payload[::-1]

    @app.job()
    async def raises() -> None:
        raise ValueError("no good")

    @app.job()
    async def again() -> None:
        raise Retry("not yet", delay="90s")

    @app.job()
    def never() -> None:
        raise Fail("hopeless")

    @app.job(timeout="10ms")
    async def slow() -> None:
        await asyncio.Event().wait()

    @app.job()
    def exits() -> None:
        raise SystemExit(3)

    began_us = time.time_ns() // 1000
    async with running(daemon, app):
        operation, ack = await outcome_of(daemon, "returns", b'{"args":["Ada"]}')
        assert (operation, ack.result) == (ACK, b'["Ada",1]')
        assert began_us <= ack.receive_time_us <= time.time_ns() // 1000
        assert (await outcome_of(daemon, "in_a_thread"))[1].result == b"true"
        assert (await outcome_of(daemon, "raw", b"\x00abc"))[1].result == b"cba\x00"
        operation, nack = await outcome_of(daemon, "raises")
        assert operation == NACK and nack.error_message.startswith("ValueError: no good\n")
        assert "in raises" in nack.error_message and not nack.no_retry and not nack.HasField("retry_delay")
        nack = (await outcome_of(daemon, "again"))[1]
        assert (nack.error_message, nack.retry_delay.seconds) == ("not yet", 90)
        nack = (await outcome_of(daemon, "never"))[1]
        assert nack.error_message == "hopeless" and nack.no_retry
        assert "longer than 0.01 s" in (await outcome_of(daemon, "slow"))[1].error_message
        assert (await outcome_of(daemon, "exits"))[1].error_message.startswith("SystemExit: 3")
        unknown = (await outcome_of(daemon, "unknown"))[1].error_message
        assert "no handler for jobs of type 'unknown'" in unknown and "returns" in unknown
        assert "ValidationError" in (await outcome_of(daemon, "returns", b'{"args":[5]}'))[1].error_message
        assert "DecodeError" in (await outcome_of(daemon, "returns", b"\x80pickle"))[1].error_message


async def test_a_careless_outcome_ends_its_attempt_and_no_other(daemon: FakeDaemon, app: App) -> None:
    class OwnBytes(bytes):
        pass

    all_begun = asyncio.Barrier(4)

    async def together() -> None:
        # All of them end in one turn of the loop, and are settled in one go.
        await all_begun.wait()

    @app.job()
    async def negative() -> None:
        await together()
        raise Retry("late", delay=-1)

    @app.job()
    async def no_text() -> None:
        await together()
        raise Fail(ValueError("no text"))  # type: ignore[arg-type]

    @app.job(raw=True)
    async def own_bytes(payload: bytes) -> bytes:
        await together()
        return OwnBytes(payload)

    @app.job()
    async def good() -> None:
        await together()

    for name in ("negative", "no_text", "own_bytes", "good"):
        daemon.add(name, b"x" if name == "own_bytes" else b"")
    async with asyncio.timeout(60), running(daemon, app):
        await daemon.until(lambda: len(daemon.settles) == 4)
    nacks = sorted(settle.error_message for operation, settle in daemon.settles if operation == NACK)
    assert nacks[0].startswith("late") and "a negative span: -1" in nacks[0] and nacks[1] == "no text"
    assert sorted(settle.result for operation, settle in daemon.settles if operation == ACK) == [b"", b"x"]


async def test_no_more_jobs_than_concurrency_run(daemon: FakeDaemon, app: App) -> None:
    gate, full = asyncio.Event(), asyncio.Event()
    running_now: list[int] = []
    most = 0

    @app.job()
    async def work() -> None:
        nonlocal most
        running_now.append(1)
        most = max(most, len(running_now))
        if most == 3:
            full.set()
        await gate.wait()
        running_now.pop()

    for _ in range(20):
        daemon.add("work")
    async with running(daemon, app, concurrency=3, prefetch=2):
        assert daemon.streams[0].open.max_outstanding_jobs == 5
        await full.wait()
        gate.set()
        await daemon.until(lambda: len(daemon.settles) == 20)
    assert most == 3


async def test_a_blocking_handler_keeps_its_lease(daemon: FakeDaemon, app: App) -> None:
    daemon.lease_ms = 300
    release = threading.Event()

    @app.job()
    async def blocks() -> None:
        release.wait()  # in a coroutine: the whole loop of the worker stands still

    async with running_apart(daemon, app, concurrency=1, prefetch=1) as worker:
        daemon.add("blocks")
        daemon.add("blocks")
        # The prefetched one is renewed as well.
        await daemon.until(lambda: len(daemon.renewed) >= 8 and len(set(daemon.renewed)) == 2)
        assert not daemon.settles
        release.set()
        await daemon.until(lambda: len(daemon.settles) == 2)
        while worker.counts.get("renewed", 0) < 6:
            await asyncio.sleep(0)


async def test_a_revoked_job_is_told_and_its_result_dropped(daemon: FakeDaemon, app: App) -> None:
    begun = asyncio.Event()
    told: list[str] = []

    @app.job()
    async def patient(*, ctx: Context) -> str:
        begun.set()
        await ctx.cancelled.wait_async()
        told.append(ctx.job_id)
        return "too late"

    @app.job()
    async def other() -> None: ...

    async with running(daemon, app) as worker:
        job_id = daemon.add("patient")
        await begun.wait()
        daemon.revoke(next(iter(daemon.leases)), errors.CANCELLED)
        while worker.counts.get("dropped") != 1:
            await asyncio.sleep(0)
        await outcome_of(daemon, "other")
    assert told == [job_id] and [operation for operation, _ in daemon.settles] == [ACK]


async def test_an_attempt_taken_back_ends_before_the_next_begins(daemon: FakeDaemon, app: App) -> None:
    log: list[str] = []
    begun, told, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.job()
    async def slow_to_stop(*, ctx: Context) -> None:
        log.append(f"begin {ctx.attempt}")
        begun.set()
        if ctx.attempt == 1:
            await ctx.cancelled.wait_async()
            told.set()
            await end.wait()
        log.append(f"end {ctx.attempt}")

    async with running(daemon, app):
        job_id = daemon.add("slow_to_stop")
        await begun.wait()
        daemon.revoke(next(iter(daemon.leases)), errors.LEASE_EXPIRED)
        daemon.send_leases(daemon.lease(job_id))
        await told.wait()
        end.set()
        await daemon.until(lambda: daemon.settles)
    assert log == ["begin 1", "end 1", "begin 2", "end 2"]


async def test_what_is_cancelled_before_its_first_step_goes_back(daemon: FakeDaemon, app: App) -> None:
    begun: list[str] = []

    @app.job()
    async def cancels_others() -> None:
        me = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not me and task.get_name() in daemon.jobs:
                task.cancel()

    @app.job()
    async def work() -> None:
        begun.append("work")

    daemon.grant = False
    async with running(daemon, app):
        ids = [daemon.add("cancels_others"), daemon.add("work")]
        daemon.send_leases(*(daemon.lease(job_id) for job_id in ids))
        await daemon.until(lambda: len(daemon.settles) == 2)
    assert [operation for operation, _ in daemon.settles] == [ACK, RELEASE] and not begun


async def test_a_burst_does_not_hold_the_loop(daemon: FakeDaemon, app: App) -> None:
    running_now: list[int] = []
    most_between_turns = 0

    @app.job()
    async def work() -> None:
        running_now.append(1)

    async def watch() -> None:
        nonlocal most_between_turns
        while True:
            before = len(running_now)
            await asyncio.sleep(0)
            most_between_turns = max(most_between_turns, len(running_now) - before)

    daemon.grant = False
    async with running(daemon, app, concurrency=1000):
        watching = asyncio.create_task(watch())
        daemon.send_leases(*(daemon.lease(daemon.add("work")) for _ in range(1000)))
        await daemon.until(lambda: len(daemon.settles) == 1000)
        watching.cancel()
    assert len(running_now) == 1000 and most_between_turns <= 64


@pytest.mark.parametrize("how", ["stop", "signal"])
async def test_shutdown_gives_back_what_has_not_begun_and_waits_for_the_rest(
    daemon: FakeDaemon, app: App, how: str
) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    @app.job()
    async def work() -> str:
        begun.set()
        await end.wait()
        return "done"

    for _ in range(5):
        daemon.add("work")
    async with running(daemon, app, concurrency=1, prefetch=2) as worker:
        await begun.wait()
        if how == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            worker.stop()
        await daemon.until(lambda: daemon.streams[0].credit == 0 and len(daemon.settles) == 2)
        assert [operation for operation, _ in daemon.settles] == [RELEASE, RELEASE]
        end.set()
    operation, ack = daemon.settles[2]
    assert (operation, ack.result, len(daemon.settles)) == (ACK, b'"done"', 3)
    assert daemon.streams[0].half_closed


@pytest.mark.parametrize("twice", [True, False])
async def test_after_the_grace_what_runs_is_nacked(daemon: FakeDaemon, app: App, twice: bool) -> None:
    begun = asyncio.Event()

    @app.job()
    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    daemon.add("work")
    async with running(daemon, app, grace=60 if twice else 0) as worker:
        await begun.wait()
        worker.stop()
        if twice:
            worker.stop()
    ((operation, nack),) = daemon.settles
    assert operation == NACK and "stopped before the job ended" in nack.error_message


async def test_a_worker_that_the_daemon_refuses_ends_with_its_reason(daemon: FakeDaemon, app: App) -> None:
    run = asyncio.create_task(Worker(app).run())
    await daemon.until(lambda: daemon.streams)
    daemon.streams[0].end(errors.FIELD_INVALID)
    with pytest.raises(Refused, match="FIELD_INVALID"):
        await run


async def test_a_batch_handler_settles_frames(daemon: FakeDaemon, app: App) -> None:
    def handle(leases: list[pb.Lease], receive_time_us: int) -> list[Ack | Nack | None] | None:
        kinds = {lease.type for lease in leases}
        if kinds == {"bad"}:
            raise ValueError("no frame")
        if kinds == {"good"}:
            return None
        return [Nack("odd") if lease.type == "odd" else None for lease in leases]

    def job_ids(type: str, count: int) -> list[str]:
        return [daemon.add(type) for _ in range(count)]

    daemon.grant = False
    async with running(daemon, app, batch_handler=handle, concurrency=100) as worker:
        good, bad, mixed = job_ids("good", 5), job_ids("bad", 2), job_ids("odd", 1) + job_ids("even", 1)
        for ids in (good, bad, mixed):
            daemon.send_leases(*(daemon.lease(job_id) for job_id in ids))
        await daemon.until(lambda: len(daemon.settles) == 9)
        while worker.counts.get("settled", 0) < 9:
            await asyncio.sleep(0)
    operations = [operation for operation, _ in daemon.settles]
    assert (operations.count(ACK), operations.count(NACK)) == (6, 3)
    assert all(item.receive_time_us for _, item in daemon.settles)
    assert daemon.jobs[bad[0]].last_error.startswith("ValueError: no frame")
    assert daemon.jobs[mixed[0]].last_error == "odd"


async def test_a_careless_batch_handler_settles_its_frames(daemon: FakeDaemon, app: App) -> None:
    def handle(leases: list[pb.Lease], receive_time_us: int) -> list[Ack | Nack | None] | None:
        if leases[0].type == "exits":
            raise SystemExit(3)
        return [Ack("no bytes"), None]  # type: ignore[arg-type]

    daemon.grant = False
    async with asyncio.timeout(60), running(daemon, app, batch_handler=handle, concurrency=10):
        for types in (["odd", "even"], ["exits"]):
            daemon.send_leases(*(daemon.lease(daemon.add(name)) for name in types))
        await daemon.until(lambda: len(daemon.settles) == 3)
    assert [operation for operation, _ in sorted(daemon.settles, key=itemgetter(0))] == [ACK, NACK, NACK]


def test_bounds_of_outcomes(caplog: pytest.LogCaptureFixture) -> None:
    text = describe(ValueError("\N{SNOWMAN}" * 5000 + "\ud800"))
    assert text.startswith("ValueError: \N{SNOWMAN}") and len(text.encode()) <= limits.ERROR_BYTES_MAX
    nack = pb.Settle.FromString(Nack("x" * 5000, retry_delay_ns=10**18).encode(b"t" * 24, 7)).nacks[0]
    assert len(nack.error_message) == limits.ERROR_BYTES_MAX
    assert nack.retry_delay.ToMilliseconds() == limits.BACKOFF_MS_LIMIT
    assert success(b"r" * limits.RESULT_BYTES_MAX, "id").result
    assert success(b"r" * (limits.RESULT_BYTES_MAX + 1), "id") == Ack() and "dropped" in caplog.text


def test_many_acks_are_encoded_as_one_by_one() -> None:
    tokens = [n.to_bytes(24, "big") for n in range(50)]
    assert encode_acks(tokens, 123) == [Ack().encode(token, 123) for token in tokens]
    assert encode_acks([b"a", b"bc"], 123) == [Ack().encode(b"a", 123), Ack().encode(b"bc", 123)]


def test_default_queues_are_those_of_the_handlers() -> None:
    app = App("127.0.0.1:1")
    app.job("a", queue="one")(print)
    app.job("b", queue="two")(print)
    assert list(Worker(app)._options.queues) == ["one", "two"]
    assert list(Worker(App("127.0.0.1:1"))._options.queues) == ["default"]
