"""The whole node but its disk and its network, in virtual time, with everything going wrong: seed after seed.

`WHEELD_SIM_SEEDS=N` runs N seeds, `WHEELD_SIM_FIRST=S` begins with S; each failure names its seed and the command to
see it again.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.sim.run import CORES, describe, run

SEEDS = int(os.environ.get("WHEELD_SIM_SEEDS", "30"))
FIRST = int(os.environ.get("WHEELD_SIM_FIRST", "1"))
SLICE = 5
RARE = (
    "crashes",
    "groups lost",
    "groups kept untold",
    "store deaths",
    "spilled",
    "pages",
    "loaded",
    "load_skipped",
    "redelivered",
    "frames lost",
    "lease_expirations",
    "taken_back",
    "batches retried",
    "batches asked again",
    "steps back",
    "steps forward",
    "paused",
    "renewed",
    "rescheduled",
    "run now",
    "cancelled",
    "ended FAILED",
    "ended EXPIRED",
    "settle LEASE_FENCED",
    "settle ok again",
    "replays compared",
)
"""What must have happened in a run of thirty seeds, or the run says little."""

COUNTS: Counter[str] = Counter()


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, SLICE))
def test_promises_hold(first: int) -> None:
    """Odd seeds run the reference, even ones what is shipped."""
    for seed in range(first, min(first + SLICE, FIRST + SEEDS)):
        result = run(seed, "reference" if seed % 2 else "native")
        COUNTS.update(result.counts)
        if result.failure is not None:
            pytest.fail(describe(result), pytrace=False)


def test_rare_paths_were_walked() -> None:
    """Runs after the seeds of this process."""
    if SEEDS < 30 or not COUNTS:
        pytest.skip("too few seeds to say")
    assert not [name for name in RARE if not COUNTS[name]], dict(COUNTS)


@pytest.mark.parametrize("core", CORES)
def test_a_seed_is_a_run(core: str) -> None:
    """The same seed gives the same trace, another seed another one."""
    hashes = [run(seed, core).trace_hash for seed in (3, 3, 4)]
    assert hashes[0] == hashes[1] != hashes[2]
