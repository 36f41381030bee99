"""The wheel and its rivals over the number of timers: `python -m bench.micro.curve --sizes 1,10,50`.

Owns: which cells are run, their order and their table. Each cell is a process of its own (`bench.micro.cell`), so that
no rival works in the heap that another one left. Within a size the rivals follow each other; with several rounds the
table shows medians. Invariant: a cell that was left out or broke says so in the table's list; nothing is extrapolated.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.micro.rivals import RIVALS
from wheeld.bench.judge import machine

RESULTS = Path(__file__).parents[1] / "results" / "local" / "wheel-curve.json"
MILLION = 1_000_000
REFERENCE_MAX = MILLION
INPUT_BYTES = 80
"""For each timer: the arrays of keys and times, and what checks the answer."""
BYTES_NEEDED = {
    "native": 30, "heapq": 200, "heapq-packed": 130, "SortedList": 180, "SortedDict": 420, "reference": 350
}  # fmt: skip
"""For each timer at the peak, a filled rival and what filling it takes in passing."""
FREE_SHARE = 0.8
COLUMNS = {
    "arm_ns": "arm",
    "cancel_ns": "cancel",
    "expire_jump_ns": "expire, one jump",
    "expire_steps_ns": "expire, 1 ms steps",
    "step_ns": "a 1 ms step",
    "bytes_per_timer": "bytes a timer",
}
READING = (
    "ns of processor time for each timer (for each call in the column of the step); bytes are what the process grew "
    "by. In brackets: how many times the native wheel's. In steps: a tenth of the hour in 360,000 calls, so that with "
    "few timers the calls are what is seen. heapq cancels lazily, a cell in an array and no more; its expiry pays for "
    "it. sortedcontainers really removes."
)
Row = dict[str, Any]


def available_bytes() -> int:
    """Memory that the kernel would give."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo has no MemAvailable")


def why_not(rival: str, timers: int) -> str:
    """Why a cell is left out; empty when it is not."""
    if rival == "reference" and timers > REFERENCE_MAX:
        return "the reference sorts everything that is due in every call: minutes"
    needed = (BYTES_NEEDED[rival] + INPUT_BYTES) * timers
    if needed > available_bytes() * FREE_SHARE:
        return f"needs about {needed / 1e9:.0f} GB, {available_bytes() / 1e9:.0f} GB are free"
    return ""


