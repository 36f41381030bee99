"""Absurd inputs over real gRPC: each gets its promised code, and the daemon goes on serving."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import grpc
import pytest

from tests.e2e.harness.calls import Calls, now_ms, reason_of, refused
from tests.e2e.harness.daemon import PATIENCE_S, Daemon
from tests.e2e.test_jobs import stream
from wheeld.model import limits
from wheeld.model.batch import TOKEN
from wheeld.wire.pb.v1 import job_pb2, job_service_pb2, worker_service_pb2
from wheeld.wire.pb.v1.job_pb2 import JOB_STATE_PENDING, JOB_STATE_SUCCEEDED

YEAR_9999_S = 253_402_300_799


@pytest.fixture
def one_daemon(calls: Calls) -> Iterator[Calls]:
    """After the test the daemon still takes a job and gives it out."""
    yield calls
    after = f"{calls.queue}-afterwards"
    created = calls.create(queue=after)
    (lease,) = calls.lease(queue=after)
    assert lease.job_id == created.job_id
    assert calls.ack(lease.lease_token)[0].state == JOB_STATE_SUCCEEDED


def at(seconds: int) -> job_pb2.NewJob:
    job = job_pb2.NewJob(type="e2e")
    job.schedule_time.seconds = seconds
    return job


def results(calls: Calls, *jobs: job_pb2.NewJob) -> list[str]:
    """Reason and field of each of a batch."""
    answer = calls.jobs.BatchCreateJobs(job_service_pb2.BatchCreateJobsRequest(jobs=jobs), timeout=PATIENCE_S)
    return [f"{result.reason}:{result.field}" if result.code else "OK" for result in answer.results]


def test_times(one_daemon: Calls) -> None:
    calls = one_daemon
    before_ms = now_ms()
    past = calls.jobs.CreateJob(job_service_pb2.CreateJobRequest(job=at(1)), timeout=PATIENCE_S).job_id
    job = calls.wait_state(past, JOB_STATE_PENDING)
    assert before_ms <= job.schedule_time.ToMilliseconds() <= now_ms(), "a time in the past means now"
    negative = job_pb2.NewJob(type="e2e")
    negative.delay.seconds = -1
    assert results(calls, at(YEAR_9999_S), at(YEAR_9999_S + 1), at(-1), negative) == [
        "SCHEDULE_TOO_FAR:schedule_time",
        "FIELD_INVALID:schedule_time",
        "FIELD_INVALID:schedule_time",
        "FIELD_INVALID:delay",
    ]
    with refused("SCHEDULE_TOO_FAR"):
        calls.jobs.CreateJob(job_service_pb2.CreateJobRequest(job=at(YEAR_9999_S)), timeout=PATIENCE_S)
    longest = limits.SCHEDULE_AHEAD_MS_MAX
    edge, beyond = job_pb2.NewJob(type="e2e"), job_pb2.NewJob(type="e2e")
    edge.delay.FromMilliseconds(longest)
    beyond.delay.FromMilliseconds(longest + 1)
    assert results(calls, edge, beyond) == ["OK", "SCHEDULE_TOO_FAR:delay"]


def test_fields(one_daemon: Calls) -> None:
    bad = {
        "type": [job_pb2.NewJob(), job_pb2.NewJob(type="x" * 129), job_pb2.NewJob(type="a\nb")],
        "queue": [job_pb2.NewJob(type="e2e", queue="Upper"), job_pb2.NewJob(type="e2e", queue="x" * 64)],
        "priority": [job_pb2.NewJob(type="e2e", priority=10)],
        "idempotency_key": [job_pb2.NewJob(type="e2e", idempotency_key="k" * 201)],
        "labels": [job_pb2.NewJob(type="e2e", labels={f"k{number}": "" for number in range(33)})],
        "retry_policy": [job_pb2.NewJob(type="e2e", retry_policy=job_pb2.RetryPolicy(max_attempts=1001))],
        "namespace": [job_pb2.NewJob(type="e2e", namespace="../etc")],
    }
    for field, jobs in bad.items():
        assert results(one_daemon, *jobs) == [f"FIELD_INVALID:{field}"] * len(jobs)


def test_sizes(one_daemon: Calls) -> None:
    calls = one_daemon
    largest = calls.create(payload=bytes(limits.PAYLOAD_BYTES_MAX))
    (lease,) = calls.lease()
    assert lease.job_id == largest.job_id and len(lease.payload) == limits.PAYLOAD_BYTES_MAX
    with refused("PAYLOAD_TOO_LARGE"):
        calls.create(payload=bytes(limits.PAYLOAD_BYTES_MAX + 1))
    empty = job_pb2.NewJob(type="e2e", queue="many")
    full = job_service_pb2.BatchCreateJobsRequest(jobs=[empty] * limits.BATCH_JOBS_MAX)
    assert len(calls.jobs.BatchCreateJobs(full, timeout=PATIENCE_S).results) == limits.BATCH_JOBS_MAX
    full.jobs.append(empty)
    with refused("BATCH_TOO_LARGE"):
        calls.jobs.BatchCreateJobs(full, timeout=PATIENCE_S)
    with refused("RESOURCE_EXHAUSTED"):
        calls.create(payload=bytes(2 * limits.MESSAGE_BYTES_MAX))
    assert calls.jobs.BatchCreateJobs(job_service_pb2.BatchCreateJobsRequest(), timeout=PATIENCE_S).results == []


def outcome_of(call: Callable[..., object], message: bytes) -> str:
    """The reason of the refusal, or OK."""
    try:
        call(message, timeout=PATIENCE_S)
    except grpc.RpcError as error:
        return reason_of(error)
    return "OK"


def test_malformed_messages(one_daemon: Calls, rng: object) -> None:
    """Bytes that are no message, for every method that takes bytes."""
    import random

    assert isinstance(rng, random.Random)
    methods = {
        "JobService": ("CreateJob", "BatchCreateJobs"),
        "WorkerService": ("LeaseJobs", "AckJobs", "NackJobs", "RenewLeases", "ReleaseLeases"),
    }
    good = job_service_pb2.BatchCreateJobsRequest(
        jobs=[job_pb2.NewJob(type="e2e", payload=b"x" * 20, labels={"a": "b"})]
    )
    whole = good.SerializeToString()
    for service, names in methods.items():
        for name in names:
            call = one_daemon.channel.unary_unary(f"/wheeld.v1.{service}/{name}")
            with refused("MALFORMED"):
                call(b"\xff\xff\xff", timeout=PATIENCE_S)
            for _ in range(20):
                torn = bytearray(whole[: rng.randrange(len(whole))] + rng.randbytes(4))
                torn[rng.randrange(len(torn))] ^= 1 << rng.randrange(8)
                assert outcome_of(call, bytes(torn)) in {"OK", "MALFORMED", "FIELD_INVALID", "SCHEDULE_TOO_FAR"}


def test_names_of_jobs(one_daemon: Calls) -> None:
    for name in ("", "short", "0" * 26, "z" * 26, "é" * 26, "0" * 1000):
        for verb, request in (
            ("GetJob", "GetJobRequest"),
            ("CancelJob", "CancelJobRequest"),
            ("RunJob", "RunJobRequest"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                getattr(one_daemon.jobs, verb)(getattr(job_service_pb2, request)(job_id=name), timeout=PATIENCE_S)
            assert reason_of(caught.value) in {"JOB_NOT_FOUND", "FIELD_INVALID"}, (verb, name, caught.value)


def code_name(item: worker_service_pb2.SettledItem) -> str:
    return job_pb2.ErrorCode.Name(item.code).removeprefix("ERROR_CODE_")


def test_tokens(one_daemon: Calls) -> None:
    calls = one_daemon
    calls.create()
    (lease,) = calls.lease()
    real = lease.lease_token
    changed = bytes([real[0] ^ 1]) + real[1:]
    job_id, fencing = TOKEN.unpack(real)
    stale = TOKEN.pack(job_id, fencing - 1)
    unknown = [os.urandom(24), bytes(24), b"\xff" * 24, changed]
    assert {code_name(item) for item in calls.ack(*unknown)} == {"TOKEN_UNKNOWN"}
    assert all(code_name(item) in {"FIELD_INVALID", "TOKEN_UNKNOWN"} for item in calls.ack(b"", b"short", b"x" * 5000))
    (item,) = calls.ack(stale)
    assert code_name(item) in {"TOKEN_UNKNOWN", "LEASE_FENCED"}, "a token that was never given out settles nothing"
    first, second = calls.ack(real, real)
    assert (first.code, first.already_settled) == (0, False)
    assert (second.code, second.already_settled) == (0, True)
    (third,) = calls.ack(real)
    assert (third.code, third.already_settled) == (0, True)
    late = calls.nack(real)
    assert late.already_settled and late.state == JOB_STATE_SUCCEEDED, "a done job cannot fail any more"


def test_lease_of_another_worker(one_daemon: Calls) -> None:
    calls = one_daemon
    with stream(calls) as owner:
        owner.hear("opened")
        calls.create()
        (lease,) = owner.hear("leases").leases
        with stream(calls) as thief:
            thief.hear("opened")
            assert code_name(thief.ack(lease.lease_token)) == "LEASE_NOT_YOURS"
        assert owner.ack(lease.lease_token).code == 0


def test_streams_out_of_order(one_daemon: Calls) -> None:
    def outcome(*messages: worker_service_pb2.StreamLeasesRequest | bytes) -> str:
        call = one_daemon.channel.stream_stream("/wheeld.v1.WorkerService/StreamLeases")
        sent = [m if isinstance(m, bytes) else m.SerializeToString() for m in messages]
        try:
            list(call(iter(sent), timeout=PATIENCE_S))
        except grpc.RpcError as error:
            return reason_of(error)
        return "OK"

    request = worker_service_pb2.StreamLeasesRequest
    opening = request(open=worker_service_pb2.Open(worker_id="w", session_id="s"))
    assert outcome(request(pong=worker_service_pb2.Pong())) == "STREAM_PROTOCOL"
    assert outcome(opening, opening) == "STREAM_PROTOCOL"
    assert outcome(b"\xff\xff\xff") == "MALFORMED"
    assert outcome(opening, b"\xff\xff\xff") == "MALFORMED"
    assert outcome(request(open=worker_service_pb2.Open())) == "FIELD_INVALID"
    assert outcome(request(open=worker_service_pb2.Open(worker_id="w", session_id="s" * 65))) == "FIELD_INVALID"
    assert outcome() == "OK"


def test_noise_on_the_port(one_daemon: Calls, daemon: Daemon, rng: object) -> None:
    """Bytes that are no HTTP/2 at all, and connections that say nothing."""
    idle = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(50)]
    for noise in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(512)):
        with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
            connection.sendall(noise)
    assert daemon.is_serving()
    for connection in idle:
        connection.close()
