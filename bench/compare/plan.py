"""What is run, how often and how large: the workloads, the sizes, the interleaving.

Owns: the sizes of each system. Does not own: how a system carries a workload out. Invariant: systems differ in size
only where a slow one would make the others wait for minutes, and every report states its own size.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

WORKLOADS = ("submit", "lease_ack", "skew", "skew_own", "burst", "single", "in_flight", "pending")
SYSTEMS = ("wheeld", "redis", "redis-leased", "redis-everysec", "postgres", "beanstalkd", "beanstalkd-50ms", "celery")
DUE_IN_MS = 3_600_000
"""Submitted jobs that nobody is to fire are due in an hour."""


@dataclass(frozen=True)
class Plan:
    """One system's sizes."""

    jobs: int = 200_000
    """submit and lease_ack"""
    burst_jobs: int = 1_000_000
    far_jobs: int = 500_000
    """pending"""
    rate: int = 5_000
    """skew, jobs a second; 0: this system cannot"""
    own_rate: int = 0
    """skew_own, for a system that cannot stand `rate`; 0: not needed"""
    seconds: float = 10.0
    singles: int = 2_000
    in_flight_jobs: int = 20_480
    payload_bytes: int = 128
    batch: int = 1_000
    window: int = 256

    def scaled(self, scale: float) -> Plan:
        """Counts and duration at a share of the usual size: whole batches, whole windows, the rates as they are."""
        return replace(
            self,
            jobs=whole(self.jobs * scale, self.batch),
            burst_jobs=whole(self.burst_jobs * scale, self.batch),
            far_jobs=whole(self.far_jobs * scale, self.batch),
            seconds=max(self.seconds * scale, 1.0),
            singles=whole(self.singles * scale, 100),
            in_flight_jobs=whole(self.in_flight_jobs * scale, self.window),
        )


SLOWER = {
    "beanstalkd": {
        "jobs": 5_000,
        "burst_jobs": 5_000,
        "far_jobs": 10_000,
        "rate": 0,
        "own_rate": 1_000,
        "in_flight_jobs": 5_120,
        "batch": 100,
    },
    "beanstalkd-50ms": {"burst_jobs": 100_000, "batch": 100},
    "celery": {"jobs": 2_000, "burst_jobs": 2_000, "rate": 0, "own_rate": 200, "in_flight_jobs": 2_048, "batch": 100},
}
"""One fsync for each job, or one Python call: at full size these two would take minutes. Their rates do not rise with
the count."""


def whole(count: float, unit: int) -> int:
    """`count` in whole units, at least one."""
    return max(round(count / unit), 1) * unit


def plan_for(system: str, scale: float, same_counts: bool) -> Plan:
    """The sizes of one system; `same_counts` gives the slow ones the counts of the others."""
    slower = {} if system not in SLOWER else dict(SLOWER[system])
    if same_counts:
        slower = {name: value for name, value in slower.items() if name in ("rate", "own_rate", "batch")}
    return replace(Plan(), **slower).scaled(scale)


ONLY = {
    "redis-leased": ("lease_ack", "skew", "burst"),
    "redis-everysec": ("skew",),
    "beanstalkd-50ms": ("skew", "burst"),
    "celery": ("submit", "lease_ack", "skew_own", "burst", "single", "in_flight"),
}
"""A lease changes nothing about submits. The weaker durabilities stand where a sync of each command hides what the
system does about time. Celery is left out of `pending`: its jobs lie in a list that the worker must read through to
find what is due, and what a killed worker held comes back after the visibility timeout."""


def applies(system: str, workload: str, plan: Plan) -> bool:
    """Whether the workload means anything for a system of this plan."""
    if workload not in ONLY.get(system, WORKLOADS):
        return False
    return bool({"skew": plan.rate, "skew_own": plan.own_rate}.get(workload, True))


def schedule(
    rounds: int, workloads: Sequence[str], systems: Sequence[str], seed: int
) -> Iterator[tuple[int, str, str]]:
    """(round, workload, system): in each round and workload all systems one after another, in an order of its own, so
    that a slow minute of the machine hits no system alone.
    """
    draw = random.Random(seed)
    for number in range(rounds):
        for workload in workloads:
            order = list(systems)
            draw.shuffle(order)
            for system in order:
                yield number, workload, system
