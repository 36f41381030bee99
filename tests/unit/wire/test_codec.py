"""What the codec says, spelled out: the properties only tell that both implementations say the same."""

from __future__ import annotations

import pytest

from wheeld.model import batch as packed
from wheeld.model import errors, limits
from wheeld.model.errors import Field
from wheeld.model.ids import id_to_text, pack_id
from wheeld.model.spec import FLAG_DELAY, FLAG_EXPIRE_AFTER, Spec, unpack_spec
from wheeld.wire import codec
from wheeld.wire.codec import AnswerKind, Codec, SettleKind, SubmitKind
from wheeld.wire.content_hash import xxh64
from wheeld.wire.pb.v1 import job_pb2 as job_pb
from wheeld.wire.pb.v1 import job_service_pb2 as jobs_pb
from wheeld.wire.pb.v1 import worker_service_pb2 as worker_pb

TOKEN = packed.TOKEN.pack(pack_id(3, 2_950_000, 77), 5)


@pytest.fixture(params=["native", "reference"])
def subject(request: pytest.FixtureRequest) -> Codec:
    return codec.native_codec() if request.param == "native" else codec.reference_codec()


def decoded(subject: Codec, **fields: object) -> Spec | tuple[int, int]:
    """The spec of one job, or (code, field) of its refusal."""
    message = jobs_pb.CreateJobRequest(job=job_pb.NewJob(**fields)).SerializeToString()
    code, batch = subject.decode_submit(message, SubmitKind.CREATE)
    assert code == errors.OK
    length, item_code, field, _ = packed.ITEM_HEAD.unpack_from(batch, packed.SUBMIT_HEAD.size)
    if item_code:
        assert length == 0
        return item_code, field
    return unpack_spec(batch[packed.SUBMIT_HEAD.size + packed.ITEM_HEAD.size :])


def test_defaults(subject: Codec) -> None:
    assert decoded(subject, type="send") == Spec(queue=b"default/default", type=b"send")


def test_a_finer_time_is_rounded_up(subject: Codec) -> None:
    spec = decoded(subject, type="send", schedule_time={"seconds": 7, "nanos": 1_000_001})
    assert isinstance(spec, Spec)
    assert (spec.schedule_ms, spec.flags) == (7002, 0)


def test_relative_times_are_marked(subject: Codec) -> None:
    spec = decoded(subject, type="send", delay={"nanos": 1}, start_timeout={"seconds": 60})
    assert isinstance(spec, Spec)
    assert (spec.schedule_ms, spec.expire_ms, spec.flags) == (1, 60_000, FLAG_DELAY | FLAG_EXPIRE_AFTER)


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({}, (errors.FIELD_INVALID, Field.TYPE)),
        ({"type": "t", "queue": "Email"}, (errors.FIELD_INVALID, Field.QUEUE)),
        ({"type": "t", "namespace": "a/b"}, (errors.FIELD_INVALID, Field.NAMESPACE)),
        ({"type": "t", "payload": bytes(limits.PAYLOAD_BYTES_MAX + 1)}, (errors.PAYLOAD_TOO_LARGE, Field.PAYLOAD)),
        ({"type": "t", "priority": 10}, (errors.FIELD_INVALID, Field.PRIORITY)),
        ({"type": "t", "delay": {"seconds": 51 * 366 * 86400}}, (errors.SCHEDULE_TOO_FAR, Field.DELAY)),
        ({"type": "t", "labels": {"": "x"}}, (errors.FIELD_INVALID, Field.LABELS)),
        ({"type": "t", "retry_policy": {"jitter": float("nan")}}, (errors.FIELD_INVALID, Field.RETRY_POLICY)),
        ({"type": "t", "lease_duration": {"nanos": 1}}, (errors.FIELD_INVALID, Field.LEASE_DURATION)),
    ],
)
def test_refusals(subject: Codec, fields: dict[str, object], answer: tuple[int, int]) -> None:
    assert decoded(subject, **fields) == answer


def test_latest_time(subject: Codec) -> None:
    job = job_pb.NewJob(type="t", schedule_time={"seconds": 10, "nanos": 1})
    message = jobs_pb.CreateJobRequest(job=job).SerializeToString()
    codes = []
    for latest_ms in (10_000, 10_001):
        _, batch = subject.decode_submit(message, SubmitKind.CREATE, latest_ms=latest_ms)
        codes.append(packed.ITEM_HEAD.unpack_from(batch, packed.SUBMIT_HEAD.size)[1])
    assert codes == [errors.SCHEDULE_TOO_FAR, errors.OK]


