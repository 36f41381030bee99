"""The syntactic checks of a NewJob, in plain Python over the generated class: from a message to a spec or a refusal.

Owns: the order of the checks (the first that fails is the answer) and the defaults. Does not own: limits, or checks
that need state. Invariant: the native codec gives the same record, or the same code and field, for every message.
"""

from __future__ import annotations

import re
from typing import Any, Final

from wheeld.model import errors, limits
from wheeld.model.errors import Field
from wheeld.model.spec import FLAG_DELAY, FLAG_EXPIRE_AFTER, Spec, pack_labels

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NANOS: Final = 1_000_000_000
_TIMESTAMP_SECONDS_MAX: Final = 253_402_300_799
_DURATION_SECONDS_MAX: Final = 315_576_000_000
DEFAULT_NAME: Final = "default"


class ItemRefused(Exception):
    """One item fails a check: `code` and `field` are the answer."""

    def __init__(self, field: int, code: int = errors.FIELD_INVALID) -> None:
        self.code, self.field = code, field
        super().__init__(code, field)


def span_ms(span: Any, least_ms: int, most_ms: int, field: int, code: int = errors.FIELD_INVALID) -> int:
    """A Duration in ms, rounded up. One that is not valid is FIELD_INVALID; one out of bounds is `code`."""
    if not (0 <= span.seconds <= _DURATION_SECONDS_MAX and 0 <= span.nanos < _NANOS):
        raise ItemRefused(field)
    value = span.seconds * 1000 + -(-span.nanos // 1_000_000)
    if not least_ms <= value <= most_ms:
        raise ItemRefused(field, code)
    return int(value)


def lease_span_ms(span: Any, field: int) -> int:
    """A lease's duration in ms; 0 stays 0."""
    value = span_ms(span, 0, limits.LEASE_MS_MAX, field)
    if 0 < value < limits.LEASE_MS_MIN:
        raise ItemRefused(field)
    return value


def _name(text: str, field: int) -> str:
    text = text or DEFAULT_NAME
    if len(text) > limits.NAME_BYTES_MAX or not _NAME.match(text):
        raise ItemRefused(field)
    return text


def _bounded(text: str, most: int, field: int) -> bytes:
    raw = text.encode()
    if len(raw) > most:
        raise ItemRefused(field)
    return raw


def _type(text: str) -> bytes:
    if not text or _CONTROL.search(text):
        raise ItemRefused(Field.TYPE)
    return _bounded(text, limits.TYPE_BYTES_MAX, Field.TYPE)


def _payload(payload: bytes) -> bytes:
    if len(payload) > limits.PAYLOAD_BYTES_MAX:
        raise ItemRefused(Field.PAYLOAD, errors.PAYLOAD_TOO_LARGE)
    return payload


def _priority(job: Any) -> int:
    if not job.HasField("priority"):
        return limits.PRIORITY_DEFAULT
    if job.priority > limits.PRIORITY_MAX:
        raise ItemRefused(Field.PRIORITY)
    return int(job.priority)


def _when(job: Any, latest_ms: int) -> tuple[int, int]:
    """(schedule_ms, flags)."""
    which = job.WhichOneof("when")
    if which == "delay":
        return span_ms(job.delay, 0, limits.SCHEDULE_AHEAD_MS_MAX, Field.DELAY, errors.SCHEDULE_TOO_FAR), FLAG_DELAY
    if which is None:
        return 0, 0
    at = job.schedule_time
    if not (0 <= at.seconds <= _TIMESTAMP_SECONDS_MAX and 0 <= at.nanos < _NANOS):
        raise ItemRefused(Field.SCHEDULE_TIME)
    schedule_ms = at.seconds * 1000 + -(-at.nanos // 1_000_000)
    if latest_ms and schedule_ms > latest_ms:
        raise ItemRefused(Field.SCHEDULE_TIME, errors.SCHEDULE_TOO_FAR)
    return schedule_ms, 0


def _labels(job: Any) -> bytes:
    if len(job.labels) > limits.LABELS_MAX:
        raise ItemRefused(Field.LABELS)
    for key, value in job.labels.items():
        if not 1 <= len(key.encode()) <= limits.LABEL_KEY_BYTES_MAX:
            raise ItemRefused(Field.LABELS)
        if len(value.encode()) > limits.LABEL_VALUE_BYTES_MAX:
            raise ItemRefused(Field.LABELS)
    block = pack_labels(dict(job.labels))
    if len(block) > limits.LABELS_BYTES_MAX:
        raise ItemRefused(Field.LABELS)
    return block


def _retry(policy: Any) -> dict[str, int]:
    field = Field.RETRY_POLICY
    if policy.max_attempts > limits.ATTEMPTS_MAX:
        raise ItemRefused(field)
    initial_ms = limits.BACKOFF_INITIAL_MS_DEFAULT
    if policy.HasField("initial_backoff"):
        initial_ms = span_ms(policy.initial_backoff, 0, limits.BACKOFF_MS_LIMIT, field)
    max_ms = max(limits.BACKOFF_MS_MAX_DEFAULT, initial_ms)
    if policy.HasField("max_backoff"):
        max_ms = span_ms(policy.max_backoff, initial_ms, limits.BACKOFF_MS_LIMIT, field)
    percent = limits.BACKOFF_PERCENT_DEFAULT
    if policy.backoff_multiplier != 0:
        # NaN fails every comparison, so the bound is asked this way round.
        if not limits.BACKOFF_PERCENT_MIN / 100 <= policy.backoff_multiplier <= limits.BACKOFF_PERCENT_MAX / 100:
            raise ItemRefused(field)
        percent = int(policy.backoff_multiplier * 100 + 0.5)
    jitter = limits.BACKOFF_JITTER_PERCENT_DEFAULT
    if policy.HasField("jitter"):
        if not 0 <= policy.jitter <= 1:
            raise ItemRefused(field)
        jitter = int(policy.jitter * 100 + 0.5)
    return {
        "max_attempts": policy.max_attempts or limits.ATTEMPTS_DEFAULT,
        "backoff_initial_ms": initial_ms,
        "backoff_max_ms": max_ms,
        "backoff_percent": percent,
        "jitter_percent": jitter,
    }


def spec_of(job: Any, latest_ms: int = 0) -> Spec:
    """The spec that a NewJob asks for. ItemRefused with the first check that fails."""
    namespace = _name(job.namespace, Field.NAMESPACE)
    queue = _name(job.queue, Field.QUEUE)
    kind = _type(job.type)
    payload = _payload(job.payload)
    priority = _priority(job)
    schedule_ms, flags = _when(job, latest_ms)
    expire_ms = span_ms(job.start_timeout, 0, limits.SCHEDULE_AHEAD_MS_MAX, Field.EXPIRE)
    return Spec(
        queue=f"{namespace}/{queue}".encode(),
        type=kind,
        payload=payload,
        priority=priority,
        schedule_ms=schedule_ms,
        expire_ms=expire_ms,
        flags=flags | (FLAG_EXPIRE_AFTER if expire_ms else 0),
        key=_bounded(job.idempotency_key, limits.KEY_BYTES_MAX, Field.IDEMPOTENCY_KEY),
        routing_key=_bounded(job.routing_key, limits.ROUTING_KEY_BYTES_MAX, Field.ROUTING_KEY),
        labels=_labels(job),
        **_retry(job.retry_policy),
        lease_ms=lease_span_ms(job.lease_duration, Field.LEASE_DURATION),
        trace=_bounded(job.trace_context, limits.TRACE_BYTES_MAX, Field.TRACE_CONTEXT),
    )
