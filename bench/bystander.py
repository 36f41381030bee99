"""A client in a process of its own whose queue has nothing to do with the overload beside it: what does it feel?

`python -m bench.bystander ADDRESS JOBS_PER_S`: submits a batch twice a second, due from 3 s later on, leases and acks.
Ends with its standard input and prints one line of JSON. Its jobs are judged against their own schedule times; one that
was accepted only after it was due, because the daemon refused it until then, is counted apart.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid

import msgspec
import uvloop

from bench.drain import DrainWorker
from bench.flood import Flood
from bench.ledger import Ledger
from wheeld.bench.judge import percentile
from wheeld.bench.load import now_us
from wheeld.bench.messages import batch_due, payload_of

PERIOD_S = 0.5
LEAD_MS = 3000
PATIENCE_S = 60
CREDIT = 5000


async def submit_steadily(
    address: str, queue: str, rate: int, ledger: Ledger, ended: asyncio.Event
) -> dict[str, float]:
    """Until the event; what the submits felt."""
    count = int(rate * PERIOD_S)
    flood = Flood(address, count, 1, ledger)
    took: list[float] = []
    late = 0
    began = time.monotonic()
    while not ended.is_set():
        first_ms = now_us() // 1000 + LEAD_MS
        message = batch_due(queue, payload_of(64), [first_ms + position * 1000 // rate for position in range(count)])
        sent = time.monotonic()
        await flood.send([message], 1)
        took.append(time.monotonic() - sent)
        late += count if now_us() // 1000 > first_ms else 0
        await asyncio.sleep(max(began + len(took) * PERIOD_S - time.monotonic(), 0))
    await flood.close()
    took.sort()
    return {
        "submit_p50_ms": round(percentile(took, 0.5) * 1000, 2),
        "submit_p99_ms": round(percentile(took, 0.99) * 1000, 2),
        "submit_max_ms": round(took[-1] * 1000, 2),
        "submits_refused": flood.refusals.total(),
        "accepted_late": late,
    }


async def main(address: str, rate: int) -> dict[str, float | int | str]:
    """Run until standard input ends."""
    queue, ledger, ended = f"bystander-{uuid.uuid4().hex[:8]}", Ledger(), asyncio.Event()
    worker = DrainWorker(address, queue, ledger, CREDIT)
    worker.start()

    async def wait_for_end() -> None:
        await asyncio.to_thread(sys.stdin.read)
        ended.set()

    waiting = asyncio.create_task(wait_for_end())
    felt = await submit_steadily(address, queue, rate, ledger, ended)
    await worker.wait_settled(ledger.accepted, PATIENCE_S)
    await waiting
    why = await worker.close()
    late = sorted(worker.late_us)
    wanted = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    skew = {f"skew_{name}_ms": round(percentile(late, quantile) / 1000, 2) for name, quantile in wanted.items()}
    return {**skew, **felt, **ledger.figures(), **({"stream_ended": why} if why else {})}


if __name__ == "__main__":
    figures = uvloop.run(main(sys.argv[1], int(sys.argv[2])))
    sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
