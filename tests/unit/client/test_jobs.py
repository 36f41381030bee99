"""Times, options and the bytes of a job."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from wheeld.client.jobs import JobOptions, RetryPolicy, encode_job, encode_words
from wheeld.client.payload import Arguments, encode_arguments
from wheeld.client.times import moment_ns, span_ns
from wheeld.model.errors import Misused
from wheeld.wire.pb.v1 import job_pb2, job_service_pb2


@pytest.mark.parametrize(
    ("span", "nanoseconds"),
    [
        ("15m", 900_000_000_000),
        ("1h30m", 5_400_000_000_000),
        (" 1d 2h ", 93_600_000_000_000),
        ("250ms", 250_000_000),
        ("1.5s", 1_500_000_000),
        (0, 0),
        (2, 2_000_000_000),
        # The nearest float lies above 3 ms; it must not be rounded up to 4.
        (0.003, 3_000_000),
        (timedelta(days=1, microseconds=1), 86_400_000_001_000),
    ],
)
def test_spans(span: str | float | timedelta, nanoseconds: int) -> None:
    assert span_ns(span) == nanoseconds


@pytest.mark.parametrize("span", ["", "15", "m", "-5s", "5s x", "1y", -1, timedelta(-1), float("nan"), float("inf")])
def test_what_is_no_span_is_refused(span: str | float | timedelta) -> None:
    with pytest.raises(Misused):
        span_ns(span)


def test_moments() -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    assert moment_ns(moment) == 1_893_553_445_678_901_000
    assert moment_ns(moment.astimezone(timezone(timedelta(hours=5)))) == moment_ns(moment)
    assert moment_ns(1_700_000_000.123) == 1_700_000_000_123_000_000
    with pytest.raises(Misused, match="without a zone"):
        moment_ns(datetime(2030, 1, 1))  # noqa: DTZ001


def jobs_of(data: bytes) -> list[job_pb2.NewJob]:
    return list(job_service_pb2.BatchCreateJobsRequest.FromString(data).jobs)


def test_a_job_is_encoded_as_the_schema_says() -> None:
    options = JobOptions(
        queue="email", priority=0, key="k", routing_key="r", labels={"a": "b", "c": "d"}, start_timeout="1m",
        retry=RetryPolicy(max_attempts=3, initial_backoff="2s", max_backoff="1m", backoff_multiplier=1.5, jitter=0.0),
        lease_duration=5, trace_context="t", namespace="n",
    )  # fmt: skip
    (job,) = jobs_of(encode_job("welcome", b"x" * 300, schedule_time=1_893_553_445.5, options=options))
    expected = job_pb2.NewJob(
        type="welcome", payload=b"x" * 300, queue="email", priority=0, idempotency_key="k", routing_key="r",
        labels={"a": "b", "c": "d"}, trace_context="t", namespace="n",
    )  # fmt: skip
    expected.schedule_time.FromMilliseconds(1_893_553_445_500)
    expected.start_timeout.FromSeconds(60)
    expected.lease_duration.FromSeconds(5)
    policy = expected.retry_policy
    policy.max_attempts, policy.backoff_multiplier, policy.jitter = 3, 1.5, 0.0
    policy.initial_backoff.FromSeconds(2)
    policy.max_backoff.FromSeconds(60)
    assert job == expected
    assert job.HasField("priority") and policy.HasField("jitter")


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_383, 16_384, 262_144])
def test_jobs_join_to_a_batch(size: int) -> None:
    one, two = encode_job("one", b"p" * size, delay="1.5s"), encode_job("two")
    first, second = jobs_of(one + two)
    assert (first.type, len(first.payload), first.delay.ToMilliseconds()) == ("one", size, 1500)
    assert second == job_pb2.NewJob(type="two")


def test_a_job_has_one_time() -> None:
    with pytest.raises(Misused, match="both"):
        encode_job("t", schedule_time=1.0, delay=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", 5), ("type", None), ("type", [1]), ("payload", "text"), ("queue", 5), ("queue", None),
        ("priority", "9"), ("key", b"k"), ("key", "\ud800"), ("labels", ["a"]), ("labels", {"a": 1}),
        ("labels", {1: "a"}), ("retry", 3), ("retry", RetryPolicy(max_attempts="3")),  # type: ignore[arg-type]
        ("start_timeout", [1]), ("lease_duration", b"1"), ("schedule_time", "now"), ("delay", [1]), ("delay", b"1s"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_told_with_its_field_and_value(name: str, value: Any) -> None:
    words = {name: value}
    job: dict[str, Any] = {"type": "t", "payload": b"", "schedule_time": None, "delay": None}
    job |= {known: words.pop(known) for known in job if known in words}
    told = re.escape(f"{name} takes ") + ".*" + re.escape(f"not {value!r}")
    with pytest.raises(Misused, match=told):
        encode_words(*job.values(), words)  # type: ignore[arg-type]
    with pytest.raises(Misused, match=told):
        encode_job(job.pop("type"), job.pop("payload"), **job, options=JobOptions(**words))


def test_a_good_retry_policy_is_not_blamed() -> None:
    with pytest.raises(Misused, match="lease_duration takes"):
        encode_job("t", options=JobOptions(retry=RetryPolicy(max_attempts=3), lease_duration=b"1"))  # type: ignore[arg-type]


def test_a_word_that_is_no_option_is_told_as_python_does() -> None:
    with pytest.raises(TypeError, match="colour"):
        encode_words("t", b"", None, None, {"colour": "red"})  # type: ignore[typeddict-unknown-key]


class Point(msgspec.Struct):
    """An argument that JSON does not know."""

    x: int


def test_arguments_become_what_the_annotations_say() -> None:
    def handler(when: datetime, *points: Point, ctx: object, factor: float = 1, **rest: timedelta) -> None: ...

    arguments = Arguments(handler)
    when = datetime(2030, 1, 2, tzinfo=UTC)
    payload = encode_arguments((when, Point(1), Point(2)), {"factor": 2.5, "wait": timedelta(seconds=3)})
    assert arguments.decode(payload) == (
        [when, Point(1), Point(2)],
        {"factor": 2.5, "wait": timedelta(seconds=3)},
    )
    assert arguments.wants_context
    with pytest.raises(msgspec.ValidationError):
        arguments.decode(encode_arguments(("no time",), {}))
    with pytest.raises(msgspec.ValidationError, match="ctx"):
        arguments.decode(encode_arguments((when,), {"ctx": 1}))


def test_importing_the_sdk_imports_no_grpc() -> None:
    code = (
        "import sys, wheeld; assert not {'asyncio', 'msgspec', 'grpc'} & set(sys.modules), 'bare';"
        "app = wheeld.App(); app.job('a')(print); wheeld.Worker;"
        "assert not {'grpc', 'google.protobuf', 'lmdb'} & set(sys.modules), 'app'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
