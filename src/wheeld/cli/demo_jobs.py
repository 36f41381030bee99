"""The worker of `wheeld demo`, a process of its own: prints one line for each job that it runs.

Owns the form of the line. Invariant: a line is out before the job is acked, so that what was done is known even if
everything dies.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from wheeld.client.app import App
from wheeld.client.context import Context
from wheeld.worker.worker import Worker

QUEUE = "demo"
TYPE = "demo"
CREDIT = 5000


class Run(NamedTuple):
    """One run of a job. `name` is its payload."""

    name: str
    job_id: str
    attempt: int
    redelivery: bool
    due_ms: int
    receive_us: int

    @property
    def skew_ms(self) -> float:
        """From when it was due until this worker had it."""
        return self.receive_us / 1000 - self.due_ms

    def line(self) -> str:
        """As text."""
        return " ".join(str(int(value) if isinstance(value, bool) else value) for value in self) + "\n"


def parse(line: str) -> Run:
    """The other way."""
    name, job_id, attempt, redelivery, due_ms, receive_us = line.split()
    return Run(name, job_id, int(attempt), redelivery == "1", int(due_ms), int(receive_us))


def make_app(address: str) -> App:
    """An app with the one handler."""
    app = App(address)

    @app.job(TYPE, queue=QUEUE, raw=True)
    async def show(payload: bytes, *, ctx: Context) -> None:
        run = Run(payload.decode(), ctx.job_id, ctx.attempt, ctx.redelivery, ctx.schedule_time_ms, ctx.receive_time_us)
        os.write(sys.stdout.fileno(), run.line().encode())

    return app


if __name__ == "__main__":
    Worker(make_app(sys.argv[1]), concurrency=CREDIT, worker_id="demo", grace=2.0).main()
