"""Runs of many rounds as one table: medians, ratios to wheeld, and what was lost, early or duplicated.

Owns: which figures stand in the table. Invariant: a ratio is taken within one round, where both ran within the same
minutes, and the median of the rounds' ratios is shown; above 1 wheeld is ahead, whichever way the figure counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

OURS = "wheeld"
COUNTS = ("lost", "early", "duplicated", "foreign")


@dataclass(frozen=True)
class Run:
    """One workload on one system in one round. `report`: a wheeld.bench Report as a dictionary, empty when it broke."""

    number: int
    workload: str
    system: str
    report: Mapping[str, Any]
    error: str = ""

    @property
    def failures(self) -> list[str]:
        """What the run is blamed for."""
        return [self.error] if self.error else list(self.report.get("failures", []))


@dataclass(frozen=True)
class Measure:
    """A row of the table. `ours` names the workload of wheeld's that is the ratio's base."""

    workload: str
    figure: str
    label: str
    more_is_better: bool
    ours: str
    same_count_only: bool = False
    """A time that grows with the count: a ratio only where both had the same."""


def _rows(workload: str, label: str, figures: Mapping[str, bool], ours: str = "") -> list[Measure]:
    return [
        Measure(workload, figure, f"{label}, {figure.removesuffix('_ms')} ms", better, ours or workload)
        for figure, better in figures.items()
    ]


LATE = {"p50_ms": False, "p99_ms": False, "p99.9_ms": False}
MEASURES = [
    Measure("submit", "jobs_per_s", "submit in bulk, jobs/s", True, "submit"),
    Measure("lease_ack", "jobs_per_s", "lease + ack, jobs/s", True, "lease_ack"),
    *_rows("skew", "skew at the common rate", LATE),
    *_rows("skew_own", "skew at the peer's own rate (wheeld: at the common one)", LATE, "skew"),
    Measure("burst", "received_per_s", "burst: due in one ms, received, jobs/s", True, "burst"),
    Measure("burst", "last_received_s", "burst: last one received after, s", False, "burst", True),
    Measure("single", "jobs_per_s", "single submits, one caller, jobs/s", True, "single"),
    Measure("in_flight", "jobs_per_s", "single submits, 256 in flight, jobs/s", True, "in_flight"),
    Measure("pending", "memory_bytes_per_job", "memory per pending far job, bytes", False, "pending"),
    Measure("pending", "disk_bytes_per_job", "disk per pending far job, bytes", False, "pending"),
    Measure("pending", "first_on_time_job_s", "kill -9 to the next job on time, s", False, "pending", True),
]


def value(run: Run | None, figure: str) -> float | None:
    """A run's figure, when there is one that can be divided by."""
    found = None if run is None else run.report.get("figures", {}).get(figure)
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


def ratio(ours: float, theirs: float, more_is_better: bool) -> float | None:
    """How far wheeld is ahead; None when there is nothing to divide by."""
    over, under = (ours, theirs) if more_is_better else (theirs, ours)
    return over / under if under > 0 else None


@dataclass(frozen=True)
class Cell:
    """What a table's cell shows."""

    value: float
    ratio: float | None
    jobs: tuple[int, ...]
    faulty: bool


def cell(runs: Sequence[Run], measure: Measure, system: str) -> Cell | None:
    """Median over the rounds, and the median of the rounds' ratios to wheeld; None when no round has a figure."""
    by_key = {(run.number, run.workload, run.system): run for run in runs}
    values, ratios, jobs, faulty = [], [], set(), False
    for number in sorted({run.number for run in runs}):
        run = by_key.get((number, measure.workload, system))
        theirs = value(run, measure.figure)
        faulty = faulty or bool(run and run.failures)
        if run is None or theirs is None:
            continue
        values.append(theirs)
        jobs.add(int(run.report["figures"].get("jobs", 0)))
        base = by_key.get((number, measure.ours, OURS))
        ours = value(base, measure.figure)
        if measure.same_count_only and value(base, "jobs") != value(run, "jobs"):
            continue
        found = None if ours is None else ratio(ours, theirs, measure.more_is_better)
        if found is not None:
            ratios.append(found)
    if not values:
        return None
    return Cell(median(values), median(ratios) if ratios else None, tuple(sorted(jobs)), faulty)


def number_text(number: float) -> str:
    """Three digits at least, thousands parted."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def cell_text(found: Cell | None, system: str) -> str:
    """The cell in Markdown."""
    if found is None:
        return ""
    text = number_text(found.value) + ("†" if found.faulty else "")
    if system == OURS or found.ratio is None:
        return text
    return f"{text} ({found.ratio:.2g}×)" if found.ratio < 10 else f"{text} ({found.ratio:,.0f}×)"


def figures_table(runs: Sequence[Run], systems: Sequence[str]) -> str:
    """One row a measure, one column a system."""
    lines = [markdown_row(["", *systems]), markdown_row(["---"] * (len(systems) + 1))]
    for measure in MEASURES:
        cells = [cell(runs, measure, system) for system in systems]
        if any(cells):
            texts = [cell_text(found, system) for found, system in zip(cells, systems, strict=True)]
            lines.append(markdown_row([measure.label, *texts]))
    return "\n".join(lines)


def counts_table(runs: Sequence[Run], systems: Sequence[str]) -> str:
    """For each workload and system: runs, jobs in each, and the sums of what must be zero ("-": not counted there)."""
    lines = [markdown_row(["workload", "system", "runs", "jobs", *COUNTS, "failures"]), markdown_row(["---"] * 9)]
    for workload in dict.fromkeys(run.workload for run in runs):
        for system in systems:
            chosen = [run for run in runs if (run.workload, run.system) == (workload, system)]
            if not chosen:
                continue
            jobs = sorted({int(run.report.get("figures", {}).get("jobs", 0)) for run in chosen})
            sums = [total(chosen, name) for name in COUNTS]
            failures = "; ".join(dict.fromkeys(text for run in chosen for text in run.failures)).replace("|", "/")
            lines.append(
                markdown_row([workload, system, str(len(chosen)), ", ".join(f"{n:,}" for n in jobs), *sums, failures])
            )
    return "\n".join(lines)


def total(runs: Iterable[Run], name: str) -> str:
    """The sum of a count over the runs that have it."""
    found = [int(run.report["figures"][name]) for run in runs if name in run.report.get("figures", {})]
    return str(sum(found)) if found else "-"


def terms_table(runs: Sequence[Run], systems: Sequence[str]) -> str:
    """How each system was driven, in the words of its reports."""
    lines = [markdown_row(["system", "workload", "durability", "how", "batch"]), markdown_row(["---"] * 5)]
    for system in systems:
        for workload in dict.fromkeys(run.workload for run in runs):
            terms: Mapping[str, Any] = next(
                (
                    run.report["terms"]
                    for run in runs
                    if run.report and (run.workload, run.system) == (workload, system)
                ),
                {},
            )
            if terms:
                words = [str(terms.get(name, "")) for name in ("durability", "how", "batch")]
                rate = f" at {terms['rate']}/s" if "rate" in terms else ""
                lines.append(markdown_row([system, workload + rate, *words]))
    return "\n".join(lines)


def markdown_row(texts: Sequence[str]) -> str:
    """`| a | b |`"""
    return "| " + " | ".join(text.replace("\n", " ") for text in texts) + " |"
