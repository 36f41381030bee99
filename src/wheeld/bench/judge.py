"""What a run is judged by: percentiles, and the three counts that must be zero."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Report:
    """One benchmark's result. `figures` is what the table shows; `terms` says on what terms it was measured."""

    name: str
    figures: dict[str, float | int | str] = field(default_factory=dict)
    terms: dict[str, float | int | str] = field(default_factory=dict)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "machine": machine()}


def percentile(values: Sequence[float], quantile: float) -> float:
    """The value at a quantile of a sorted sequence (nearest rank)."""
    if not values:
        return float("nan")
    return values[min(int(len(values) * quantile), len(values) - 1)]


def skew_figures(due_ms: Sequence[int], receive_us: Sequence[int]) -> dict[str, float | int | str]:
    """Percentiles of receipt minus schedule time, in ms, and how many came early."""
    late = sorted(receive - due * 1000 for due, receive in zip(due_ms, receive_us, strict=True))
    names = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
    figures: dict[str, float | int | str] = {f"{name}_ms": round(percentile(late, q) / 1000, 3) for name, q in names}
    figures["max_ms"] = round(late[-1] / 1000, 3) if late else float("nan")
    figures["early"] = sum(1 for value in late if value < 0)
    return figures


def account(accepted: Sequence[str], arrived: Sequence[str]) -> dict[str, float | int | str]:
    """Lost: accepted and never arrived. Duplicated: arrived more than once. Foreign: arrived and not of this run."""
    counts = Counter(arrived)
    wanted = set(accepted)
    return {
        "lost": len(wanted - counts.keys()),
        "duplicated": sum(count - 1 for count in counts.values()),
        "foreign": len(counts.keys() - wanted),
    }


def machine() -> dict[str, str | int]:
    """Where the run took place."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
