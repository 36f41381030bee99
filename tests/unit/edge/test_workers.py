"""Unary leases and settles."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from tests.unit.edge.conftest import Edge
from tests.unit.edge.test_submit import MALFORMED, refused
from wheeld.edge.hot_lease import tokens_of
from wheeld.edge.hot_settle import slices_of
from wheeld.model import batch as packed
from wheeld.model import errors, limits
from wheeld.model.batch import OP_RELEASE, SETTLE_BATCH_HEAD, SETTLE_HEAD
from wheeld.model.ids import pack_id
from wheeld.wire.codec import session_digest
from wheeld.wire.pb.v1 import worker_service_pb2 as pb

TOKEN = bytes(24)


def lease_call(**fields: object) -> pb.LeaseJobsRequest:
    request = pb.LeaseJobsRequest(worker_id="w", max_jobs=10, **fields)  # type: ignore[arg-type]
    request.wait_duration.FromSeconds(20)
    return request


def released(batch: bytes) -> list[tuple[int, int]]:
    """(operation, fencing) of each item of a settle batch without texts."""
    rows = SETTLE_HEAD.iter_unpack(batch[SETTLE_BATCH_HEAD.size :])
    return [(row[0], row[6]) for row in rows]


async def test_lease_answers_with_all_frames_of_a_wake(edge: Edge) -> None:
    def deliver(_stream: object) -> None:
        edge.driver.deliver(1, 2, 1, 100)
        edge.driver.deliver(1, 3, 3, 101)

    edge.driver.on_open = deliver
    answer = await edge.workers.LeaseJobs(lease_call(queues=["a", "b", "a"]))
    assert [lease.fencing_token for lease in answer.leases] == [1, 2, 3, 4, 5]
    assert answer.fire_time_us == 101
    stream = edge.driver.streams[0]
    assert (stream.worker, stream.queues, stream.max_jobs) == (b"w", [b"default/a", b"default/b"], 10)
    assert stream.closed == 1 and not edge.driver.settles


async def test_lease_waits_for_the_first_frame(edge: Edge) -> None:
    call = asyncio.ensure_future(edge.workers.LeaseJobs(lease_call()))
    await edge.driver.until(lambda: bool(edge.driver.streams))
    edge.driver.deliver(1, 1)
    assert len((await call).leases) == 1


async def test_lease_without_jobs_is_empty_and_detached(edge: Edge) -> None:
    answer = await edge.workers.LeaseJobs(pb.LeaseJobsRequest(worker_id="w"))
    assert not answer.leases and edge.driver.streams[0].closed == 1


async def test_each_lease_call_has_its_own_session(edge: Edge) -> None:
    edge.driver.on_open = lambda _stream: edge.driver.deliver(len(edge.driver.streams), 1)
    for _ in range(2):
        await edge.workers.LeaseJobs(lease_call(session_id="same"))
    first, second = edge.driver.streams
    assert first.session != second.session


async def test_a_caller_that_leaves_gives_its_leases_back(edge: Edge) -> None:
    edge.driver.on_open = lambda _stream: edge.driver.deliver(1, 2)
    edge.driver.hold.clear()
    call = edge.workers.LeaseJobs(lease_call())
    waiting = asyncio.ensure_future(asyncio.wait_for(call, 60))
    await edge.driver.until(lambda: bool(edge.driver.streams))
    call.cancel()
    await asyncio.wait([waiting])
    await edge.idle()  # until the daemon has heard of it, the call would be answered
    edge.driver.hold.set()
    await edge.driver.until(lambda: bool(edge.driver.settles))
    session, batch = edge.driver.settles[0]
    assert session == edge.driver.streams[0].session
    assert released(batch) == [(OP_RELEASE, 1), (OP_RELEASE, 2)]
    assert edge.driver.streams[0].closed == 1


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (pb.LeaseJobsRequest(), errors.FIELD_INVALID),
        (pb.LeaseJobsRequest(worker_id="w" * 65), errors.FIELD_INVALID),
        (pb.LeaseJobsRequest(worker_id="w", queues=["UPPER"]), errors.FIELD_INVALID),
        (pb.LeaseJobsRequest(worker_id="w", max_jobs=limits.LEASE_CALL_JOBS_MAX + 1), errors.FIELD_INVALID),
    ],
)
async def test_lease_checks_its_fields(edge: Edge, request_: pb.LeaseJobsRequest, code: int) -> None:
    assert (await refused(edge.workers.LeaseJobs(request_))).kind.code == code
    assert not edge.driver.streams


async def test_lease_while_draining(edge: Edge) -> None:
    call = asyncio.ensure_future(edge.workers.LeaseJobs(lease_call()))
    await edge.driver.until(lambda: bool(edge.driver.streams))
    edge.driver.streams[0].outbox.closed(errors.DRAINING, "going down")
    assert (await refused(call)).kind.code == errors.DRAINING
    edge.gate.close(edge.clock.wall_ms())
    assert (await refused(edge.workers.LeaseJobs(lease_call()))).kind.code == errors.DRAINING


async def test_settles_pass_while_draining(edge: Edge) -> None:
    edge.gate.close(edge.clock.wall_ms())
    answer = await edge.workers.AckJobs(pb.AckJobsRequest(worker_id="w", acks=[pb.Ack(lease_token=TOKEN)]))
    assert [item.code for item in answer.items] == [0]


@pytest.mark.parametrize(("session", "name"), [("", b"w"), ("s", b"s")])
async def test_settles_name_what_the_sessions_of_their_caller_begin_with(edge: Edge, session: str, name: bytes) -> None:
    for _ in range(2):
        await edge.workers.LeaseJobs(pb.LeaseJobsRequest(worker_id="w", session_id=session))
    leased = [stream.session for stream in edge.driver.streams]
    assert len(set(leased)) == 2
    await edge.workers.AckJobs(pb.AckJobsRequest(worker_id="w", session_id=session, acks=[pb.Ack(lease_token=TOKEN)]))
    holder = edge.driver.settles[0][0]
    assert {found[:8] for found in leased} == {holder[:8]} == {session_digest(name)[:8]}
    assert holder[8:] == bytes(8)


@pytest.mark.parametrize(
    "request_",
    [pb.AckJobsRequest(), pb.AckJobsRequest(worker_id="w" * 65), pb.AckJobsRequest(worker_id="w", session_id="s" * 65)],
)
async def test_settles_check_who_calls(edge: Edge, request_: pb.AckJobsRequest) -> None:
    assert (await refused(edge.workers.AckJobs(request_))).kind.code == errors.FIELD_INVALID
    assert not edge.driver.settles


async def test_what_is_no_token_is_a_status_of_its_item(edge: Edge) -> None:
    request = pb.NackJobsRequest(worker_id="w", nacks=[pb.Nack(lease_token=b"short"), pb.Nack(lease_token=TOKEN)])
    items = (await edge.workers.NackJobs(request)).items
    assert [item.code for item in items] == [errors.TOKEN_UNKNOWN, 0]
    assert items[0].lease_token == b"short"


@pytest.mark.parametrize("method", ["LeaseJobs", "AckJobs", "NackJobs", "ReleaseLeases", "RenewLeases"])
async def test_malformed_bytes_are_a_status(edge: Edge, method: str) -> None:
    call = edge.channel.unary_unary(f"/wheeld.v1.WorkerService/{method}")
    assert (await refused(call(MALFORMED))).kind.code == errors.MALFORMED


async def test_release_and_renew_reach_the_driver(edge: Edge) -> None:
    await edge.workers.ReleaseLeases(pb.ReleaseLeasesRequest(worker_id="w", releases=[pb.Release(lease_token=TOKEN)]))
    await edge.workers.RenewLeases(pb.RenewLeasesRequest(worker_id="w", lease_tokens=[TOKEN, TOKEN]))
    assert [len(released(batch)) for _, batch in edge.driver.settles] == [1, 2]


async def test_a_defect_is_internal_and_says_no_more(edge: Edge) -> None:
    edge.driver.on_open = lambda _stream: 1 // 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.workers.LeaseJobs(lease_call())
    assert caught.value.code() == grpc.StatusCode.INTERNAL and "division" not in str(caught.value.details())


def test_tokens_of_an_empty_frame() -> None:
    assert tokens_of(b"") == []


async def test_many_acks_are_decided_in_slices_and_answered_in_order(edge: Edge) -> None:
    count = 2 * limits.SETTLES_PER_TURN_MAX + 5
    tokens = [packed.TOKEN.pack(pack_id(1, 2, seq), 7) for seq in range(count)]
    call = edge.workers.AckJobs(pb.AckJobsRequest(worker_id="w", acks=[pb.Ack(lease_token=token) for token in tokens]))
    answer = await call
    assert [item.lease_token for item in answer.items] == tokens
    sizes = [packed.SETTLE_BATCH_HEAD.unpack_from(batch)[0] for _, batch in edge.driver.settles]
    assert sizes == [limits.SETTLES_PER_TURN_MAX, limits.SETTLES_PER_TURN_MAX, 5]


def test_settles_with_texts_are_not_cut() -> None:
    text = b"because"
    head = packed.SETTLE_HEAD.pack(packed.OP_NACK, 0, len(text), 0, packed.NO_DELAY, 0, 7, bytes(16), 0)
    count = limits.SETTLES_PER_TURN_MAX + 1
    batch = packed.SETTLE_BATCH_HEAD.pack(count, 0) + (head + text) * count
    assert slices_of(batch) == [batch]
