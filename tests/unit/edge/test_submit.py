"""Submits: raw bytes through the codec to the driver, the window, refusals, and callers that leave."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from tests.unit.edge.conftest import Edge
from wheeld.edge.hot_submit import peek_head
from wheeld.model import errors, limits
from wheeld.model.batch import NO_SESSION, SUBMIT_HEAD
from wheeld.model.errors import Field, Refused
from wheeld.model.ids import id_to_text, pack_id
from wheeld.wire.codec import session_digest
from wheeld.wire.pb.v1 import job_service_pb2 as pb
from wheeld.wire.pb.v1 import queue_service_pb2
from wheeld.wire.pb.v1.job_pb2 import NewJob
from wheeld.wire.status import from_rpc_error

MALFORMED = b"\x0a\xff"


def job(**fields: object) -> NewJob:
    return NewJob(type="echo", **fields)  # type: ignore[arg-type]


def batch(number: int, jobs: int = 1, session: str = "") -> pb.SubmitJobsRequest:
    return pb.SubmitJobsRequest(batch_number=number, producer_session_id=session, jobs=[job() for _ in range(jobs)])


async def refused(call: object) -> Refused:
    """The refusal that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    refusal = from_rpc_error(caught.value)
    assert refusal is not None, caught.value
    assert caught.value.code().name == refusal.error.kind.status
    return refusal.error


async def test_create_answers_with_the_id_and_the_stated_time(edge: Edge) -> None:
    request = pb.CreateJobRequest(job=job(payload=b"x"))
    request.job.schedule_time.FromMilliseconds(edge.clock.wall_ms() + 5000)
    answer = await edge.jobs.CreateJob(request)
    assert answer.job_id == id_to_text(pack_id(1, 1, 0))
    assert answer.schedule_time.ToMilliseconds() == edge.clock.wall_ms() + 5000
    request.job.schedule_time.FromMilliseconds(edge.clock.wall_ms() - 5000)
    assert not (await edge.jobs.CreateJob(request)).HasField("schedule_time")
    assert not (await edge.jobs.CreateJob(pb.CreateJobRequest(job=job()))).HasField("schedule_time")
    delayed = pb.CreateJobRequest(job=job())
    delayed.job.delay.FromSeconds(9)
    assert not (await edge.jobs.CreateJob(delayed)).HasField("schedule_time")


async def test_create_refuses_with_reason_and_field(edge: Edge) -> None:
    error = await refused(edge.jobs.CreateJob(pb.CreateJobRequest(job=NewJob(payload=b"x"))))
    assert (error.kind.code, error.field) == (errors.FIELD_INVALID, Field.TYPE)
    await edge.idle()
    assert edge.counts.handled[("wheeld.v1.JobService", "CreateJob", "INVALID_ARGUMENT")] == 1


async def test_create_refuses_a_time_beyond_the_bound_of_the_server_clock(edge: Edge) -> None:
    request = pb.CreateJobRequest(job=job())
    request.job.schedule_time.FromMilliseconds(edge.clock.wall_ms() + limits.SCHEDULE_AHEAD_MS_MAX + 1)
    assert (await refused(edge.jobs.CreateJob(request))).kind.code == errors.SCHEDULE_TOO_FAR


async def test_refusal_of_the_driver_reaches_the_caller(edge: Edge) -> None:
    edge.driver.refusal = Refused(errors.STORE_BUSY, "too much")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.jobs.CreateJob(pb.CreateJobRequest(job=job()))
    refusal = from_rpc_error(caught.value)
    assert refusal is not None
    assert refusal.error.kind.code == errors.STORE_BUSY and refusal.retry_delay_ms > 0


@pytest.mark.parametrize("method", ["CreateJob", "BatchCreateJobs"])
async def test_malformed_bytes_are_a_status(edge: Edge, method: str) -> None:
    call = edge.channel.unary_unary(f"/wheeld.v1.JobService/{method}")
    assert (await refused(call(MALFORMED))).kind.code == errors.MALFORMED
    assert not edge.driver.batches


async def test_batch_answers_each_job_in_order(edge: Edge) -> None:
    answer = await edge.jobs.BatchCreateJobs(pb.BatchCreateJobsRequest(jobs=[job(), NewJob(), job()]))
    assert [result.reason for result in answer.results] == ["", "FIELD_INVALID", ""]


async def test_batch_that_is_too_large_is_refused(edge: Edge) -> None:
    request = pb.BatchCreateJobsRequest(jobs=[job()] * (limits.BATCH_JOBS_MAX + 1))
    assert (await refused(edge.jobs.BatchCreateJobs(request))).kind.code == errors.BATCH_TOO_LARGE


async def test_a_cancelled_call_does_not_lose_its_decision(edge: Edge) -> None:
    edge.driver.hold.clear()
    call = edge.jobs.CreateJob(pb.CreateJobRequest(job=job()))
    waiting = asyncio.ensure_future(asyncio.wait_for(call, 60))
    await edge.driver.until(lambda: len(edge.driver.batches) == 1)
    call.cancel()
    await asyncio.wait([waiting])
    # A second call is a round trip behind the cancellation.
    await edge.queues.ListQueues(queue_service_pb2.ListQueuesRequest())
    assert len(edge.server.decisions) == 1
    edge.driver.hold.set()
    await edge.driver.until(lambda: edge.driver.decided == 1)


async def test_draining_refuses_submits(edge: Edge) -> None:
    edge.gate.close(edge.clock.wall_ms())
    assert (await refused(edge.jobs.CreateJob(pb.CreateJobRequest(job=job())))).kind.code == errors.DRAINING


