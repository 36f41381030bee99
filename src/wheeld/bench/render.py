"""Reports as a table for people and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from wheeld.bench.judge import Report, machine


def table(reports: Sequence[Report]) -> str:
    """Plain text: one block a report, terms beneath the figures."""
    lines = []
    for report in reports:
        lines.append(f"{report.name}{'  FAILED: ' + '; '.join(report.failures) if report.failures else ''}")
        lines += [
            f"    {name:22} {value:>14,}" if isinstance(value, int) else f"    {name:22} {value:>14}"
            for name, value in report.figures.items()
        ]
        lines.append("    terms: " + ", ".join(f"{name} {value}" for name, value in report.terms.items()))
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    return "\n".join([*lines, f"machine: {facts}"])


def write_json(reports: Sequence[Report], path: Path) -> None:
    """All reports with their series, for plots and comparisons."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([report.as_dict() for report in reports], indent=1), encoding="utf-8")
