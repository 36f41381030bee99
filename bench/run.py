"""All system benchmarks against a daemon of their own, in about two minutes. `python -m bench.run`, `make bench`.

`--full` gives the sizes that the project's figures are stated for: a minute of submits, a million jobs due in one
millisecond, half a minute of skew, ten million pending at a restart.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.daemon import Daemon
from bench.owned import footprint, restart, sustained
from wheeld.bench import outside, stalls, workloads
from wheeld.bench.judge import Report
from wheeld.bench.render import table, write_json

NAMES = (
    "submit", "submit_spread", "sustained", "lifecycle", "skew", "mixed", "stalls", "burst", "footprint", "restart",
)  # fmt: skip
RATE = 5000
BACKGROUND_RATE = 50_000


@dataclass(frozen=True)
class Size:
    """How much of each."""

    submit: int = 1_000_000
    sustained_s: float = 15
    lifecycle: int = 300_000
    skew_s: float = 10
    burst: int = 200_000
    footprint: int = 1_000_000
    restart: int = 500_000


USUAL = Size()
FULL = Size(sustained_s=60, lifecycle=1_000_000, skew_s=30, burst=1_000_000, footprint=10_000_000, restart=10_000_000)
RESULTS = Path(__file__).parent / "results" / "local" / "system.json"


async def run_one(name: str, daemon: Daemon, terms: workloads.Terms, size: Size, scale: float) -> Report:
    """One workload, at `scale` of its size."""

    def jobs(count: int) -> int:
        return max(int(count * scale) // terms.batch, 1) * terms.batch

    if name == "submit":
        return await workloads.submit(terms, jobs(size.submit), 0)
    if name == "submit_spread":
        return await workloads.submit(terms, jobs(size.submit), 30 * 86_400_000)
    if name == "sustained":
        return await sustained(daemon, terms, size.sustained_s * scale)
    if name == "lifecycle":
        return await workloads.lifecycle(terms, jobs(size.lifecycle))
    if name == "skew":
        return await workloads.skew(terms, RATE, size.skew_s * scale)
    if name == "mixed":
        return await outside.mixed(terms, RATE, size.skew_s * scale, BACKGROUND_RATE)
    if name == "stalls":
        return await stalls.stalls(terms, daemon.http, RATE, size.skew_s * scale)
    if name == "burst":
        return await workloads.burst(terms, jobs(size.burst))
    if name == "footprint":
        return await footprint(daemon, terms, jobs(size.footprint))
    return await restart(daemon, terms, jobs(size.restart))


async def main(names: list[str], size: Size, scale: float, options: list[str]) -> list[Report]:
    """Each workload gets a fresh daemon, so that none pays for another's leavings."""
    reports = []
    for name in names:
        daemon = Daemon(*options)
        try:
            await daemon.start()
            report = await run_one(name, daemon, workloads.Terms(daemon.address), size, scale)
            report.name = name
            reports.append(report)
            print(table([report]), flush=True)
        finally:
            daemon.remove()
    return reports


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(NAMES), help="comma separated: " + ", ".join(NAMES))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual size")
    parser.add_argument("--full", action="store_true", help="the sizes that the project's figures are stated for")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--serve-option", action="append", default=[], help="passed to wheeld serve; repeat for more")
    arguments = parser.parse_args()
    found = uvloop.run(
        main(arguments.only.split(","), FULL if arguments.full else USUAL, arguments.scale, arguments.serve_option)
    )
    write_json(found, arguments.json)
    print(f"\nwritten: {arguments.json}")
    sys.exit(1 if any(report.failures for report in found) else 0)