async def test_streamed_batches_are_answered_as_they_become_durable(edge: Edge) -> None:
    first = asyncio.Event()
    edge.driver.holds = [first]
    call = edge.jobs.SubmitJobs()
    await call.write(batch(1, jobs=2))
    await edge.driver.until(lambda: len(edge.driver.batches) == 1)
    await call.write(batch(2))
    assert (await call.read()).batch_number == 2
    first.set()
    answer = await call.read()
    assert (answer.batch_number, len(answer.results)) == (1, 2)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK


async def test_the_session_of_the_first_message_holds_for_the_stream(edge: Edge) -> None:
    call = edge.jobs.SubmitJobs()
    for message in (batch(1, session="producer"), batch(2)):
        await call.write(message)
        await call.read()
    await call.done_writing()
    sessions = [SUBMIT_HEAD.unpack_from(sent)[3] for sent in edge.driver.batches]
    assert sessions == [session_digest(b"producer")] * 2


async def test_a_malformed_batch_is_answered_and_the_stream_lives_on(edge: Edge) -> None:
    call = edge.channel.stream_stream("/wheeld.v1.JobService/SubmitJobs")()
    await call.write(b"\x08\x2a" + MALFORMED)
    answer = pb.SubmitJobsResponse.FromString(await call.read())
    assert (answer.batch_number, answer.reason, answer.retry_delay_ms) == (42, "MALFORMED", 0)
    await call.write(batch(43).SerializeToString())
    assert pb.SubmitJobsResponse.FromString(await call.read()).code == 0
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_refused_batch_says_when_to_come_again(edge: Edge) -> None:
    edge.driver.refusal = Refused(errors.STORE_BUSY, "too much")
    call = edge.jobs.SubmitJobs()
    await call.write(batch(1))
    answer = await call.read()
    assert (answer.batch_number, answer.reason) == (1, "STORE_BUSY") and answer.retry_delay_ms > 0
    await call.done_writing()


async def test_the_window_bounds_what_is_unanswered(edge: Edge) -> None:
    edge.driver.hold.clear()
    call = edge.jobs.SubmitJobs()
    extra = 10
    for number in range(limits.STREAM_SUBMITS_IN_FLIGHT_MAX + extra):
        await call.write(batch(number + 1))
    await edge.driver.until(lambda: len(edge.driver.batches) == limits.STREAM_SUBMITS_IN_FLIGHT_MAX)
    await edge.queues.ListQueues(queue_service_pb2.ListQueuesRequest())
    assert len(edge.driver.batches) == limits.STREAM_SUBMITS_IN_FLIGHT_MAX
    edge.driver.hold.set()
    answered = {(await call.read()).batch_number for _ in range(limits.STREAM_SUBMITS_IN_FLIGHT_MAX + extra)}
    assert answered == set(range(1, limits.STREAM_SUBMITS_IN_FLIGHT_MAX + extra + 1))
    await call.done_writing()


async def test_a_drain_ends_a_submit_stream_after_its_answers(edge: Edge) -> None:
    edge.driver.hold.clear()
    call = edge.jobs.SubmitJobs()
    await call.write(batch(1))
    await edge.driver.until(lambda: len(edge.driver.batches) == 1)
    edge.gate.close(edge.clock.wall_ms())
    edge.driver.hold.set()
    assert (await call.read()).batch_number == 1
    assert (await refused(call.read())).kind.code == errors.DRAINING
    await edge.idle()


def test_peek_head() -> None:
    for number in (0, 1, 127, 128, 2**63, 2**64 - 1):
        bare = pb.SubmitJobsRequest(batch_number=number).SerializeToString() + MALFORMED
        assert peek_head(bare) == (number, NO_SESSION)
        for session in ("p", "p" * 300):
            named = pb.SubmitJobsRequest(batch_number=number, producer_session_id=session).SerializeToString()
            assert peek_head(named + MALFORMED) == (number, session_digest(session.encode()))
            assert peek_head(named[:-1]) == (number, NO_SESSION)
    assert peek_head(b"") == peek_head(MALFORMED) == peek_head(b"\x08" + b"\xff" * 20) == (0, NO_SESSION)


async def test_a_session_named_in_a_refused_message_holds_for_the_stream(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INTAKE_BYTES_MAX", 1)
    monkeypatch.setattr(limits, "SUBMIT_BYTES_MAX", 1)
    edge.driver.hold.clear()
    under_way = asyncio.ensure_future(edge.jobs.CreateJob(pb.CreateJobRequest(job=job())))
    await edge.driver.until(lambda: len(edge.driver.batches) == 1)
    call = edge.jobs.SubmitJobs()
    await call.write(batch(1, session="producer"))
    assert (await call.read()).reason == "STORE_BUSY"
    edge.driver.hold.set()
    await under_way
    await call.write(batch(1))
    assert (await call.read()).code == 0
    await call.done_writing()
    assert SUBMIT_HEAD.unpack_from(edge.driver.batches[-1])[3] == session_digest(b"producer")


async def test_a_full_store_is_told_while_the_line_stands_still(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INTAKE_BYTES_MAX", 1)
    edge.driver.hold.clear()
    under_way = asyncio.ensure_future(edge.jobs.CreateJob(pb.CreateJobRequest(job=job())))
    await edge.driver.until(lambda: len(edge.driver.batches) == 1)
    edge.driver.closed = Refused(errors.STORE_FULL, "no room")
    async with asyncio.timeout(30):
        assert (await refused(edge.jobs.CreateJob(pb.CreateJobRequest(job=job())))).kind.code == errors.STORE_FULL
        call = edge.jobs.SubmitJobs()
        await call.write(batch(1))
        assert (await call.read()).reason == "STORE_FULL"
        await call.done_writing()
    edge.driver.hold.set()
    await under_way
