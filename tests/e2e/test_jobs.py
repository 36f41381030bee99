"""What a job can go through, over real gRPC, and what of it a restart must not change."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest

from tests.e2e.harness.calls import Calls, now_ms, refused
from tests.e2e.harness.daemon import PATIENCE_S, Daemon
from wheeld.wire.pb.v1 import job_pb2, job_service_pb2, queue_service_pb2, worker_service_pb2
from wheeld.wire.pb.v1.job_pb2 import (
    ATTEMPT_OUTCOME_ACKED,
    ATTEMPT_OUTCOME_LEASE_EXPIRED,
    ATTEMPT_OUTCOME_NACKED,
    ERROR_CODE_CANCELLED,
    ERROR_CODE_KEY_CONFLICT,
    JOB_STATE_CANCELLED,
    JOB_STATE_EXPIRED,
    JOB_STATE_FAILED,
    JOB_STATE_PENDING,
    JOB_STATE_RETRYING,
    JOB_STATE_RUNNING,
    JOB_STATE_SCHEDULED,
    JOB_STATE_SUCCEEDED,
)

FAR_MS = 3 * 3_600_000
"""Beyond the horizon: such a job is in the store and not in memory."""


def restart(daemon: Daemon, how: str = "kill") -> None:
    """The daemon dies and comes back on its directory and port."""
    if how == "kill":
        daemon.kill()
    else:
        assert daemon.stop() == 0
    daemon.start()


def policy(**fields: int) -> job_pb2.RetryPolicy:
    """A retry policy without jitter; backoffs in ms."""
    found = job_pb2.RetryPolicy(
        max_attempts=fields.get("max_attempts", 0), jitter=0.0, backoff_multiplier=fields.get("multiplier", 2)
    )
    found.initial_backoff.FromMilliseconds(fields.get("initial_ms", 200))
    found.max_backoff.FromMilliseconds(fields.get("max_ms", 10_000))
    return found


def drain(calls: Calls, count: int) -> list[worker_service_pb2.Lease]:
    """Lease and ack so many, after which nothing is due."""
    found: list[worker_service_pb2.Lease] = []
    while len(found) < count and (leases := calls.lease(100)):
        assert all(item.code == 0 for item in calls.ack(*(lease.lease_token for lease in leases)))
        found += leases
    assert not calls.lease(wait_ms=100)
    return found


class Stream:
    """A lease stream in the test's hands."""

    def __init__(
        self, calls: Calls, session: str = "", held: tuple[bytes, ...] = (), lease_ms: int = 300_000, credit: int = 10
    ) -> None:
        self.session = session or uuid.uuid4().hex
        self._outgoing: SimpleQueue[Any] = SimpleQueue()
        opening = worker_service_pb2.Open(
            queues=[calls.queue],
            worker_id="streamer",
            session_id=self.session,
            max_outstanding_jobs=credit,
            held_lease_tokens=held,
        )
        opening.lease_duration.FromMilliseconds(lease_ms)
        self.say(open=opening)
        self.call = calls.workers.StreamLeases(iter(self._outgoing.get, None))

    def say(self, **message: Any) -> None:
        """Send."""
        self._outgoing.put(worker_service_pb2.StreamLeasesRequest(**message))

    def hear(self, kind: str) -> Any:
        """The next message of this kind; pings and others are skipped."""
        for response in self.call:
            if response.WhichOneof("message") == kind:
                return getattr(response, kind)
        raise AssertionError(f"the stream ended without {kind}")

    def ack(self, token: bytes) -> worker_service_pb2.SettledItem:
        """Settle one."""
        self.say(settle=worker_service_pb2.Settle(acks=[worker_service_pb2.Ack(lease_token=token)]))
        return self.hear("settled").items[0]

    def close(self) -> None:
        """Half-close."""
        self._outgoing.put(None)
        self.call.cancel()


@contextmanager
def stream(calls: Calls, **options: Any) -> Iterator[Stream]:
    """An open stream."""
    made = Stream(calls, **options)
    try:
        yield made
    finally:
        made.close()


# -- retries -------------------------------------------------------------------


