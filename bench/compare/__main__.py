"""The comparison: `python -m bench.compare --rounds 3 --scale 0.2 --systems redis,postgres,beanstalkd,celery,wheeld`.

Owns: the run's order, its time limits and its files. Every run is a process of its own (`bench.compare.single`); what
was measured is written after each, so that an interrupted comparison keeps what it has. `--plan` tells what would be
run, and how long it should take.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.compare.estimate import run_seconds, sync_seconds
from bench.compare.fence import end_descendants, fenced
from bench.compare.plan import SYSTEMS, WORKLOADS, applies, plan_for, schedule
from bench.compare.ratios import OURS, Run, counts_table, figures_table, terms_table
from bench.compare.single import missing, version
from bench.parent import end_with_parent
from wheeld.bench.judge import machine

RESULTS = Path(__file__).parents[1] / "results" / "local"
RUN_S_MAX = 600
END_S_MAX = 60
READING = (
    "Median over the rounds; in brackets the median of each round's ratio, above 1 = wheeld is ahead. † = a run had a "
    "failure, listed below. A burst's rate is its jobs over the seconds until the last one arrived; systems with fewer "
    "jobs there are told by the list below. redis-leased submits as redis does."
)
TERMS = (
    "Server, producer and one worker process on the same machine; payload 128 bytes; a fresh server for every run; "
    "what a client can encode beforehand is encoded beforehand; garbage collection off in every client."
)


def measure(
    number: int, workload: str, system: str, options: argparse.Namespace, inside: Path, chosen: Sequence[str] = ()
) -> Run:
    """One run in a child process, which keeps all its files in `inside`."""
    with tempfile.TemporaryDirectory(dir=inside) as folder:
        answer, log = Path(folder) / "report.json", Path(folder) / "log"
        command = [sys.executable, "-m", "bench.compare.single", system, workload]
        command += ["--json", str(answer), "--scale", str(options.scale)]
        command += ["--same-counts"] if options.same_counts else []
        command += [word for choice in chosen for word in ("--choose", choice)]
        with log.open("wb") as out:
            child = subprocess.Popen(
                command,
                stdout=out,
                stderr=out,
                env={**os.environ, "TMPDIR": str(inside)},
                preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - two system calls, and no lock
            )
            try:
                child.wait(RUN_S_MAX)
            except subprocess.TimeoutExpired:
                return Run(number, workload, system, {}, f"not done after {RUN_S_MAX} s")
            finally:
                end(child)
                if left := end_descendants():
                    print(f"ended what {system} left running: {len(left)} processes", flush=True)
        if child.returncode or not answer.exists():
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return Run(number, workload, system, {}, lines[-1] if lines else f"exit status {child.returncode}")
        return Run(number, workload, system, json.loads(answer.read_text(encoding="utf-8")))


def end(child: subprocess.Popen[bytes]) -> None:
    """Let it end its server; then insist."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def present(systems: Sequence[str]) -> list[str]:
    """Those that this machine can run; says why of the others."""
    found = []
    for system in systems:
        lack = missing(system)
        if lack:
            print(f"skipped: {system}: {lack}", flush=True)
        else:
            found.append(system)
    return found


