"""The codec in plain Python over the generated classes: the specification of the native one, and its oracle.

Owns: the meaning of each hot message. Does not own: the packed layouts (model/batch.py), the checks of a job (checks).
Invariant: see `codec.Codec`. Only the order of a map's entries may differ between the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError

from wheeld.model import batch as packed
from wheeld.model import errors, limits
from wheeld.model.errors import FIELD_NAMES, REGISTRY, Field
from wheeld.model.ids import NO_ID, id_to_text
from wheeld.model.spec import unpack_labels, unpack_spec
from wheeld.wire.checks import DEFAULT_NAME, ItemRefused, lease_span_ms, span_ms, spec_of
from wheeld.wire.codec import (
    ECHO_BYTES_MAX,
    SETTLE_REFUSED,
    AnswerKind,
    SettleKind,
    StreamCase,
    SubmitKind,
    session_digest,
)
from wheeld.wire.content_hash import xxh64
from wheeld.wire.pb.v1 import job_service_pb2 as jobs_pb
from wheeld.wire.pb.v1 import worker_service_pb2 as worker_pb

_SUBMITS: dict[int, Any] = {
    SubmitKind.CREATE: jobs_pb.CreateJobRequest,
    SubmitKind.BATCH: jobs_pb.BatchCreateJobsRequest,
    SubmitKind.STREAM: jobs_pb.SubmitJobsRequest,
}
_SETTLES: dict[int, Any] = {
    SettleKind.STREAM: worker_pb.StreamLeasesRequest,
    SettleKind.ACK: worker_pb.AckJobsRequest,
    SettleKind.NACK: worker_pb.NackJobsRequest,
    SettleKind.RELEASE: worker_pb.ReleaseLeasesRequest,
    SettleKind.RENEW: worker_pb.RenewLeasesRequest,
}


def _bytes_of(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _submit_item(job: Any, latest_ms: int) -> bytes:
    try:
        spec = spec_of(job, latest_ms).pack()
    except ItemRefused as refused:
        return packed.ITEM_HEAD.pack(0, refused.code, refused.field, 0)
    return packed.ITEM_HEAD.pack(len(spec), errors.OK, Field.NONE, 0) + spec


def decode_submit(
    message: bytes, kind: int, session: bytes = packed.NO_SESSION, latest_ms: int = 0
) -> tuple[int, bytes]:
    """See `codec.Codec`."""
    try:
        request = _SUBMITS[kind].FromString(message)
    except DecodeError:
        return errors.MALFORMED, b""
    number = 0
    jobs: Iterable[Any] = (request.job,) if kind == SubmitKind.CREATE else request.jobs
    if kind != SubmitKind.CREATE:
        number = request.batch_number
        if request.producer_session_id:
            session = session_digest(request.producer_session_id.encode())
    items = [_submit_item(job, latest_ms) for job in jobs]
    if len(items) > limits.BATCH_JOBS_MAX:
        return errors.BATCH_TOO_LARGE, b""
    body = b"".join(items)
    content_hash = xxh64(body) if number else 0
    return errors.OK, packed.SUBMIT_HEAD.pack(len(items), 0, number, session, content_hash) + body


def encode_submit_results(kind: int, batch_number: int, results: bytes, schedule_ms: int = 0) -> bytes:
    """See `codec.Codec`."""
    if len(results) % packed.SUBMIT_RESULT.size:
        raise ValueError(f"submit results of {len(results)} bytes are not whole")
    rows = list(packed.SUBMIT_RESULT.iter_unpack(results))
    if kind == SubmitKind.CREATE:
        created = jobs_pb.CreateJobResponse(
            job_id=id_to_text(rows[0][5]), duplicate=bool(rows[0][2] & packed.RESULT_DUPLICATE)
        )
        if schedule_ms:
            created.schedule_time.FromMilliseconds(schedule_ms)
        return _bytes_of(created)
    answers = []
    for code, field, flags, _, _, job_id in rows:
        answer = jobs_pb.JobResult(code=code, field=FIELD_NAMES.get(field, "") if code else "")
        answer.job_id = "" if job_id == NO_ID else id_to_text(job_id)
        answer.duplicate = bool(flags & packed.RESULT_DUPLICATE)
        answer.reason = REGISTRY[code].reason if code in REGISTRY else ""
        answers.append(answer)
    if kind == SubmitKind.BATCH:
        return _bytes_of(jobs_pb.BatchCreateJobsResponse(results=answers))
    return _bytes_of(jobs_pb.SubmitJobsResponse(batch_number=batch_number, results=answers))


def _cut(text: str, most: int) -> bytes:
    """The longest prefix of whole characters within `most` bytes."""
    return text.encode()[:most].decode(errors="ignore").encode()


def _settle_item(
    op: int, token: bytes, *, flags: int = 0, error: bytes = b"", result: bytes = b"", delay_ms: int = packed.NO_DELAY,
    extend_ms: int = 0, receive_us: int = 0,
) -> bytes:  # fmt: skip
    job_id, fencing = packed.TOKEN.unpack(token)
    head = packed.SETTLE_HEAD.pack(op, flags, len(error), len(result), delay_ms, extend_ms, fencing, job_id, receive_us)
    return head + error + result


def _refused_item(op: int, token: bytes, code: int, field: int) -> bytes:
    return _settle_item(
        op, bytes(packed.TOKEN.size), flags=SETTLE_REFUSED, error=token[:ECHO_BYTES_MAX], extend_ms=code | field << 8
    )


def _ack(token: bytes, ack: Any) -> bytes:
    if len(ack.result) > limits.RESULT_BYTES_MAX:
        raise ItemRefused(Field.RESULT)
    return _settle_item(packed.OP_ACK, token, result=ack.result, receive_us=ack.receive_time_us)


def _nack(token: bytes, nack: Any) -> bytes:
    delay_ms = packed.NO_DELAY
    if nack.HasField("retry_delay"):
        delay_ms = span_ms(nack.retry_delay, 0, limits.BACKOFF_MS_LIMIT, Field.RETRY_DELAY)
    flags = packed.SETTLE_NO_RETRY if nack.no_retry else 0
    error = _cut(nack.error_message, limits.ERROR_BYTES_MAX)
    return _settle_item(
        packed.OP_NACK, token, flags=flags, error=error, delay_ms=delay_ms, receive_us=nack.receive_time_us
    )


def _release(token: bytes, _release: Any) -> bytes:
    return _settle_item(packed.OP_RELEASE, token)


def _renew(token: bytes, renew: Any) -> bytes:
    return _settle_item(packed.OP_RENEW, token, extend_ms=lease_span_ms(renew.extend_duration, Field.LEASE_DURATION))


_ITEMS = {
    packed.OP_ACK: "acks",
    packed.OP_NACK: "nacks",
    packed.OP_RELEASE: "releases",
    packed.OP_RENEW: "lease_tokens",
}
_PACK = {packed.OP_ACK: _ack, packed.OP_NACK: _nack, packed.OP_RELEASE: _release, packed.OP_RENEW: _renew}


def _pack_settle(op: int, token: bytes, item: Any) -> bytes:
    if len(token) != packed.TOKEN.size:
        return _refused_item(op, token, errors.TOKEN_UNKNOWN, Field.LEASE_TOKEN)
    try:
        return _PACK[op](token, item)
    except ItemRefused as refused:
        return _refused_item(op, token, refused.code, refused.field)


def _settles_of(request: Any, kind: int) -> list[tuple[int, bytes, Any]]:
    """(operation, token, message that holds the rest) for each item, in the order that is decided."""
    if kind == SettleKind.STREAM:
        which = request.WhichOneof("message")
        if which not in ("settle", "renew"):
            return []
        request = getattr(request, which)
    found: list[tuple[int, bytes, Any]] = []
    for operation, name in _ITEMS.items():
        if operation != packed.OP_RENEW:
            found += ((operation, item.lease_token, item) for item in getattr(request, name, ()))
        else:
            found += ((operation, token, request) for token in getattr(request, name, ()))
    return found


def decode_settle(message: bytes, kind: int = SettleKind.STREAM) -> tuple[int, bytes, bytes, bytes]:
    """See `codec.Codec`."""
    try:
        request = _SETTLES[kind].FromString(message)
    except DecodeError:
        return errors.MALFORMED, b"", b"", b""
    found = _settles_of(request, kind)
    if len(found) > limits.SETTLES_MAX:
        return errors.BATCH_TOO_LARGE, b"", b"", b""
    items = [_pack_settle(operation, token, item) for operation, token, item in found]
    batch = packed.SETTLE_BATCH_HEAD.pack(len(items), 0) + b"".join(items)
    if kind == SettleKind.STREAM:
        return errors.OK, batch, b"", b""
    return errors.OK, batch, request.worker_id.encode(), request.session_id.encode()


def encode_settled(kind: int, batch: bytes, results: bytes) -> bytes:
    """See `codec.Codec`."""
    rows = list(packed.SETTLE_RESULT.iter_unpack(results))
    count, _ = packed.SETTLE_BATCH_HEAD.unpack_from(batch)
    if count != len(rows):
        raise ValueError(f"settle batch of {count} items with {len(rows)} results")
    at = packed.SETTLE_BATCH_HEAD.size
    items = []
    for _, code, result_flags, state, _, expire_ms in rows:
        op, flags, error_len, result_len, _, extend, fencing, job_id, _ = packed.SETTLE_HEAD.unpack_from(batch, at)
        at += packed.SETTLE_HEAD.size
        if flags & SETTLE_REFUSED:
            token = batch[at : at + error_len]
            item = worker_pb.SettledItem(code=extend & 0xFF, field=FIELD_NAMES.get(extend >> 8, ""))
        else:
            token = packed.TOKEN.pack(job_id, fencing)
            item = worker_pb.SettledItem(code=code, state=state, lease_expire_time_ms=expire_ms)
            item.already_settled = bool(result_flags & packed.RESULT_REPEATED)
        item.lease_token, item.operation = token, op
        at += error_len + result_len
        items.append(item)
    if kind == AnswerKind.UNARY:
        return _bytes_of(worker_pb.AckJobsResponse(items=items))
    return _bytes_of(worker_pb.StreamLeasesResponse(settled=worker_pb.Settled(items=items)))


def _lease(frame: bytes, at: int) -> Any:
    (_, job_id, fencing, due_ms, expire_ms, lease_ms, attempt, flags, spec_len) = packed.GRANT_HEAD.unpack_from(
        frame, at
    )
    spec_at = at + packed.GRANT_HEAD.size
    spec = unpack_spec(frame[spec_at : spec_at + spec_len])
    namespace, _, queue = spec.queue.decode().partition("/")
    return worker_pb.Lease(
        lease_token=packed.TOKEN.pack(job_id, fencing),
        job_id=id_to_text(job_id),
        type=spec.type.decode(),
        payload=spec.payload,
        queue=queue,
        namespace="" if namespace == DEFAULT_NAME else namespace,
        attempt=attempt,
        max_attempts=spec.max_attempts,
        schedule_time_ms=due_ms,
        lease_expire_time_ms=expire_ms,
        lease_duration_ms=lease_ms,
        fencing_token=fencing,
        priority=spec.priority,
        labels=unpack_labels(spec.labels),
        trace_context=spec.trace.decode(),
        redelivery=bool(flags & packed.GRANT_REDELIVERY),
    )


def encode_leases(kind: int, frame: bytes, fire_time_us: int) -> bytes:
    """See `codec.Codec`."""
    leases = []
    at = 0
    while at < len(frame):
        leases.append(_lease(frame, at))
        at += 4 + int.from_bytes(frame[at : at + 4], "little")
    if kind == AnswerKind.UNARY:
        return _bytes_of(worker_pb.LeaseJobsResponse(fire_time_us=fire_time_us, leases=leases))
    return _bytes_of(
        worker_pb.StreamLeasesResponse(leases=worker_pb.LeaseFrame(fire_time_us=fire_time_us, leases=leases))
    )


def encode_revoked(revoked: bytes) -> bytes:
    """See `codec.Codec`."""
    leases = [
        worker_pb.RevokedLease(lease_token=packed.TOKEN.pack(job_id, fencing), code=code)
        for job_id, fencing, code in packed.REVOKED.iter_unpack(revoked)
    ]
    return _bytes_of(worker_pb.StreamLeasesResponse(revoked=worker_pb.Revoked(leases=leases)))


def peek_stream_request(message: bytes) -> int:
    """See `codec.Codec`."""
    try:
        which = worker_pb.StreamLeasesRequest.FromString(message).WhichOneof("message")
    except DecodeError:
        return StreamCase.MALFORMED
    return StreamCase[which.upper()] if which else StreamCase.NOTHING
