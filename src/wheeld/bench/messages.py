"""Messages of the load: built before the clock starts, so that the client's encoding is not what is measured.

Owns: batches of jobs as bytes, acks as bytes. Says so in every report: the client sends prepared bytes.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

from wheeld.client.jobs import length_delimited
from wheeld.wire.pb.v1 import job_pb2, job_service_pb2, worker_service_pb2

ACK_HEAD = b"\x0a\x23\x0a\x18"
"""Settle.acks, 35 bytes: Ack.lease_token, 24 bytes; then Ack.receive_time_us, fixed64."""
ACK_TIME = struct.Struct("<BQ")


def payload_of(size: int, seed: int = 7) -> bytes:
    """Bytes that do not compress to nothing."""
    return random.Random(seed).randbytes(size)


def batch_due(queue: str, payload: bytes, dues_ms: Sequence[int]) -> bytes:
    """A BatchCreateJobsRequest with one job for each time."""
    request = job_service_pb2.BatchCreateJobsRequest()
    for due_ms in dues_ms:
        job = request.jobs.add(queue=queue, type="bench", payload=payload)
        job.schedule_time.seconds, job.schedule_time.nanos = due_ms // 1000, due_ms % 1000 * 1_000_000
    return request.SerializeToString()


def batch_after(queue: str, payload: bytes, count: int, delay_ms: int) -> bytes:
    """A BatchCreateJobsRequest of `count` equal jobs; delay 0 means now."""
    job = job_pb2.NewJob(queue=queue, type="bench", payload=payload)
    if delay_ms:
        job.delay.seconds, job.delay.nanos = delay_ms // 1000, delay_ms % 1000 * 1_000_000
    return job_service_pb2.BatchCreateJobsRequest(jobs=[job] * count).SerializeToString()


def open_message(queue: str, session: str, max_jobs: int) -> bytes:
    """The first message of a lease stream."""
    opened = worker_service_pb2.Open(
        worker_id=session,
        session_id=session,
        queues=[queue],
        max_outstanding_jobs=max_jobs,
        max_outstanding_bytes=1 << 29,
    )
    opened.lease_duration.seconds = 120
    return worker_service_pb2.StreamLeasesRequest(open=opened).SerializeToString()


def acks(tokens: Sequence[bytes], receive_us: int) -> list[bytes]:
    """The acks of leases that arrived together, each as a member of Settle."""
    when = ACK_TIME.pack(0x19, receive_us)
    return [ACK_HEAD + token + when for token in tokens]


def settle_message(gathered: Sequence[bytes]) -> bytes:
    """Acks as a StreamLeasesRequest."""
    return length_delimited(b"\x1a", b"".join(gathered))
