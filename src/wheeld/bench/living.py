"""A client in a process of its own that submits due jobs, leases and acks them, round after round: a load of `stalls`.

`python -m wheeld.bench.living ADDRESS SECONDS PAYLOAD_BYTES` prints one JSON object: the best round's jobs a second and
what went wrong. Of its own, because what it has to account for would hold up the receipts of whoever shares its loop.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TypedDict

import uvloop

from wheeld.bench.workloads import Terms, lifecycle

LIFECYCLE_JOBS = 200_000


class Lived(TypedDict):
    """What the client tells."""

    jobs_per_s: int
    failures: list[str]


async def live(terms: Terms, seconds: float) -> Lived:
    """At least one round; the last one begins before the end."""
    ends = time.monotonic() + seconds
    reports = [await lifecycle(terms, LIFECYCLE_JOBS)]
    while time.monotonic() < ends:
        reports.append(await lifecycle(terms, LIFECYCLE_JOBS))
    return {
        "jobs_per_s": max(int(report.figures["jobs_per_s"]) for report in reports),
        "failures": [failure for report in reports for failure in report.failures],
    }


async def live_apart(terms: Terms, seconds: float) -> Lived:
    """The same in a process of its own."""
    arguments = [terms.address, str(seconds), str(terms.payload_bytes)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wheeld.bench.living", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        return {"jobs_per_s": 0, "failures": [f"the lifecycle client ended with {process.returncode}"]}
    found: Lived = json.loads(out)
    return found


if __name__ == "__main__":
    told = uvloop.run(live(Terms(sys.argv[1], payload_bytes=int(sys.argv[3])), float(sys.argv[2])))
    sys.stdout.write(json.dumps(told) + "\n")
