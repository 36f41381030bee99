"""Minutes of load with crashes: daemons, storekeepers and workers are killed at random, and the checker judges the
records.

`python -m bench.soak --minutes 5`; `make soak`. The processes and the checker are those of tests/e2e. Owns only the
plan.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.checker.history import Verdict
from tests.e2e.harness.daemon import verify
from tests.e2e.harness.run import Run
from wheeld.bench.judge import percentile

VICTIMS = ("daemon", "daemon", "keeper", "worker")


def soak(folder: Path, arguments: argparse.Namespace) -> Verdict:
    """One run; the folder keeps its records and logs."""
    run = Run(folder, arguments.seed)
    try:
        run.daemon.start()
        for _ in range(arguments.workers):
            run.add_worker("--lease-ms", "5000")
        run.add_producer("--rate", str(arguments.rate), "--batch", "100", "--spread-ms", "5000")
        until, crashes = time.monotonic() + arguments.minutes * 60, 0
        while time.monotonic() < until:
            run.pause(0.0, 2 * arguments.between_s)
            victim = run.rng.choice(VICTIMS)
            run.crash(victim)
            crashes += 1
            left_s = max(0.0, until - time.monotonic())
            print(f"{crashes:4}  killed a {victim}, serving again; {left_s:.0f} s to go", flush=True)
        return run.finish(patience_s=120)
    finally:
        run.close()


def main() -> int:
    """Run, report, and keep the folder when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--rate", type=float, default=1500, help="jobs per second")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--between-s", type=float, default=4, help="average time between crashes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="wheeld-soak-"))
    verdict = soak(folder / "run", arguments)
    skews_ms = [value / 1000 for value in verdict.skew_us]
    figures = "  ".join(
        f"{name} {percentile(skews_ms, q):.2f}" for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    )
    print(f"skew of first attempts at the worker, outages included, ms: {figures}")
    found = verify(folder / "run" / "data")
    print(found.stdout)
    if verdict.faults or found.returncode:
        print(f"kept for a look: {folder} (seed {arguments.seed})")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
