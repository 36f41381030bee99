"""All system benchmarks against a daemon of their own, in about a minute. `python -m bench.run`, `make bench`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvloop

from bench.daemon import Daemon
from bench.owned import footprint, restart
from wheeld.bench import workloads
from wheeld.bench.judge import Report
from wheeld.bench.render import table, write_json

NAMES = ("submit", "submit_spread", "lifecycle", "skew", "burst", "footprint", "restart")
RESULTS = Path(__file__).parent / "results" / "local" / "system.json"


async def run_one(name: str, daemon: Daemon, terms: workloads.Terms, scale: float) -> Report:
    """One workload, at `scale` of its usual size."""
    jobs = lambda count: max(int(count * scale) // terms.batch, 1) * terms.batch  # noqa: E731
    if name == "submit":
        return await workloads.submit(terms, jobs(1_000_000), 0)
    if name == "submit_spread":
        return await workloads.submit(terms, jobs(1_000_000), 30 * 86_400_000)
    if name == "lifecycle":
        return await workloads.lifecycle(terms, jobs(300_000))
    if name == "skew":
        return await workloads.skew(terms, 5000, 10 * scale)
    if name == "burst":
        return await workloads.burst(terms, jobs(200_000))
    if name == "footprint":
        return await footprint(daemon, terms, jobs(1_000_000))
    return await restart(daemon, terms, jobs(500_000))


async def main(names: list[str], scale: float, options: list[str]) -> list[Report]:
    """Each workload gets a fresh daemon, so that none pays for another's leavings."""
    reports = []
    for name in names:
        daemon = Daemon(*options)
        try:
            await daemon.start()
            report = await run_one(name, daemon, workloads.Terms(daemon.address), scale)
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
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--serve-option", action="append", default=[], help="passed to wheeld serve; repeat for more")
    arguments = parser.parse_args()
    found = uvloop.run(main(arguments.only.split(","), arguments.scale, arguments.serve_option))
    write_json(found, arguments.json)
    print(f"\nwritten: {arguments.json}")
    sys.exit(1 if any(report.failures for report in found) else 0)
