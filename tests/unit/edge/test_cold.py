"""The calls that are not hot: single jobs, queues, server facts, health, reflection."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.unit.edge.conftest import FACTS, Edge
from tests.unit.edge.fake_driver import FakeDriver, queue_view, skew
from tests.unit.edge.test_submit import refused
from wheeld.admission.gate import Gate
from wheeld.driver.api import JobView
from wheeld.edge.present import attempts_of
from wheeld.edge.server import SERVICES, EdgeParts, EdgeServer
from wheeld.metrics.calls import CallCounts
from wheeld.model import errors, limits
from wheeld.model.entry import EntryKind, Outcome
from wheeld.model.errors import Refused, StartFailure
from wheeld.model.ids import id_to_text, pack_id
from wheeld.model.job import JobState
from wheeld.model.rows import Row
from wheeld.model.spec import Spec, pack_labels
from wheeld.runtime.clock import SimClock
from wheeld.wire.codec import native_codec
from wheeld.wire.pb.v1 import admin_service_pb2 as admin_pb
from wheeld.wire.pb.v1 import job_pb2
from wheeld.wire.pb.v1 import job_service_pb2 as pb
from wheeld.wire.pb.v1 import queue_service_pb2 as queue_pb

JOB = pack_id(1, 2, 3)
SPEC = Spec(
    queue=b"shop/mail", type=b"echo", payload=b"p", key=b"k", labels=pack_labels({"a": "b"}), schedule_ms=2000,
    create_ms=1000, expire_ms=5000, lease_ms=7000,
)  # fmt: skip


def row(state: JobState, **changes: object) -> Row:
    base = Row(JOB, 3000, 9, 1, int(state), 0, 7000, 2500, bytes(16), b"w1", b"", SPEC.pack())
    return base._replace(**changes)  # type: ignore[arg-type]


def outcome(state: JobState, attempt: int, error: bytes = b"", cause: EntryKind = EntryKind.NACK) -> Outcome:
    texts = (b"shop/mail", b"echo", b"w0", b"", error, b"r")
    return Outcome(JOB, 9, 2000, 0, 2500, 2000, attempt, int(state), 4, int(cause), *texts)


async def test_get_presents_a_running_job(edge: Edge) -> None:
    edge.driver.jobs[JOB] = JobView(row(JobState.RUNNING), 0, outcome(JobState.RETRYING, 1, b"boom"))
    job = (await edge.jobs.GetJob(pb.GetJobRequest(job_id=id_to_text(JOB).lower()))).job
    assert (job.job_id, job.namespace, job.queue, job.type) == (id_to_text(JOB), "shop", "mail", "echo")
    assert (job.state, job.worker_id, job.last_error) == (job_pb2.JOB_STATE_RUNNING, "w1", "boom")
    assert job.labels == {"a": "b"} and job.start_timeout.ToMilliseconds() == 3000
    assert (job.schedule_time.ToMilliseconds(), job.fire_time.ToMilliseconds()) == (2000, 2500)
    assert not job.HasField("next_fire_time") and not job.HasField("finish_time") and not job.result


async def test_get_presents_a_job_that_has_ended(edge: Edge) -> None:
    ended = row(JobState.SUCCEEDED, worker=b"", fire_ms=0, spec=Spec(queue=b"default/q", schedule_ms=2000).pack())
    edge.driver.jobs[JOB] = JobView(ended, 4000, outcome(JobState.SUCCEEDED, 1))
    job = (await edge.jobs.GetJob(pb.GetJobRequest(job_id=id_to_text(JOB)))).job
    assert (job.worker_id, job.result, job.finish_time.ToMilliseconds()) == ("w0", b"r", 4000)
    assert job.fire_time.ToMilliseconds() == 2500 and not job.HasField("retry_policy")


async def test_what_is_no_id_is_refused(edge: Edge) -> None:
    for call in (
        edge.jobs.GetJob(pb.GetJobRequest(job_id="x")),
        edge.jobs.CancelJob(pb.CancelJobRequest()),
        edge.jobs.ListAttempts(pb.ListAttemptsRequest(job_id="u" * 26)),
    ):
        assert (await refused(call)).kind.code == errors.FIELD_INVALID
    edge.driver.refusal = Refused(errors.JOB_NOT_FOUND, "job x")
    assert (await refused(edge.jobs.GetJob(pb.GetJobRequest(job_id=id_to_text(JOB))))).kind.code == errors.JOB_NOT_FOUND


async def test_reschedule(edge: Edge) -> None:
    edge.driver.jobs[JOB] = JobView(row(JobState.SCHEDULED))
    name = id_to_text(JOB)
    request = pb.RescheduleJobRequest(job_id=name)
    assert (await refused(edge.jobs.RescheduleJob(request))).kind.code == errors.FIELD_INVALID
    request.delay.FromMilliseconds(1500)
    moved = (await edge.jobs.RescheduleJob(request)).job
    assert moved.next_fire_time.ToMilliseconds() == edge.clock.wall_ms() + 1500
    request.schedule_time.seconds = 1_800_000_000
    request.schedule_time.nanos = 1
    moved = (await edge.jobs.RescheduleJob(request)).job
    assert moved.next_fire_time.ToMilliseconds() == 1_800_000_000_001
    request.schedule_time.FromMilliseconds(edge.clock.wall_ms() + limits.SCHEDULE_AHEAD_MS_MAX + 1)
    assert (await refused(edge.jobs.RescheduleJob(request))).kind.code == errors.SCHEDULE_TOO_FAR
    run = (await edge.jobs.RunJob(pb.RunJobRequest(job_id=name))).job
    assert run.next_fire_time.ToMilliseconds() == edge.clock.wall_ms()


def test_attempts_name_how_each_ended() -> None:
    history = [
        (1, outcome(JobState.RETRYING, 1, b"boom")),
        (2, outcome(JobState.RETRYING, 2, b"lease expired")),
        (3, outcome(JobState.RETRYING, 3, b"the words do not count", EntryKind.LEASE_EXPIRE)),
        (4, outcome(JobState.FAILED, 4, b"boom")),
        (4, outcome(JobState.FAILED, 4, b"", EntryKind.LEASE_EXPIRE)),
        (5, outcome(JobState.CANCELLED, 5, b"", EntryKind.CANCEL)),
        (5, outcome(JobState.EXPIRED, 5, b"", EntryKind.EXPIRE)),
        (6, outcome(JobState.SUCCEEDED, 6, b"", EntryKind.ACK)),
    ]
    names = [
        job_pb2.AttemptOutcome.Name(found.outcome)[16:] for found in attempts_of(JobView(row(JobState.FAILED)), history)
    ]
    assert names == [
        "NACKED", "NACKED", "LEASE_EXPIRED", "FAILED", "LEASE_EXPIRED", "CANCELLED", "EXPIRED", "ACKED",
    ]  # fmt: skip


def test_the_attempt_that_runs_is_told_once() -> None:
    running = JobView(row(JobState.RUNNING, attempt=2))
    assert [found.attempt for found in attempts_of(running, [(1, outcome(JobState.RETRYING, 1))])] == [1, 2]
    assert [found.attempt for found in attempts_of(running, [(1, outcome(JobState.SUCCEEDED, 2))])] == [2]


async def test_queues_come_in_pages_of_their_namespace(edge: Edge) -> None:
    edge.driver.views = [queue_view(f"default/{name}".encode(), ready=1) for name in "cab"] + [queue_view(b"other/z")]
    names, token = [], ""
    while True:
        page = await edge.queues.ListQueues(queue_pb.ListQueuesRequest(page_size=2, page_token=token))
        names += [queue.queue for queue in page.queues]
        token = page.next_page_token
        if not token:
            break
    assert names == ["a", "b", "c"]
    everything = await edge.queues.ListQueues(queue_pb.ListQueuesRequest(namespace="-"))
    assert len(everything.queues) == 4


async def test_get_queue_and_pause(edge: Edge) -> None:
    edge.driver.views = [
        queue_view(b"default/q", ready=4, oldest_due_ms=edge.clock.wall_ms() - 2500, streams=2, backlog=True)
    ]
    queue = (await edge.queues.GetQueue(queue_pb.GetQueueRequest(queue="q"))).queue
    assert (queue.pending_jobs, queue.workers, queue.oldest_pending_age.ToMilliseconds()) == (4, 2, 2500)
    assert queue.pending_on_disk
    unknown = (await edge.queues.GetQueue(queue_pb.GetQueueRequest(queue="nobody"))).queue
    assert (unknown.queue, unknown.pending_jobs) == ("nobody", 0)
    assert (await edge.queues.PauseQueue(queue_pb.PauseQueueRequest(queue="q"))).queue.paused
    assert not (await edge.queues.ResumeQueue(queue_pb.ResumeQueueRequest(queue="q"))).queue.paused
    call = edge.queues.PauseQueue(queue_pb.PauseQueueRequest(queue="Not A Name"))
    assert (await refused(call)).kind.code == errors.FIELD_INVALID


async def test_server_info(edge: Edge) -> None:
    info = await edge.admin.GetServerInfo(admin_pb.GetServerInfoRequest())
    assert (info.version, info.node, info.shards, info.resident_jobs, info.draining) == ("1.2.3", "n1", 16, 3, False)
    edge.gate.close(edge.clock.wall_ms())
    assert (await edge.admin.GetServerInfo(admin_pb.GetServerInfoRequest())).draining


async def test_fire_skew_counts_from_the_last_reset(edge: Edge) -> None:
    edge.clock.advance(1000)
    edge.driver.views = [queue_view(b"default/q", release_skew=skew(5, 5, 1000)), queue_view(b"default/r")]
    answer = await edge.admin.GetFireSkew(admin_pb.GetFireSkewRequest(queue="q", reset=True))
    release = answer.queues[0].release
    assert len(answer.queues) == 1 and (release.count, release.p50_us) == (3, 5)
    assert 1000 <= release.max_us < 1100 and sum(bucket.count for bucket in release.buckets) == 3
    assert answer.window.ToMilliseconds() == edge.clock.wall_ms() - FACTS.start_ms
    edge.driver.views = [queue_view(b"default/q", release_skew=skew(5, 5, 7, 1000)), queue_view(b"default/r")]
    again = await edge.admin.GetFireSkew(admin_pb.GetFireSkewRequest())
    assert (again.queues[0].release.count, again.queues[0].release.max_us) == (1, 7)
    assert [queue.queue for queue in again.queues] == ["q", "r"]


async def test_fire_skew_of_a_namespace(edge: Edge) -> None:
    edge.driver.views = [queue_view(b"default/q"), queue_view(b"shop/q"), queue_view(b"shop/r")]
    answer = await edge.admin.GetFireSkew(admin_pb.GetFireSkewRequest(namespace="shop"))
    assert [(queue.namespace, queue.queue) for queue in answer.queues] == [("shop", "q"), ("shop", "r")]
    one = await edge.admin.GetFireSkew(admin_pb.GetFireSkewRequest(namespace="shop", queue="q"))
    assert [queue.namespace for queue in one.queues] == ["shop"]


async def test_health_follows_the_drain(edge: Edge) -> None:
    stub = health_pb2_grpc.HealthStub(edge.channel)  # type: ignore[no-untyped-call]
    for name in ("", *SERVICES):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await edge.server.announce_drain()
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_reflection_lists_the_services(edge: Edge) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(edge.channel)  # type: ignore[no-untyped-call]
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    await call.done_writing()
    assert set(SERVICES) <= {service.name for service in answer.list_services_response.service}


async def test_a_port_in_use_is_named(edge: Edge) -> None:
    address = f"127.0.0.1:{edge.server.port}"
    parts = EdgeParts(FakeDriver(), native_codec(), SimClock(), Gate(), CallCounts(), FACTS)
    second = EdgeServer(parts, address)
    with pytest.raises(StartFailure, match=address) as caught:
        await second.start()
    assert caught.value.exit_code == 4 and "in use" in caught.value.cause


async def test_an_unknown_method_is_unimplemented(edge: Edge) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.channel.unary_unary("/wheeld.v1.JobService/Nothing")(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