def test_too_many(subject: Codec) -> None:
    job = b"\x1a\x03\x12\x01t"
    assert subject.decode_submit(job * limits.BATCH_JOBS_MAX, SubmitKind.BATCH)[0] == errors.OK
    assert subject.decode_submit(job * (limits.BATCH_JOBS_MAX + 1), SubmitKind.BATCH) == (errors.BATCH_TOO_LARGE, b"")
    release = b"\x1a\x02\x0a\x00"
    message = release * (limits.SETTLES_MAX + 1)
    assert subject.decode_settle(message, SettleKind.RELEASE) == (errors.BATCH_TOO_LARGE, b"", b"", b"")


def test_session_of_a_stream(subject: Codec) -> None:
    named = jobs_pb.SubmitJobsRequest(producer_session_id="p-1", batch_number=9).SerializeToString()
    later = jobs_pb.SubmitJobsRequest(batch_number=10).SerializeToString()
    _, first = subject.decode_submit(named, SubmitKind.STREAM)
    session = first[16:32]
    assert session == codec.session_digest(b"p-1")
    _, second = subject.decode_submit(later, SubmitKind.STREAM, session)
    assert packed.SUBMIT_HEAD.unpack(second) == (0, 0, 10, session, xxh64(b""))


def test_settles_and_their_answers(subject: Codec) -> None:
    settle = worker_pb.Settle(
        nacks=[worker_pb.Nack(lease_token=TOKEN, error_message="é" * 3000, no_retry=True)],
        acks=[worker_pb.Ack(lease_token=b"odd", result=b"r"), worker_pb.Ack(lease_token=TOKEN, result=bytes(20_000))],
    )
    message = worker_pb.StreamLeasesRequest(settle=settle).SerializeToString()
    code, batch, _, _ = subject.decode_settle(message)
    assert code == errors.OK
    nack_at = len(batch) - packed.SETTLE_HEAD.size - limits.ERROR_BYTES_MAX
    head = packed.SETTLE_HEAD.unpack_from(batch, nack_at)
    assert head[:4] == (packed.OP_NACK, packed.SETTLE_NO_RETRY, limits.ERROR_BYTES_MAX, 0)
    assert batch[nack_at + packed.SETTLE_HEAD.size :].decode() == "é" * (limits.ERROR_BYTES_MAX // 2)
    # The core finds no lease for the refused two; what it says of them does not count.
    unknown = packed.SETTLE_RESULT.pack(1, errors.TOKEN_UNKNOWN, 0, 0, 0, 0)
    results = unknown * 2 + packed.SETTLE_RESULT.pack(2, 0, 0, 6, 0, 0)
    answer = worker_pb.StreamLeasesResponse.FromString(subject.encode_settled(AnswerKind.STREAM, batch, results))
    assert [(item.lease_token, item.code, item.field, item.state) for item in answer.settled.items] == [
        (b"odd", errors.TOKEN_UNKNOWN, "lease_token", 0),
        (TOKEN, errors.FIELD_INVALID, "result", 0),
        (TOKEN, errors.OK, "", 6),
    ]


def test_one_lease(subject: Codec) -> None:
    spec = Spec(
        queue=b"team/mail", type=b"send", payload=b"p", labels=b"\x01a\x01b", key=b"k", routing_key=b"r", trace=b"t"
    ).pack()
    job_id = pack_id(3, 2_950_000, 77)
    head = packed.GRANT_HEAD.pack(
        52 + len(spec), job_id, 5, 1000, 31_000, 30_000, 2, packed.GRANT_REDELIVERY, len(spec)
    )
    message = worker_pb.StreamLeasesResponse.FromString(
        subject.encode_leases(AnswerKind.STREAM, head + spec, 1_000_001)
    )
    assert message.leases.fire_time_us == 1_000_001
    assert list(message.leases.leases) == [
        worker_pb.Lease(
            lease_token=TOKEN, job_id=id_to_text(job_id), type="send", payload=b"p", queue="mail", namespace="team",
            attempt=2, max_attempts=20, schedule_time_ms=1000, lease_expire_time_ms=31_000, lease_duration_ms=30_000,
            fencing_token=5, priority=4, labels={"a": "b"}, trace_context="t", redelivery=True,
        )
    ]  # fmt: skip


def test_records_that_are_not_whole(subject: Codec) -> None:
    with pytest.raises(ValueError, match="not whole"):
        subject.encode_submit_results(SubmitKind.BATCH, 0, bytes(23))
    with pytest.raises(ValueError, match="settle batch of"):
        subject.encode_settled(AnswerKind.UNARY, packed.SETTLE_BATCH_HEAD.pack(1, 0), b"")


def test_content_hash_vectors() -> None:
    assert (xxh64(b""), xxh64(b"abc")) == (0xEF46DB3751D8E999, 0x44BC2CF5AD770999)
