"""The native codec against the reference: same bytes for every message, and for every broken one the same refusal."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from wheeld.model import batch as packed
from wheeld.model import errors, limits
from wheeld.model.ids import pack_id
from wheeld.model.spec import Spec, pack_labels
from wheeld.wire import codec, content_hash
from wheeld.wire.codec import AnswerKind, SettleKind, StreamCase, SubmitKind
from wheeld.wire.pb.v1 import job_pb2 as job_pb
from wheeld.wire.pb.v1 import job_service_pb2 as jobs_pb
from wheeld.wire.pb.v1 import worker_service_pb2 as worker_pb

NATIVE = codec.native_codec()
REFERENCE = codec.reference_codec()

# Values near the bounds, where the checks decide.
names = st.sampled_from(["", "email", "a" * 63, "a" * 64, "A", "-a", "a-", "a b", "0._-", "é", "a/b"])
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["x" * 128, "x" * 129, "é" * 64, "é" * 100, "y" * 200, "y" * 201, "\x7f", "\n"]),
)
seconds = st.sampled_from(
    [
        0,
        1,
        5,
        -1,
        43200,
        43201,
        604800,
        604801,
        limits.SCHEDULE_AHEAD_MS_MAX // 1000,
        1 << 62,
        253402300799,
        253402300800,
    ]
)
nanos = st.sampled_from([0, 1, 999_999, 1_000_000, 1_000_001, 999_999_999, 1_000_000_000, -1])
times = st.fixed_dictionaries({}, optional={"seconds": seconds, "nanos": nanos})
doubles = st.one_of(st.floats(), st.sampled_from([0.0, 0.005, 0.2, 1.0, 1.004999, 2.345, 9.999, 10.0, 10.001, -0.0]))
labels = st.dictionaries(st.one_of(st.text(max_size=4), st.sampled_from(["k" * 63, "k" * 64])), texts, max_size=4)
many_labels = st.integers(31, 34).map(lambda count: {f"key-{i:02}": "v" * 120 for i in range(count)})
policies = st.fixed_dictionaries(
    {},
    optional={
        "max_attempts": st.sampled_from([0, 1, 1000, 1001, 2**32 - 1]),
        "initial_backoff": times,
        "max_backoff": times,
        "backoff_multiplier": doubles,
        "jitter": doubles,
    },
)
whens = st.one_of(st.just({}), times.map(lambda time: {"schedule_time": time}), times.map(lambda time: {"delay": time}))
payloads = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"p" * limits.PAYLOAD_BYTES_MAX, b"p" * (limits.PAYLOAD_BYTES_MAX + 1)])
)
# Most fields of most jobs are well: otherwise the first check hides the later ones.
extras = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "queue": names,
            "namespace": names,
            "payload": payloads,
            "priority": st.sampled_from([0, 4, 9, 10, 2**32 - 1]),
            "labels": st.one_of(labels, many_labels),
            "idempotency_key": texts,
            "routing_key": texts,
            "start_timeout": times,
            "retry_policy": policies,
            "lease_duration": times,
            "trace_context": texts,
            "type": texts,
        },
    ),
)


@st.composite
def new_jobs(draw: st.DrawFn) -> job_pb.NewJob:
    return job_pb.NewJob(**{"type": "send", **draw(extras), **draw(whens)})


def submit_message(kind: int, jobs: list[job_pb.NewJob], session: str, number: int) -> Any:
    if kind == SubmitKind.CREATE:
        return jobs_pb.CreateJobRequest(job=jobs[0] if jobs else None)
    message_class = jobs_pb.BatchCreateJobsRequest if kind == SubmitKind.BATCH else jobs_pb.SubmitJobsRequest
    return message_class(jobs=jobs, producer_session_id=session, batch_number=number)


submits = st.builds(
    lambda kind, jobs, session, number: (kind, submit_message(kind, jobs, session, number).SerializeToString()),
    st.sampled_from(list(SubmitKind)),
    st.lists(new_jobs(), max_size=5),
    texts,
    st.sampled_from([0, 1, 127, 128, 2**64 - 1]),
)

tokens = st.one_of(
    st.binary(min_size=24, max_size=24), st.sampled_from([b"", b"t" * 23, b"t" * 25, b"t" * 64, b"t" * 65, b"t" * 300])
)
receipts = st.sampled_from([0, 1, 2**64 - 1])
acks = st.builds(
    worker_pb.Ack,
    lease_token=tokens,
    result=st.one_of(
        st.binary(max_size=9), st.sampled_from([b"r" * limits.RESULT_BYTES_MAX, b"r" * (limits.RESULT_BYTES_MAX + 1)])
    ),
    receive_time_us=receipts,
)
nacks = st.builds(
    lambda fields, **rest: worker_pb.Nack(**fields, **rest),
    st.fixed_dictionaries({}, optional={"retry_delay": times}),
    lease_token=tokens,
    error_message=st.one_of(
        texts, st.sampled_from(["e" * 4096, "e" * 4097, "e" * 4095 + "é", "e" * 4094 + "é", "漢" * 1366])
    ),
    no_retry=st.booleans(),
    receive_time_us=receipts,
)
releases = st.builds(worker_pb.Release, lease_token=tokens)


@st.composite
def settle_messages(draw: st.DrawFn) -> tuple[int, bytes]:
    kind = draw(st.sampled_from(list(SettleKind)))
    few = {"max_size": 4}
    identity = {"worker_id": draw(texts), "session_id": draw(texts)} if kind else {}
    extend = draw(st.one_of(st.none(), times))
    message: Any
    match kind:
        case SettleKind.ACK:
            message = worker_pb.AckJobsRequest(acks=draw(st.lists(acks, **few)), **identity)
        case SettleKind.NACK:
            message = worker_pb.NackJobsRequest(nacks=draw(st.lists(nacks, **few)), **identity)
        case SettleKind.RELEASE:
            message = worker_pb.ReleaseLeasesRequest(releases=draw(st.lists(releases, **few)), **identity)
        case SettleKind.RENEW:
            message = worker_pb.RenewLeasesRequest(
                lease_tokens=draw(st.lists(tokens, **few)), extend_duration=extend, **identity
            )
        case _ if draw(st.booleans()):
            renew = worker_pb.Renew(lease_tokens=draw(st.lists(tokens, **few)), extend_duration=extend)
            message = worker_pb.StreamLeasesRequest(renew=renew)
        case _:
            settle = worker_pb.Settle(
                acks=draw(st.lists(acks, **few)),
                nacks=draw(st.lists(nacks, **few)),
                releases=draw(st.lists(releases, **few)),
            )
            message = worker_pb.StreamLeasesRequest(settle=settle)
    return kind, message.SerializeToString()


@st.composite
def broken(draw: st.DrawFn, messages: st.SearchStrategy[tuple[int, bytes]]) -> tuple[int, bytes]:
    """A valid message with a few edits: bytes changed, dropped, put in; cut; or joined with another of its kind."""
    kind, message = draw(messages)
    data = bytearray(message)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 5)):
            case 0 if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case 1 if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 2:
                del data[at : at + draw(st.integers(1, 9))]
            case 3:
                data[at:at] = draw(st.binary(min_size=1, max_size=12))
            case 4:
                other_kind, other = draw(messages)
                if other_kind == kind:
                    data += other
            case _:
                del data[at:]
    return kind, bytes(data)


def case_switches(message: bytes) -> bool:
    """Whether the native codec is stricter here, or does not look (see `codec`)."""
    return NATIVE.peek_stream_request(message) not in (StreamCase.SETTLE, StreamCase.RENEW)


def check_submit(kind: int, message: bytes) -> None:
    latest_ms = 253402300799_000 - 1
    for session, latest in ((packed.NO_SESSION, 0), (b"s" * 16, latest_ms)):
        assert NATIVE.decode_submit(message, kind, session, latest) == REFERENCE.decode_submit(
            message, kind, session, latest
        )


@settings(max_examples=120, deadline=None)
@given(submits)
def test_submit_of_valid_messages(case: tuple[int, bytes]) -> None:
    check_submit(*case)


@settings(max_examples=200, deadline=None)
@given(broken(submits))
def test_submit_of_broken_messages(case: tuple[int, bytes]) -> None:
    check_submit(*case)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(list(SubmitKind)), st.binary(max_size=60))
@example(SubmitKind.BATCH, b"\x1a\x04" + b"\x22\x02\x08\x05")
def test_submit_of_random_bytes(kind: int, message: bytes) -> None:
    check_submit(kind, message)


def check_settle(kind: int, message: bytes) -> None:
    if kind == SettleKind.STREAM and case_switches(message):
        code, batch, worker, session = NATIVE.decode_settle(message, kind)
        assert (worker, session) == (b"", b"")
        assert batch == (b"" if code else bytes(8))
        return
    assert NATIVE.decode_settle(message, kind) == REFERENCE.decode_settle(message, kind)


@settings(max_examples=120, deadline=None)
@given(settle_messages())
def test_settle_of_valid_messages(case: tuple[int, bytes]) -> None:
    check_settle(*case)


@settings(max_examples=200, deadline=None)
@given(broken(settle_messages()))
def test_settle_of_broken_messages(case: tuple[int, bytes]) -> None:
    check_settle(*case)


@settings(max_examples=100, deadline=None)
@given(settle_messages(), st.data())
def test_settled_answers_what_was_asked(case: tuple[int, bytes], data: st.DataObject) -> None:
    kind, message = case
    code, batch, _, _ = NATIVE.decode_settle(message, kind)
    assert code == errors.OK
    (count, _) = packed.SETTLE_BATCH_HEAD.unpack_from(batch)
    byte = st.integers(0, 255)
    results = b"".join(
        packed.SETTLE_RESULT.pack(
            1, data.draw(byte), data.draw(st.integers(0, 1)), data.draw(byte), 0, data.draw(st.integers(0, 2**63 - 1))
        )
        for _ in range(count)
    )
    for answer in AnswerKind:
        assert NATIVE.encode_settled(answer, batch, results) == REFERENCE.encode_settled(answer, batch, results)


ids = st.builds(pack_id, st.integers(0, 4095), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(SubmitKind)),
    st.integers(0, 2**64 - 1),
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(0, 1), st.one_of(st.just(bytes(16)), ids)),
        max_size=5,
    ),
    st.sampled_from([0, 1, 999, 1000, 1_700_000_000_001]),
)
def test_submit_results(kind: int, number: int, rows: list[tuple[int, int, int, bytes]], schedule_ms: int) -> None:
    if kind == SubmitKind.CREATE:
        rows = [*rows, (0, 0, 1, pack_id(1, 2, 3))][-1:]
    results = b"".join(
        packed.SUBMIT_RESULT.pack(code, field, flags, 0, 0, job_id) for code, field, flags, job_id in rows
    )
    expected = REFERENCE.encode_submit_results(kind, number, results, schedule_ms)
    assert NATIVE.encode_submit_results(kind, number, results, schedule_ms) == expected


small = st.binary(max_size=20)
words = st.text(max_size=9).map(str.encode)
specs = st.builds(
    Spec,
    queue=st.tuples(st.sampled_from(["default", "default2", "team"]), st.sampled_from(["q", "q.1"])).map(
        lambda parts: "/".join(parts).encode()
    ),
    type=words,
    payload=st.one_of(small, st.just(b"p" * 300)),
    key=small,
    routing_key=small,
    labels=st.dictionaries(st.text(max_size=9), st.one_of(st.text(max_size=9), st.just("v" * 255)), max_size=4).map(
        pack_labels
    ),
    trace=words,
    priority=st.integers(0, 9),
    max_attempts=st.integers(0, 1000),
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    leases = []
    for spec in draw(st.lists(specs, max_size=4)):
        record = spec.pack()
        wide, narrow = st.integers(0, 2**63 - 1), st.integers(0, 2**16 - 1)
        head = packed.GRANT_HEAD.pack(
            packed.GRANT_HEAD.size - 4 + len(record), draw(ids), draw(st.integers(0, 2**64 - 1)), draw(wide),
            draw(wide), draw(st.integers(0, 2**32 - 1)), draw(narrow), draw(st.integers(0, 1)), len(record),
        )  # fmt: skip
        leases.append(head + record)
    return b"".join(leases)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(AnswerKind)), frames(), st.sampled_from([0, 1, 2**62]))
def test_lease_frames(kind: int, frame: bytes, fire_time_us: int) -> None:
    native, reference = (each.encode_leases(kind, frame, fire_time_us) for each in (NATIVE, REFERENCE))
    response = worker_pb.LeaseJobsResponse if kind == AnswerKind.UNARY else worker_pb.StreamLeasesResponse
    # Not compared by bytes: the order of a map's entries is the serializer's own.
    assert len(native) == len(reference)
    assert response.FromString(native) == response.FromString(reference)


@settings(max_examples=200, deadline=None)
@given(broken(frames().map(lambda frame: (0, frame))))
def test_broken_lease_frames_are_refused_or_sent_whole(case: tuple[int, bytes]) -> None:
    try:
        encoded = NATIVE.encode_leases(AnswerKind.UNARY, case[1], 5)
    except ValueError:
        return
    # What passes is framed rightly: the damage is in numbers, which go through, or in text that is no text any more.
    with contextlib.suppress(UnicodeDecodeError):
        expected = REFERENCE.encode_leases(AnswerKind.UNARY, case[1], 5)
        assert worker_pb.LeaseJobsResponse.FromString(encoded) == worker_pb.LeaseJobsResponse.FromString(expected)


@given(st.lists(st.tuples(ids, st.integers(0, 2**64 - 1), st.integers(0, 255)), max_size=6))
def test_revocations(rows: list[tuple[bytes, int, int]]) -> None:
    revoked = b"".join(packed.REVOKED.pack(*row) for row in rows)
    assert NATIVE.encode_revoked(revoked) == REFERENCE.encode_revoked(revoked)


open_messages = st.builds(
    lambda **fields: worker_pb.StreamLeasesRequest(open=worker_pb.Open(**fields)).SerializeToString(),
    worker_id=texts,
    queues=st.lists(names, max_size=3),
    held_lease_tokens=st.lists(tokens, max_size=2),
)
others = st.sampled_from(
    [b"", b"\x12\x00", b"\x12\x02\x08\x05", b"\x2a\x00", b"\x1a\x00", b"\x22\x00", b"\xa0\x06\x05"]
)


@given(st.one_of(open_messages, others))
def test_peek_names_the_member(message: bytes) -> None:
    assert NATIVE.peek_stream_request(message) == REFERENCE.peek_stream_request(message)


@given(st.binary(max_size=200))
def test_content_hash_of_a_batch(payload: bytes) -> None:
    message = jobs_pb.BatchCreateJobsRequest(batch_number=7, jobs=[job_pb.NewJob(type="t", payload=payload)])
    _, batch = NATIVE.decode_submit(message.SerializeToString(), SubmitKind.BATCH)
    head = packed.SUBMIT_HEAD.unpack_from(batch)
    assert head[4] == content_hash.xxh64(batch[packed.SUBMIT_HEAD.size :])