def test_backoff_and_dead_letter(calls: Calls) -> None:
    """Three attempts: the waits double, none is shorter than asked; then the job is dead, and its history says why."""
    job_id = calls.create(retry_policy=policy(max_attempts=3, initial_ms=200)).job_id
    for attempt, backoff_ms in ((1, 200), (2, 400), (3, 0)):
        (lease,) = calls.lease()
        assert (lease.job_id, lease.attempt, lease.max_attempts) == (job_id, attempt, 3)
        before_ms = now_ms()
        item = calls.nack(lease.lease_token)
        after_ms = now_ms()
        assert item.code == 0
        if backoff_ms:
            assert item.state == JOB_STATE_RETRYING
            assert (
                before_ms + backoff_ms <= calls.get(job_id).next_fire_time.ToMilliseconds() <= after_ms + backoff_ms + 1
            )
    job = calls.get(job_id)
    assert (job.state, job.attempt, job.last_error) == (JOB_STATE_FAILED, 3, "asked to fail")
    rows = calls.jobs.ListAttempts(job_service_pb2.ListAttemptsRequest(job_id=job_id)).attempts
    assert [row.attempt for row in rows] == [1, 2, 3]
    assert [row.outcome for row in rows[:2]] == [ATTEMPT_OUTCOME_NACKED] * 2
    assert not calls.lease(wait_ms=0)


def test_no_retry(calls: Calls) -> None:
    job_id = calls.create().job_id
    (lease,) = calls.lease()
    assert calls.nack(lease.lease_token, no_retry=True).state == JOB_STATE_FAILED
    assert calls.get(job_id).state == JOB_STATE_FAILED


def test_retry_across_a_restart(daemon: Daemon, calls: Calls) -> None:
    job_id = calls.create(retry_policy=policy(initial_ms=1500)).job_id
    (lease,) = calls.lease()
    before_ms = now_ms()
    calls.nack(lease.lease_token)
    due_ms = calls.get(job_id).next_fire_time.ToMilliseconds()
    assert before_ms + 1500 <= due_ms <= now_ms() + 1501
    restart(daemon)
    (again,) = calls.lease()
    assert now_ms() >= due_ms
    assert (again.job_id, again.attempt, again.schedule_time_ms) == (job_id, 2, due_ms)
    assert again.fencing_token > lease.fencing_token
    assert calls.ack(again.lease_token)[0].state == JOB_STATE_SUCCEEDED


# -- submitting twice ------------------------------------------------------------


def test_idempotency_key_across_restarts(daemon: Daemon, calls: Calls) -> None:
    """A key of a job in memory, and one of a job in the store."""
    delays = {f"{calls.queue}-near": 60_000, f"{calls.queue}-far": FAR_MS}
    first = {key: calls.create(idempotency_key=key, delay_ms=delay_ms) for key, delay_ms in delays.items()}
    assert not any(created.duplicate for created in first.values())
    for how in ("", "kill", "stop"):
        if how:
            restart(daemon, how)
        for key, delay_ms in delays.items():
            again = calls.create(idempotency_key=key, delay_ms=delay_ms)
            assert (again.job_id, again.duplicate) == (first[key].job_id, True)
            with refused("KEY_CONFLICT"):
                calls.create(idempotency_key=key, payload=b"other content", delay_ms=delay_ms)


def test_key_in_one_batch_twice(calls: Calls) -> None:
    jobs = [
        job_pb2.NewJob(type="e2e", queue=calls.queue, idempotency_key=calls.queue, payload=payload)
        for payload in (b"a", b"a", b"b")
    ]
    results = calls.jobs.BatchCreateJobs(job_service_pb2.BatchCreateJobsRequest(jobs=jobs)).results
    assert results[1].job_id == results[0].job_id and results[1].duplicate
    assert results[2].code == ERROR_CODE_KEY_CONFLICT


def test_batch_again_across_kills(daemon: Daemon, calls: Calls) -> None:
    """The same number gives the same ids, other content under it is refused, and only one set of jobs exists."""
    request = job_service_pb2.BatchCreateJobsRequest(producer_session_id=calls.queue, batch_number=1)
    for number in range(20):
        request.jobs.add(type="e2e", queue=calls.queue, payload=str(number).encode()).delay.FromMilliseconds(
            60_000 if number % 2 else FAR_MS
        )
    first = calls.jobs.BatchCreateJobs(request, timeout=PATIENCE_S)
    for how in ("", "kill", "stop"):
        if how:
            restart(daemon, how)
        again = calls.jobs.BatchCreateJobs(request, timeout=PATIENCE_S)
        assert [result.job_id for result in again.results] == [result.job_id for result in first.results]
    other = job_service_pb2.BatchCreateJobsRequest()
    other.CopyFrom(request)
    other.jobs[0].payload = b"other content"
    with refused("BATCH_CONFLICT"):
        calls.jobs.BatchCreateJobs(other, timeout=PATIENCE_S)
    for result in first.results:
        calls.jobs.RunJob(job_service_pb2.RunJobRequest(job_id=result.job_id), timeout=PATIENCE_S)
    ran = sorted(int(lease.payload) for lease in drain(calls, 20))
    assert ran == list(range(20))


