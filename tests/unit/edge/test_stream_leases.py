"""The lease stream: its protocol, its order, its ends."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from tests.unit.edge.conftest import Edge
from tests.unit.edge.fake_driver import lease_frame
from tests.unit.edge.test_submit import MALFORMED, refused
from tests.unit.edge.test_workers import TOKEN, released
from wheeld.core.api import LEASES, REVOKED
from wheeld.edge.outbox import StreamOutbox
from wheeld.edge.window import Window
from wheeld.model import batch as packed
from wheeld.model import errors, limits
from wheeld.model.errors import Refused
from wheeld.wire.codec import native_codec, session_digest
from wheeld.wire.pb.v1 import queue_service_pb2
from wheeld.wire.pb.v1 import worker_service_pb2 as pb

Request = pb.StreamLeasesRequest


def open_message(**fields: Any) -> Request:
    return Request(open=pb.Open(**{"worker_id": "w", "session_id": "s", "max_outstanding_jobs": 100, **fields}))


def acks(count: int) -> Request:
    return Request(settle=pb.Settle(acks=[pb.Ack(lease_token=TOKEN)] * count))


async def opened(edge: Edge, **fields: Any) -> Any:
    """A stream whose `opened` was read."""
    call = edge.workers.StreamLeases()
    await call.write(open_message(**fields))
    assert (await call.read()).WhichOneof("message") == "opened"
    return call


async def test_opening(edge: Edge) -> None:
    edge.driver.revoked = packed.REVOKED.pack(bytes(16), 7, errors.LEASE_EXPIRED)
    call = edge.workers.StreamLeases()
    await call.write(open_message(queues=["a"], namespace="n", held_lease_tokens=[TOKEN, TOKEN]))
    answer = (await call.read()).opened
    assert (answer.session_id, answer.resumed_leases, answer.max_outstanding_jobs) == ("s", 2, 100)
    assert answer.lease_duration.ToMilliseconds() == limits.LEASE_MS_DEFAULT
    revoked = (await call.read()).revoked.leases
    assert [lease.code for lease in revoked] == [errors.LEASE_EXPIRED]
    stream = edge.driver.streams[0]
    assert (stream.session, stream.queues, stream.held) == (session_digest(b"s"), [b"n/a"], TOKEN * 2)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK and stream.closed == 1


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([acks(1)], errors.STREAM_PROTOCOL),
        ([Request()], errors.STREAM_PROTOCOL),
        ([Request(pong=pb.Pong())], errors.STREAM_PROTOCOL),
        ([MALFORMED], errors.MALFORMED),
        ([open_message(), open_message()], errors.STREAM_PROTOCOL),
        ([open_message(), Request()], errors.STREAM_PROTOCOL),
        ([open_message(), b"\x1a\x04\x0a\x02\x0a\xff"], errors.MALFORMED),
        ([open_message(), acks(limits.SETTLES_MAX + 1)], errors.BATCH_TOO_LARGE),
        ([open_message(session_id="")], errors.FIELD_INVALID),
        ([open_message(held_lease_tokens=[b"short"])], errors.FIELD_INVALID),
        ([open_message(max_outstanding_jobs=limits.STREAM_JOBS_MAX + 1)], errors.FIELD_INVALID),
        ([open_message(queues=["q"] * (limits.STREAM_QUEUES_MAX + 1))], errors.FIELD_INVALID),
    ],
)
async def test_what_is_out_of_order_ends_the_stream(edge: Edge, messages: list[Any], code: int) -> None:
    call = edge.channel.stream_stream("/wheeld.v1.WorkerService/StreamLeases")()

    async def converse() -> None:
        for message in messages:
            await call.write(message if isinstance(message, bytes) else message.SerializeToString())
        while await call.read() is not grpc.aio.EOF:
            pass

    assert (await refused(converse())).kind.code == code
    assert all(stream.closed == 1 for stream in edge.driver.streams)


async def test_nothing_precedes_opened(edge: Edge) -> None:
    edge.driver.on_open = lambda _stream: edge.driver.deliver(1, 2)
    call = edge.workers.StreamLeases()
    await call.write(open_message())
    kinds = [(await call.read()).WhichOneof("message") for _ in range(2)]
    assert kinds == ["opened", "leases"]


async def test_frames_that_wait_for_a_write_become_one_message(edge: Edge) -> None:
    call = await opened(edge)
    for fencing in (1, 3, 5):
        edge.driver.deliver(1, 2, fencing, 48 + fencing)
    frames = [(await call.read()).leases]
    while len([lease for frame in frames for lease in frame.leases]) < 6:
        frames.append((await call.read()).leases)
    assert len(frames) <= 2 and frames[-1].fire_time_us == 53
    assert [lease.fencing_token for frame in frames for lease in frame.leases] == [1, 2, 3, 4, 5, 6]


async def test_settles_are_answered_in_order_and_do_not_stop_the_reading(edge: Edge) -> None:
    call = await opened(edge)
    first = asyncio.Event()
    edge.driver.holds = [first]
    await call.write(acks(1))
    await call.write(acks(2))
    await call.write(Request(credit=pb.Credit(max_outstanding_jobs=5)))
    await edge.driver.until(lambda: bool(edge.driver.credits))
    assert edge.driver.credits == [(1, 5, limits.STREAM_BYTES_DEFAULT)]
    assert len(edge.driver.settles) == 2 and edge.driver.decided == 2
    first.set()
    assert [len((await call.read()).settled.items) for _ in range(2)] == [1, 2]
    assert {session for session, _ in edge.driver.settles} == {session_digest(b"s")}


async def test_settles_in_flight_are_bounded(edge: Edge) -> None:
    call = await opened(edge)
    edge.driver.hold.clear()
    total = limits.STREAM_SETTLES_IN_FLIGHT_MAX + 5
    for _ in range(total):
        await call.write(acks(1))
    await edge.driver.until(lambda: len(edge.driver.settles) == limits.STREAM_SETTLES_IN_FLIGHT_MAX)
    await edge.queues.ListQueues(queue_service_pb2.ListQueuesRequest())
    assert len(edge.driver.settles) == limits.STREAM_SETTLES_IN_FLIGHT_MAX
    edge.driver.hold.set()
    for _ in range(total):
        assert (await call.read()).WhichOneof("message") == "settled"


async def test_half_close_answers_what_was_read(edge: Edge) -> None:
    call = await opened(edge)
    edge.driver.hold.clear()
    await call.write(acks(3))
    await call.done_writing()
    await edge.driver.until(lambda: edge.driver.streams[0].closed == 1)
    edge.driver.hold.set()
    assert len((await call.read()).settled.items) == 3
    assert await call.read() is grpc.aio.EOF


async def test_a_cancelled_stream_is_detached_and_its_settles_decided(edge: Edge) -> None:
    call = await opened(edge)
    edge.driver.hold.clear()
    await call.write(acks(1))
    await edge.driver.until(lambda: len(edge.driver.settles) == 1)
    call.cancel()
    await edge.driver.until(lambda: edge.driver.streams[0].closed == 1)
    edge.driver.hold.set()
    await edge.driver.until(lambda: edge.driver.decided == 2)


async def test_a_stream_cancelled_while_it_opens_is_detached(edge: Edge) -> None:
    edge.driver.hold.clear()
    edge.driver.on_open = lambda _stream: edge.driver.deliver(1, 2)
    call = edge.workers.StreamLeases()
    await call.write(open_message())
    await edge.driver.until(lambda: bool(edge.driver.streams))
    gone = asyncio.Event()
    edge.counts.on_idle = gone.set
    call.cancel()
    # Else the opening might end, and the frame be written, before the server hears of the cancel.
    await gone.wait()
    edge.driver.hold.set()
    await edge.driver.until(lambda: edge.driver.streams[0].closed == 1 and len(edge.driver.settles) == 1)
    assert [fencing for _, fencing in released(edge.driver.settles[0][1])] == [1, 2]


async def test_a_replaced_stream_ends_with_the_reason(edge: Edge) -> None:
    call = await opened(edge)
    edge.driver.streams[0].outbox.closed(errors.STREAM_PROTOCOL, "another stream took over")
    error = await refused(call.read())
    assert error.kind.code == errors.STREAM_PROTOCOL and "took over" in error.detail


async def test_a_drain_lets_the_worker_settle(edge: Edge) -> None:
    call = await opened(edge)
    edge.gate.close(edge.clock.wall_ms() + 10_000)
    edge.driver.streams[0].outbox.closed(errors.DRAINING, "going down")
    drain = (await call.read()).drain
    assert drain.deadline.ToMilliseconds() == edge.gate.deadline_ms
    await edge.driver.until(lambda: edge.driver.streams[0].closed == 1)
    await call.write(acks(1))
    assert len((await call.read()).settled.items) == 1
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert edge.driver.streams[0].closed == 1


async def test_a_drain_ends_a_stream_at_its_deadline(edge: Edge) -> None:
    call = await opened(edge)
    edge.gate.close(edge.clock.wall_ms() + 50)
    edge.driver.streams[0].outbox.closed(errors.DRAINING, "going down")
    assert (await call.read()).WhichOneof("message") == "drain"
    assert (await refused(call.read())).kind.code == errors.DRAINING


async def test_a_silent_stream_is_pinged(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_PING_INTERVAL_MS", 5)
    call = await opened(edge)
    for _ in range(2):
        assert (await call.read()).WhichOneof("message") == "ping"
        await call.write(Request(pong=pb.Pong()))


class Reasons(list[Refused]):
    """Collects why an outbox ended its stream."""

    def __call__(self, reason: Refused) -> None:
        self.append(reason)


def outbox(reasons: Reasons) -> StreamOutbox:
    return StreamOutbox(native_codec(), Window(10, 1000), reasons)


async def test_a_worker_that_does_not_read_is_ended() -> None:
    reasons = Reasons()
    box = outbox(reasons)
    box.open(b"opened", b"", max_jobs=1)
    for _ in range(2 * limits.GRANTS_PER_TICK_MAX // 64):
        box.deliver(LEASES, 64, lease_frame(64), 1)
    assert not reasons
    box.deliver(LEASES, 1, lease_frame(1), 1)
    assert [reason.kind.code for reason in reasons] == [errors.STORE_BUSY]


async def test_what_comes_before_the_opening_or_by_a_raised_credit_is_no_sign_of_a_dead_worker() -> None:
    reasons = Reasons()
    box = outbox(reasons)
    for _ in range(3):
        box.deliver(LEASES, limits.GRANTS_PER_TICK_MAX, b"", 1)
    assert not reasons
    box.take_back()
    box.open(b"opened", b"", max_jobs=1)
    box.allow(2 * limits.GRANTS_PER_TICK_MAX)
    for _ in range(4):
        box.deliver(LEASES, limits.GRANTS_PER_TICK_MAX, b"", 1)
    assert not reasons
    box.deliver(LEASES, 1, lease_frame(1), 1)
    assert [reason.kind.code for reason in reasons] == [errors.STORE_BUSY]


async def test_coalescing_stops_at_the_bounds_of_a_frame() -> None:
    box = outbox(Reasons())
    box.open(b"opened", b"", max_jobs=10)
    half = limits.FRAME_BYTES_MAX // 2
    for fencing in (1, 2, 3):
        box.deliver(LEASES, 1, lease_frame(1, fencing, payload=bytes(half - 200)), 1)
    box.deliver(REVOKED, 1, packed.REVOKED.pack(bytes(16), 9, errors.CANCELLED), 1)
    box.deliver(LEASES, 1, lease_frame(1, 4), 1)
    messages = []
    while (message := box.take()) is not None:
        messages.append(message)
    assert messages[0] == b"opened"
    frames = [pb.StreamLeasesResponse.FromString(message) for message in messages[1:]]
    assert [len(frame.leases.leases) or len(frame.revoked.leases) for frame in frames] == [2, 1, 1, 1]
    assert frames[2].WhichOneof("message") == "revoked"


async def test_unsent_leases_are_taken_back() -> None:
    box = outbox(Reasons())
    box.deliver(LEASES, 2, lease_frame(2, 5), 1)
    assert [fencing for _, fencing in box.take_back()] == [5, 6]
    box.open(b"opened", b"", max_jobs=1)
    assert [box.take(), box.take()] == [b"opened", None]
