"""The SDK's native codec beside the generated classes: what one writes the other reads, in both directions, and bytes
that are no message are refused by both.
"""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from wheeld.client.jobs import JobOptions, RetryPolicy, encode_job, encode_words
from wheeld.wire import _produce, _work
from wheeld.wire.pb.v1 import job_pb2, job_service_pb2
from wheeld.wire.pb.v1 import worker_service_pb2 as pb
from wheeld.worker.outcome import Ack

texts = st.one_of(st.text(max_size=12), st.just("é" * 90))
blobs = st.one_of(st.binary(max_size=30), st.just(b"p" * 20_000))
uint32 = st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1))
int64 = st.one_of(st.integers(0, 9), st.integers(-(2**63), 2**63 - 1))
tokens = st.one_of(st.binary(min_size=24, max_size=24), st.binary(max_size=30))
labels = st.dictionaries(texts, texts, max_size=4)
UNKNOWN = b"\xba\x3e\x03abc"
"""Field 999, which no message here has."""


class Kept(_produce.Handle):
    """As JobHandle."""

    __slots__ = ()


# --- jobs -----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {"type": texts, "payload": blobs},
        optional={
            "queue": texts, "priority": uint32, "idempotency_key": texts, "routing_key": texts, "labels": labels,
            "trace_context": texts, "namespace": texts,
        },
    ),
    st.sampled_from(["", "schedule_time", "delay"]),
    st.integers(0, 253_402_300_799 * 1_000_000),
    st.booleans(),
)  # fmt: skip
def test_a_job_is_what_the_generated_classes_read(
    fields: dict[str, Any], when: str, microseconds: int, policy: bool
) -> None:
    job = job_pb2.NewJob(**fields)
    words = {name: value for name, value in fields.items() if name not in ("type", "payload", "idempotency_key")}
    if "idempotency_key" in fields:
        words["key"] = fields["idempotency_key"]
    if policy:
        words |= {"retry": RetryPolicy(max_attempts=3), "start_timeout": 1.5, "lease_duration": "7s"}
        job.retry_policy.max_attempts = 3
        job.start_timeout.FromMilliseconds(1500)
        job.lease_duration.FromSeconds(7)
    times: dict[str, Any] = {"schedule_time": None, "delay": None}
    if when:
        # Such a number of microseconds has no exact float; what the SDK makes of one is for the tests of times.
        times[when] = microseconds // 1_000_000
        getattr(job, when).FromSeconds(times[when])
    element = encode_words(job.type, job.payload, times["schedule_time"], times["delay"], words)  # type: ignore[arg-type]
    assert list(job_service_pb2.BatchCreateJobsRequest.FromString(element).jobs) == [job]
    options = JobOptions(**words)
    assert encode_job(job.type, job.payload, schedule_time=times["schedule_time"], delay=times["delay"],
                      options=options) == element  # fmt: skip


@given(st.binary(max_size=20), blobs, int64, st.integers(-999_999_999, 999_999_999))
def test_any_time_of_a_job(head: bytes, payload: bytes, seconds: int, nanos: int) -> None:
    head = job_pb2.NewJob(type=head.hex()).SerializeToString()
    element = _produce.job_element(head, payload, 5, seconds, nanos)
    (job,) = job_service_pb2.BatchCreateJobsRequest.FromString(element).jobs
    assert (job.payload, job.delay.seconds, job.delay.nanos) == (payload, seconds, nanos)


@given(tokens, blobs, st.one_of(st.just(0), st.integers(0, 2**64 - 1)))
def test_an_ack_is_what_the_generated_classes_write(token: bytes, result: bytes, receive_time_us: int) -> None:
    ack = pb.Ack(lease_token=token, result=result, receive_time_us=receive_time_us)
    assert Ack(result).encode(token, receive_time_us) == pb.Settle(acks=[ack]).SerializeToString()


# --- answers --------------------------------------------------------------------------------------------------------

answers = st.builds(
    job_service_pb2.SubmitJobsResponse,
    batch_number=st.integers(0, 2**64 - 1),
    code=st.integers(0, 99),
    reason=texts,
    retry_delay_ms=st.integers(0, 2**62),
    results=    st.lists(
        st.builds(
            job_service_pb2.JobResult, job_id=texts, code=st.integers(0, 99), field=texts, duplicate=st.booleans(),
            reason=texts,
        ),
        max_size=5,
    ),
)  # fmt: skip


def read(response: bytes, jobs: int) -> list[Any]:
    return _produce.read_results(response, jobs, None, Kept, Exception)


head_of = _produce.read_answer_head


def told(outcomes: list[Any]) -> list[tuple[Any, ...]]:
    return [each.args if isinstance(each, Exception) else (each.job_id, each.duplicate) for each in outcomes]


