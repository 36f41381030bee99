"""`wheeld bench ...`: what a running daemon does, measured from outside.

Exits with 1 when a job is lost, early or doubled, or a service level is missed.
"""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from wheeld.bench import outside, workloads
from wheeld.bench import stalls as stalls_workload
from wheeld.bench.judge import Report
from wheeld.bench.render import table, write_json
from wheeld.bench.slo import Level, check_levels, parse_level
from wheeld.cli.connection import Address
from wheeld.client.channel import default_address
from wheeld.daemon.options import parse_span_ms
from wheeld.model import limits
from wheeld.model.errors import StartFailure

app = App(name="bench", help="Measure a running daemon, from intended times, and count lost, early and doubled jobs.")

Slo = Annotated[list[str] | None, Parameter(help="A service level such as p99=2ms; repeat for more.", negative=())]
Jobs = Annotated[int, Parameter(help="How many; whole batches are sent.", validator=Number(gte=1))]
Rate = Annotated[int, Parameter(help="Jobs due in a second.", validator=Number(gte=1))]
Duration = Annotated[str, Parameter(help="How long: 10s, 1m.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Load:
    """What every workload is told."""

    address: Address = None
    payload: Annotated[
        int, Parameter(help="Bytes of payload of each job.", validator=Number(gte=0, lte=limits.PAYLOAD_BYTES_MAX))
    ] = 128
    batch: Annotated[
        int, Parameter(help="Jobs in one message.", validator=Number(gte=1, lte=limits.BATCH_JOBS_MAX))
    ] = 1000
    in_flight: Annotated[int, Parameter(help="Messages on their way at a time.", validator=Number(gte=1, lte=1000))] = 4
    json: Annotated[Path | None, Parameter(help="Write the report with its series to this file.")] = None

    def terms(self) -> workloads.Terms:
        """As the workloads want it."""
        return workloads.Terms(self.address or default_address(), self.payload, self.batch, self.in_flight)


USUAL = Load()


def _levels(texts: list[str] | None) -> list[Level]:
    try:
        return [parse_level(text) for text in texts or []]
    except ValueError as error:
        raise StartFailure(str(error), "For example: --slo p99=2ms --slo p99.9=5ms") from None


def _span_ms(text: str, option: str) -> int:
    try:
        return parse_span_ms(text)
    except ValueError as error:
        raise StartFailure(f"--{option}: {error}", "For example: 10s") from None


def _seconds(text: str) -> float:
    if (span_ms := _span_ms(text, "duration")) < 100:
        raise StartFailure(f"--duration {text} is too short to measure anything", "Give at least 100ms.")
    return span_ms / 1000


def _finish(work: Coroutine[Any, Any, Report], load: Load, levels: list[Level] | None = None) -> int:
    """Run, print, write; the exit code."""
    import grpc.aio
    import uvloop

    # The load's own garbage collector must not be what is measured.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        report = uvloop.run(work)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            cause, remedy = "the daemon does not serve", "Is it running? Name it with --address."
        else:
            cause, remedy = "the daemon refused the load", "--jobs, --batch, --payload and --in-flight make it smaller."
        raise StartFailure(f"{cause}: {error.details()}", remedy, 1) from None
    check_levels(report, levels or [])
    print(table([report]))
    if load.json is not None:
        write_json([report], load.json)
    return 1 if report.failures else 0


@app.command
def submit(
    *, jobs: Jobs = 1_000_000, duration: str | None = None, spread: str = "0s", slo: Slo = None, load: Load = USUAL
) -> int:
    """Submit far jobs as fast as they are taken: due in an hour, or spread over SPREAD after that. They stay.

    Parameters
    ----------
    duration
        Submit for this long instead of a number of jobs: 1m.
    spread
        Draw the due times from this span, by which the first hour is followed: 30d.
    """
    levels = _levels(slo)
    seconds = _seconds(duration) if duration is not None else 0.0
    work = workloads.submit(load.terms(), jobs, _span_ms(spread, "spread"), seconds=seconds)
    return _finish(work, load, levels)


@app.command
def lifecycle(*, jobs: Jobs = 300_000, load: Load = USUAL) -> int:
    """One worker leases and acks jobs that wait already."""
    return _finish(workloads.lifecycle(load.terms(), jobs), load)


@app.command
def skew(*, rate: Rate = 5000, duration: Duration = "10s", slo: Slo = None, load: Load = USUAL) -> int:
    """Jobs due at a steady rate: from schedule time to receipt at the worker."""
    levels = _levels(slo)
    return _finish(workloads.skew(load.terms(), rate, _seconds(duration)), load, levels)


@app.command
def mixed(
    *,
    rate: Rate = 5000,
    duration: Duration = "10s",
    submit_rate: Annotated[int, Parameter(validator=Number(gte=0))] = 50_000,
    slo: Slo = None,
    load: Load = USUAL,
) -> int:
    """The skew workload while another process submits jobs due in two hours, which stay.

    Parameters
    ----------
    submit_rate
        Far jobs in a second; 0: as many as are taken.
    """
    levels = _levels(slo)
    return _finish(outside.mixed(load.terms(), rate, _seconds(duration), submit_rate), load, levels)


@app.command
def stalls(
    *, rate: Rate = 5000, duration: Duration = "10s", http: str = "127.0.0.1:7734", slo: Slo = None, load: Load = USUAL
) -> int:
    """How long the daemon's event loop makes a deadline wait under full load: --slo loop_own_p99=500us.

    It submits as many jobs due in two hours as are taken, and they stay.

    Parameters
    ----------
    http
        Address of the daemon's HTTP side, whose metrics are read.
    """
    levels = _levels(slo)
    return _finish(stalls_workload.stalls(load.terms(), http, rate, _seconds(duration)), load, levels)


@app.command
def burst(*, jobs: Jobs = 200_000, slo: Slo = None, load: Load = USUAL) -> int:
    """Jobs due in one millisecond: when the last one arrives (--slo max=5s)."""
    levels = _levels(slo)
    return _finish(workloads.burst(load.terms(), jobs), load, levels)


@app.command
def footprint(*, jobs: Jobs = 1_000_000, load: Load = USUAL) -> int:
    """Jobs due next month: what the daemon then holds in memory, by its own count. They stay in the store.

    Resident memory of the processes and bytes on disk need a daemon of the benchmark's own:
    `python -m bench.run --only footprint` in a checkout of the project starts one.
    """
    return _finish(outside.footprint(load.terms(), jobs), load)


@app.command
def restart(*, duration: Duration = "30s", load: Load = USUAL) -> int:
    """A job every 10 ms while you kill and start the daemon: the longest silence, and that nothing is missing.

    The kill is up to you: another terminal, a supervisor. `python -m bench.run --only restart` in a checkout of the
    project kills a daemon of its own, with many jobs pending.
    """
    return _finish(outside.restart(load.terms(), _seconds(duration)), load)
