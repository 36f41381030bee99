"""What a stream must bear: breaks, repeated grants, silence, a daemon that drains."""

from __future__ import annotations

import asyncio

from tests.unit.worker.fake_server import ACK, FakeDaemon
from tests.unit.worker.harness import running
from wheeld.client.app import App
from wheeld.model import errors, limits
from wheeld.wire.pb.v1 import worker_service_pb2 as pb
from wheeld.worker.leases import LeaseTable
from wheeld.worker.outbox import Outbox


class Gated:
    """A handler that ends when it is told."""

    def __init__(self, app: App) -> None:
        self.calls = 0
        self.end = asyncio.Event()
        app.job("work")(self.work)

    async def work(self) -> str:
        self.calls += 1
        await self.end.wait()
        return "done"


async def test_a_reconnect_resumes_the_session(daemon: FakeDaemon, app: App) -> None:
    work = Gated(app)
    daemon.add("work")
    daemon.add("work")
    async with running(daemon, app, concurrency=1, prefetch=1):
        await daemon.until(lambda: len(daemon.leases) == 2)
        while not work.calls:
            await asyncio.sleep(0)
        daemon.streams[0].end(errors.DRAINING)
        await daemon.until(lambda: len(daemon.streams) == 2)
        first, second = daemon.streams
        assert second.open.session_id == first.open.session_id
        assert set(second.open.held_lease_tokens) == set(daemon.leases)
        assert not first.open.held_lease_tokens
        work.end.set()
        await daemon.until(lambda: len(daemon.settles) == 2)
    assert work.calls == 2


async def test_unanswered_settles_are_held_and_repeated(daemon: FakeDaemon, app: App) -> None:
    work = Gated(app)
    work.end.set()
    daemon.answer_settles = False
    daemon.add("work")
    async with running(daemon, app) as worker:
        await daemon.until(lambda: daemon.settles)
        daemon.answer_settles = True
        daemon.streams[0].end()
        await daemon.until(lambda: len(daemon.settles) == 2)
        (first_kind, first), (second_kind, second) = daemon.settles
        assert first_kind == second_kind == ACK and first == second
        assert list(daemon.streams[1].open.held_lease_tokens) == [first.lease_token]
        while not worker.counts.get("settled"):
            await asyncio.sleep(0)
        # What was answered is neither held nor said again.
        daemon.streams[1].end()
        await daemon.until(lambda: len(daemon.streams) == 3)
        assert not daemon.streams[2].open.held_lease_tokens
    assert len(daemon.settles) == 2 and work.calls == 1


async def test_a_lease_granted_anew_is_adopted(daemon: FakeDaemon, app: App) -> None:
    work = Gated(app)
    job_id = daemon.add("work")
    async with running(daemon, app) as worker:
        while not work.calls:
            await asyncio.sleep(0)
        newer = daemon.lease(job_id, redelivery=True, attempt=1)
        daemon.send_leases(newer)
        while not worker.counts.get("adopted"):
            await asyncio.sleep(0)
        work.end.set()
        await daemon.until(lambda: daemon.settles)
    ((operation, ack),) = daemon.settles
    assert (operation, ack.lease_token, work.calls) == (ACK, newer.lease_token, 1)


async def test_an_outcome_follows_its_job_to_the_newer_token(daemon: FakeDaemon, app: App) -> None:
    work = Gated(app)
    work.end.set()
    daemon.answer_settles = False
    job_id = daemon.add("work")
    async with running(daemon, app):
        await daemon.until(lambda: daemon.settles)
        daemon.answer_settles = True
        # As after a crash of the daemon before the ack was durable: granted again, the old token void.
        newer = daemon.lease(job_id, redelivery=True, attempt=1)
        daemon.send_leases(newer)
        await daemon.until(lambda: len(daemon.settles) == 2)
    assert daemon.settles[1][1].lease_token == newer.lease_token
    assert daemon.settles[1][1].result == b'"done"' and work.calls == 1


async def test_a_silent_daemon_is_left(daemon: FakeDaemon, app: App) -> None:
    daemon.ping_ms = 30
    async with running(daemon, app) as worker:
        await daemon.until(lambda: len(daemon.streams) >= 2)
        daemon.ping_ms = 10_000
        await daemon.until(lambda: len(daemon.streams) >= 3)
        assert worker.counts["reconnects"] >= 2


async def test_a_drained_stream_is_closed_when_all_is_settled(daemon: FakeDaemon, app: App) -> None:
    work = Gated(app)
    daemon.add("work")
    async with running(daemon, app):
        await daemon.until(lambda: daemon.leases)
        daemon.grant = False
        daemon.streams[0].send(drain=pb.Drain())
        while not work.calls:
            await asyncio.sleep(0)
        assert not daemon.streams[0].half_closed
        work.end.set()
        await daemon.until(lambda: len(daemon.streams) == 2)
        assert daemon.streams[0].half_closed and len(daemon.settles) == 1


async def test_a_worker_waits_for_its_daemon(daemon: FakeDaemon, app: App) -> None:
    await daemon.stop()
    app.job("work")(int)
    starting = running(daemon, app)
    entering = asyncio.create_task(starting.__aenter__())
    await asyncio.sleep(0)
    await daemon.start()
    daemon.add("work")
    await entering
    await daemon.until(lambda: daemon.settles)
    await starting.__aexit__(None, None, None)


def settles_in(message: bytes) -> pb.Settle:
    return pb.StreamLeasesRequest.FromString(message).settle


def ack(number: int, size: int = 0) -> tuple[bytes, bytes]:
    token = number.to_bytes(24, "big")
    return token, pb.Settle(acks=[pb.Ack(lease_token=token, result=b"r" * size)]).SerializeToString()


def test_settles_are_cut_to_the_limits() -> None:
    outbox = Outbox()
    outbox.settle_all(ack(number) for number in range(limits.SETTLES_MAX + 5))
    assert len(settles_in(outbox.take() or b"").acks) == limits.SETTLES_MAX
    assert len(settles_in(outbox.take() or b"").acks) == 5
    assert outbox.take() is None
    outbox = Outbox()
    outbox.settle_all(ack(number, limits.RESULT_BYTES_MAX) for number in range(400))
    seen = 0
    while message := outbox.take():
        assert len(message) <= limits.MESSAGE_BYTES_MAX
        seen += len(settles_in(message).acks)
    assert seen == outbox.unanswered == 400


def test_a_reopened_outbox_repeats_the_unanswered_first() -> None:
    outbox = Outbox()
    outbox.settle_all([ack(1), ack(2)])
    outbox.take()
    outbox.drop(ack(1)[0])
    outbox.settle(*ack(3))
    outbox.renew([b"void after a reconnect"])
    outbox.reopen()
    tokens = [item.lease_token for item in settles_in(outbox.take() or b"").acks]
    assert tokens == [ack(2)[0], ack(3)[0]]


def test_renewals_fall_due_within_half_a_lease() -> None:
    now_s = 1000.0
    table = LeaseTable(lambda: now_s)
    held = table.add_together([b"a", b"b"], 6.0)
    long = table.add_together([b"long"], 600.0)
    renewed_s: list[float] = []
    while now_s < 1060.0:
        now_s += max(table.next_scan_in_s(), 0.001)
        if due := table.due_renewals():
            assert due == [b"a", b"b"]
            renewed_s.append(now_s)
    gaps = [after - before for before, after in zip([1000.0, *renewed_s], renewed_s, strict=False)]
    assert min(gaps) >= 2.0 and max(gaps) <= 3.0
    held.settling = long.settling = True
    now_s += 1000
    assert table.due_renewals() == []
