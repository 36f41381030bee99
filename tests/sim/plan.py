"""How a run is shaped: bounds small enough that every rare path is walked often, and how much goes wrong.

Owns the numbers, drawn from the seed. Invariant: `applied` puts back every bound of the product that it changed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import wheeld.driver.checkpoints as checkpoints
import wheeld.driver.far as far
from wheeld.core.reference import state
from wheeld.model import limits
from wheeld.model.spec import unpack_spec
from wheeld.store import fold_reference


@dataclass(frozen=True, slots=True)
class Plan:
    """See the module. Shares are of one; intervals in virtual seconds, 0: never."""

    shards: int
    bucket_width_ms: int
    horizon_ms: int
    resident_bytes_max: int
    departed_max: int
    recent_keys_max: int
    busy_s: float
    pace_s: float
    clients: int
    workers: int
    journal_slow: float
    store_slow: float
    store_deadly: float
    crash_s: float
    step_s: float
    pause_s: float
    faithless: float
    """Share of attempts that do not simply end with an ack."""
    impatient: float
    staged_bytes_max: int
    retained_bytes_max: int
    tick_jobs_max: int
    tick_bytes_max: int
    small_queue_share: int
    load_bytes_min: int
    page_bytes: int


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"plan {seed}")
    pick = chance.choice
    width = pick((500, 2_000, 6_000))
    return Plan(
        shards=pick((1, 3, 8)),
        bucket_width_ms=width,
        horizon_ms=width * pick((1, 2, 3)),
        resident_bytes_max=pick((6_000, 15_000, 40_000, 10_000_000)),
        departed_max=pick((5, 40, 100_000)),
        recent_keys_max=pick((3, 10, 10_000)),
        busy_s=chance.uniform(10, 30),
        pace_s=pick((0.02, 0.06, 0.2)),
        clients=pick((2, 4)),
        workers=pick((1, 3, 5)),
        journal_slow=pick((0, 0.03, 0.3)),
        store_slow=pick((0, 0.05, 0.4)),
        store_deadly=pick((0, 0, 0.05)),
        crash_s=pick((0, 0, 2, 8)),
        step_s=pick((0, 0, 0, 4)),
        pause_s=pick((0, 2, 6)),
        faithless=pick((0, 0.2, 0.6)),
        impatient=pick((0, 0, 0.05)),
        staged_bytes_max=pick((500, 3_000, 2_000_000)),
        retained_bytes_max=pick((20_000, 200_000, 10**9)),
        tick_jobs_max=pick((1, 7, 8192)),
        tick_bytes_max=pick((4, 2_000, 1 << 22)),
        small_queue_share=pick((4, 64)),
        load_bytes_min=pick((400, 3_000)),
        page_bytes=pick((300, 3_000, 10**6)),
    )


@contextmanager
def applied(plan: Plan) -> Iterator[None]:
    """The product's bounds, made small."""
    cached = lru_cache(None)(unpack_spec)
    changes: list[tuple[Any, str, Any]] = [
        (limits, "BUCKET_WIDTH_MS", plan.bucket_width_ms),
        (limits, "HORIZON_MS", plan.horizon_ms),
        (limits, "MINUTE_MS", plan.horizon_ms // 3),
        (limits, "STAGED_BYTES_MAX", plan.staged_bytes_max),
        (limits, "GROUP_BYTES_SOFT", max(plan.staged_bytes_max // 2, 200)),
        (limits, "RETAINED_BYTES_SUBMIT_MAX", plan.retained_bytes_max),
        (limits, "RETAINED_BYTES_GRANT_MAX", plan.retained_bytes_max * 2),
        (limits, "GRANTS_PER_TICK_MAX", plan.tick_jobs_max),
        (limits, "EXPIRIES_PER_TICK_MAX", plan.tick_jobs_max),
        (limits, "FRAME_JOBS_MAX", max(plan.tick_jobs_max // 2, 1)),
        (limits, "QUEUE_TURN_JOBS", max(plan.tick_jobs_max // 3, 1)),
        (limits, "SPILL_JOBS_PER_TICK_MAX", plan.tick_jobs_max),
        (limits, "TICK_BYTES_MAX", plan.tick_bytes_max),
        (limits, "NEAR_MS", plan.horizon_ms // 2),
        (limits, "SMALL_QUEUE_SHARE", plan.small_queue_share),
        (far, "FIRST_PASS_MS", plan.horizon_ms // 4),
        (limits, "BACKLOG_READY_LOW", 5),
        (limits, "BACKLOG_READY_HIGH", 8),
        (limits, "BACKLOG_PAGE_BYTES", plan.page_bytes),
        (limits, "LOAD_BYTES_MIN", plan.load_bytes_min),
        (limits, "CLOSE_ENTRIES_MAX", 3),
        (far, "WATERMARK_PERIOD_S", 0.7),
        (checkpoints, "PERIOD_S", 1.0),
        # The same records are decoded over and over.
        (fold_reference, "unpack_spec", cached),
        (state, "unpack_spec", cached),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in changes]
    for where, name, value in changes:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)