def run_cell(rival: str, timers: int, patience_s: float) -> Row:
    """One cell in a child process."""
    row: Row = {"rival": rival, "timers": timers}
    if reason := why_not(rival, timers):
        return {**row, "left_out": reason}
    command = [sys.executable, "-m", "bench.micro.cell", rival, str(timers)]
    command += ["--no-steps"] if rival == "reference" else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s, check=False)
    except subprocess.TimeoutExpired:
        return {**row, "left_out": f"not done after {patience_s:.0f} s"}
    if done.returncode:
        return {**row, "left_out": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    return {**row, **json.loads(done.stdout)}


def medians(rows: Sequence[Row]) -> list[Row]:
    """One row for each rival and size: medians over the rounds."""
    found = []
    for rival, timers in dict.fromkeys((row["rival"], row["timers"]) for row in rows):
        same = [row for row in rows if (row["rival"], row["timers"]) == (rival, timers)]
        whole = [row for row in same if "left_out" not in row]
        if not whole:
            found.append(same[0])
            continue
        figures = {name: [row[name] for row in whole if row.get(name) is not None] for name in COLUMNS}
        found.append(
            {"rival": rival, "timers": timers, "rounds": len(whole)}
            | {name: median(values) if values else None for name, values in figures.items()}
        )
    return found


def cell_text(row: Row, name: str, base: Row | None) -> str:
    """A figure, and how many times the native wheel's it is."""
    figure = row.get(name)
    if figure is None:
        return "-"
    text = f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
    ours = base.get(name) if base is not None and row is not base else None
    if not ours:
        return text
    times = figure / ours
    return f"{text} ({times:.2g}×)" if times < 10 else f"{text} ({times:,.0f}×)"


def table(rows: Sequence[Row]) -> str:
    """Markdown, by size; what was left out below."""
    lines = ["| timers | | " + " | ".join(COLUMNS.values()) + " |", "| ---: | --- |" + " ---: |" * len(COLUMNS)]
    notes = []
    for timers in dict.fromkeys(row["timers"] for row in rows):
        same = [row for row in rows if row["timers"] == timers]
        base = next((row for row in same if row["rival"] == "native" and "left_out" not in row), None)
        for row in same:
            if "left_out" in row:
                notes.append(f"* {row['rival']} at {timers:,}: left out: {row['left_out']}")
            else:
                cells = [cell_text(row, name, base) for name in COLUMNS]
                lines.append(f"| {timers:,} | {row['rival']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, *([""] if notes else []), *notes])


def plot(rows: Sequence[Row], path: Path) -> bool:
    """The curves; False where matplotlib is missing."""
    try:
        import matplotlib.pyplot as plt

        from bench.report import BESIDE
    except ImportError:
        return False
    shown = ("arm_ns", "cancel_ns", "expire_jump_ns", "bytes_per_timer")
    figure, panels = plt.subplots(2, 2, figsize=(12, 8), layout="constrained", squeeze=False)
    for axes, name in zip(panels.flat, shown, strict=True):
        for rival in dict.fromkeys(row["rival"] for row in rows):
            points = [(row["timers"], row[name]) for row in rows if row["rival"] == rival and row.get(name)]
            axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=rival)
        axes.set(xscale="log", yscale="log", xlabel="timers", title=COLUMNS[name])
        axes.set_ylabel("bytes" if name == "bytes_per_timer" else "ns")
        axes.grid(True, which="both", alpha=0.25)
    panels[0][1].legend(fontsize="small", **BESIDE)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return True


def some_of(names: Sequence[str]) -> Any:
    """An argument type: comma separated, each one of `names`."""

    def parse(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(names):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
        return text.split(",")

    return parse


def millions(text: str) -> list[int]:
    """An argument type: sizes in millions."""
    sizes = [float(word) for word in text.split(",")]
    if not all(math.isfinite(size) and size >= 0.01 for size in sizes):
        raise argparse.ArgumentTypeError("sizes are in millions, 0.01 at least")
    return [round(size * MILLION) for size in sizes]


def main() -> int:
    """Run the cells; 1 when one of the native wheel's broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=millions, default=millions("1,10,50"), help="timers, in millions")
    parser.add_argument("--rivals", type=some_of(list(RIVALS)), default=list(RIVALS), help=", ".join(RIVALS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--patience-s", type=float, default=600, help="for one cell; a longer one is given up")
    parser.add_argument("--json", type=Path, default=RESULTS, help="the plot goes to plots/ beside it")
    options = parser.parse_args()
    facts = {"machine": machine(), "load_before": os.getloadavg()[0]}
    rows: list[Row] = []
    for size in options.sizes:
        for _ in range(options.rounds):
            for rival in options.rivals:
                began = time.monotonic()
                row = run_cell(rival, size, options.patience_s)
                rows.append(row)
                print(
                    f"{size:>11,} {rival:12} {time.monotonic() - began:6.1f} s  {row.get('left_out', '')}", flush=True
                )
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps({**facts, "cells": rows}, indent=1), encoding="utf-8")
    shown = medians(rows)
    about = ", ".join(f"{name} {value}" for name, value in facts["machine"].items())
    print(f"\n{READING}\nMachine: {about}; load average before: {facts['load_before']:.2f}.\n\n{table(shown)}\n")
    picture = options.json.parent / "plots" / f"{options.json.stem}.png"
    print(f"written: {options.json}" + (f", {picture}" if plot(shown, picture) else "; no plot without matplotlib"))
    return 1 if any(row["rival"] == "native" and "left_out" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