def describe(options: argparse.Namespace, systems: Sequence[str]) -> dict[str, Any]:
    """What the reader needs besides the figures."""
    return {
        "machine": machine(),
        "load_before": os.getloadavg()[0],
        "rounds": options.rounds,
        "scale": options.scale,
        "seed": options.seed,
        "versions": {system: version(system) for system in systems},
        "started": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def markdown(facts: dict[str, Any], runs: Sequence[Run], systems: Sequence[str]) -> str:
    """The whole result as a page."""
    about = ", ".join(f"{name} {value}" for name, value in facts["machine"].items())
    versions = "; ".join(f"{system}: {text}" for system, text in facts["versions"].items())
    facts_text = (
        f"{facts['started']}. {facts['rounds']} rounds at scale {facts['scale']}, systems interleaved in shuffled "
        f"order (seed {facts['seed']}). Machine: {about}; load average before the run: {facts['load_before']:.2f}. "
        f"{versions}."
    )
    accounted = ["## Jobs accounted for", counts_table(runs, systems)]
    driven = ["## How each was driven", TERMS, terms_table(runs, systems)]
    return "\n\n".join(
        ["# wheeld and its peers", facts_text, READING, figures_table(runs, systems), *accounted, *driven]
    )


def write(folder: Path, facts: dict[str, Any], runs: Sequence[Run], systems: Sequence[str]) -> None:
    """JSON for programs, Markdown for people."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**facts, "systems": list(systems), "runs": [asdict(run) for run in runs]}
    (folder / "compare.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (folder / "compare.md").write_text(markdown(facts, runs, systems) + "\n", encoding="utf-8")


def words(allowed: Sequence[str]) -> Any:
    """An argument type: some of `allowed`, comma separated, in the order of `allowed`."""

    def parse(text: str) -> list[str]:
        given = text.split(",")
        unknown = set(given) - set(allowed)
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(allowed)}")
        return [name for name in allowed if name in given]

    return parse


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual counts and durations")
    parser.add_argument("--systems", type=words(SYSTEMS), default=list(SYSTEMS), help=", ".join(SYSTEMS))
    parser.add_argument("--workloads", type=words(WORKLOADS), default=list(WORKLOADS), help=", ".join(WORKLOADS))
    parser.add_argument("--same-counts", action="store_true", help="the slow peers' counts as large as the others'")
    parser.add_argument("--plan", action="store_true", help="only tell what would be run")
    parser.add_argument("--seed", type=int, default=1, help="of the order within each round")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where compare.json and compare.md go")
    return parser.parse_args()


def planned(options: argparse.Namespace, systems: Sequence[str]) -> list[tuple[int, str, str, float]]:
    """(round, workload, system, about how many seconds), in order."""
    sync_s = sync_seconds()
    plans = {system: plan_for(system, options.scale, options.same_counts) for system in systems}
    return [
        (number, workload, system, run_seconds(system, workload, plans[system], sync_s))
        for number, workload, system in schedule(options.rounds, options.workloads, systems, options.seed)
        if applies(system, workload, plans[system])
    ]


def tell(steps: Sequence[tuple[int, str, str, float]]) -> None:
    """The plan, a line for each workload."""
    print(f"{len(steps)} runs, about {sum(step[3] for step in steps) / 60:.0f} minutes; seconds for each in one round:")
    for workload in dict.fromkeys(step[1] for step in steps):
        costs = {step[2]: step[3] for step in steps if step[:2] == (0, workload)}
        print(
            f"  {workload:10} " + ", ".join(f"{system} {cost:.0f}" for system, cost in sorted(costs.items())),
            flush=True,
        )


def main() -> int:
    """Run it all; 1 when a run of wheeld's failed."""
    options = arguments()
    systems = present(options.systems)
    steps = planned(options, systems)
    tell(steps)
    if options.plan:
        return 0
    facts, runs, began = describe(options, systems), list[Run](), time.monotonic()
    with fenced() as inside:
        for at, (number, workload, system, _) in enumerate(steps, 1):
            started = time.monotonic()
            run = measure(number, workload, system, options, inside)
            runs.append(run)
            figures = ", ".join(f"{name} {value}" for name, value in run.report.get("figures", {}).items())
            blame = f"  FAILED: {'; '.join(run.failures)}" if run.failures else ""
            where = f"{at}/{len(steps)} round {number + 1} {workload:10} {system:15}"
            print(f"{where} {time.monotonic() - started:5.1f} s  {figures}{blame}", flush=True)
            facts["seconds"] = round(time.monotonic() - began)
            write(options.folder, facts, runs, systems)
    print(f"\n{markdown(facts, runs, systems)}\n\nwritten: {options.folder / 'compare.json'}, compare.md")
    return 1 if any(run.failures for run in runs if run.system == OURS) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: what was measured until then is written")
