"""What a worker asks for when it opens a stream or leases once: checked, with defaults filled in.

Owns the bounds of `Open`, `Credit` and `LeaseJobsRequest`. Invariant: an Opening that exists is within limits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from wheeld.model import errors, limits
from wheeld.model.batch import CALL_PREFIX_BYTES, TOKEN
from wheeld.model.errors import Refused
from wheeld.wire.codec import session_digest
from wheeld.wire.pb.v1 import worker_service_pb2 as pb

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")
DEFAULT_NAME = "default"


class Opening(NamedTuple):
    """A checked wish for leases. `queues` are paths `namespace/queue`; `held` is a run of tokens."""

    worker: bytes
    session: bytes
    queues: list[bytes]
    max_jobs: int
    max_bytes: int
    lease_ms: int
    held: bytes


class LeaseCall(NamedTuple):
    """A checked LeaseJobsRequest."""

    opening: Opening
    wait_ms: int


def invalid(name: str, wanted: str) -> Refused:
    """A field of a cold message is out of its bounds."""
    return Refused(errors.FIELD_INVALID, f"field `{name}`: {wanted}")


def parse(kind: Any, message: bytes) -> Any:
    """The message, or MALFORMED."""
    try:
        return kind.FromString(message)
    except DecodeError:
        raise Refused(errors.MALFORMED, f"the bytes are no {kind.DESCRIPTOR.name}") from None


def name(text: str, field: str) -> str:
    """A name of a namespace or queue; "" is the default one."""
    text = text or DEFAULT_NAME
    if len(text) > limits.NAME_BYTES_MAX or not _NAME.match(text):
        raise invalid(field, f"a name matches [a-z0-9][a-z0-9_.-]* and has at most {limits.NAME_BYTES_MAX} bytes")
    return text


def queue_path(namespace: str, queue: str) -> bytes:
    """`namespace/queue`, checked."""
    return f"{name(namespace, 'namespace')}/{name(queue, 'queue')}".encode()


def span_ms(span: Any, most_ms: int, field: str) -> int:
    """A Duration in ms, rounded up; 0 when it is not set."""
    value = int(span.seconds) * 1000 + -(-int(span.nanos) // 1_000_000)
    if span.seconds < 0 or not 0 <= span.nanos < 1_000_000_000 or value > most_ms:
        raise invalid(field, f"a span between 0 and {most_ms} ms")
    return value


def _identity(raw: bytes, field: str, most: int) -> bytes:
    if not 1 <= len(raw) <= most:
        raise invalid(field, f"1..{most} bytes of text")
    return raw


def _queues(namespace: str, names: Sequence[str]) -> list[bytes]:
    if len(names) > limits.STREAM_QUEUES_MAX:
        raise invalid("queues", f"at most {limits.STREAM_QUEUES_MAX} names")
    return [queue_path(namespace, queue) for queue in dict.fromkeys(names or ("",))]


def _lease_ms(span: Any) -> int:
    value = span_ms(span, limits.LEASE_MS_MAX, "lease_duration")
    if 0 < value < limits.LEASE_MS_MIN:
        raise invalid("lease_duration", f"0, or {limits.LEASE_MS_MIN}..{limits.LEASE_MS_MAX} ms")
    return value or limits.LEASE_MS_DEFAULT


def credit_of(jobs: int, size: int) -> tuple[int, int]:
    """(jobs, bytes) that may be outstanding."""
    if jobs > limits.STREAM_JOBS_MAX:
        raise invalid("max_outstanding_jobs", f"at most {limits.STREAM_JOBS_MAX}")
    if size > limits.STREAM_BYTES_MAX:
        raise invalid("max_outstanding_bytes", f"at most {limits.STREAM_BYTES_MAX}")
    return jobs, size or limits.STREAM_BYTES_DEFAULT


def opening_of(message: Any) -> Opening:
    """The wish in an `Open`."""
    if any(len(token) != TOKEN.size for token in message.held_lease_tokens):
        raise invalid("held_lease_tokens", f"a lease token has {TOKEN.size} bytes")
    if len(message.held_lease_tokens) > limits.STREAM_JOBS_MAX:
        raise invalid("held_lease_tokens", f"at most {limits.STREAM_JOBS_MAX}")
    max_jobs, max_bytes = credit_of(message.max_outstanding_jobs or 1, message.max_outstanding_bytes)
    return Opening(
        worker=_identity(message.worker_id.encode(), "worker_id", limits.WORKER_ID_BYTES_MAX),
        session=_identity(message.session_id.encode(), "session_id", limits.SESSION_ID_BYTES_MAX),
        queues=_queues(message.namespace, message.queues),
        max_jobs=max_jobs,
        max_bytes=max_bytes,
        lease_ms=_lease_ms(message.lease_duration),
        held=b"".join(message.held_lease_tokens),
    )


def caller_of(worker: bytes, session: bytes) -> tuple[bytes, bytes]:
    """(worker, session) of a unary call; the worker's name stands for a session that is not named."""
    worker = _identity(worker, "worker_id", limits.WORKER_ID_BYTES_MAX)
    return worker, _identity(session or worker, "session_id", limits.SESSION_ID_BYTES_MAX)


def call_prefix(session: bytes) -> bytes:
    """What the names of all sessions begin with that unary calls of this one lease under."""
    return session_digest(session)[:CALL_PREFIX_BYTES]


def lease_call_of(message: bytes) -> LeaseCall:
    """The wish in a LeaseJobsRequest."""
    request = parse(pb.LeaseJobsRequest, message)
    if request.max_jobs > limits.LEASE_CALL_JOBS_MAX:
        raise invalid("max_jobs", f"at most {limits.LEASE_CALL_JOBS_MAX}")
    worker, session = caller_of(request.worker_id.encode(), request.session_id.encode())
    opening = Opening(
        worker=worker,
        session=session,
        queues=_queues(request.namespace, request.queues),
        max_jobs=request.max_jobs or 1,
        max_bytes=limits.FRAME_BYTES_MAX * 2,
        lease_ms=_lease_ms(request.lease_duration),
        held=b"",
    )
    return LeaseCall(opening, span_ms(request.wait_duration, limits.LEASE_WAIT_MS_MAX, "wait_duration"))
