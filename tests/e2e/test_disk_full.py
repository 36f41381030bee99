"""A small file system fills up: submits are refused, acks go on, and once there is room everything accepted runs.

Mounts a tmpfs, which needs the right to; skipped where that is refused.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.harness.calls import Calls, reason_of
from tests.e2e.harness.daemon import PATIENCE_S, wait_until
from wheeld.wire.pb.v1 import job_pb2, job_service_pb2, worker_service_pb2
from wheeld.wire.pb.v1.job_pb2 import JOB_STATE_SUCCEEDED

DISK_BYTES = 640 << 20
LEFT_BYTES = 24 << 20
"""Below the daemon's floor, above what acks need."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "wheeld-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not permitted: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int) -> Path:
    """A file that leaves so much."""
    ballast = folder / "ballast"
    with ballast.open("ab") as file:
        while (free := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize) > leave_bytes:
            # The daemon may take some of it in between, for a journal segment: then there is less to fill.
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), file.tell(), free - leave_bytes)
                file.seek(0, os.SEEK_END)
    return ballast


def submit(calls: Calls, payload: bytes, count: int = 50) -> list[str]:
    """Ids, or grpc.RpcError."""
    request = job_service_pb2.BatchCreateJobsRequest(jobs=[job_pb2.NewJob(type="e2e", payload=payload)] * count)
    return [result.job_id for result in calls.jobs.BatchCreateJobs(request, timeout=PATIENCE_S).results]


def refusal(calls: Calls) -> str:
    """Why a submit is refused now; "" when it is taken."""
    try:
        submit(calls, b"", 1)
    except grpc.RpcError as error:
        return reason_of(error)
    return ""


def refused_acks(calls: Calls, leases: list[worker_service_pb2.Lease]) -> list[str]:
    """Names of the codes of acks that were not taken."""
    items = calls.ack(*(lease.lease_token for lease in leases))
    return [job_pb2.ErrorCode.Name(item.code) for item in items if item.code]


def run_all(calls: Calls, job_ids: set[str]) -> None:
    """Lease and ack until these are done, whatever else is done with them."""
    while job_ids:
        leases = calls.lease(100)
        assert leases, f"nothing is due, and {len(job_ids)} accepted jobs have not come"
        assert refused_acks(calls, leases) == []
        job_ids = job_ids - {lease.job_id for lease in leases}


def test_disk_full(small_disk: Path, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(directory=small_disk / "data")
    daemon.start()
    with Calls(daemon.address) as calls:
        accepted = submit(calls, b"x" * 1000) + submit(calls, b"y" * 1000)
        held = calls.lease(40)
        ballast = fill(small_disk, LEFT_BYTES)
        wait_until(lambda: refusal(calls) == "STORE_FULL", "submits are refused with STORE_FULL")
        assert refused_acks(calls, held) == []
        done = {lease.job_id for lease in held}
        more = calls.lease(20)
        assert more and refused_acks(calls, more) == []
        done |= {lease.job_id for lease in more}
        assert refusal(calls) == "STORE_FULL" and daemon.is_serving()

        daemon.kill()
        daemon.start()
        ballast.unlink()
        wait_until(lambda: refusal(calls) == "", "submits are taken once there is room")
        run_all(calls, set(accepted) - done)
        assert all(calls.get(job_id).state == JOB_STATE_SUCCEEDED for job_id in accepted)
    assert daemon.stop() == 0


def test_not_a_byte_left(small_disk: Path, make_daemon: MakeDaemon) -> None:
    """Whatever the daemon does then, what it accepted is there when there is room again."""
    daemon = make_daemon(directory=small_disk / "data")
    daemon.start()
    accepted: list[str] = []
    with Calls(daemon.address) as calls:
        accepted += submit(calls, b"x" * 1000)
        ballast = fill(small_disk, 0)
        for _ in range(200):
            try:
                accepted += submit(calls, b"z" * 2000)
            except grpc.RpcError:
                break
        ballast.unlink()
        daemon.kill()
        daemon.start()
        run_all(calls, set(accepted))
    assert daemon.stop() == 0
