"""A client in a process of its own that submits far jobs: the other load of `mixed` and `stalls`.

`python -m wheeld.bench.background ADDRESS JOBS_PER_S SECONDS PAYLOAD_BYTES` prints how many jobs were accepted. Each
batch has its time to leave; one that could not leave in time is not made up for faster than four are in flight. With
0 jobs a second, batches of a thousand leave as fast as they are answered.
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import count

import uvloop

from wheeld.bench.load import RawCall, connect
from wheeld.bench.messages import batch_after, payload_of
from wheeld.bench.workloads import fresh_queue
from wheeld.wire.pb.v1 import job_service_pb2

BATCH = 500
BATCH_AT_FULL_SPEED = 1000
IN_FLIGHT = 4
DELAY_MS = 7_200_000


async def submit_steadily(address: str, jobs_per_s: int, seconds: float, payload_bytes: int) -> int:
    """Submit; the number of accepted jobs."""
    batch = BATCH if jobs_per_s else BATCH_AT_FULL_SPEED
    message = batch_after(fresh_queue("background"), payload_of(payload_bytes), batch, DELAY_MS)
    channel = connect(address)
    call: RawCall = channel.unary_unary("/wheeld.v1.JobService/BatchCreateJobs")
    room = asyncio.Semaphore(IN_FLIGHT)
    answers: list[bytes] = []

    async def send() -> None:
        try:
            answers.append(await call(message))
        finally:
            room.release()

    began = time.monotonic()
    async with asyncio.TaskGroup() as sends:
        for position in count():
            leaves = began + position * batch / jobs_per_s if jobs_per_s else time.monotonic()
            if leaves >= began + seconds:
                break
            await asyncio.sleep(max(leaves - time.monotonic(), 0))
            await room.acquire()
            sends.create_task(send())
    await channel.close()
    results = [
        result for answer in answers for result in job_service_pb2.BatchCreateJobsResponse.FromString(answer).results
    ]
    return sum(1 for result in results if not result.code)


if __name__ == "__main__":
    accepted = uvloop.run(submit_steadily(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
    sys.stdout.write(f"{accepted}\n")
