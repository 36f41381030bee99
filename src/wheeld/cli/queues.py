"""`wheeld queue ...` and `wheeld skew`: how deep, how late."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from wheeld.cli.connection import Address, list_queues, with_client
from wheeld.cli.output import Output, print_rows

app = App(name="queue", help="Look at queues, pause and resume them.")


def _name(message: Any) -> str:
    return message.queue if message.namespace == "default" else f"{message.namespace}/{message.queue}"


def _row(queue: Any) -> dict[str, Any]:
    age = f"{queue.oldest_pending_age.ToMilliseconds() / 1000:.1f} s" if queue.HasField("oldest_pending_age") else ""
    return {
        "queue": _name(queue),
        "pending": queue.pending_jobs,
        "running": queue.running_jobs,
        "workers": queue.workers,
        "oldest due for": age,
        "paused": queue.paused,
    }


def _split(name: str) -> dict[str, str]:
    namespace, slash, queue = name.partition("/")
    return {"namespace": namespace, "queue": queue} if slash else {"queue": name}


@app.command(name="list")
def list_(*, address: Address = None, output: Output = "table") -> None:
    """Queues that this daemon holds in memory."""
    rows = [_row(queue) for queue in list_queues(address)]
    print_rows(rows, output, "No queue yet: submit a job.", right=("pending", "running", "workers", "oldest due for"))


@app.command
def pause(queue: str, *, address: Address = None, output: Output = "table") -> None:
    """Grant nothing more from QUEUE (or NAMESPACE/QUEUE); leases that are out stay good."""
    print_rows([_row(with_client(address, lambda client: client.pause_queue(**_split(queue))))], output, "")


@app.command
def resume(queue: str, *, address: Address = None, output: Output = "table") -> None:
    """Grant from QUEUE again."""
    print_rows([_row(with_client(address, lambda client: client.resume_queue(**_split(queue))))], output, "")


def skew(*, queue: str = "", reset: bool = False, address: Address = None, output: Output = "table") -> None:
    """How late jobs fired, by queue.

    Parameters
    ----------
    queue
        Only this queue, or NAMESPACE/QUEUE.
    reset
        Start counting anew after this answer.
    """
    answer = with_client(address, lambda client: client.fire_skew(**_split(queue), reset=reset))
    rows = []
    for found in answer.queues:
        for what, histogram in (("transport", found.release), ("worker", found.receipt)):
            if histogram.count:
                rows.append({"queue": _name(found), "until": what, **_percentiles(histogram, output)})
    print_rows(rows, output, "Nothing has fired yet.", right=("fires", "p50", "p90", "p99", "p99.9", "max"))


def _percentiles(histogram: Any, output: str) -> dict[str, Any]:
    fields = (("p50", "p50_us"), ("p90", "p90_us"), ("p99", "p99_us"), ("p99.9", "p999_us"), ("max", "max_us"))
    found: dict[str, Any] = {"fires": histogram.count}
    for name, field in fields:
        value_us = getattr(histogram, field)
        found[name] = value_us / 1000 if output == "json" else f"{value_us / 1000:,.2f} ms"
    return found
