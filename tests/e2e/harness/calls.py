"""The four services of a daemon, as generated stubs on one channel, and the reason of a refused call."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.e2e.harness.daemon import PATIENCE_S, wait_until
from tests.e2e.harness.producer import CHANNEL_OPTIONS
from wheeld.wire.pb.v1 import (
    admin_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    queue_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)

OPTIONS = [*CHANNEL_OPTIONS, ("grpc.max_send_message_length", 64 << 20), ("grpc.max_receive_message_length", 64 << 20)]


def now_ms() -> int:
    """Wall clock."""
    return time.time_ns() // 1_000_000


def reason_of(error: grpc.RpcError) -> str:
    """`google.rpc.ErrorInfo.reason`; the gRPC status when the daemon gave none."""
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return str(error.code().name)


@contextmanager
def refused(reason: str) -> Iterator[None]:
    """The call in here is refused for this reason."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert reason_of(caught.value) == reason, caught.value


class Calls:
    """See the module. `queue`: where `create` and `lease` work unless told."""

    def __init__(self, address: str, queue: str = "default") -> None:
        self.queue = queue
        self.channel = grpc.insecure_channel(address, OPTIONS)
        self.jobs = job_service_pb2_grpc.JobServiceStub(self.channel)
        self.workers = worker_service_pb2_grpc.WorkerServiceStub(self.channel)
        self.queues = queue_service_pb2_grpc.QueueServiceStub(self.channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)
        self.worker_id = f"caller-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def create(self, **fields: object) -> job_service_pb2.CreateJobResponse:
        """One job of type `e2e`."""
        delay_ms = fields.pop("delay_ms", None)
        job = job_pb2.NewJob(**{"type": "e2e", "queue": self.queue, **fields})
        if delay_ms is not None:
            job.delay.FromMilliseconds(delay_ms)
        return self.jobs.CreateJob(job_service_pb2.CreateJobRequest(job=job), timeout=PATIENCE_S)

    def get(self, job_id: str) -> job_pb2.Job:
        """The job."""
        return self.jobs.GetJob(job_service_pb2.GetJobRequest(job_id=job_id), timeout=PATIENCE_S).job

    def lease(
        self, count: int = 1, wait_ms: int = 30_000, lease_ms: int = 0, queue: str = ""
    ) -> list[worker_service_pb2.Lease]:
        """Unary lease: as soon as there is a job, which takes `wait_ms` only when nothing comes."""
        request = worker_service_pb2.LeaseJobsRequest(
            worker_id=self.worker_id, max_jobs=count, queues=[queue or self.queue]
        )
        request.wait_duration.FromMilliseconds(wait_ms)
        if lease_ms:
            request.lease_duration.FromMilliseconds(lease_ms)
        return list(self.workers.LeaseJobs(request, timeout=wait_ms / 1000 + PATIENCE_S).leases)

    def ack(self, *tokens: bytes) -> list[worker_service_pb2.SettledItem]:
        """Unary ack."""
        request = worker_service_pb2.AckJobsRequest(worker_id=self.worker_id)
        for token in tokens:
            request.acks.add(lease_token=token)
        return list(self.workers.AckJobs(request, timeout=PATIENCE_S).items)

    def nack(
        self, token: bytes, *, no_retry: bool = False, delay_ms: int | None = None
    ) -> worker_service_pb2.SettledItem:
        """Unary nack."""
        request = worker_service_pb2.NackJobsRequest(worker_id=self.worker_id)
        item = request.nacks.add(lease_token=token, error_message="asked to fail", no_retry=no_retry)
        if delay_ms is not None:
            item.retry_delay.FromMilliseconds(delay_ms)
        return self.workers.NackJobs(request, timeout=PATIENCE_S).items[0]

    def wait_state(self, job_id: str, state: int) -> job_pb2.Job:
        """The job once it is in a state."""
        name = job_pb2.JobState.Name(state)
        wait_until(lambda: self.get(job_id).state == state, f"job {job_id} is {name}")
        return self.get(job_id)
