"""What the demo shows: a line for each single fire, one for each burst, a table at the end.

Owns the look. Plain lines when the output is no terminal. Invariant: shows what the tally says, decides nothing.
"""

from __future__ import annotations

import time
from datetime import datetime

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from wheeld.cli.demo_jobs import Run
from wheeld.cli.demo_tally import PHASES, QUANTILES, Tally, figures

SUMMARISED = ("burst-", "in-flight-", "near-kill-")
"""Names of which only the group is shown."""
GOOD_MS, FAIR_MS = 5.0, 50.0


def clock(time_us: int) -> str:
    """Local time with milliseconds."""
    return datetime.fromtimestamp(time_us / 1e6).astimezone().strftime("%H:%M:%S.%f")[:-3]


def coloured(skew_ms: float) -> str:
    """A skew in the colour of its size."""
    colour = "green" if skew_ms < GOOD_MS else "yellow" if skew_ms < FAIR_MS else "red"
    return f"[{colour}]{skew_ms:+10.3f} ms[/]"


class Screen:
    """See the module."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._groups: dict[str, list[float]] = {}
        self._sizes: dict[str, int] = {}

    def act(self, text: str) -> None:
        """A new part of the play."""
        self._close_groups()
        self._console.print(f"\n[bold]{text}[/]")

    def told(self, text: str) -> None:
        """One line beside the fires."""
        self._console.print(f"  {text}")

    def daemon_serves(self, address: str, pid: int, took_s: float) -> None:
        """It answers."""
        self.told(f"daemon {pid} serves on {address} after {took_s:.2f} s")

    def worker_listens(self, pid: int) -> None:
        """It has opened its stream."""
        self.told(f"worker {pid} listens")

    def daemon_killed(self, pid: int, waiting: int) -> None:
        """It is gone."""
        self._close_groups()
        self.told(f"[red bold]kill -9 {pid}[/]: the daemon is gone, {waiting:,} accepted jobs have not run yet")

    def ran(self, run: Run) -> None:
        """A job has run."""
        for prefix in SUMMARISED:
            if run.name.startswith(prefix):
                self._groups.setdefault(run.name.rpartition("-")[0], []).append(run.skew_ms)
                return
        self._close_groups()
        due = clock(run.due_ms * 1000)
        self._console.print(f"  {run.name:<12} due {due}  received {clock(run.receive_us)}  {coloured(run.skew_ms)}")

    def _close_groups(self) -> None:
        """Say what has come of the groups since the last line."""
        groups, self._groups = self._groups, {}
        for name, skews in groups.items():
            found = figures(skews)
            self._console.print(
                f"  {name:<12} {len(skews):,} jobs  p50 {coloured(found['p50'])}  p99 {coloured(found['p99'])}  "
                f"last {coloured(found['max'])}"
            )

    def result(self, tally: Tally) -> None:
        """The tables, and the verdict."""
        self._close_groups()
        again, unexplained = tally.twice()
        failures = tally.failures()
        counts = Table(box=SIMPLE, title="\nJobs", title_justify="left")
        for name in ("submitted", "ran", "lost", "early", "twice", "created twice", "unexplained"):
            counts.add_column(name, justify="right")
        ran = len({run.job_id for run in tally.runs})
        counts.add_row(
            f"{len(tally.accepted):,}", f"{ran:,}", str(failures["lost"]), str(failures["early"]), str(again),
            str(failures["created twice"]), str(unexplained),
        )  # fmt: skip
        self._console.print(counts)
        skew = Table(box=SIMPLE, title="Fire skew at the worker, ms", title_justify="left")
        skew.add_column("jobs that were")
        for name in ("count", *(name for name, _ in QUANTILES), "max"):
            skew.add_column(name, justify="right")
        by_phase = tally.by_phase()
        for phase in PHASES:
            if phase in by_phase:
                found = figures(by_phase[phase])
                skew.add_row(phase, f"{len(by_phase[phase]):,}", *(f"{value:,.2f}" for value in found.values()))
        self._console.print(skew)
        down_s = (tally.serving_ms - tally.killed_ms) / 1000
        if any(failures.values()):
            self._console.print(f"[red bold]Something is wrong: {failures}[/]")
        else:
            self._console.print(
                f"[green bold]Every accepted job ran.[/] The daemon was away for {down_s:.1f} s; "
                f"the whole took {time.monotonic() - self._began:.0f} s."
            )
