"""What the daemon tells about jobs, as plain Python values.

Owns: the conversion from the generated classes. Invariant: an absent time is None, never 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from wheeld.client.times import read_moment, read_span
from wheeld.model.job import TERMINAL, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stood when the daemon answered. Times are in UTC."""

    job_id: str
    namespace: str
    queue: str
    type: str
    payload: bytes
    state: JobState
    attempt: int
    priority: int
    labels: dict[str, str]
    key: str
    routing_key: str
    max_attempts: int
    schedule_time: datetime
    next_fire_time: datetime | None
    create_time: datetime | None
    fire_time: datetime | None
    finish_time: datetime | None
    start_timeout: timedelta | None
    last_error: str
    result: bytes
    worker_id: str
    trace_context: str

    @property
    def finished(self) -> bool:
        """Whether the job has ended."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One row of a job's history. `outcome` is "RUNNING" while it runs."""

    attempt: int
    worker_id: str
    fire_time: datetime | None
    finish_time: datetime | None
    outcome: str
    error_message: str
    result: bytes


def _moment(message: Any, field: str) -> datetime | None:
    return read_moment(getattr(message, field)) if message.HasField(field) else None


def job_of(message: Any) -> Job:
    """From a protobuf Job."""
    return Job(
        job_id=message.job_id,
        namespace=message.namespace,
        queue=message.queue,
        type=message.type,
        payload=message.payload,
        state=JobState(message.state),
        attempt=message.attempt,
        priority=message.priority,
        labels=dict(message.labels),
        key=message.idempotency_key,
        routing_key=message.routing_key,
        max_attempts=message.retry_policy.max_attempts,
        schedule_time=read_moment(message.schedule_time),
        next_fire_time=_moment(message, "next_fire_time"),
        create_time=_moment(message, "create_time"),
        fire_time=_moment(message, "fire_time"),
        finish_time=_moment(message, "finish_time"),
        start_timeout=read_span(message.start_timeout) if message.HasField("start_timeout") else None,
        last_error=message.last_error,
        result=message.result,
        worker_id=message.worker_id,
        trace_context=message.trace_context,
    )


def attempt_of(message: Any) -> Attempt:
    """From a protobuf Attempt."""
    from wheeld.wire.pb.v1 import job_pb2

    name = job_pb2.AttemptOutcome.Name(message.outcome).removeprefix("ATTEMPT_OUTCOME_")
    return Attempt(
        attempt=message.attempt,
        worker_id=message.worker_id,
        fire_time=_moment(message, "fire_time"),
        finish_time=_moment(message, "finish_time"),
        outcome="RUNNING" if name == "UNSPECIFIED" else name,
        error_message=message.error_message,
        result=message.result,
    )
