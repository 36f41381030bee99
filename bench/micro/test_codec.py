"""The hot codec beside the generated classes and the reference: ns for each job of a batch of 1,000.

    pytest bench/micro/test_codec.py

"generated" parses or serializes the message with protobuf's own classes (upb) and stops there: what any server in
Python pays before it has looked at a field. "reference" goes on to the packed batch, as the native codec does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from wheeld.bench.messages import acks, batch_due, payload_of, settle_message
from wheeld.model import batch as packed
from wheeld.model.ids import pack_id
from wheeld.model.spec import Spec
from wheeld.wire.codec import AnswerKind, Codec, SettleKind, SubmitKind, native_codec, reference_codec
from wheeld.wire.pb.v1 import job_service_pb2, worker_service_pb2

JOBS = 1_000
NOW_MS = 1_800_000_000_000
PAYLOAD = payload_of(128)
IDS = [pack_id(0, 200_000, number) for number in range(JOBS)]
CODECS: dict[str, Callable[[], Codec]] = {"native": native_codec, "reference": reference_codec}
WAYS = ["native", "reference", "generated"]


def writer(way: str, parse: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> Callable[[], bytes]:
    """How `way` writes the message that `encode` has a codec write; the generated classes write what they have read."""
    if way == "generated":
        serialize: Callable[[], bytes] = parse(encode(native_codec())).SerializeToString
        return serialize
    codec = CODECS[way]()
    return lambda: encode(codec)


def lease_frame() -> bytes:
    """What the core gives for 1,000 leases."""
    spec = Spec(b"main/mail", b"send", PAYLOAD, schedule_ms=NOW_MS, create_ms=NOW_MS).pack()
    length = packed.GRANT_HEAD.size - 4 + len(spec)
    return b"".join(
        packed.GRANT_HEAD.pack(length, job_id, 7, NOW_MS, NOW_MS + 30_000, 30_000, 1, 0, len(spec)) + spec
        for job_id in IDS
    )


def report(benchmark: Any, call: Callable[[], object], check: Callable[[Any], bool]) -> None:
    """ns for each job, the fastest round and the median."""
    assert check(benchmark.pedantic(call, rounds=50, iterations=1, warmup_rounds=2))
    for name in ("min", "median"):
        benchmark.extra_info[f"ns_per_job_{name}"] = round(benchmark.stats[name] * 1e9 / JOBS, 1)


@pytest.mark.parametrize("way", WAYS)
def test_decode_submit(benchmark: Any, way: str) -> None:
    draw = random.Random(1)
    message = batch_due("mail", PAYLOAD, [NOW_MS + draw.randrange(3_600_000) for _ in range(JOBS)])
    if way == "generated":
        parse = job_service_pb2.BatchCreateJobsRequest.FromString
        report(benchmark, lambda: parse(message), lambda request: len(request.jobs) == JOBS)
        return
    codec = CODECS[way]()
    report(
        benchmark,
        lambda: codec.decode_submit(message, SubmitKind.BATCH),
        lambda answer: answer[0] == 0 and packed.SUBMIT_HEAD.unpack_from(answer[1])[0] == JOBS,
    )


@pytest.mark.parametrize("way", WAYS)
def test_encode_submit_results(benchmark: Any, way: str) -> None:
    results = b"".join(packed.SUBMIT_RESULT.pack(0, 0, 0, 0, 0, job_id) for job_id in IDS)
    parse = job_service_pb2.BatchCreateJobsResponse.FromString
    call = writer(way, parse, lambda codec: codec.encode_submit_results(SubmitKind.BATCH, 0, results))
    report(benchmark, call, lambda data: len(parse(data).results) == JOBS)


@pytest.mark.parametrize("way", WAYS)
def test_encode_leases(benchmark: Any, way: str) -> None:
    frame = lease_frame()
    parse = worker_service_pb2.StreamLeasesResponse.FromString
    call = writer(way, parse, lambda codec: codec.encode_leases(AnswerKind.STREAM, frame, NOW_MS * 1000))
    report(benchmark, call, lambda data: len(parse(data).leases.leases) == JOBS)


@pytest.mark.parametrize("way", WAYS)
def test_decode_settle(benchmark: Any, way: str) -> None:
    message = settle_message(acks([packed.TOKEN.pack(job_id, 7) for job_id in IDS], NOW_MS * 1000))
    if way == "generated":
        parse = worker_service_pb2.StreamLeasesRequest.FromString
        report(benchmark, lambda: parse(message), lambda request: len(request.settle.acks) == JOBS)
        return
    codec = CODECS[way]()
    report(
        benchmark,
        lambda: codec.decode_settle(message, SettleKind.STREAM),
        lambda answer: answer[0] == 0 and packed.SETTLE_BATCH_HEAD.unpack_from(answer[1])[0] == JOBS,
    )


@pytest.mark.parametrize("way", WAYS)
def test_encode_settled(benchmark: Any, way: str) -> None:
    message = settle_message(acks([packed.TOKEN.pack(job_id, 7) for job_id in IDS], NOW_MS * 1000))
    _, batch, _, _ = native_codec().decode_settle(message, SettleKind.STREAM)
    results = packed.SETTLE_RESULT.pack(packed.OP_ACK, 0, 0, 6, 0, 0) * JOBS
    parse = worker_service_pb2.StreamLeasesResponse.FromString
    call = writer(way, parse, lambda codec: codec.encode_settled(AnswerKind.STREAM, batch, results))
    report(benchmark, call, lambda data: len(parse(data).settled.items) == JOBS)
