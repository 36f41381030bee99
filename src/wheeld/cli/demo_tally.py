"""What the demo has submitted and what has run: the counts that must be zero, and the skew by phase.

Owns the judgement. Pure. Invariant: it knows only ids that the client was given and lines that the worker wrote.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from wheeld.cli.demo_jobs import Run

QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
NOW, BEFORE, DOWN, AFTER = (
    "submitted to run now",
    "due before the kill",
    "due in the outage",
    "due after it",
)
PHASES = (NOW, BEFORE, DOWN, AFTER)


def percentile(ordered: Sequence[float], quantile: float) -> float:
    """Of an ordered sequence, by nearest rank."""
    return ordered[min(int(len(ordered) * quantile), len(ordered) - 1)]


def figures(skews_ms: Sequence[float]) -> dict[str, float]:
    """Percentiles and maximum, in ms."""
    ordered = sorted(skews_ms)
    return {**{name: percentile(ordered, quantile) for name, quantile in QUANTILES}, "max": ordered[-1]}


@dataclass
class Tally:
    """See the module. Wall clock in ms, 0: not yet. `back_ms`: the worker has found the restarted daemon."""

    killed_ms: int = 0
    serving_ms: int = 0
    back_ms: int = 0
    accepted: dict[str, str] = field(default_factory=dict)
    """Job id -> its name."""
    runs: list[Run] = field(default_factory=list)
    intended_ms: dict[str, int] = field(default_factory=dict)
    """Name -> the time that the client asked for; missing: now."""

    def accept(self, name: str, job_id: str) -> None:
        """The daemon took a job."""
        self.accepted[job_id] = name

    def waiting(self) -> int:
        """Accepted and not run yet."""
        return len(self.accepted.keys() - {run.job_id for run in self.runs})

    def early(self) -> list[Run]:
        """Before they were due, by their lease or by what the client asked for."""
        return [run for run in self.runs if run.receive_us < max(run.due_ms, self.intended_ms.get(run.name, 0)) * 1000]

    def twice(self) -> tuple[int, int]:
        """(jobs that ran more than once, those of them that nothing explains).

        A later attempt or a redelivery says of itself that there was one before.
        """
        by_job: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            by_job[run.job_id].append(run)
        again = [runs for runs in by_job.values() if len(runs) > 1]
        unexplained = [runs for runs in again if any(not run.redelivery and run.attempt == 1 for run in runs[1:])]
        return len(again), len(unexplained)

    def created_twice(self) -> int:
        """Names that stand for more than one job: a batch that was sent again was taken again."""
        ids = {(run.name, run.job_id) for run in self.runs} | {(name, job) for job, name in self.accepted.items()}
        return sum(count - 1 for count in Counter(name for name, _ in ids).values())

    def phase(self, run: Run) -> str:
        """Which row of the table a run belongs to."""
        if run.name not in self.intended_ms:
            return NOW
        if not self.killed_ms or run.due_ms < self.killed_ms:
            return BEFORE
        return DOWN if not self.back_ms or run.due_ms < self.back_ms else AFTER

    def by_phase(self) -> dict[str, list[float]]:
        """Skews in ms. A job that was due just before the kill and ran after it counts as one of the outage."""
        found: dict[str, list[float]] = {phase: [] for phase in PHASES}
        for run in self.runs:
            phase = self.phase(run)
            if phase in (NOW, BEFORE) and self.killed_ms and run.due_ms < self.killed_ms < run.receive_us / 1000:
                phase = DOWN
            found[phase].append(run.skew_ms)
        return {phase: skews for phase, skews in found.items() if skews}

    def failures(self) -> dict[str, int]:
        """What must be zero."""
        return {
            "lost": self.waiting(),
            "early": len(self.early()),
            "created twice": self.created_twice(),
            "unexplained": self.twice()[1],
        }
