"""`wheeld bench ...`: what a running daemon does, measured from outside. Exits with 1 when a job is lost, early or
doubled, or an SLO is missed.
"""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from wheeld.bench import outside, workloads
from wheeld.bench.judge import Report
from wheeld.bench.render import table, write_json
from wheeld.bench.slo import Level, check_levels, parse_level
from wheeld.cli.connection import Address
from wheeld.daemon.options import parse_span_ms
from wheeld.model.errors import StartFailure

app = App(name="bench", help="Measure a running daemon, from intended times, and count lost, early and doubled jobs.")

Payload = Annotated[int, Parameter(help="Bytes of payload of each job.")]
Batch = Annotated[int, Parameter(help="Jobs in one message.")]
InFlight = Annotated[int, Parameter(help="Messages on their way at a time.")]
Json = Annotated[Path | None, Parameter(name="--json", help="Write the report with its series to this file.")]
Slo = Annotated[list[str] | None, Parameter(help="A service level such as p99=2ms; repeat for more.", negative=())]
DEFAULT_ADDRESS = "127.0.0.1:7733"


def _terms(address: str | None, payload: int, batch: int, in_flight: int) -> workloads.Terms:
    return workloads.Terms(address or DEFAULT_ADDRESS, payload, batch, in_flight)


def _levels(texts: list[str] | None) -> list[Level]:
    try:
        return [parse_level(text) for text in texts or []]
    except ValueError as error:
        raise StartFailure(str(error), "For example: --slo p99=2ms --slo p99.9=5ms") from None


def _seconds(text: str) -> float:
    return parse_span_ms(text) / 1000


def _finish(work: Coroutine[Any, Any, Report], json: Path | None, levels: list[Level] | None = None) -> int:
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
        raise StartFailure(
            f"the daemon does not serve: {error.details()}", "Is it running? Name it with --address.", 1
        ) from None
    check_levels(report, levels or [])
    print(table([report]))
    if json is not None:
        write_json([report], json)
    return 1 if report.failures else 0


@app.command
def submit(
    *,
    jobs: int = 1_000_000,
    spread: str = "0s",
    address: Address = None,
    payload: Payload = 128,
    batch: Batch = 1000,
    in_flight: InFlight = 4,
    json: Json = None,
) -> int:
    """Submit far jobs as fast as they are taken: due in an hour, or spread over SPREAD after that."""
    spread_ms = parse_span_ms(spread)
    return _finish(workloads.submit(_terms(address, payload, batch, in_flight), jobs, spread_ms), json)


@app.command
def lifecycle(
    *,
    jobs: int = 300_000,
    address: Address = None,
    payload: Payload = 128,
    batch: Batch = 1000,
    in_flight: InFlight = 4,
    json: Json = None,
) -> int:
    """One worker leases and acks jobs that wait already."""
    return _finish(workloads.lifecycle(_terms(address, payload, batch, in_flight), jobs), json)


@app.command
def skew(
    *,
    rate: int = 5000,
    duration: str = "10s",
    slo: Slo = None,
    address: Address = None,
    payload: Payload = 128,
    batch: Batch = 1000,
    in_flight: InFlight = 4,
    json: Json = None,
) -> int:
    """Jobs due at a steady rate: from schedule time to receipt at the worker."""
    levels = _levels(slo)
    return _finish(workloads.skew(_terms(address, payload, batch, in_flight), rate, _seconds(duration)), json, levels)


@app.command
def mixed(
    *,
    rate: int = 5000,
    duration: str = "10s",
    submit_rate: int = 50_000,
    slo: Slo = None,
    address: Address = None,
    payload: Payload = 128,
    batch: Batch = 1000,
    in_flight: InFlight = 4,
    json: Json = None,
) -> int:
    """The skew workload while another process submits far jobs."""
    levels = _levels(slo)
    terms = _terms(address, payload, batch, in_flight)
    return _finish(outside.mixed(terms, rate, _seconds(duration), submit_rate), json, levels)


@app.command
def burst(
    *,
    jobs: int = 200_000,
    address: Address = None,
    payload: Payload = 128,
    batch: Batch = 1000,
    in_flight: InFlight = 4,
    json: Json = None,
) -> int:
    """Jobs due in one millisecond: when the last one arrives."""
    return _finish(workloads.burst(_terms(address, payload, batch, in_flight), jobs), json)


@app.command
def footprint(
    *,
    jobs: int = 1_000_000,
    address: Address = None,
    payload: Payload = 128,
    batch: Batch = 1000,
    in_flight: InFlight = 4,
    json: Json = None,
) -> int:
    """Jobs due next month: what the daemon then holds in memory. They stay in the store."""
    return _finish(outside.footprint(_terms(address, payload, batch, in_flight), jobs), json)


@app.command
def restart(
    *,
    duration: str = "30s",
    address: Address = None,
    payload: Payload = 128,
    batch: Batch = 1000,
    in_flight: InFlight = 4,
    json: Json = None,
) -> int:
    """A job every 10 ms while you kill and start the daemon: the longest silence, and that nothing is missing."""
    return _finish(outside.restart(_terms(address, payload, batch, in_flight), _seconds(duration)), json)
