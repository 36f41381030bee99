"""What the driver says of jobs and queues, as messages.

Owns the mapping from rows, outcomes and queue views to the generated classes. Invariant: a time that is not known stays
unset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wheeld.core.api import QueueView
from wheeld.driver.api import JobView
from wheeld.model.entry import EntryKind, Outcome
from wheeld.model.ids import id_to_text
from wheeld.model.job import JobState
from wheeld.model.spec import Spec, unpack_labels
from wheeld.wire.pb.v1 import job_pb2, queue_service_pb2

_WAITING = frozenset({JobState.SCHEDULED, JobState.PENDING, JobState.RETRYING})
_OUTCOMES = {
    EntryKind.ACK: job_pb2.ATTEMPT_OUTCOME_ACKED,
    EntryKind.NACK: job_pb2.ATTEMPT_OUTCOME_NACKED,
    EntryKind.LEASE_EXPIRE: job_pb2.ATTEMPT_OUTCOME_LEASE_EXPIRED,
    EntryKind.CANCEL: job_pb2.ATTEMPT_OUTCOME_CANCELLED,
    EntryKind.EXPIRE: job_pb2.ATTEMPT_OUTCOME_EXPIRED,
}


def _stamp(field: Any, time_ms: int) -> None:
    if time_ms:
        field.FromMilliseconds(time_ms)


def split_path(path: bytes) -> tuple[str, str]:
    """(namespace, queue)."""
    namespace, _, queue = path.decode().partition("/")
    return namespace, queue


def job_of(view: JobView) -> Any:
    """A job with its present state."""
    row, outcome = view.row, view.outcome
    spec = row.decoded_spec()
    job = job_pb2.Job(
        job_id=id_to_text(row.job_id),
        type=spec.type.decode(),
        payload=spec.payload,
        state=row.state,  # type: ignore[arg-type]
        attempt=row.attempt,
        priority=spec.priority,
        labels=unpack_labels(spec.labels),
        idempotency_key=spec.key.decode(),
        routing_key=spec.routing_key.decode(),
        trace_context=spec.trace.decode(),
        last_error=row.error.decode(errors="replace"),
        worker_id=row.worker.decode(),
    )
    job.namespace, job.queue = split_path(spec.queue)
    _stamp(job.schedule_time, spec.schedule_ms)
    _stamp(job.create_time, spec.create_ms)
    _stamp(job.finish_time, view.finish_ms)
    _stamp(job.fire_time, row.fire_ms)
    if row.state in _WAITING:
        _stamp(job.next_fire_time, row.due_ms)
    # A job that has ended is told by its history alone: what it was asked to do went with it.
    if spec.create_ms:
        _policy(job, spec)
    if outcome is not None:
        job.last_error = job.last_error or outcome.error.decode(errors="replace")
        job.worker_id = job.worker_id or outcome.worker.decode()
        if not row.fire_ms:
            _stamp(job.fire_time, outcome.fire_ms)
        if row.state == JobState.SUCCEEDED:
            job.result = outcome.result
    return job


def _policy(job: Any, spec: Spec) -> None:
    if spec.expire_ms:
        job.start_timeout.FromMilliseconds(max(spec.expire_ms - spec.schedule_ms, 0))
    if spec.lease_ms:
        job.lease_duration.FromMilliseconds(spec.lease_ms)
    policy = job.retry_policy
    policy.max_attempts = spec.max_attempts
    policy.initial_backoff.FromMilliseconds(spec.backoff_initial_ms)
    policy.max_backoff.FromMilliseconds(spec.backoff_max_ms)
    policy.backoff_multiplier = spec.backoff_percent / 100
    policy.jitter = spec.jitter_percent / 100


def attempts_of(view: JobView, ended: Sequence[tuple[int, Outcome]]) -> list[Any]:
    """The history of a job, and the attempt that runs now."""
    found = [_attempt(finish_ms, outcome) for finish_ms, outcome in ended]
    row = view.row
    if row.state == JobState.RUNNING and all(outcome.attempt != row.attempt for _, outcome in ended):
        running = job_pb2.Attempt(attempt=row.attempt, worker_id=row.worker.decode())
        _stamp(running.fire_time, row.fire_ms)
        found.append(running)
    return found


def _attempt(finish_ms: int, outcome: Outcome) -> Any:
    how = _OUTCOMES[EntryKind(outcome.cause)]
    if outcome.cause == EntryKind.NACK and outcome.state == JobState.FAILED:
        how = job_pb2.ATTEMPT_OUTCOME_FAILED
    attempt = job_pb2.Attempt(
        attempt=outcome.attempt,
        worker_id=outcome.worker.decode(),
        outcome=how,
        error_message=outcome.error.decode(errors="replace"),
        result=outcome.result,
    )
    _stamp(attempt.fire_time, outcome.fire_ms)
    _stamp(attempt.finish_time, finish_ms)
    return attempt


def queue_of(view: QueueView, now_ms: int) -> Any:
    """A queue as far as this node's memory knows it: of jobs on disk it is only told whether some are pending."""
    namespace, name = split_path(view.queue)
    queue = queue_service_pb2.Queue(
        namespace=namespace,
        queue=name,
        paused=view.paused,
        pending_jobs=view.ready,
        pending_on_disk=view.backlog,
        running_jobs=view.running,
        workers=view.streams,
    )
    if view.ready and view.oldest_due_ms:
        queue.oldest_pending_age.FromMilliseconds(max(now_ms - view.oldest_due_ms, 0))
    return queue
