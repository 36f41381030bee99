"""`wheeld job ...`: submit, look, change."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from wheeld.cli.connection import Address, with_client
from wheeld.cli.output import Form, Output, print_facts, print_json, print_rows
from wheeld.client.client import Client
from wheeld.client.views import Job
from wheeld.model import errors
from wheeld.model.errors import Misused
from wheeld.model.job import JobState

app = App(name="job", help="Submit jobs, look at them, change what has not run.")

In = Annotated[str | None, Parameter(name="--in", help="This long from now: `3s`, `15m`, `1h30m`.")]
At = Annotated[str | None, Parameter(name="--at", help="At this time, ISO 8601; without a zone it is this machine's.")]


def moment(text: str) -> datetime:
    """A time as a user types it."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise Misused(
            errors.FIELD_INVALID, f"{text!r} is no time", hint="Write it as 2026-03-29T02:30:00+01:00."
        ) from None


def when(in_: str | None, at: str | None) -> dict[str, Any]:
    """The schedule words of the client."""
    if in_ is not None and at is not None:
        raise Misused(errors.FIELD_INVALID, "--in and --at are both given", hint="Choose one of them.")
    if at is not None:
        return {"schedule_time": moment(at)}
    return {"delay": in_} if in_ is not None else {}


def facts(job: Job) -> dict[str, Any]:
    """A job as a mapping, in the order in which one reads it."""
    return {
        "job": job.job_id,
        "state": job.state.name,
        "type": job.type,
        "queue": job.queue if job.namespace == "default" else f"{job.namespace}/{job.queue}",
        "payload": job.payload,
        "priority": job.priority,
        "attempt": f"{job.attempt} of {job.max_attempts}" if job.max_attempts else str(job.attempt),
        "schedule_time": job.schedule_time,
        "next_fire_time": job.next_fire_time,
        "create_time": job.create_time,
        "fire_time": job.fire_time,
        "finish_time": job.finish_time,
        "worker": job.worker_id,
        "key": job.key,
        "labels": job.labels,
        "last_error": job.last_error,
        "result": job.result,
    }


def show(job: Job, output: Form) -> None:
    """Print one job."""
    found = facts(job)
    if output == "json":
        # Bytes that are text are of more use to jq than base64.
        found = {
            name: value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
            for name, value in found.items()
        }
    print_facts(found, output)


def _ms(earlier: datetime | None, later: datetime | None) -> float | None:
    return None if earlier is None or later is None else (later - earlier).total_seconds() * 1000


def tell_end(job: Job) -> None:
    """One line on how a job went."""
    parts = [job.state.name.ljust(10)]
    late_ms = _ms(job.schedule_time, job.fire_time)
    if job.fire_time is not None and late_ms is not None:
        parts.append(f"fired {job.fire_time.astimezone().isoformat(timespec='milliseconds')[11:23]}")
        parts.append(f"({late_ms:.0f} ms late)")
    parts.append(f"attempt {job.attempt}")
    took_ms = _ms(job.fire_time, job.finish_time)
    if took_ms is not None:
        parts.append(f"{took_ms:.0f} ms")
    if job.state != JobState.SUCCEEDED and job.last_error:
        parts.append(job.last_error.splitlines()[-1])
    elif job.result:
        parts.append(job.result.decode(errors="backslashreplace")[:200])
    print("  ".join(parts))


@app.command
def submit(
    type_: Annotated[str, Parameter(name="TYPE")],
    payload: Annotated[str, Parameter(name="PAYLOAD")] = "",
    *,
    in_: In = None,
    at: At = None,
    queue: str = "",
    key: str = "",
    priority: int | None = None,
    wait: bool = False,
    timeout: str = "60s",
    address: Address = None,
    output: Output = "table",
) -> int:
    """Create a job.

    Parameters
    ----------
    type_
        Name of the handler.
    payload
        What the handler gets; `-` reads it from standard input.
    queue
        Queue of the job. Default: `default`.
    key
        Idempotency key: a second submit with it creates nothing.
    priority
        0 to 9; 9 is the most urgent. Default: 4.
    wait
        Wait until the job has ended; the exit code is 1 unless it succeeded.
    timeout
        How long to wait.
    """
    body = sys.stdin.buffer.read() if payload == "-" else payload.encode()

    async def call(client: Client) -> int:
        handle = await client.submit(type_, body, queue=queue, key=key, priority=priority, **when(in_, at))
        if output == "json" and not wait:
            print_json({"job": handle.job_id, "duplicate": handle.duplicate})
            return 0
        if output == "table":
            job = await handle.get()
            due = f"due {job.next_fire_time.astimezone():%H:%M:%S %Z}" if job.next_fire_time else ""
            print(f"{job.state.name.ljust(10)}  {handle.job_id}  {due}{' (known before)' if handle.duplicate else ''}")
        if not wait:
            return 0
        job = await handle.wait(timeout)
        if output == "json":
            show(job, output)
        else:
            tell_end(job)
        return 0 if job.state == JobState.SUCCEEDED else 1

    return with_client(address, call)


@app.command
def get(job_id: str, *, address: Address = None, output: Output = "table") -> None:
    """Show a job."""
    show(with_client(address, lambda client: client.get(job_id)), output)


@app.command
def cancel(job_id: str, *, address: Address = None, output: Output = "table") -> None:
    """End a job that has not ended; a worker that runs it is told."""
    show(with_client(address, lambda client: client.cancel(job_id)), output)


@app.command
def reschedule(
    job_id: str, *, in_: In = None, at: At = None, address: Address = None, output: Output = "table"
) -> None:
    """Move a job that is not running to another time."""
    words = when(in_, at)
    if not words:
        raise Misused(errors.FIELD_INVALID, "no time is given", hint="Say --in SPAN or --at TIME.")
    show(with_client(address, lambda client: client.reschedule(job_id, **words)), output)


@app.command
def run(job_id: str, *, address: Address = None, output: Output = "table") -> None:
    """Make a job that waits due now."""
    show(with_client(address, lambda client: client.run_now(job_id)), output)


@app.command
def attempts(job_id: str, *, address: Address = None, output: Output = "table") -> None:
    """The history of a job, oldest attempt first."""
    rows = [
        {
            "attempt": row.attempt,
            "outcome": row.outcome,
            "worker": row.worker_id,
            "fire_time": row.fire_time,
            "finish_time": row.finish_time,
            "error": row.error_message,
            "result": row.result.decode(errors="backslashreplace"),
        }
        for row in with_client(address, lambda client: client.attempts(job_id))
    ]
    print_rows(rows, output, "No attempt yet.", right=("attempt",))