# -- changing ---------------------------------------------------------------------


def test_cancel_before_it_runs(daemon: Daemon, calls: Calls) -> None:
    """One that is in memory, and one in the store that memory has never seen in this life."""
    job_ids = [calls.create(delay_ms=delay_ms).job_id for delay_ms in (60_000, FAR_MS)]
    restart(daemon)
    for job_id in job_ids:
        job = calls.jobs.CancelJob(job_service_pb2.CancelJobRequest(job_id=job_id)).job
        assert job.state == JOB_STATE_CANCELLED
        with refused("JOB_FINISHED"):
            calls.jobs.CancelJob(job_service_pb2.CancelJobRequest(job_id=job_id))
    restart(daemon)
    assert [calls.get(job_id).state for job_id in job_ids] == [JOB_STATE_CANCELLED] * 2


def test_cancel_while_it_runs(calls: Calls) -> None:
    with stream(calls) as worker:
        worker.hear("opened")
        job_id = calls.create().job_id
        (lease,) = worker.hear("leases").leases
        calls.jobs.CancelJob(job_service_pb2.CancelJobRequest(job_id=job_id))
        (revoked,) = worker.hear("revoked").leases
        assert (revoked.lease_token, revoked.code) == (lease.lease_token, ERROR_CODE_CANCELLED)
        assert worker.ack(lease.lease_token).code == ERROR_CODE_CANCELLED
    assert calls.get(job_id).state == JOB_STATE_CANCELLED


@pytest.mark.parametrize("via_restart", [False, True], ids=["at once", "after a restart"])
def test_reschedule_far_to_near_and_back(daemon: Daemon, calls: Calls, via_restart: bool) -> None:
    def move(job_id: str, to_ms: int) -> int:
        request = job_service_pb2.RescheduleJobRequest(job_id=job_id)
        request.schedule_time.FromMilliseconds(to_ms)
        job = calls.jobs.RescheduleJob(request, timeout=PATIENCE_S).job
        return job.next_fire_time.ToMilliseconds()

    come, go = calls.create(delay_ms=FAR_MS).job_id, calls.create(delay_ms=60_000).job_id
    if via_restart:
        restart(daemon)
    far_ms, near_ms = now_ms() + FAR_MS, now_ms() + 5000
    assert (move(go, far_ms), move(come, near_ms)) == (far_ms, near_ms)
    if via_restart:
        restart(daemon)
    (lease,) = calls.lease()
    assert (lease.job_id, lease.schedule_time_ms) == (come, near_ms) and now_ms() >= near_ms
    assert calls.ack(lease.lease_token)[0].code == 0
    assert not calls.lease(wait_ms=100)
    assert calls.get(go).state == JOB_STATE_SCHEDULED


def test_start_timeout(calls: Calls) -> None:
    job = job_pb2.NewJob(type="e2e", queue=calls.queue)
    job.start_timeout.FromMilliseconds(300)
    job_id = calls.jobs.CreateJob(job_service_pb2.CreateJobRequest(job=job)).job_id
    calls.wait_state(job_id, JOB_STATE_EXPIRED)
    assert not calls.lease(wait_ms=0)


def test_pause_and_resume(daemon: Daemon, calls: Calls) -> None:
    calls.queues.PauseQueue(queue_service_pb2.PauseQueueRequest(queue=calls.queue))
    job_id = calls.create().job_id
    assert not calls.lease(wait_ms=300)
    restart(daemon)
    assert calls.queues.GetQueue(queue_service_pb2.GetQueueRequest(queue=calls.queue)).queue.paused
    assert not calls.lease(wait_ms=300)
    assert calls.get(job_id).state == JOB_STATE_PENDING
    calls.queues.ResumeQueue(queue_service_pb2.ResumeQueueRequest(queue=calls.queue))
    (lease,) = calls.lease()
    assert lease.job_id == job_id


# -- leases -------------------------------------------------------------------------


