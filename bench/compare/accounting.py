"""What arrived when, judged against intended times.

Owns: the record of one worker. Invariant: numbers 0..n-1 were accepted, and job i was due at dues_ms[i]; every receipt
is judged against its own job's due time, never against the moment at which the load got around to it.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Sequence

from wheeld.bench.judge import Report, account, skew_figures

SERIES_POINTS = 600
ON_TIME_US = 50_000
"""A job that comes within this after its due time is on time again, as wheeld's own restart benchmark counts."""
PROBE_LEFT = 100


def now_us() -> int:
    """Wall clock, microseconds: the clock that due times are in."""
    return time.time_ns() // 1000


class Receipts:
    """The arrivals at one worker, which waits for `wanted` of them: job numbers and the moment of each."""

    def __init__(self, wanted: int = 0) -> None:
        self._wanted = wanted
        self.numbers: array[int] = array("q")
        self.receive_us: array[int] = array("q")
        self.acked_us = 0
        """When the last ack was answered (for a pop without an ack: when the last job arrived)."""

    @property
    def left(self) -> int:
        """How many the worker still waits for."""
        return max(self._wanted - len(self.numbers), 0)

    def add(self, numbers: Iterable[int], at_us: int) -> None:
        """Jobs that arrived at one moment."""
        self.numbers.extend(numbers)
        self.receive_us.extend([at_us] * (len(self.numbers) - len(self.receive_us)))

    def known(self, dues_ms: Sequence[int]) -> tuple[list[int], list[int]]:
        """(due_ms, receive_us) of each arrival that belongs to this run."""
        pairs = [
            (dues_ms[number], at)
            for number, at in zip(self.numbers, self.receive_us, strict=True)
            if 0 <= number < len(dues_ms)
        ]
        return [due for due, _ in pairs], [at for _, at in pairs]


class Probe(Receipts):
    """Waits for one job that comes on time, whatever came late before it."""

    def __init__(self, dues_ms: Sequence[int], within_us: int = ON_TIME_US) -> None:
        super().__init__()
        self._dues_ms, self._within_us = dues_ms, within_us
        self.on_time_us = 0

    @property
    def left(self) -> int:
        """Enough to fetch in batches, until the one is there."""
        return 0 if self.on_time_us else PROBE_LEFT

    def add(self, numbers: Iterable[int], at_us: int) -> None:
        """Looks at each for the one."""
        first = len(self.numbers)
        super().add(numbers, at_us)
        if not self.on_time_us and any(
            0 <= number < len(self._dues_ms) and at_us - self._dues_ms[number] * 1000 < self._within_us
            for number in self.numbers[first:]
        ):
            self.on_time_us = at_us


def counts(dues_ms: Sequence[int], receipts: Receipts) -> dict[str, int]:
    """Lost, early, duplicated, foreign: each must be zero."""
    due, at = receipts.known(dues_ms)
    early = sum(1 for due_ms, at_us in zip(due, at, strict=True) if at_us < due_ms * 1000)
    names = account([str(number) for number in range(len(dues_ms))], [str(number) for number in receipts.numbers])
    return {"early": early, **{name: int(value) for name, value in names.items()}}


def lease_ack_figures(dues_ms: Sequence[int], receipts: Receipts) -> dict[str, float | int | str]:
    """From the first receipt to the last ack."""
    took_us = receipts.acked_us - min(receipts.receive_us, default=receipts.acked_us)
    return {
        "jobs": len(receipts.numbers),
        "seconds": round(took_us / 1e6, 3),
        "jobs_per_s": round(len(receipts.numbers) / took_us * 1e6) if took_us else float("nan"),
        **counts(dues_ms, receipts),
    }


def skew_report(dues_ms: Sequence[int], receipts: Receipts) -> Report:
    """Percentiles of receipt minus due time, and the lateness over time as a series."""
    due, at = receipts.known(dues_ms)
    report = Report("skew")
    report.figures = {"jobs": len(receipts.numbers), **skew_figures(due, at), **counts(dues_ms, receipts)}
    pairs = sorted(zip(due, at, strict=True))
    report.series["skew_ms"] = [
        ((due_ms - dues_ms[0]) / 1000, (at_us - due_ms * 1000) / 1000)
        for due_ms, at_us in pairs[:: max(len(pairs) // SERIES_POINTS, 1)]
    ]
    return report


def burst_figures(dues_ms: Sequence[int], receipts: Receipts) -> dict[str, float | int | str]:
    """From the common due time to the last receipt and the last ack."""
    due_us = dues_ms[0] * 1000
    last_s = (max(receipts.receive_us, default=due_us) - due_us) / 1e6
    return {
        "jobs": len(receipts.numbers),
        "last_received_s": round(last_s, 3),
        "last_acked_s": round((receipts.acked_us - due_us) / 1e6, 3),
        "received_per_s": received_per_s(len(receipts.numbers), last_s),
        **counts(dues_ms, receipts),
    }


def received_per_s(jobs: int, last_s: float) -> float:
    """The burst as a rate, so that systems with different counts can stand side by side."""
    return round(jobs / last_s) if last_s > 0 else float("nan")


def complain(report: Report) -> None:
    """Anything but zero fails the run."""
    for name in ("lost", "early", "duplicated", "foreign"):
        if report.figures.get(name):
            report.failures.append(f"{name}: {report.figures[name]}")
