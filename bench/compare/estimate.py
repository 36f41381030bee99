"""How long a comparison will take, told before it begins.

Owns: rough costs, measured once on two cores. Invariant: what a system syncs for each job is scaled by the disk's own
speed, which is probed; the rest is not corrected for a slower machine, so this is an estimate and says so.
"""

from __future__ import annotations

import os
import tempfile
import time

from bench.compare.plan import Plan

SYNCS_PROBED = 50
BASE_S = {"wheeld": 3.0, "postgres": 2.5, "celery": 3.5}
"""Start, end and what is fixed in a run; half a second for the others."""
LEAD_S = {"skew": 2.5, "skew_own": 2.5, "burst": 2.5, "pending": 2.0}
SETTLE_S = 8.0
"""wheeld's files must be still for some seconds, twice, before their size is read."""
BULK_S = 15e-6
"""For each job: encode, submit, consume, in batches."""
CALL_S = 1.5e-3
"""For each call of one job, sync included."""
SYNCS_PER_JOB = {"beanstalkd": 2.0, "celery": 6.0}


def sync_seconds() -> float:
    """Of one small fdatasync where the servers will keep their files."""
    with tempfile.NamedTemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, 4096 * SYNCS_PROBED)
        began = time.monotonic()
        for number in range(SYNCS_PROBED):
            os.pwrite(file.fileno(), b"x" * 4096, 4096 * number)
            os.fdatasync(file.fileno())
        return (time.monotonic() - began) / SYNCS_PROBED


def run_seconds(system: str, workload: str, plan: Plan, sync_s: float) -> float:
    """Of one run."""
    jobs = {
        "submit": plan.jobs,
        "lease_ack": plan.jobs * 2,
        "skew": plan.rate * plan.seconds,
        "skew_own": plan.own_rate * plan.seconds,
        "burst": plan.burst_jobs * 2,
        "single": 0,
        "in_flight": plan.in_flight_jobs,
        "pending": plan.far_jobs,
    }[workload]
    took = BASE_S.get(system, 0.5) + LEAD_S.get(workload, 0.0)
    took += plan.seconds if workload.startswith("skew") else 0.0
    took += SETTLE_S if (system, workload) == ("wheeld", "pending") else 0.0
    took += plan.singles * CALL_S if workload == "single" else 0.0
    return took + jobs * (SYNCS_PER_JOB.get(system, 0.0) * sync_s + BULK_S)