def test_silent_worker_loses_its_lease(calls: Calls) -> None:
    """Its late ack is refused, the next attempt's is taken, and the history shows both."""
    job_id = calls.create(retry_policy=policy(initial_ms=0)).job_id
    (lost,) = calls.lease(lease_ms=1000)
    expire_ms = lost.lease_expire_time_ms
    (lease,) = calls.lease()
    assert now_ms() >= expire_ms
    assert (lease.job_id, lease.attempt) == (job_id, 2) and lease.fencing_token > lost.fencing_token
    assert job_pb2.ErrorCode.Name(calls.ack(lost.lease_token)[0].code) in (
        "ERROR_CODE_LEASE_FENCED",
        "ERROR_CODE_LEASE_EXPIRED",
    )
    assert calls.ack(lease.lease_token)[0].state == JOB_STATE_SUCCEEDED
    rows = calls.jobs.ListAttempts(job_service_pb2.ListAttemptsRequest(job_id=job_id)).attempts
    assert [row.outcome for row in rows] == [ATTEMPT_OUTCOME_LEASE_EXPIRED, ATTEMPT_OUTCOME_ACKED]


def test_renewed_lease_lasts(calls: Calls) -> None:
    job_id = calls.create(retry_policy=policy(initial_ms=0)).job_id
    # A machine that stands still may miss a short lease, not a long one.
    for lease_ms in (1000, 5000, 15_000):
        (lease,) = calls.lease(lease_ms=lease_ms)
        request = worker_service_pb2.RenewLeasesRequest(worker_id=calls.worker_id, lease_tokens=[lease.lease_token])
        request.extend_duration.FromMilliseconds(120_000)
        (item,) = calls.workers.RenewLeases(request).items
        if item.code == 0:
            break
        assert now_ms() >= lease.lease_expire_time_ms
    assert item.code == 0 and item.lease_expire_time_ms > lease.lease_expire_time_ms + 50_000
    assert not calls.lease(wait_ms=max(0, lease.lease_expire_time_ms - now_ms()) + 300)
    assert calls.get(job_id).state == JOB_STATE_RUNNING


@pytest.mark.parametrize("crash", [False, True], ids=["connection", "daemon"])
def test_reconnect_with_held_tokens(daemon: Daemon, calls: Calls, crash: bool) -> None:
    """What the worker holds stays its own; what it does not hold is granted again with a higher token."""
    with stream(calls) as worker:
        worker.hear("opened")
        for _ in range(2):
            calls.create()
        leases: list[Any] = []
        while len(leases) < 2:
            leases += worker.hear("leases").leases
        kept, forgotten = leases
        if crash:
            restart(daemon)
    with stream(calls, session=worker.session, held=(kept.lease_token,)) as again:
        assert again.hear("opened").resumed_leases == 1
        (redelivered,) = again.hear("leases").leases
        assert redelivered.job_id == forgotten.job_id and redelivered.redelivery
        assert redelivered.fencing_token > forgotten.fencing_token and redelivered.attempt == forgotten.attempt
        assert again.ack(kept.lease_token).code == 0
        assert job_pb2.ErrorCode.Name(again.ack(forgotten.lease_token).code) == "ERROR_CODE_LEASE_FENCED"
        assert again.ack(redelivered.lease_token).code == 0
    for lease in (kept, forgotten):
        assert calls.get(lease.job_id).state == JOB_STATE_SUCCEEDED


def test_ack_said_again_after_a_crash(daemon: Daemon, calls: Calls) -> None:
    """The answer may have been lost with the daemon: the repetition is fine, and the job is done once."""
    job_id = calls.create().job_id
    (lease,) = calls.lease()
    assert not calls.ack(lease.lease_token)[0].already_settled
    restart(daemon)
    (item,) = calls.ack(lease.lease_token)
    assert (item.code, item.already_settled) == (0, True)
    assert calls.get(job_id).state == JOB_STATE_SUCCEEDED


def test_far_jobs_fire_after_a_restart(daemon: Daemon, calls: Calls) -> None:
    """A year of waiting costs nothing, and the near ones are on time."""
    for day in range(1, 366, 20):
        calls.create(delay_ms=day * 86_400_000)
    soon = calls.create(delay_ms=2500)
    restart(daemon)
    calls.wait_state(soon.job_id, JOB_STATE_PENDING)
    (lease,) = calls.lease()
    assert lease.job_id == soon.job_id
    assert not calls.lease(wait_ms=0)
