"""Why the peers are driven as they are: `python -m bench.compare.sweep`.

Owns: which choices are swept. One line for each choice that was made for a peer; each value in a run of its own, the
values in shuffled order within each round, so that a slow minute of the machine hits none alone. Prints the medians and
marks what the comparison uses. A value belongs into the peer's `tuning` when it wins by more than the rounds differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.compare.__main__ import RESULTS, measure, present, words
from bench.compare.fence import fenced
from bench.compare.ratios import markdown_row, number_text
from bench.compare.single import peer_class


@dataclass(frozen=True)
class Sweep:
    """One choice of one peer, told by one figure of one workload."""

    system: str
    choice: str
    values: tuple[float | str, ...]
    workload: str
    figure: str = "jobs_per_s"


SWEEPS = [
    Sweep("redis", "batches_in_flight", (1, 2, 4, 8, 16), "submit"),
    Sweep("redis", "pops_in_flight", (1, 2, 4, 8, 16), "lease_ack"),
    Sweep("redis-leased", "pops_in_flight", (1, 2, 4, 8, 16), "lease_ack"),
    Sweep("redis", "poll_ms", (0, 0.2, 1, 5), "skew", "p99_ms"),
    Sweep("postgres", "submit_connections", (1, 2, 4, 8), "submit"),
    Sweep("postgres", "worker_connections", (1, 2, 4), "lease_ack"),
    Sweep("postgres", "single_connections", (4, 8, 16, 32), "in_flight"),
    Sweep("postgres", "poll_ms", (0, 0.2, 1, 5), "skew", "p99_ms"),
    Sweep("beanstalkd", "reserves", (1, 10, 100, 1000), "lease_ack"),
    Sweep("celery", "threads", (1, 4, 16, 64), "submit"),
    Sweep("celery", "pool", ("prefork", "threads", "solo"), "lease_ack"),
    Sweep("celery", "concurrency", (1, 2, 4), "lease_ack"),
    Sweep("celery", "prefetch", (1, 64, 512), "lease_ack"),
]


def run_sweep(sweep: Sweep, rounds: int, options: argparse.Namespace, inside: Path) -> dict[str, Any]:
    """The figure for each value, by round; None where a run broke."""
    draw = random.Random(1)
    found: dict[str, list[float | None]] = {str(value): [] for value in sweep.values}
    errors: list[str] = []
    for number in range(rounds):
        for value in draw.sample(sweep.values, len(sweep.values)):
            run = measure(number, sweep.workload, sweep.system, options, inside, [f"{sweep.choice}={value}"])
            errors += [f"{value}: {text}" for text in run.failures]
            found[str(value)].append(run.report.get("figures", {}).get(sweep.figure))
    used = peer_class(sweep.system).tuning[sweep.choice]
    return {**sweep.__dict__, "used": str(used), "found": found, "errors": errors}


def same(value: str, used: str) -> bool:
    """Whether the comparison uses this value."""
    try:
        return float(value) == float(used)
    except ValueError:
        return value == used


def row(result: dict[str, Any]) -> str:
    """Medians, the used one in bold."""
    cells = []
    for value, found in result["found"].items():
        known = [figure for figure in found if figure is not None]
        text = f"{value}: {number_text(median(known))}" if known else f"{value}: -"
        cells.append(f"**{text}**" if same(value, result["used"]) else text)
    about = f"{result['workload']}, {result['figure']}"
    return markdown_row([result["system"], result["choice"], about, ", ".join(cells), "; ".join(result["errors"])])


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    head = markdown_row(["system", "choice", "told by", "value: median (bold: used)", "failures"])
    return "\n".join([head, markdown_row(["---"] * 5), *map(row, results)])


def main() -> None:
    """Sweep, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    systems = list(dict.fromkeys(sweep.system for sweep in SWEEPS))
    choices = list(dict.fromkeys(sweep.choice for sweep in SWEEPS))
    parser.add_argument("--systems", type=words(systems), default=systems, help=", ".join(systems))
    parser.add_argument("--choices", type=words(choices), default=choices, help=", ".join(choices))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=0.2, help="share of the comparison's usual counts")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where sweep.json and sweep.md go")
    options = parser.parse_args()
    options.same_counts = False
    usable = present(options.systems)
    results: list[dict[str, Any]] = []
    about = (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {options.rounds} rounds at scale {options.scale}, load average "
    )
    about += f"{os.getloadavg()[0]:.2f} before"
    options.folder.mkdir(parents=True, exist_ok=True)
    with fenced() as inside:
        for sweep in SWEEPS:
            if sweep.system in usable and sweep.choice in options.choices:
                results.append(run_sweep(sweep, options.rounds, options, inside))
                print(row(results[-1]), flush=True)
                (options.folder / "sweep.json").write_text(json.dumps({"sweeps": results}, indent=1), encoding="utf-8")
                (options.folder / "sweep.md").write_text(f"{about}.\n\n{table(results)}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