def expected(response: Any) -> list[tuple[Any, ...]]:
    return [(each.code, each.field) if each.code else (each.job_id, each.duplicate) for each in response.results]


@given(answers)
def test_results(response: Any) -> None:
    data = response.SerializeToString() + UNKNOWN
    assert head_of(data) == (response.batch_number, response.code, response.retry_delay_ms)
    assert told(read(data, len(response.results))) == expected(response)


leases = st.builds(
    pb.Lease, lease_token=tokens, job_id=texts, type=texts, payload=blobs, queue=texts, namespace=texts, attempt=uint32,
    max_attempts=uint32, schedule_time_ms=int64, lease_expire_time_ms=int64, lease_duration_ms=uint32,
    fencing_token=st.integers(0, 2**64 - 1), priority=uint32, labels=labels, trace_context=texts,
    redelivery=st.booleans(),
)  # fmt: skip
frames = st.builds(
    lambda fire, found: pb.StreamLeasesResponse(leases=pb.LeaseFrame(fire_time_us=fire, leases=found)),
    int64,
    st.lists(leases, max_size=4),
)
settled = st.builds(
    lambda items: pb.StreamLeasesResponse(settled=pb.Settled(items=items)),
    st.lists(
        st.builds(
            pb.SettledItem, lease_token=tokens, operation=st.integers(0, 4), code=st.sampled_from([0, 0, 11, 99]),
            already_settled=st.booleans(), state=st.integers(0, 8), lease_expire_time_ms=int64, field=texts,
        ),
        max_size=6,
    ),
)  # fmt: skip
FIELDS = [field.name for field in pb.Lease.DESCRIPTOR.fields]


def as_told(lease: Any) -> dict[str, Any]:
    return {name: dict(lease.labels) if name == "labels" else getattr(lease, name) for name in FIELDS}


@settings(max_examples=150, deadline=None)
@given(frames)
def test_every_field_of_a_lease(message: Any) -> None:
    data = message.SerializeToString() + UNKNOWN
    assert _work.stream_member(data) == 2
    fire_time_us, found = _work.read_frame(data)
    assert fire_time_us == message.leases.fire_time_us
    assert [as_told(lease) for lease in found] == [as_told(lease) for lease in message.leases.leases]


def parted(message: Any) -> tuple[list[bytes], list[tuple[bytes, int, int]]]:
    well, others = [], []
    for item in message.settled.items:
        if item.code or item.operation == pb.SETTLE_OPERATION_RENEW:
            others.append((item.lease_token, item.operation, item.code))
        else:
            well.append(item.lease_token)
    return well, others


@given(settled)
def test_settled(message: Any) -> None:
    assert _work.stream_member(message.SerializeToString()) == 3
    assert _work.read_settled(message.SerializeToString()) == parted(message)


# --- damage ---------------------------------------------------------------------------------------------------------


def damage(data: bytes, seed: int) -> bytes:
    draw, broken = random.Random(seed), bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(broken) + 1)
        match draw.randrange(4):
            case 0 if at < len(broken):
                broken[at] = draw.randrange(256)
            case 1:
                broken[at:at] = draw.randbytes(draw.randint(1, 4))
            case 2:
                del broken[at : at + draw.randint(1, 9)]
            case _:
                del broken[at:]
    return bytes(broken)


@settings(max_examples=300, deadline=None)
@given(answers, st.integers(0, 2**32))
def test_damaged_answers(response: Any, seed: int) -> None:
    data = damage(response.SerializeToString(), seed)
    try:
        parsed = job_service_pb2.SubmitJobsResponse.FromString(data)
    except DecodeError:
        parsed = None
    count = 0 if parsed is None else len(parsed.results)
    try:
        head, found = head_of(data), told(read(data, count))
    except ValueError:
        assert parsed is None
    else:
        assert parsed is not None and found == expected(parsed)
        assert head == (parsed.batch_number, parsed.code, parsed.retry_delay_ms % 2**64)


@settings(max_examples=400, deadline=None)
@given(st.one_of(frames, settled), st.integers(0, 2**32))
def test_damaged_messages_of_a_stream(message: Any, seed: int) -> None:
    data = damage(message.SerializeToString(), seed)
    try:
        parsed = pb.StreamLeasesResponse.FromString(data)
    except DecodeError:
        parsed = None
    try:
        member = _work.stream_member(data)
        if member == 2:
            _, found = _work.read_frame(data)
            assert parsed is not None
            assert [as_told(lease) for lease in found] == [as_told(lease) for lease in parsed.leases.leases]
        elif member == 3:
            said = _work.read_settled(data)
            assert parsed is not None and said == parted(parsed)
    except ValueError:
        assert parsed is None
